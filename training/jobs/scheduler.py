"""Runs in line: one at a time on this machine, each in processes of its own that outlive the app.

The runner is the one that writes: the book of jobs, and which process runs. It looks twice a second at what goes on; everything
that it knows is on disk, so another runner can take over at any moment.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ctm.io.atomic import read_reserved
from ctm.stores import HubStore
from training.config import RunConfig
from training.jobs.discovery import strangers
from training.jobs.launch_command import training_command
from training.jobs.lease import Lease
from training.jobs.outcome import verdict
from training.jobs.process_group import Group, clean_environment, cores, find, launch, reap
from training.jobs.remote.hf_jobs import RemoteJobs
from training.jobs.remote.monitor import Away
from training.jobs.store import HERE, Intent, Job, JobBook
from training.publishing.run_publisher import COURIER
from training.run_dir import RunFolder

BOOK, TRASH = "jobs.sqlite", ".trash-"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
PATIENCE = 120.0  # seconds that a job has to save and end before it is killed
LOOK = 0.5  # seconds between two looks
RETRY = 5.0  # seconds between two tries to take over from another runner
ADOPT = 30.0  # seconds between two searches for runs that others made

log = logging.getLogger(__name__)


class Runner:
    """Starts, watches and ends jobs.

    Args:
        runs: folder of run folders; the book of jobs lies there, too.
        token: of the Hub, for jobs that publish.
        environment: the app's.
        resumes: whether jobs that the end of the app interrupted are put in line again at the next start.
        patience: seconds that a job has to save and end before it is killed.
        remote: Hugging Face Jobs, where runs may be sent to as well.
        hub: where the checkpoints of those come back from.
        space: whose image they run in.
    """

    def __init__(
        self,
        runs: Path,
        *,
        token: str = "",
        environment: Mapping[str, str] = os.environ,
        resumes: bool = False,
        patience: float = PATIENCE,
        remote: RemoteJobs | None = None,
        hub: HubStore | None = None,
        space: str = "",
    ):
        self.runs, self.token, self.environment = Path(runs).resolve(), token, environment
        self.resumes, self.patience = resumes, patience
        self.book = JobBook(self.runs / BOOK)
        self.away = Away(self.runs, self.book, remote, hub, space) if remote and hub and space else None
        self.writes = False
        self._lease = Lease(self.runs)
        self._children: dict[str, subprocess.Popen] = {}
        self._told: dict[str, Intent] = {}  # what jobs were told to do, should the book not take it
        self._change, self._wake, self._ending = threading.RLock(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="runner", daemon=True)
        self._adopted = 0.0

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over what is on disk and begin to look after it; while another runner does so, wait for its end."""
        self._take_over(patience=2.0)
        self._thread.start()

    def _take_over(self, patience: float = 0.0) -> None:
        if self._lease.take(patience):
            try:
                self._recover()
                self.writes = True
            except BaseException:
                self._lease.release()
                raise

    def close(self, patience: float = 20.0) -> None:
        """Tell running jobs to save and end, for the app ends; they can go on later."""
        self._ending.set()  # from now on nothing is begun
        self._wake.set()
        if not self.writes:
            return
        with self._change:
            jobs = [job for job in self.book.running() if job.is_here]
            for job in jobs:
                if not job.intent:
                    self._tell(job, "leave", signal.SIGTERM)
        if self.away:
            self.away.close()
        until = time.monotonic() + patience
        while jobs and time.monotonic() < until:
            with suppress(ValueError):  # the book cannot be written: the next runner writes the end down
                jobs = [job for job in jobs if not self._look_at(self.book.get(job.id))]
            time.sleep(0.05)
        self._thread.join(5.0)
        self._lease.release()
        self.writes = False

    def folder(self, id: str) -> RunFolder:
        return RunFolder(self.runs / self.book.get(id).id)

    # --- what people ask for -------------------------------------------------------------------------------------

    def submit(self, config: RunConfig, name: str, command: str, by: str, **place: Any) -> Job:
        """Put a run in line.

        Args:
            config: its settings.
            name: what its id begins with: small letters, digits and hyphens.
            command: how one would train the same by hand, for its card.
            by: who asks.
            place: `devices`, or where else it is to run.

        Raises:
            ValueError: the name is none, or the disk is full.
        """
        self._refuse_reader()
        if place.get("place", HERE) != HERE:
            self._elsewhere()
        if not NAME.fullmatch(name):
            raise ValueError(
                f"A run's name is made of small letters, digits and hyphens, 40 at most: got {name[:60]!r}."
            )
        with self._change:
            try:
                folder = self._new_folder(name)
                with undone(folder.path):
                    folder.begin(config)
                    folder.remember_command(command)
            except OSError as error:
                raise ValueError(f"The run cannot be put down in {self.runs}: {error.strerror}. Make room.") from None
            now = time.time()
            job = Job(
                folder.path.name, "queued", by=by, submitted=now, queued=now, sentence="Waits for its turn.", **place
            )
            self.book.add(job)
        if not job.is_here:
            self._elsewhere().begin(job)
        self._wake.set()
        return job

    def stop(self, id: str) -> Job:
        """Let a job save and end; one that waits leaves the line."""
        return self._end(id, "stop", signal.SIGTERM)

    def kill(self, id: str) -> Job:
        """End a job at once; what came after its last saved step is lost."""
        return self._end(id, "kill", signal.SIGKILL)

    def resume(self, id: str) -> Job:
        """Put a job that ended before its last step in line again, to go on from its last saved step."""
        self._refuse_reader()
        return self._resume(self.book.get(id))

    def _resume(self, job: Job, queued: float = 0.0) -> Job:
        """The same; `queued` is its place in the line, the last one unless given."""
        id, folder = job.id, self.folder(job.id)
        if job.state == "succeeded":
            raise ValueError(f"The run {id} has finished; begin a new one with its settings instead.")
        if not job.is_here:
            raise ValueError(
                f"The run {id} was on a machine that is gone. Begin a new one; init_from takes the weights that it published."
            )
        if not (folder.path / "config.yaml").is_file():
            raise ValueError(
                f"The folder of {id} is gone. If it was published, begin a new run from its repository: settings and weights "
                "are there; the optimiser and the count of steps begin anew."
            )
        steps = folder.steps()
        says = f"Goes on from step {steps[-1]:,}." if steps else "Starts from the beginning: no step had been saved."
        if steps and steps[-1] < folder.status().get("step", 0):
            says += f" Step {folder.status()['step']:,} had been reached; what came after the saved one is done again."
        with self._change:
            job = self.book.change(
                id, state="queued", intent="", queued=queued or time.time(), sentence=says, exit_code=None
            )
        self._wake.set()
        return job

    def remove(self, id: str) -> None:
        """Delete a run that is over, with all that it made."""
        self._refuse_reader()
        with self._change:
            job = self.book.get(id)
            if not job.is_over:
                raise ValueError(f"The run {id} is {job.state}: stop it first.")
            folder, trash = self.runs / job.id, self.runs / f"{TRASH}{job.id}"
            if RunFolder(folder).is_held_after(2.0):
                raise ValueError(f"Another process is training in {folder.name}: stop it first.")
            if folder.is_dir():
                folder.rename(trash)  # at once, so that no half of it can be seen
            shutil.rmtree(trash, ignore_errors=True)  # before the book is written, which may need the room
            self.book.remove(id)

    # --- what goes on by itself ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                if not self.writes:
                    self._take_over()
                elif self._lease.keep():
                    self._look()
                else:
                    self.writes = False
            except Exception:  # a full disk or a locked book must not end the watch
                log.exception("The jobs could not be looked after just now")
                time.sleep(2.0)
            self._wake.wait(LOOK if self.writes else RETRY)
            self._wake.clear()

    def _look(self) -> None:
        """One look at what runs, and at what may begin."""
        reap()
        for job in self.book.running():
            if job.is_here:
                self._look_at(job)
        with self._change:
            if not self._ending.is_set() and not any(job.is_here for job in self.book.running()):
                for job in self.book.waiting():
                    if job.is_here:
                        self._begin(job)
                        break
        if time.monotonic() - self._adopted > ADOPT:
            self._adopt()

    def _look_at(self, job: Job) -> bool:
        """Write down the end of a job that has no process any more; kill one that does not stop. Whether it is over."""
        if job.is_over:
            return True
        group = self._group(job)
        if group.members():
            late = job.intent in ("stop", "leave") and job.asked and time.time() - job.asked > self.patience
            if late or job.intent == "kill":  # again, for one of them may just have begun another
                group.signal(signal.SIGKILL)
            return False
        with self._change:
            if self.book.get(job.id).state == "running":
                self._conclude(job)
        return True

    def _begin(self, job: Job) -> None:
        """Start the processes of a job. It counts as running before there is one, so that none is ever lost."""
        folder = RunFolder(self.runs / job.id)
        note = folder.path / "exit.json"
        steps = folder.steps()
        job = self.book.change(
            job.id,
            state="running",
            intent="",
            pid=0,
            started=time.time(),
            ended=0.0,
            asked=0.0,
            attempt=job.attempt + 1,
            from_step=steps[-1] if steps else 0,
            sentence="",
        )
        try:
            note.unlink(missing_ok=True)
            folder.forget_ending()
            config = folder.config()
            if config.train.device != "cpu" and job.devices > max(1, torch.cuda.device_count()):
                raise ValueError(f"it wants {job.devices} devices, and there are {torch.cuda.device_count()} here.")
            threads = max(1, (cores(self.environment) - 1) // job.devices)  # one is left for the page
            environment = clean_environment(self.environment, threads, self.token) | {COURIER: "1"}
            environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(
                int(self.patience)
            )  # else its launcher kills after 30 s
            if config.train.device == "cpu":
                environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
            command = [sys.executable, "-m", "training.jobs.supervisor", str(note), *self._command(job, folder, config)]
            group, child = launch(command, self._mark(job.id), folder.log_file, environment)
        except (OSError, ValueError) as error:
            self.book.change(job.id, state="failed", ended=time.time(), sentence=f"It could not be started: {error}")
            return
        self._children[job.id] = child
        self.book.change(job.id, pid=group.pid)

    def _conclude(self, job: Job) -> None:
        folder = RunFolder(self.runs / job.id)
        steps = folder.steps()
        exit = read_reserved(folder.path / "exit.json")
        code = exit.get("code") if isinstance(exit.get("code"), int) else None
        if child := self._children.get(job.id):
            own = child.wait()  # it has ended: this lets the system forget it, too
            code = own if code is None else code
        intent = self._told.get(job.id) or job.intent
        state, sentence = verdict(
            code, folder.ending(), intent, steps[-1] if steps else None, bool(exit.get("out_of_memory"))
        )
        self.book.change(job.id, state=state, sentence=sentence, exit_code=code, ended=time.time(), pid=0)
        self._children.pop(job.id, None)
        self._told.pop(job.id, None)
        if self.resumes and intent == "leave" and state == "interrupted" and not self._ending.is_set():
            self._resume(job, job.queued)  # it was still saving when this app took over
        self._wake.set()

    def _recover(self) -> None:
        """At the start: see which jobs are alive, write down what ended meanwhile, put in line what may go on by itself."""
        for trash in self.runs.glob(f"{TRASH}*"):
            shutil.rmtree(trash, ignore_errors=True)
        for job in self.book.running():
            if job.is_here:
                with suppress(ValueError):  # the book cannot be written just now: the next look does it
                    if not job.pid and (group := find(self._mark(job.id))):  # the app died just after it had begun it
                        job = self.book.change(job.id, pid=group.pid)
                    self._look_at(job)
        for job in (*self.book.running(), *self.book.waiting()):
            if not job.is_here and self.away:
                self.away.begin(job)
        self._adopt()
        for job in self.book.all() if self.resumes else []:
            steps = RunFolder(self.runs / job.id).steps()
            came_on = steps and steps[-1] > job.from_step
            if job.state == "interrupted" and job.is_here and job.attempt and (came_on or job.attempt < 3):
                with suppress(ValueError):  # its folder may be gone
                    self._resume(job, job.queued)  # but one that brings the app down every time must not go on for ever

    def _adopt(self) -> None:
        """Enter runs in the book that are in the folder alone: from the command line, or from another machine."""
        self._adopted = time.monotonic()
        with self._change:
            for job in strangers(self.runs, {job.id for job in self.book.all()}):
                self.book.add(job)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _end(self, id: str, intent: Intent, number: int) -> Job:
        self._refuse_reader()
        with self._change:
            job = self.book.get(id)
            if job.state == "queued":
                return self.book.change(id, state="cancelled", ended=time.time(), sentence="Taken out of the line.")
            if job.is_over:
                raise ValueError(f"The run {id} is over already: {job.state}.")
            if job.is_here:
                job = self._tell(job, intent, number)
                self._wake.set()
                return job
        return self._end_elsewhere(job, intent)

    def _tell(self, job: Job, intent: Intent, number: int) -> Job:
        """Signal a job's processes first and write it down then: a full disk must not keep a job going."""
        self._group(job).signal(number)
        self._told[job.id] = intent
        says = {"stop": "Stopping: it saves first.", "kill": "Being killed.", "leave": "The app ends: it saves."}[
            intent
        ]
        try:
            return self.book.change(job.id, intent=intent, asked=job.asked or time.time(), sentence=says)
        except ValueError as error:
            log.warning("%s was told to %s, which could not be written down: %s", job.id, intent, error)
            return replace(job, intent=intent, sentence=says)

    def _end_elsewhere(self, job: Job, intent: Intent) -> Job:
        if self.away is None and intent == "kill":
            says = "Given up here, where Hugging Face Jobs cannot be reached from; it may still run there."
            return self.book.change(job.id, state="cancelled", ended=time.time(), sentence=says)
        job = self.book.change(job.id, intent=intent, asked=job.asked or time.time(), sentence="Being cancelled.")
        try:
            self._elsewhere().stop(job)
        except ValueError:
            self.book.change(job.id, intent="")  # it was not told, and goes on
            raise
        return job

    def _elsewhere(self) -> Away:
        if self.away is None:
            raise ValueError("Hugging Face Jobs needs a Space, whose image runs there, and a token (HF_TOKEN).")
        return self.away

    def _command(self, job: Job, folder: RunFolder, config: RunConfig) -> list[str]:
        recipe = folder.path / "config.yaml"
        return training_command(sys.executable, job.devices, config, str(recipe), str(folder.path))

    def _group(self, job: Job) -> Group:
        return Group(self._mark(job.id), job.pid)

    def _mark(self, id: str) -> str:
        return str(self.runs / id)  # two apps may have runs of one name

    def _new_folder(self, name: str) -> RunFolder:
        """A folder that nobody else has."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in range(1, 1_000):
            path = self.runs / (f"{name}-{stamp}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return RunFolder(path)
        raise ValueError("A thousand runs were begun in one second; wait a moment.")

    def _refuse_reader(self) -> None:
        if not self.writes:
            raise ValueError("Another app looks after the runs in this folder: use that one, or end it first.")


@contextmanager
def undone(folder: Path) -> Iterator[None]:
    """Remove a folder again if filling it fails: half a run would be taken for one that somebody else made."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
