"""Job scheduler: runs queued training jobs one at a time on this host.

Each job runs in its own process group, which survives the app. The scheduler that holds the lease is the only writer
of the job store. It polls every `POLL_INTERVAL_S`. All its state is on disk, so another scheduler can take over at
any time.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ctm.stores import HubStore
from training.config import RunConfig
from training.jobs.estimate_process import ESTIMATE_TIMEOUT_S, run_estimate
from training.jobs.estimate_store import ESTIMATES_FILENAME, EstimateStore
from training.jobs.job import LOCAL_TARGET, Job, RequestedAction
from training.jobs.launcher import JobLauncher
from training.jobs.lease import Lease
from training.jobs.local_jobs import STOP_TIMEOUT_S, LocalJobs
from training.jobs.process_group import reap_zombies
from training.jobs.recovery import (
    check_can_resume,
    format_resume_message,
    list_resumable_jobs,
    record_lost_process_ids,
    register_untracked_runs,
)
from training.jobs.redaction import redact_token
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.remote.monitor import RemoteJobMonitor
from training.jobs.run_creation import create_run_dir, delete_run_dir, delete_trash
from training.jobs.store import STORE_FILENAME, JobStore
from training.run_dir import RunDir

POLL_INTERVAL_S = 0.5
LEASE_RETRY_INTERVAL_S = 5.0
DISCOVERY_INTERVAL_S = 30.0

log = logging.getLogger(__name__)


class JobScheduler:
    """Queue of training jobs with the processes that run them. Public methods are thread-safe.

    Remote jobs need `jobs_client`, `hub_store` and `space_id`.

    Args:
        runs_dir: Parent of the run directories; also holds the job store.
        token: Hub token for jobs that publish; empty for none.
        environment: Environment of the app.
        resume_interrupted: Whether to queue jobs again that the end of an app interrupted.
        stop_timeout_s: Seconds that a stopping job has to save and end before it is killed.
        jobs_client: Client of Hugging Face Jobs.
        hub_store: Store from which the checkpoints of remote jobs are downloaded.
        space_id: Space whose image remote jobs run in, `namespace/name`.
    """

    def __init__(
        self,
        runs_dir: Path,
        *,
        token: str = "",
        environment: Mapping[str, str] = os.environ,
        resume_interrupted: bool = False,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        jobs_client: HfJobsClient | None = None,
        hub_store: HubStore | None = None,
        space_id: str = "",
    ) -> None:
        self.runs_dir = Path(runs_dir).resolve()
        self.resume_interrupted = resume_interrupted
        self.store = JobStore(self.runs_dir / STORE_FILENAME)
        self.estimates = EstimateStore(self.runs_dir.parent / ESTIMATES_FILENAME, environment)
        self.launcher = JobLauncher(self.runs_dir, environment, token)
        self._lock = threading.RLock()
        self.local_jobs = LocalJobs(self.store, self.launcher, self._lock, stop_timeout_s, self._on_local_job_end)
        self.remote_monitor = (
            RemoteJobMonitor(self.runs_dir, self.store, jobs_client, hub_store, space_id)
            if jobs_client and hub_store and space_id
            else None
        )
        self.is_leader = False
        self._environment = environment
        self._token = token
        self._lease = Lease(self.runs_dir)
        self._wake_event = threading.Event()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-scheduler", daemon=True)
        self._last_discovery_at = 0.0

    # --- lifecycle -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the scheduler thread.

        If another scheduler holds the lease, this one only reads until the lease becomes free.
        """
        self._try_become_leader(timeout_s=2.0)
        self._thread.start()

    def _try_become_leader(self, timeout_s: float = 0.0) -> None:
        if self._lease.acquire(timeout_s):
            try:
                self._recover()
                self.is_leader = True
            except BaseException:
                self._lease.release()
                raise

    def close(self, timeout_s: float = 20.0) -> None:
        """Ask the running local jobs to save and end, because the app ends. They can be resumed later.

        Args:
            timeout_s: Seconds to wait for the jobs; afterwards they continue to save without this scheduler.
        """
        self._stop_event.set()  # no job starts from now on
        self._wake_event.set()
        if not self.is_leader:
            return
        with self._lock:
            jobs = [job for job in self.store.list_running() if job.is_local]
            for job in jobs:
                if not job.requested_action:
                    self.local_jobs.request_stop(job, "suspend")
        if self.remote_monitor:
            self.remote_monitor.close()
        deadline = time.monotonic() + timeout_s
        while jobs and time.monotonic() < deadline:
            with suppress(ValueError):  # the job store cannot be written: the next scheduler records the outcome
                jobs = [job for job in jobs if not self.local_jobs.poll(self.store.get(job.id))]
            time.sleep(0.05)
        self._thread.join(5.0)
        self._lease.release()
        self.is_leader = False

    # --- queries -------------------------------------------------------------------------------------------------

    @property
    def can_run_remotely(self) -> bool:
        """Whether jobs can run on Hugging Face Jobs."""
        return self.remote_monitor is not None

    def list_jobs(self) -> list[Job]:
        """Return all jobs, newest first."""
        return self.store.list_jobs()

    def list_running_jobs(self) -> list[Job]:
        """Return the running jobs, the one that started first at the front."""
        return self.store.list_running()

    def get_job(self, job_id: str) -> Job:
        """Return a job by its id.

        Raises:
            ValueError: There is no such job.
        """
        return self.store.get(job_id)

    def get_run_dir(self, job_id: str) -> RunDir:
        """Return the run directory of a job.

        Raises:
            ValueError: There is no such job.
        """
        return RunDir(self.runs_dir / self.store.get(job_id).id)

    def estimate(self, config: RunConfig) -> dict[str, Any]:
        """Train a few steps in a child process, save what they cost, and return it; see `run_estimate`.

        Waits while another estimate is measured.

        Raises:
            ValueError: Other estimates take too long, the estimate takes too long, or the run fails.
        """
        is_shared = self.is_training_here
        figures = run_estimate(config, self._environment, wait_s=ESTIMATE_TIMEOUT_S)
        with suppress(OSError):  # a full disk: the estimate is still worth showing
            self.estimates.save(config, figures, is_shared or self.is_training_here)
        return figures

    @property
    def is_training_here(self) -> bool:
        """Whether a training job runs on this computer."""
        return any(job.is_local for job in self.list_running_jobs())

    def redact_token(self, text: str) -> str:
        """Replace the Hub token of the jobs in a text. Logs of version 0.1.0 may contain it."""
        return redact_token(text, self._token)

    # --- requests ------------------------------------------------------------------------------------------------

    def submit(self, config: RunConfig, name: str, command: str, submitted_by: str, **target: Any) -> Job:
        """Create a run directory and queue a job for it.

        Args:
            config: Configuration of the run.
            name: Prefix of the job id: small letters, digits and hyphens.
            command: Command line that trains the same model by hand, for the model card.
            submitted_by: User who submits the job.
            target: Fields of `Job` that select the hardware: `target`, `devices`, `namespace`, `timeout_minutes`.

        Raises:
            ValueError: The name is invalid, the disk is full, remote jobs are unavailable, or another app holds the
                lease.
        """
        self._require_leader()
        if target.get("target", LOCAL_TARGET) != LOCAL_TARGET:
            self._require_remote_monitor()
        with self._lock:
            run_dir = create_run_dir(self.runs_dir, name, config, command)
            now = time.time()
            job = Job(
                run_dir.path.name,
                "queued",
                submitted_by=submitted_by,
                submitted_at=now,
                queued_at=now,
                status_message="Waits in the queue.",
                **target,
            )
            self.store.add(job)
        if not job.is_local:
            self._require_remote_monitor().start(job)
        self._wake_event.set()
        return job

    def stop(self, job_id: str) -> Job:
        """Ask a running job to save and end, or remove a queued job from the queue.

        Raises:
            ValueError: There is no such job, it has ended, or another app holds the lease.
        """
        return self._end_job(job_id, "stop")

    def kill(self, job_id: str) -> Job:
        """Kill a job. Progress after its last saved step is lost.

        Raises:
            ValueError: There is no such job, it has ended, or another app holds the lease.
        """
        return self._end_job(job_id, "kill")

    def resume(self, job_id: str, overrides: Sequence[str] = ()) -> Job:
        """Queue a job again that ended before its last step. It continues from its last saved step.

        Args:
            job_id: Id of the job.
            overrides: Settings to change, such as `optim.lr=1e-4`.

        Raises:
            ValueError: The job has finished, ran remotely, or its run directory is gone, or a setting may not change.
        """
        self._require_leader()
        job = self.store.get(job_id)
        if overrides:
            run_dir = self.get_run_dir(job_id)
            check_can_resume(job, run_dir)
            if not job.is_finished:
                raise ValueError(f"The run {job_id} is {job.state}: stop it first.")
            run_dir.change_settings(overrides, job.devices)
        return self._resume(job)

    def _resume(self, job: Job, queued_at: float = 0.0) -> Job:
        """Queue a job again.

        Args:
            job: A local job that ended before its last step.
            queued_at: Time that determines the queue position, in seconds since the epoch; 0 for the end of the queue.
        """
        run_dir = self.get_run_dir(job.id)
        check_can_resume(job, run_dir)
        message = format_resume_message(run_dir)
        with self._lock:
            job = self.store.update(
                job.id,
                state="queued",
                requested_action="",
                queued_at=queued_at or time.time(),
                status_message=message,
                exit_code=None,
            )
        self._wake_event.set()
        return job

    def remove(self, job_id: str) -> None:
        """Delete a finished run with its directory.

        Raises:
            ValueError: The job is queued or running, or another process trains in the directory.
        """
        self._require_leader()
        with self._lock:
            job = self.store.get(job_id)
            if not job.is_finished:
                raise ValueError(f"The run {job_id} is {job.state}: stop it first.")
            delete_run_dir(self.runs_dir / job.id)  # before the job store is written, which may need the disk space
            self.store.remove(job_id)

    # --- scheduler thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop_event.is_set():
            try:
                if not self.is_leader:
                    self._try_become_leader()
                elif self._lease.renew():
                    self._poll()
                else:
                    self.is_leader = False
            except Exception:  # a full disk or a locked job store must not end the thread
                log.exception("The scheduler could not poll the jobs")
                time.sleep(2.0)
            self._wake_event.wait(POLL_INTERVAL_S if self.is_leader else LEASE_RETRY_INTERVAL_S)
            self._wake_event.clear()

    def _recover(self) -> None:
        """Find the living jobs, record the outcome of the others, and queue interrupted jobs again if configured."""
        delete_trash(self.runs_dir)
        record_lost_process_ids(self.store, self.launcher)
        for job in self.store.list_running():
            if job.is_local:
                with suppress(ValueError):  # the job store cannot be written: the next poll records the outcome
                    self.local_jobs.poll(job)
        for job in (*self.store.list_running(), *self.store.list_queued()):
            if not job.is_local and self.remote_monitor:
                self.remote_monitor.start(job)
        self._register_untracked_runs()
        for job in list_resumable_jobs(self.store, self.runs_dir) if self.resume_interrupted else []:
            with suppress(ValueError):  # the run directory may be gone
                self._resume(job, job.queued_at)

    def _register_untracked_runs(self) -> None:
        self._last_discovery_at = time.monotonic()
        with self._lock:
            register_untracked_runs(self.store, self.runs_dir)

    def _poll(self) -> None:
        """Record finished jobs and start the next queued job if no local job runs."""
        reap_zombies()
        for job in self.store.list_running():
            if job.is_local:
                self.local_jobs.poll(job)
        with self._lock:
            if not self._stop_event.is_set() and not any(job.is_local for job in self.store.list_running()):
                next_job = next((job for job in self.store.list_queued() if job.is_local), None)
                if next_job:
                    self.local_jobs.start(next_job)
        if time.monotonic() - self._last_discovery_at > DISCOVERY_INTERVAL_S:
            self._register_untracked_runs()

    def _on_local_job_end(self, job: Job, action: RequestedAction) -> None:
        """Resume a job that still saved for the previous app when this one took over, and poll the queue."""
        is_suspended = action == "suspend" and job.state == "interrupted"
        if self.resume_interrupted and is_suspended and not self._stop_event.is_set():
            self._resume(job, job.queued_at)
        self._wake_event.set()

    # --- ending jobs ---------------------------------------------------------------------------------------------

    def _end_job(self, job_id: str, action: RequestedAction) -> Job:
        self._require_leader()
        with self._lock:
            job = self.store.get(job_id)
            if job.state == "queued":
                message = "Removed from the queue."
                return self.store.update(job_id, state="cancelled", ended_at=time.time(), status_message=message)
            if job.is_finished:
                raise ValueError(f"The run {job_id} is over already: {job.state}.")
            if job.is_local:
                job = self.local_jobs.request_stop(job, action)
                self._wake_event.set()
                return job
        return self._end_remote_job(job, action)

    def _end_remote_job(self, job: Job, action: RequestedAction) -> Job:
        if self.remote_monitor is None and action == "kill":
            message = "Abandoned, because this app cannot reach Hugging Face Jobs; it may still run there."
            return self.store.update(job.id, state="cancelled", ended_at=time.time(), status_message=message)
        requested_at = job.stop_requested_at or time.time()
        job = self.store.update(
            job.id, requested_action=action, stop_requested_at=requested_at, status_message="Being cancelled."
        )
        try:
            self._require_remote_monitor().cancel(job)
        except ValueError:
            self.store.update(job.id, requested_action="")  # the request did not arrive, so the job continues
            raise
        return job

    def _require_remote_monitor(self) -> RemoteJobMonitor:
        if self.remote_monitor is None:
            raise ValueError("Hugging Face Jobs needs a Space, whose image runs there, and a token (HF_TOKEN).")
        return self.remote_monitor

    def _require_leader(self) -> None:
        if not self.is_leader:
            raise ValueError("Another app looks after the runs in this directory: use that one, or end it first.")
