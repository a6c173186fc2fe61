"""Runs that go on elsewhere: sent to Hugging Face Jobs, followed here as if they were here.

What a run there would write into its folder it prints (`CTM_ECHO`), and what it prints is written into the folder here: so
curves, state and publication are the same as for a run of this machine. Its checkpoint comes back from the Hub.
"""

import contextlib
import json
import logging
import re
import shutil
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ctm.io.atomic import get_temp_path, replace_dir
from ctm.io.json_files import write_json
from ctm.stores import HubStore, StoreUnavailable
from training.jobs.launch_command import build_training_command
from training.jobs.outcome import derive_job_outcome
from training.jobs.remote.hf_jobs import HfJobsClient, RemoteJob
from training.jobs.store import Job, JobState, JobStore
from training.publishing.outbox import Outbox, OutboxEntry, get_entry_dir_name
from training.run_dir import EVENT_PREFIX, EVENT_STREAM_ENV, RunDir

UNBUFFERED_ENV = {
    "PYTHONUNBUFFERED": ""
}  # else a line and its end are written apart, and lines of two threads run together
UNSET_THREADS_COMMAND = (
    "env",
    "-u",
    "OMP_NUM_THREADS",
)  # which may say 3500m there, and Accelerate's launcher would die of it
EVENT_FILE_SCHEMAS = {
    "metrics.jsonl": {"step": int},
    "status.json": {"phase": str, "step": int, "steps": int},
    "ending.json": {"reason": str, "sentence": str},
}  # and what is sure to be in them
OUTBOX_ENTRY_PATTERN = re.compile(r"outbox/([0-9]{15}-[0-9a-f]{12})/entry\.json")
MAX_LINE_CHARS = 100_000  # characters of a line that is kept
RETRY_INTERVAL_S = 20.0  # seconds before the Hub is asked again, where it could not be

log = logging.getLogger(__name__)


class RemoteJobMonitor:
    """Follows the jobs that run elsewhere, each in a thread of its own.

    Args:
        runs: folder of run folders.
        book: where their state is written.
        remote: Hugging Face Jobs.
        hub: where their checkpoints come back from.
        space: whose image they run in.
    """

    def __init__(self, runs_dir: Path, store: JobStore, jobs_client: HfJobsClient, hub_store: HubStore, space_id: str):
        self.runs_dir, self.store, self.jobs_client, self.hub_store, self.space_id = (
            runs_dir,
            store,
            jobs_client,
            hub_store,
            space_id,
        )
        self._stop_event = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def start(self, job: Job) -> None:
        """Send a job that waits, or go on following one that runs."""
        thread = threading.Thread(target=self._run_job, args=(job.id,), name=f"away {job.id}", daemon=True)
        self._threads[job.id] = thread
        thread.start()

    def cancel(self, job: Job) -> None:
        """End a job there; how it ended is noted once the Hub says so."""
        if job.remote:
            self.jobs_client.cancel(job.namespace, job.remote)

    def close(self) -> None:
        """The app ends: the jobs go on, and are followed again by the next one."""
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
            self._fail(job_id, "Following it failed; the app's log tells why. It may still run there.")

    def _submit(self, job: Job) -> bool:
        """Start the job there. Whether it was, for the app may end or the job be taken back meanwhile."""
        folder = RunDir(self.runs_dir / job.id)
        config = folder.load_config()
        settings = json.dumps(config.model_dump(mode="json"))
        command = [
            *UNSET_THREADS_COMMAND,
            *build_training_command("python", job.devices, config, "env:CTM_SETTINGS", job.id),
        ]
        env = {"CTM_SETTINGS": settings, "CTM_COMMAND": folder.read_command(), EVENT_STREAM_ENV: "1", **UNBUFFERED_ENV}
        while not self._stop_event.is_set():
            try:
                if not self._is_queued(job):
                    self.jobs_client.cancel_by_name(
                        job.namespace, job.id
                    )  # a start may have come through, though nobody knew
                    return False
                made = self.jobs_client.submit(
                    space=self.space_id,
                    command=command,
                    env=env,
                    flavor=job.place,
                    timeout_minutes=job.timeout,
                    namespace=job.namespace,
                    name=job.id,
                )
            except StoreUnavailable as error:
                if self._is_queued(job):
                    self.store.update(job.id, sentence=f"{error} It is tried again.")
                self._stop_event.wait(error.retry_after_s or RETRY_INTERVAL_S)
                continue
            says = f"Sent to Hugging Face Jobs ({job.place}); waits for a machine there."
            with contextlib.suppress(ValueError):  # it was taken back meanwhile
                self.store.update(
                    job.id,
                    state="running",
                    started=time.time(),
                    attempt=job.attempt + 1,
                    remote=made.job_id,
                    url=made.url,
                    sentence=says,
                )
                return True
        return False

    def _is_queued(self, job: Job) -> bool:
        return any(other.id == job.id for other in self.store.list_queued())

    def _follow(self, job: Job) -> bool:
        """Whether nothing more is to come."""
        folder, heard = RunDir(self.runs_dir / job.id), False
        try:
            for line in self.jobs_client.follow(job.namespace, job.remote, self._stop_event):
                if not heard:  # the log is told from its beginning
                    for path in (folder.metrics_file, folder.log_file, folder.path / "ending.json"):
                        path.unlink(missing_ok=True)
                heard = True
                self._handle_log_line(job, folder, line)
            if not self._stop_event.is_set():
                self._finish_job(job, folder, self.jobs_client.inspect(job.namespace, job.remote))
        except StoreUnavailable as error:
            self.store.update(job.id, sentence=f"{error} The run goes on there all the same, and is looked for again.")
            return False
        return True

    def _handle_log_line(self, job: Job, run_dir: RunDir, line: str) -> None:
        if line.startswith(EVENT_PREFIX):
            apply_event(run_dir, line.removeprefix(EVENT_PREFIX))
            now = self.store.get(job.id)
            if now.sentence and not now.intent:  # it is at work: what was said of waiting is over
                self.store.update(job.id, sentence="")
        else:
            with run_dir.log_file.open("a", encoding="utf-8") as file:
                file.write(line[:10_000] + "\n")

    def _finish_job(self, job: Job, run_dir: RunDir, remote_job: RemoteJob) -> None:
        outbox = Outbox(run_dir.path)
        outbox.abandon_pending("Its machine is gone.")
        state, sentence = derive_remote_outcome(run_dir.read_outcome(), self.store.get(job.id), remote_job)
        published = [entry for entry in outbox.entries() if entry.state == "published"]
        if state == "succeeded":
            sentence += " " + self._download_checkpoint(run_dir, published)
        elif published:
            sentence += f" What it published last: {published[-1].url}"
        elif run_dir.read_status().get("step"):
            sentence += " Nothing was published, so what it had saved is gone with its machine."
        self.store.update(job.id, state=state, sentence=sentence.strip(), ended=time.time())

    def _download_checkpoint(self, run_dir: RunDir, published_entries: list[OutboxEntry]) -> str:
        """Bring the finished checkpoint here, where one can think with it; how that went."""
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

    def _fail(self, job_id: str, sentence: str) -> None:
        try:
            state = self.store.get(job_id).state
            if state == "queued":
                self.store.update(job_id, state="running")
            self.store.update(job_id, state="failed", sentence=sentence, ended=time.time())
        except ValueError:  # it was taken back or deleted meanwhile
            return


