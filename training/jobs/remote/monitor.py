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

from ctm.io.atomic import draft_of, swap, write_json
from ctm.stores import HubStore, Unavailable
from training.jobs.launch_command import training_command
from training.jobs.outcome import verdict
from training.jobs.remote.hf_jobs import RemoteJob, RemoteJobs
from training.jobs.store import Job, JobBook, State
from training.publishing.outbox import Entry, Outbox, place_of
from training.run_dir import ECHO, ECHOED, RunFolder

BUFFERED = {"PYTHONUNBUFFERED": ""}  # else a line and its end are written apart, and lines of two threads run together
UNTOLD = ("env", "-u", "OMP_NUM_THREADS")  # which may say 3500m there, and Accelerate's launcher would die of it
OWN_FILES = {
    "metrics.jsonl": {"step": int},
    "status.json": {"phase": str, "step": int, "steps": int},
    "ending.json": {"reason": str, "sentence": str},
}  # and what is sure to be in them
ENTRY = re.compile(r"outbox/([0-9]{15}-[0-9a-f]{12})/entry\.json")
LONGEST = 100_000  # characters of a line that is kept
AGAIN = 20.0  # seconds before the Hub is asked again, where it could not be

log = logging.getLogger(__name__)


class Away:
    """Follows the jobs that run elsewhere, each in a thread of its own.

    Args:
        runs: folder of run folders.
        book: where their state is written.
        remote: Hugging Face Jobs.
        hub: where their checkpoints come back from.
        space: whose image they run in.
    """

    def __init__(self, runs: Path, book: JobBook, remote: RemoteJobs, hub: HubStore, space: str):
        self.runs, self.book, self.remote, self.hub, self.space = runs, book, remote, hub, space
        self._ending = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def begin(self, job: Job) -> None:
        """Send a job that waits, or go on following one that runs."""
        thread = threading.Thread(target=self._live, args=(job.id,), name=f"away {job.id}", daemon=True)
        self._threads[job.id] = thread
        thread.start()

    def stop(self, job: Job) -> None:
        """End a job there; how it ended is noted once the Hub says so."""
        if job.remote:
            self.remote.cancel(job.namespace, job.remote)

    def close(self) -> None:
        """The app ends: the jobs go on, and are followed again by the next one."""
        self._ending.set()
        for thread in self._threads.values():
            thread.join(2.0)

    def _live(self, id: str) -> None:
        try:
            job = self.book.get(id)
            if job.state == "queued" and not self._send(job):
                return
            while not self._ending.is_set() and not self._follow(self.book.get(id)):
                self._ending.wait(AGAIN)
        except ValueError as error:
            self._fail(id, str(error))
        except Exception:
            log.exception("The job %s could not be followed", id)
            self._fail(id, "Following it failed; the app's log tells why. It may still run there.")

    def _send(self, job: Job) -> bool:
        """Start the job there. Whether it was, for the app may end or the job be taken back meanwhile."""
        folder = RunFolder(self.runs / job.id)
        config = folder.config()
        settings = json.dumps(config.model_dump(mode="json"))
        command = [*UNTOLD, *training_command("python", job.devices, config, "env:CTM_SETTINGS", job.id)]
        env = {"CTM_SETTINGS": settings, "CTM_COMMAND": folder.command(), ECHO: "1", **BUFFERED}
        while not self._ending.is_set():
            try:
                if not self._waits(job):
                    self.remote.withdraw(job.namespace, job.id)  # a start may have come through, though nobody knew
                    return False
                made = self.remote.submit(
                    space=self.space,
                    command=command,
                    env=env,
                    flavour=job.place,
                    timeout_minutes=job.timeout,
                    namespace=job.namespace,
                    name=job.id,
                )
            except Unavailable as error:
                if self._waits(job):
                    self.book.change(job.id, sentence=f"{error} It is tried again.")
                self._ending.wait(error.retry_after or AGAIN)
                continue
            says = f"Sent to Hugging Face Jobs ({job.place}); waits for a machine there."
            with contextlib.suppress(ValueError):  # it was taken back meanwhile
                self.book.change(
                    job.id,
                    state="running",
                    started=time.time(),
                    attempt=job.attempt + 1,
                    remote=made.id,
                    url=made.url,
                    sentence=says,
                )
                return True
        return False

    def _waits(self, job: Job) -> bool:
        return any(other.id == job.id for other in self.book.waiting())

    def _follow(self, job: Job) -> bool:
        """Whether nothing more is to come."""
        folder, heard = RunFolder(self.runs / job.id), False
        try:
            for line in self.remote.follow(job.namespace, job.remote, self._ending):
                if not heard:  # the log is told from its beginning
                    for path in (folder.metrics, folder.log_file, folder.path / "ending.json"):
                        path.unlink(missing_ok=True)
                heard = True
                self._take(job, folder, line)
            if not self._ending.is_set():
                self._conclude(job, folder, self.remote.inspect(job.namespace, job.remote))
        except Unavailable as error:
            self.book.change(job.id, sentence=f"{error} The run goes on there all the same, and is looked for again.")
            return False
        return True

    def _take(self, job: Job, folder: RunFolder, line: str) -> None:
        if line.startswith(ECHOED):
            keep_echo(folder, line.removeprefix(ECHOED))
            now = self.book.get(job.id)
            if now.sentence and not now.intent:  # it is at work: what was said of waiting is over
                self.book.change(job.id, sentence="")
        else:
            with folder.log_file.open("a", encoding="utf-8") as file:
                file.write(line[:10_000] + "\n")

    def _conclude(self, job: Job, folder: RunFolder, there: RemoteJob) -> None:
        outbox = Outbox(folder.path)
        outbox.give_up("Its machine is gone.")
        state, sentence = what_became(folder.ending(), self.book.get(job.id), there)
        published = [entry for entry in outbox.entries() if entry.state == "published"]
        if state == "succeeded":
            sentence += " " + self._fetch(folder, published)
        elif published:
            sentence += f" What it published last: {published[-1].url}"
        elif folder.status().get("step"):
            sentence += " Nothing was published, so what it had saved is gone with its machine."
        self.book.change(job.id, state=state, sentence=sentence.strip(), ended=time.time())

    def _fetch(self, folder: RunFolder, published: list[Entry]) -> str:
        """Bring the finished checkpoint here, where one can think with it; how that went."""
        if not published:
            return "It was not published, so its checkpoint is gone with the machine."
        draft = draft_of(folder.finished)
        try:
            shutil.copytree(self.hub.fetch(f"{published[-1].repo}@{published[-1].revision}"), draft)
            swap(draft, folder.finished)
        except (ValueError, OSError) as error:
            return f"Its checkpoint is published but could not be brought here: {error}"
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return ""

    def _fail(self, id: str, sentence: str) -> None:
        try:
            state = self.book.get(id).state
            if state == "queued":
                self.book.change(id, state="running")
            self.book.change(id, state="failed", sentence=sentence, ended=time.time())
        except ValueError:  # it was taken back or deleted meanwhile
            return


