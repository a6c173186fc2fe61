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

from ctm.io.preallocated import read_preallocated
from ctm.stores import HubStore
from training.config import RunConfig
from training.jobs.cpu_limits import count_available_cpus
from training.jobs.discovery import discover_untracked_runs
from training.jobs.launch_command import build_training_command
from training.jobs.lease import Lease
from training.jobs.outcome import derive_job_outcome
from training.jobs.process_group import (
    ProcessGroup,
    build_job_environment,
    find_process_group,
    launch,
    reap_zombies,
)
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.remote.monitor import RemoteJobMonitor
from training.jobs.store import LOCAL_TARGET, Job, JobStore, RequestedAction
from training.publishing.run_publisher import UPLOAD_WORKER_ENV
from training.run_dir import RunDir

STORE_FILENAME, TRASH_PREFIX = "jobs.sqlite", ".trash-"
RUN_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
STOP_TIMEOUT_S = 120.0  # seconds that a job has to save and end before it is killed
POLL_INTERVAL_S = 0.5  # seconds between two looks
LEASE_RETRY_INTERVAL_S = 5.0  # seconds between two tries to take over from another runner
DISCOVERY_INTERVAL_S = 30.0  # seconds between two searches for runs that others made

log = logging.getLogger(__name__)


class JobScheduler:
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
        runs_dir: Path,
        *,
        token: str = "",
        environment: Mapping[str, str] = os.environ,
        resume_interrupted: bool = False,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        jobs_client: HfJobsClient | None = None,
        hub_store: HubStore | None = None,
        space_id: str = "",
    ):
        self.runs_dir, self.token, self.environment = Path(runs_dir).resolve(), token, environment
        self.resume_interrupted, self.stop_timeout_s = resume_interrupted, stop_timeout_s
        self.store = JobStore(self.runs_dir / STORE_FILENAME)
        self.remote_monitor = (
            RemoteJobMonitor(self.runs_dir, self.store, jobs_client, hub_store, space_id)
            if jobs_client and hub_store and space_id
            else None
        )
        self.is_leader = False
        self._lease = Lease(self.runs_dir)
        self._children: dict[str, subprocess.Popen] = {}
        self._requested_actions: dict[
            str, RequestedAction
        ] = {}  # what jobs were told to do, should the book not take it
        self._lock, self._wake_event, self._stop_event = threading.RLock(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)
        self._last_discovery_at = 0.0

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over what is on disk and begin to look after it; while another runner does so, wait for its end."""
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
        """Tell running jobs to save and end, for the app ends; they can go on later."""
        self._stop_event.set()  # from now on nothing is begun
        self._wake_event.set()
        if not self.is_leader:
            return
        with self._lock:
            jobs = [job for job in self.store.list_running() if job.is_local]
            for job in jobs:
                if not job.intent:
                    self._request_stop(job, "leave", signal.SIGTERM)
        if self.remote_monitor:
            self.remote_monitor.close()
        until = time.monotonic() + timeout_s
        while jobs and time.monotonic() < until:
            with suppress(ValueError):  # the book cannot be written: the next runner writes the end down
                jobs = [job for job in jobs if not self._poll_job(self.store.get(job.id))]
            time.sleep(0.05)
        self._thread.join(5.0)
        self._lease.release()
        self.is_leader = False

    def get_run_dir(self, job_id: str) -> RunDir:
        return RunDir(self.runs_dir / self.store.get(job_id).id)

    # --- what people ask for -------------------------------------------------------------------------------------

    def submit(self, config: RunConfig, name: str, command: str, by: str, **target: Any) -> Job:
        """Put a run in line.

        Args:
            config: its settings.
            name: what its id begins with: small letters, digits and hyphens.
            command: how one would train the same by hand, for its card.
            by: who asks.
            target: `devices`, or where else it is to run.

        Raises:
            ValueError: the name is none, or the disk is full.
        """
        self._require_leader()
        if target.get("place", LOCAL_TARGET) != LOCAL_TARGET:
            self._require_remote_monitor()
        if not RUN_NAME_PATTERN.fullmatch(name):
            raise ValueError(
                f"A run's name is made of small letters, digits and hyphens, 40 at most: got {name[:60]!r}."
            )
        with self._lock:
            try:
                folder = self._create_run_dir(name)
                with remove_on_error(folder.path):
                    folder.initialize(config)
                    folder.save_command(command)
            except OSError as error:
                raise ValueError(
                    f"The run cannot be put down in {self.runs_dir}: {error.strerror}. Make room."
                ) from None
            now = time.time()
            job = Job(
                folder.path.name, "queued", by=by, submitted=now, queued=now, sentence="Waits for its turn.", **target
            )
            self.store.add(job)
        if not job.is_local:
            self._require_remote_monitor().start(job)
        self._wake_event.set()
        return job

    def stop(self, job_id: str) -> Job:
        """Let a job save and end; one that waits leaves the line."""
        return self._end_job(job_id, "stop", signal.SIGTERM)

    def kill(self, job_id: str) -> Job:
        """End a job at once; what came after its last saved step is lost."""
        return self._end_job(job_id, "kill", signal.SIGKILL)

    def resume(self, job_id: str) -> Job:
        """Put a job that ended before its last step in line again, to go on from its last saved step."""
        self._require_leader()
        return self._resume(self.store.get(job_id))

    def _resume(self, job: Job, queued_at: float = 0.0) -> Job:
        """The same; `queued` is its place in the line, the last one unless given."""
        id, folder = job.id, self.get_run_dir(job.id)
        if job.state == "succeeded":
            raise ValueError(f"The run {id} has finished; begin a new one with its settings instead.")
        if not job.is_local:
            raise ValueError(
                f"The run {id} was on a machine that is gone. Begin a new one; init_from takes the weights that it published."
            )
        if not (folder.path / "config.yaml").is_file():
            raise ValueError(
                f"The folder of {id} is gone. If it was published, begin a new run from its repository: settings and weights "
                "are there; the optimiser and the count of steps begin anew."
            )
        steps = folder.list_steps()
        says = f"Goes on from step {steps[-1]:,}." if steps else "Starts from the beginning: no step had been saved."
        if steps and steps[-1] < folder.read_status().get("step", 0):
            says += (
                f" Step {folder.read_status()['step']:,} had been reached; what came after the saved one is done again."
            )
        with self._lock:
            job = self.store.update(
                id, state="queued", intent="", queued=queued_at or time.time(), sentence=says, exit_code=None
            )
        self._wake_event.set()
        return job

    def remove(self, job_id: str) -> None:
        """Delete a run that is over, with all that it made."""
        self._require_leader()
        with self._lock:
            job = self.store.get(job_id)
            if not job.is_finished:
                raise ValueError(f"The run {job_id} is {job.state}: stop it first.")
            folder, trash = self.runs_dir / job.id, self.runs_dir / f"{TRASH_PREFIX}{job.id}"
            if RunDir(folder).is_locked_after_wait(2.0):
                raise ValueError(f"Another process is training in {folder.name}: stop it first.")
            if folder.is_dir():
                folder.rename(trash)  # at once, so that no half of it can be seen
            shutil.rmtree(trash, ignore_errors=True)  # before the book is written, which may need the room
            self.store.remove(job_id)

    # --- what goes on by itself ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop_event.is_set():
            try:
                if not self.is_leader:
                    self._try_become_leader()
                elif self._lease.renew():
                    self._poll()
                else:
                    self.is_leader = False
            except Exception:  # a full disk or a locked book must not end the watch
                log.exception("The jobs could not be looked after just now")
                time.sleep(2.0)
            self._wake_event.wait(POLL_INTERVAL_S if self.is_leader else LEASE_RETRY_INTERVAL_S)
            self._wake_event.clear()

    def _poll(self) -> None:
        """One look at what runs, and at what may begin."""
        reap_zombies()
        for job in self.store.list_running():
            if job.is_local:
                self._poll_job(job)
        with self._lock:
            if not self._stop_event.is_set() and not any(job.is_local for job in self.store.list_running()):
                for job in self.store.list_queued():
                    if job.is_local:
                        self._launch(job)
                        break
        if time.monotonic() - self._last_discovery_at > DISCOVERY_INTERVAL_S:
            self._register_untracked_runs()

    def _poll_job(self, job: Job) -> bool:
        """Write down the end of a job that has no process any more; kill one that does not stop. Whether it is over."""
        if job.is_finished:
            return True
        group = self._get_process_group(job)
        if group.list_members():
            late = job.intent in ("stop", "leave") and job.asked and time.time() - job.asked > self.stop_timeout_s
            if late or job.intent == "kill":  # again, for one of them may just have begun another
                group.send_signal(signal.SIGKILL)
            return False
        with self._lock:
            if self.store.get(job.id).state == "running":
                self._finish_job(job)
        return True

    def _launch(self, job: Job) -> None:
        """Start the processes of a job. It counts as running before there is one, so that none is ever lost."""
        folder = RunDir(self.runs_dir / job.id)
        note = folder.path / "exit.json"
        steps = folder.list_steps()
        job = self.store.update(
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
            folder.reset_outcome()
            config = folder.load_config()
            if config.train.device != "cpu" and job.devices > max(1, torch.cuda.device_count()):
                raise ValueError(f"it wants {job.devices} devices, and there are {torch.cuda.device_count()} here.")
            threads = max(1, (count_available_cpus(self.environment) - 1) // job.devices)  # one is left for the page
            environment = build_job_environment(self.environment, threads, self.token) | {UPLOAD_WORKER_ENV: "1"}
            environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(
                int(self.stop_timeout_s)
            )  # else its launcher kills after 30 s
            if config.train.device == "cpu":
                environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
            command = [
                sys.executable,
                "-m",
                "training.jobs.supervisor",
                str(note),
                *self._build_command(job, folder, config),
            ]
            group, child = launch(command, self._get_job_tag(job.id), folder.log_file, environment)
        except (OSError, ValueError) as error:
            self.store.update(job.id, state="failed", ended=time.time(), sentence=f"It could not be started: {error}")
            return
        self._children[job.id] = child
        self.store.update(job.id, pid=group.pid)

    def _finish_job(self, job: Job) -> None:
        folder = RunDir(self.runs_dir / job.id)
        steps = folder.list_steps()
        exit = read_preallocated(folder.path / "exit.json")
        code = exit.get("code") if isinstance(exit.get("code"), int) else None
        if child := self._children.get(job.id):
            own = child.wait()  # it has ended: this lets the system forget it, too
            code = own if code is None else code
        intent = self._requested_actions.get(job.id) or job.intent
        state, sentence = derive_job_outcome(
            code, folder.read_outcome(), intent, steps[-1] if steps else None, bool(exit.get("out_of_memory"))
        )
        self.store.update(job.id, state=state, sentence=sentence, exit_code=code, ended=time.time(), pid=0)
        self._children.pop(job.id, None)
        self._requested_actions.pop(job.id, None)
        if self.resume_interrupted and intent == "leave" and state == "interrupted" and not self._stop_event.is_set():
            self._resume(job, job.queued)  # it was still saving when this app took over
        self._wake_event.set()

    def _recover(self) -> None:
        """At the start: see which jobs are alive, write down what ended meanwhile, put in line what may go on by itself."""
        for trash in self.runs_dir.glob(f"{TRASH_PREFIX}*"):
            shutil.rmtree(trash, ignore_errors=True)
        for job in self.store.list_running():
            if job.is_local:
                with suppress(ValueError):  # the book cannot be written just now: the next look does it
                    if not job.pid and (
                        group := find_process_group(self._get_job_tag(job.id))
                    ):  # the app died just after it had begun it
                        job = self.store.update(job.id, pid=group.pid)
                    self._poll_job(job)
        for job in (*self.store.list_running(), *self.store.list_queued()):
            if not job.is_local and self.remote_monitor:
                self.remote_monitor.start(job)
        self._register_untracked_runs()
        for job in self.store.list_jobs() if self.resume_interrupted else []:
            steps = RunDir(self.runs_dir / job.id).list_steps()
            came_on = steps and steps[-1] > job.from_step
            if job.state == "interrupted" and job.is_local and job.attempt and (came_on or job.attempt < 3):
                with suppress(ValueError):  # its folder may be gone
                    self._resume(job, job.queued)  # but one that brings the app down every time must not go on for ever

    def _register_untracked_runs(self) -> None:
        """Enter runs in the book that are in the folder alone: from the command line, or from another machine."""
        self._last_discovery_at = time.monotonic()
        with self._lock:
            for job in discover_untracked_runs(self.runs_dir, {job.id for job in self.store.list_jobs()}):
                self.store.add(job)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _end_job(self, job_id: str, intent: RequestedAction, signum: int) -> Job:
        self._require_leader()
        with self._lock:
            job = self.store.get(job_id)
            if job.state == "queued":
                return self.store.update(
                    job_id, state="cancelled", ended=time.time(), sentence="Taken out of the line."
                )
            if job.is_finished:
                raise ValueError(f"The run {job_id} is over already: {job.state}.")
            if job.is_local:
                job = self._request_stop(job, intent, signum)
                self._wake_event.set()
                return job
        return self._end_remote_job(job, intent)

    def _request_stop(self, job: Job, intent: RequestedAction, signum: int) -> Job:
        """Signal a job's processes first and write it down then: a full disk must not keep a job going."""
        self._get_process_group(job).send_signal(signum)
        self._requested_actions[job.id] = intent
        says = {"stop": "Stopping: it saves first.", "kill": "Being killed.", "leave": "The app ends: it saves."}[
            intent
        ]
        try:
            return self.store.update(job.id, intent=intent, asked=job.asked or time.time(), sentence=says)
        except ValueError as error:
            log.warning("%s was told to %s, which could not be written down: %s", job.id, intent, error)
            return replace(job, intent=intent, sentence=says)

    def _end_remote_job(self, job: Job, intent: RequestedAction) -> Job:
        if self.remote_monitor is None and intent == "kill":
            says = "Given up here, where Hugging Face Jobs cannot be reached from; it may still run there."
            return self.store.update(job.id, state="cancelled", ended=time.time(), sentence=says)
        job = self.store.update(job.id, intent=intent, asked=job.asked or time.time(), sentence="Being cancelled.")
        try:
            self._require_remote_monitor().cancel(job)
        except ValueError:
            self.store.update(job.id, intent="")  # it was not told, and goes on
            raise
        return job

    def _require_remote_monitor(self) -> RemoteJobMonitor:
        if self.remote_monitor is None:
            raise ValueError("Hugging Face Jobs needs a Space, whose image runs there, and a token (HF_TOKEN).")
        return self.remote_monitor

    def _build_command(self, job: Job, run_dir: RunDir, config: RunConfig) -> list[str]:
        recipe = run_dir.path / "config.yaml"
        return build_training_command(sys.executable, job.devices, config, str(recipe), str(run_dir.path))

    def _get_process_group(self, job: Job) -> ProcessGroup:
        return ProcessGroup(self._get_job_tag(job.id), job.pid)

    def _get_job_tag(self, job_id: str) -> str:
        return str(self.runs_dir / job_id)  # two apps may have runs of one name

    def _create_run_dir(self, name: str) -> RunDir:
        """A folder that nobody else has."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in range(1, 1_000):
            path = self.runs_dir / (f"{name}-{stamp}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return RunDir(path)
        raise ValueError("A thousand runs were begun in one second; wait a moment.")

    def _require_leader(self) -> None:
        if not self.is_leader:
            raise ValueError("Another app looks after the runs in this folder: use that one, or end it first.")


@contextmanager
def remove_on_error(directory: Path) -> Iterator[None]:
    """Remove a folder again if filling it fails: half a run would be taken for one that somebody else made."""
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
