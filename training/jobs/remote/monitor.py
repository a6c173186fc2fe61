"""Monitor of remote jobs: submits runs to Hugging Face Jobs and mirrors them in local run directories.

A remote run prints everything that it writes into its run directory as an event stream (`CTM_ECHO`). The monitor writes
these events into the local run directory, so that curves, status and publications look the same as for a local run. The
final checkpoint is downloaded from the Hub.
"""

import contextlib
import json
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from ctm.io.atomic import get_temp_path, replace_dir
from ctm.stores import HubStore, StoreUnavailable
from training.event_stream import EVENT_PREFIX, EVENT_STREAM_ENV
from training.jobs.job import Job, JobState
from training.jobs.launch_command import build_training_command
from training.jobs.outcome import derive_job_outcome
from training.jobs.remote.events import apply_event
from training.jobs.remote.hf_jobs import HfJobsClient, RemoteJob
from training.jobs.store import JobStore
from training.publishing.outbox import OutboxEntry, get_outboxes
from training.run_dir import RunDir

# Unbuffered output writes a line and its line feed separately, so lines of two threads could be mixed.
UNBUFFERED_ENV = {"PYTHONUNBUFFERED": ""}
# The remote host may set `OMP_NUM_THREADS=3500m`, at which Accelerate's launcher fails.
UNSET_THREADS_COMMAND = ("env", "-u", "OMP_NUM_THREADS")
# Variables of a remote run that hold its settings, and its command for the model card.
SETTINGS_ENV = "CTM_SETTINGS"
COMMAND_ENV = "CTM_COMMAND"
MAX_LOG_LINE_CHARS = 10_000
RETRY_INTERVAL_S = 20.0

log = logging.getLogger(__name__)


class RemoteJobMonitor:
    """Submits and follows remote jobs, each in its own thread.

    Args:
        runs_dir: Parent of the run directories.
        store: Job store; the monitor updates the rows of remote jobs.
        jobs_client: Client of Hugging Face Jobs.
        hub_store: Store from which the final checkpoints are downloaded.
        space_id: Space whose image the jobs run in, `namespace/name`.
    """

    def __init__(
        self, runs_dir: Path, store: JobStore, jobs_client: HfJobsClient, hub_store: HubStore, space_id: str
    ) -> None:
        self.runs_dir = runs_dir
        self.store = store
        self.jobs_client = jobs_client
        self.hub_store = hub_store
        self.space_id = space_id
        self._stop_event = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def start(self, job: Job) -> None:
        """Submit a queued job, or continue to follow a running one, in a new thread."""
        thread = threading.Thread(target=self._run_job, args=(job.id,), name=f"remote-job {job.id}", daemon=True)
        self._threads[job.id] = thread
        thread.start()

    def cancel(self, job: Job) -> None:
        """Cancel a remote job. Its outcome is recorded once the Hub reports its end.

        Raises:
            ValueError: The Hub rejects the request.
        """
        if job.remote_job_id:
            self.jobs_client.cancel(job.namespace, job.remote_job_id)

    def close(self) -> None:
        """Stop following, because the app ends. The jobs continue, and the next app follows them."""
        self._stop_event.set()
        for thread in self._threads.values():
            thread.join(2.0)

    def _run_job(self, job_id: str) -> None:
        try:
            job = self.store.get(job_id)
            if job.state == "queued" and not self._submit(job):
                return
            while not self._stop_event.is_set() and not self._follow(self.store.get(job_id)):
                self._stop_event.wait(RETRY_INTERVAL_S)
        except ValueError as error:
            self._fail(job_id, str(error))
        except Exception:
            log.exception("The job %s could not be followed", job_id)
            self._fail(job_id, "Following it failed; the app's log says why. It may still run there.")

    def _submit(self, job: Job) -> bool:
        """Start the remote job, with retries while the Hub is unavailable.

        Returns:
            Whether the job runs; False if the app ends or the job is cancelled in the meantime.
        """
        command, env = build_remote_command(job, RunDir(self.runs_dir / job.id))
        while not self._stop_event.is_set():
            try:
                if not self._is_queued(job):
                    # An earlier submission may have succeeded although its response was lost.
                    self.jobs_client.cancel_by_name(job.namespace, job.id)
                    return False
                remote_job = self.jobs_client.submit(
                    space=self.space_id,
                    command=command,
                    env=env,
                    flavor=job.target,
                    timeout_minutes=job.timeout_minutes,
                    namespace=job.namespace,
                    name=job.id,
                )
            except StoreUnavailable as error:
                if self._is_queued(job):
                    self.store.update(job.id, status_message=f"{error} It is tried again.")
                self._stop_event.wait(error.retry_after_s or RETRY_INTERVAL_S)
                continue
            message = f"Sent to Hugging Face Jobs ({job.target}); waits for a machine there."
            with contextlib.suppress(ValueError):  # the job was cancelled in the meantime
                self.store.update(
                    job.id,
                    state="running",
                    started_at=time.time(),
                    attempt=job.attempt + 1,
                    remote_job_id=remote_job.job_id,
                    url=remote_job.url,
                    status_message=message,
                )
                return True
        return False

    def _is_queued(self, job: Job) -> bool:
        return any(other.id == job.id for other in self.store.list_queued())

    def _follow(self, job: Job) -> bool:
        """Mirror the log of a job until its end.

        Returns:
            Whether the job needs no further attention; False if the Hub is unavailable.
        """
        run_dir = RunDir(self.runs_dir / job.id)
        is_first_line = True
        try:
            for line in self.jobs_client.follow(job.namespace, job.remote_job_id, self._stop_event):
                if is_first_line:  # the log starts from its beginning, so the mirrored files do, too
                    for path in (
                        run_dir.metrics_file,
                        run_dir.samples_file,
                        run_dir.log_file,
                        run_dir.outcome_file,
                    ):
                        path.unlink(missing_ok=True)
                is_first_line = False
                self._handle_log_line(job, run_dir, line)
            if not self._stop_event.is_set():
                self._finish_job(job, run_dir, self.jobs_client.inspect(job.namespace, job.remote_job_id))
        except StoreUnavailable as error:
            self.store.update(
                job.id, status_message=f"{error} The run goes on there all the same; the Hub is asked again."
            )
            return False
        return True

    def _handle_log_line(self, job: Job, run_dir: RunDir, line: str) -> None:
        if line.startswith(EVENT_PREFIX):
            apply_event(run_dir, self.jobs_client.redact_token(line.removeprefix(EVENT_PREFIX)))
            current = self.store.get(job.id)
            # The run prints events, so a message about waiting is outdated.
            if current.status_message and not current.requested_action:
                self.store.update(job.id, status_message="")
        else:
            with run_dir.log_file.open("a", encoding="utf-8") as file:
                file.write(self.jobs_client.redact_token(line)[:MAX_LOG_LINE_CHARS] + "\n")

    def _finish_job(self, job: Job, run_dir: RunDir, remote_job: RemoteJob) -> None:
        outbox, space_outbox = get_outboxes(run_dir.path)
        outbox.abandon_pending("Its machine is gone.")
        space_outbox.abandon_pending("Its machine is gone.")
        state, message = derive_remote_outcome(run_dir.read_outcome(), self.store.get(job.id), remote_job)
        published = [entry for entry in outbox.entries() if entry.state == "published"]
        if state == "succeeded":
            message += " " + self._download_checkpoint(run_dir, published)
        elif published:
            message += f" What it published last: {published[-1].url}"
        elif run_dir.read_status().get("step"):
            message += " Nothing was published, so what it had saved is gone with its machine."
        self.store.update(job.id, state=state, status_message=message.strip(), ended_at=time.time())

    def _download_checkpoint(self, run_dir: RunDir, published_entries: list[OutboxEntry]) -> str:
        """Download the final checkpoint into the run directory.

        Returns:
            One sentence that describes the problem; empty if there is none.
        """
        if not published_entries:
            return "It was not published, so its checkpoint is gone with the machine."
        draft = get_temp_path(run_dir.final_checkpoint_dir)
        try:
            shutil.copytree(
                self.hub_store.fetch(f"{published_entries[-1].repo}@{published_entries[-1].revision}"), draft
            )
            replace_dir(draft, run_dir.final_checkpoint_dir)
        except (ValueError, OSError) as error:
            return f"Its checkpoint is published but could not be brought here: {error}"
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return ""

    def _fail(self, job_id: str, message: str) -> None:
        try:
            state = self.store.get(job_id).state
            if state == "queued":
                self.store.update(job_id, state="running")
            self.store.update(job_id, state="failed", status_message=message, ended_at=time.time())
        except ValueError:  # the job was cancelled or deleted in the meantime
            return


