"""Runs that go on elsewhere: sent to Hugging Face Jobs, followed here as if they were here.

What a run there would write into its folder it prints (`CTM_ECHO`), and what it prints is written into the folder here: so
curves, state and publication are the same as for a run of this machine. Its checkpoint comes back from the Hub.
"""

import json
import logging
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from ctm.files import draft_of, swap, write_json
from ctm.stores import HubStore, Unavailable
from training.jobs.book import Job, JobBook
from training.jobs.remote import RemoteJob, RemoteJobs
from training.jobs.verdict import verdict
from training.outbox import Outbox
from training.runs import ECHO, ECHOED, RunFolder

COMMAND = ["python", "-m", "training", "train", "env:CTM_SETTINGS", "--folder", "run"]
OWN_LINES = re.compile(r"metrics\.jsonl|status\.json|ending\.json|outbox/[0-9]{15}-[0-9a-f]{12}/entry\.json")
AGAIN = 20.0  # seconds before a start is tried again that the Hub could not take

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
            self._follow(self.book.get(id))
        except Unavailable as error:
            if not self._ending.is_set():
                self._fail(id, f"The Hub could not be asked for too long: {error} It may still run there.")
        except ValueError as error:
            self._fail(id, str(error))
        except Exception:
            log.exception("The job %s could not be followed", id)
            self._fail(id, "Following it failed; the app's log tells why. It may still run there.")

    def _send(self, job: Job) -> bool:
        """Start the job there. Whether it was, for the app may end or the job be taken back meanwhile."""
        folder = RunFolder(self.runs / job.id)
        settings = json.dumps(folder.config().model_dump(mode="json"))
        env = {"CTM_SETTINGS": settings, "CTM_COMMAND": folder.command(), ECHO: "1", "PYTHONUNBUFFERED": "1"}
        while not self._ending.is_set() and self.book.get(job.id).state == "queued":
            try:
                made = self.remote.submit(
                    space=self.space, command=COMMAND, env=env, flavour=job.place, timeout_minutes=job.timeout,
                    namespace=job.namespace, name=job.id,
                )  # fmt: skip
            except Unavailable as error:
                self.book.change(job.id, sentence=f"{error} It is tried again.")
                self._ending.wait(error.retry_after or AGAIN)
                continue
            says = f"Sent to Hugging Face Jobs ({job.place}); waits for a machine there."
            self.book.change(
                job.id, state="running", started=time.time(), attempt=job.attempt + 1, remote=made.id, url=made.url,
                sentence=says,
            )  # fmt: skip
            return True
        return False

    def _follow(self, job: Job) -> None:
        folder = RunFolder(self.runs / job.id)
        for path in (folder.metrics, folder.log_file, folder.path / "ending.json"):
            path.unlink(missing_ok=True)  # the log is told from its beginning
        for line in self.remote.follow(job.namespace, job.remote, self._ending):
            if line.startswith(ECHOED):
                keep_echo(folder, line.removeprefix(ECHOED))
                if self.book.get(job.id).sentence:  # it is at work: what was said of waiting is over
                    self.book.change(job.id, sentence="")
            else:
                with folder.log_file.open("a", encoding="utf-8") as file:
                    file.write(line[:10_000] + "\n")
        if not self._ending.is_set():
            self._conclude(job, folder, self.remote.inspect(job.namespace, job.remote))

    def _conclude(self, job: Job, folder: RunFolder, there: RemoteJob) -> None:
        job = self.book.get(job.id)
        intent = job.intent or ("kill" if there.stage == "cancelled" else "")
        state, sentence = verdict(0 if there.stage == "completed" else 1, folder.ending(), intent, None)
        if there.stage in ("error", "lost") and not folder.ending():
            sentence = f"The Hub says: {there.message or 'the job is not known there any more'}."
        if state == "succeeded":
            sentence += " " + self._fetch(folder)
        self.book.change(job.id, state=state, sentence=sentence.strip(), ended=time.time())

    def _fetch(self, folder: RunFolder) -> str:
        """Bring the finished checkpoint here, where one can think with it; how that went."""
        published = [entry for entry in Outbox(folder.path).entries() if entry.state == "published"]
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


def keep_echo(folder: RunFolder, line: str) -> None:
    """Write what a run elsewhere printed of its folder into the folder here; anything else is passed over."""
    name, _, text = line.partition(" ")
    try:
        values: Any = json.loads(text)
    except ValueError:
        return
    if not OWN_LINES.fullmatch(name) or not isinstance(values, dict):
        return
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == folder.metrics.name:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
    else:
        write_json(path, values)