def derive_remote_outcome(outcome: dict[str, Any], job: Job, remote_job: RemoteJob) -> tuple[JobState, str]:
    """State and sentence of a job that is over there."""
    said = str(outcome.get("sentence", "")) if outcome.get("reason") == "stopped" else ""
    if outcome and not said:
        return derive_job_outcome(0 if remote_job.stage == "completed" else 1, outcome, job.intent, None)
    if job.intent or remote_job.stage == "cancelled":
        return "cancelled", said or ("It was cancelled." if job.intent else "It was cancelled on the Hub's page.")
    if remote_job.stage in ("error", "lost"):
        why = remote_job.message.rstrip(".") or "the job is not known there any more"
        return "failed", f"The Hub says: {why}. {said}".strip()
    return ("cancelled", said) if said else derive_job_outcome(0, outcome, "", None)


def apply_event(run_dir: RunDir, line: str) -> None:
    """Write what a run elsewhere printed of its folder into the folder here; anything else is passed over."""
    name, _, text = line[:MAX_LINE_CHARS].partition(" ")
    with contextlib.suppress(ValueError, RecursionError, OverflowError):  # no JSON, or nothing that a run writes
        values = parse_event(name, json.loads(text))
        path = run_dir.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == run_dir.metrics_file.name:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        else:
            write_json(path, values)


def parse_event(name: str, values: Any) -> dict[str, Any]:
    """The content of a file of a run folder, as it may be kept.

    Raises:
        ValueError: no run has such a file, or not with that in it.
    """
    if entry := OUTBOX_ENTRY_PATTERN.fullmatch(name):
        read = TypeAdapter(OutboxEntry).validate_python(values)
        if get_entry_dir_name(read) == entry[1]:
            return asdict(read)
        raise ValueError(f"{name} holds another entry.")
    kinds = EVENT_FILE_SCHEMAS.get(name, {})
    if kinds and isinstance(values, dict) and all(type(values.get(key)) is kind for key, kind in kinds.items()):
        return values
    raise ValueError(f"{name} is no file of a run, or has another form.")