def what_became(ending: dict[str, Any], job: Job, there: RemoteJob) -> tuple[State, str]:
    """State and sentence of a job that is over there."""
    said = str(ending.get("sentence", "")) if ending.get("reason") == "stopped" else ""
    if ending and not said:
        return verdict(0 if there.stage == "completed" else 1, ending, job.intent, None)
    if job.intent or there.stage == "cancelled":
        return "cancelled", said or ("It was cancelled." if job.intent else "It was cancelled on the Hub's page.")
    if there.stage in ("error", "lost"):
        why = there.message.rstrip(".") or "the job is not known there any more"
        return "failed", f"The Hub says: {why}. {said}".strip()
    return ("cancelled", said) if said else verdict(0, ending, "", None)


def keep_echo(folder: RunFolder, line: str) -> None:
    """Write what a run elsewhere printed of its folder into the folder here; anything else is passed over."""
    name, _, text = line[:LONGEST].partition(" ")
    with contextlib.suppress(ValueError, RecursionError, OverflowError):  # no JSON, or nothing that a run writes
        values = checked(name, json.loads(text))
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == folder.metrics.name:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        else:
            write_json(path, values)


def checked(name: str, values: Any) -> dict[str, Any]:
    """The content of a file of a run folder, as it may be kept.

    Raises:
        ValueError: no run has such a file, or not with that in it.
    """
    if entry := ENTRY.fullmatch(name):
        read = TypeAdapter(Entry).validate_python(values)
        if place_of(read) == entry[1]:
            return asdict(read)
        raise ValueError(f"{name} holds another entry.")
    kinds = OWN_FILES.get(name, {})
    if kinds and isinstance(values, dict) and all(type(values.get(key)) is kind for key, kind in kinds.items()):
        return values
    raise ValueError(f"{name} is no file of a run, or has another form.")
