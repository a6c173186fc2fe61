"""Local jobs: starts, polls and ends the processes of jobs on this host, and records their outcomes."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from training.jobs.job import Job, RequestedAction
from training.jobs.launcher import JobLauncher
from training.jobs.outcome import derive_job_outcome
from training.jobs.store import JobStore

STOP_TIMEOUT_S = 120.0
SIGNALS = {"stop": signal.SIGTERM, "kill": signal.SIGKILL, "suspend": signal.SIGTERM}
STOP_MESSAGES = {"stop": "Stopping: it saves first.", "kill": "Being killed.", "suspend": "The app ends: it saves."}

log = logging.getLogger(__name__)


class LocalJobs:
    """Runs local jobs for the scheduler. Thread-safe.

    Args:
        store: Job store; the rows of local jobs are updated.
        launcher: Launcher of the processes.
        lock: Lock of the scheduler, held while an outcome is recorded.
        stop_timeout_s: Seconds that a stopping job has to save and end before it is killed.
        on_end: Called with a job whose outcome was recorded, and with the action that was requested of it.
    """

    def __init__(
        self,
        store: JobStore,
        launcher: JobLauncher,
        lock: threading.RLock,
        stop_timeout_s: float,
        on_end: Callable[[Job, RequestedAction], None],
    ) -> None:
        self.store = store
        self.launcher = launcher
        self.stop_timeout_s = stop_timeout_s
        self._lock = lock
        self._on_end = on_end
        # Requested actions by job id, in case the job store cannot be written.
        self._requested_actions: dict[str, RequestedAction] = {}

    def start(self, job: Job) -> None:
        """Start the processes of a queued job; a job that cannot be started has failed.

        The state becomes `running` before the process exists, so that no process is ever without a running job.

        Raises:
            ValueError: The job store cannot be written.
        """
        steps = self.launcher.get_run_dir(job).list_steps()
        job = self.store.update(
            job.id,
            state="running",
            requested_action="",
            pid=0,
            started_at=time.time(),
            ended_at=0.0,
            stop_requested_at=0.0,
            attempt=job.attempt + 1,
            resumed_from_step=steps[-1] if steps else 0,
            status_message="",
        )
        try:
            group = self.launcher.start(job, self.stop_timeout_s)
        except (OSError, ValueError) as error:
            message = f"It could not be started: {error}"
            self.store.update(job.id, state="failed", ended_at=time.time(), status_message=message)
            return
        self.store.update(job.id, pid=group.pid)

    def poll(self, job: Job) -> bool:
        """Record the outcome of a job without processes, or kill a job that does not stop in time.

        Returns:
            Whether the job is finished.

        Raises:
            ValueError: The job store cannot be written.
        """
        if job.is_finished:
            return True
        group = self.launcher.get_process_group(job)
        # A process that was started just now is not listed yet: its environment is read, which it gets a moment later.
        if group.list_members() or self.launcher.has_running_child(job):
            is_stopping = job.requested_action in ("stop", "suspend") and job.stop_requested_at > 0
            is_late = is_stopping and time.time() - job.stop_requested_at > self.stop_timeout_s
            if is_late or job.requested_action == "kill":  # repeated: a member may have just started another process
                group.send_signal(signal.SIGKILL)
            return False
        with self._lock:
            if self.store.get(job.id).state == "running":
                self._finish(job)
        return True

    def request_stop(self, job: Job, action: RequestedAction) -> Job:
        """Signal the processes of a job, then record the request: a full disk must not keep a job running.

        Args:
            job: A running local job.
            action: Action to request; not empty.

        Returns:
            The job with the requested action.
        """
        self.launcher.get_process_group(job).send_signal(SIGNALS[action])
        self._requested_actions[job.id] = action
        message = STOP_MESSAGES[action]
        requested_at = job.stop_requested_at or time.time()
        try:
            return self.store.update(
                job.id, requested_action=action, stop_requested_at=requested_at, status_message=message
            )
        except ValueError as error:
            log.warning("The request to %s %s could not be recorded: %s", action, job.id, error)
            return replace(job, requested_action=action, status_message=message)

    def _finish(self, job: Job) -> None:
        """Record the outcome of a job without processes."""
        run_dir = self.launcher.get_run_dir(job)
        steps = run_dir.list_steps()
        process_exit = self.launcher.read_exit(job)
        action = self._requested_actions.get(job.id) or job.requested_action
        state, message = derive_job_outcome(
            process_exit.code,
            run_dir.read_outcome(),
            action,
            steps[-1] if steps else None,
            process_exit.is_out_of_memory,
        )
        job = self.store.update(
            job.id, state=state, status_message=message, exit_code=process_exit.code, ended_at=time.time(), pid=0
        )
        self.launcher.forget(job)
        self._requested_actions.pop(job.id, None)
        self._on_end(job, action)