def build_remote_command(job: Job, run_dir: RunDir) -> tuple[list[str], dict[str, str]]:
    """Build the command of a remote run, and its environment.

    The remote host has neither the recipe nor the run directory, so the settings travel in the environment, and the run
    prints events.

    Args:
        job: The remote job.
        run_dir: Its local run directory.
    """
    config = run_dir.load_config()
    training_command = build_training_command("python", job.devices, config, f"env:{SETTINGS_ENV}", job.id)
    env = {
        SETTINGS_ENV: json.dumps(config.model_dump(mode="json")),
        COMMAND_ENV: run_dir.read_command(),
        EVENT_STREAM_ENV: "1",
        **UNBUFFERED_ENV,
    }
    return [*UNSET_THREADS_COMMAND, *training_command], env


def derive_remote_outcome(outcome: dict[str, Any], job: Job, remote_job: RemoteJob) -> tuple[JobState, str]:
    """Return the final state of a finished remote job, and one sentence that explains it.

    Args:
        outcome: Outcome that the trainer recorded; empty if none arrived.
        job: Row of the job store.
        remote_job: Final state on the Hub.
    """
    stop_message = str(outcome.get("sentence", "")) if outcome.get("reason") == "stopped" else ""
    if outcome and not stop_message:
        return derive_job_outcome(0 if remote_job.stage == "completed" else 1, outcome, job.requested_action, None)
    if job.requested_action or remote_job.stage == "cancelled":
        return "cancelled", stop_message or (
            "It was cancelled." if job.requested_action else "It was cancelled on the Hub's page."
        )
    if remote_job.stage in ("error", "lost"):
        reason = remote_job.message.rstrip(".") or "the job is not known there any more"
        return "failed", f"The Hub says: {reason}. {stop_message}".strip()
    return ("cancelled", stop_message) if stop_message else derive_job_outcome(0, outcome, "", None)
