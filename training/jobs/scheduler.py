"""Job scheduler: runs queued training jobs one at a time on this host.

Each job runs in its own process group, which survives the app. The scheduler that holds the lease is the only writer
of the job store. It polls every `POLL_INTERVAL_S`. All its state is on disk, so another scheduler can take over at
any time.
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

STORE_FILENAME = "jobs.sqlite"
TRASH_PREFIX = ".trash-"
RUN_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
STOP_TIMEOUT_S = 120.0
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
    ):
        self.runs_dir = Path(runs_dir).resolve()
        self.token = token
        self.environment = environment
        self.resume_interrupted = resume_interrupted
        self.stop_timeout_s = stop_timeout_s
        self.store = JobStore(self.runs_dir / STORE_FILENAME)
        self.remote_monitor = (
            RemoteJobMonitor(self.runs_dir, self.store, jobs_client, hub_store, space_id)
            if jobs_client and hub_store and space_id
            else None
        )
        self.is_leader = False
        self._lease = Lease(self.runs_dir)
        self._children: dict[str, subprocess.Popen] = {}
        # Requested actions by job id, in case the job store cannot be written.
        self._requested_actions: dict[str, RequestedAction] = {}
        self._lock = threading.RLock()
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
                if not job.intent:
                    self._request_stop(job, "leave", signal.SIGTERM)
        if self.remote_monitor:
            self.remote_monitor.close()
        deadline = time.monotonic() + timeout_s
        while jobs and time.monotonic() < deadline:
            with suppress(ValueError):  # the job store cannot be written: the next scheduler records the outcome
                jobs = [job for job in jobs if not self._poll_job(self.store.get(job.id))]
            time.sleep(0.05)
        self._thread.join(5.0)
        self._lease.release()
        self.is_leader = False

    def get_run_dir(self, job_id: str) -> RunDir:
        """Return the run directory of a job.

        Raises:
            ValueError: There is no such job.
        """
        return RunDir(self.runs_dir / self.store.get(job_id).id)

    # --- user requests -------------------------------------------------------------------------------------------

    def submit(self, config: RunConfig, name: str, command: str, by: str, **target: Any) -> Job:
        """Create a run directory and queue a job for it.

        Args:
            config: Configuration of the run.
            name: Prefix of the job id: small letters, digits and hyphens.
            command: Command line that trains the same model by hand, for the model card.
            by: User who submits the job.
            target: Fields of `Job` that select the hardware: `devices`, `place`, `namespace`, `timeout`.

        Raises:
            ValueError: The name is invalid, the disk is full, remote jobs are unavailable, or another app holds the
                lease.
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
                run_dir = self._create_run_dir(name)
                with remove_on_error(run_dir.path):
                    run_dir.initialize(config)
                    run_dir.save_command(command)
            except OSError as error:
                raise ValueError(
                    f"The run cannot be created in {self.runs_dir}: {error.strerror}. Free some disk space."
                ) from None
            now = time.time()
            job = Job(
                run_dir.path.name, "queued", by=by, submitted=now, queued=now, sentence="Waits in the queue.", **target
            )
            self.store.add(job)
        if not job.is_local:
            self._require_remote_monitor().start(job)
        self._wake_event.set()
        return job

    def stop(self, job_id: str) -> Job:
        """Ask a running job to save and end, or remove a queued job from the queue."""
        return self._end_job(job_id, "stop", signal.SIGTERM)

    def kill(self, job_id: str) -> Job:
        """Kill a job. Progress after its last saved step is lost."""
        return self._end_job(job_id, "kill", signal.SIGKILL)

    def resume(self, job_id: str) -> Job:
        """Queue a job again that ended before its last step. It continues from its last saved step.

        Raises:
            ValueError: The job has finished, ran remotely, or its run directory is gone.
        """
        self._require_leader()
        return self._resume(self.store.get(job_id))

    def _resume(self, job: Job, queued_at: float = 0.0) -> Job:
        """Queue a job again.

        Args:
            job: A local job that ended before its last step.
            queued_at: Time that determines the queue position, in seconds since the epoch; 0 for the end of the queue.
        """
        run_dir = self.get_run_dir(job.id)
        if job.state == "succeeded":
            raise ValueError(f"The run {job.id} has finished; begin a new one with its settings instead.")
        if not job.is_local:
            raise ValueError(
                f"The run {job.id} was on a machine that is gone. Begin a new one; init_from takes the weights that it published."
            )
        if not (run_dir.path / "config.yaml").is_file():
            raise ValueError(
                f"The run directory of {job.id} is gone. If it was published, begin a new run from its repository: settings and weights "
                "are there; the optimiser state and the step count start again."
            )
        steps = run_dir.list_steps()
        sentence = (
            f"Goes on from step {steps[-1]:,}." if steps else "Starts from the beginning: no step had been saved."
        )
        if steps and steps[-1] < run_dir.read_status().get("step", 0):
            reached = run_dir.read_status()["step"]
            sentence += f" Step {reached:,} had been reached; the steps after the saved one are repeated."
        with self._lock:
            job = self.store.update(
                job.id, state="queued", intent="", queued=queued_at or time.time(), sentence=sentence, exit_code=None
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
            path = self.runs_dir / job.id
            trash = self.runs_dir / f"{TRASH_PREFIX}{job.id}"
            if RunDir(path).is_locked_after_wait(2.0):
                raise ValueError(f"Another process is training in {path.name}: stop it first.")
            if path.is_dir():
                path.rename(trash)  # atomic, so that nobody sees a partial directory
            shutil.rmtree(trash, ignore_errors=True)  # before the job store is written, which may need the disk space
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

    def _poll(self) -> None:
        """Record finished jobs and start the next queued job if no local job runs."""
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
        """Record the outcome of a job without processes, or kill a job that does not stop in time.

        Returns:
            Whether the job is finished.
        """
        if job.is_finished:
            return True
        group = self._get_process_group(job)
        if group.list_members():
            is_late = job.intent in ("stop", "leave") and job.asked and time.time() - job.asked > self.stop_timeout_s
            if is_late or job.intent == "kill":  # repeated, because a member may have just started another process
                group.send_signal(signal.SIGKILL)
            return False
        with self._lock:
            if self.store.get(job.id).state == "running":
                self._finish_job(job)
        return True

    def _launch(self, job: Job) -> None:
        """Start the processes of a job.

        The state becomes `running` before the process exists, so that no process is ever without a running job.
        """
        run_dir = RunDir(self.runs_dir / job.id)
        exit_file = run_dir.path / "exit.json"
        steps = run_dir.list_steps()
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
            exit_file.unlink(missing_ok=True)
            run_dir.reset_outcome()
            config = run_dir.load_config()
            if config.train.device != "cpu" and job.devices > max(1, torch.cuda.device_count()):
                raise ValueError(f"it needs {job.devices} devices, and there are {torch.cuda.device_count()} here.")
            # One CPU stays free for the page.
            threads = max(1, (count_available_cpus(self.environment) - 1) // job.devices)
            environment = build_job_environment(self.environment, threads, self.token) | {UPLOAD_WORKER_ENV: "1"}
            # The launcher's own default kills the workers after 30 seconds.
            environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(int(self.stop_timeout_s))
            if config.train.device == "cpu":
                environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
            command = [
                sys.executable,
                "-m",
                "training.jobs.supervisor",
                str(exit_file),
                *self._build_command(job, run_dir, config),
            ]
            group, child = launch(command, self._get_job_tag(job.id), run_dir.log_file, environment)
        except (OSError, ValueError) as error:
            self.store.update(job.id, state="failed", ended=time.time(), sentence=f"It could not be started: {error}")
            return
        self._children[job.id] = child
        self.store.update(job.id, pid=group.pid)

    def _finish_job(self, job: Job) -> None:
        run_dir = RunDir(self.runs_dir / job.id)
        steps = run_dir.list_steps()
        exit_info = read_preallocated(run_dir.path / "exit.json")
        code = exit_info.get("code") if isinstance(exit_info.get("code"), int) else None
        if child := self._children.get(job.id):
            supervisor_code = child.wait()  # the process has ended; waiting also reaps it
            code = supervisor_code if code is None else code
        intent = self._requested_actions.get(job.id) or job.intent
        state, sentence = derive_job_outcome(
            code, run_dir.read_outcome(), intent, steps[-1] if steps else None, bool(exit_info.get("out_of_memory"))
        )
        self.store.update(job.id, state=state, sentence=sentence, exit_code=code, ended=time.time(), pid=0)
        self._children.pop(job.id, None)
        self._requested_actions.pop(job.id, None)
        if self.resume_interrupted and intent == "leave" and state == "interrupted" and not self._stop_event.is_set():
            self._resume(job, job.queued)  # the job was still saving when this app took over
        self._wake_event.set()

    def _recover(self) -> None:
        """Find the living jobs, record the outcome of the others, and queue interrupted jobs again if configured."""
        for trash in self.runs_dir.glob(f"{TRASH_PREFIX}*"):
            shutil.rmtree(trash, ignore_errors=True)
        for job in self.store.list_running():
            if job.is_local:
                with suppress(ValueError):  # the job store cannot be written: the next poll records the outcome
                    # The previous app may have died between the start of the process and the update of the job store.
                    if not job.pid and (group := find_process_group(self._get_job_tag(job.id))):
                        job = self.store.update(job.id, pid=group.pid)
                    self._poll_job(job)
        for job in (*self.store.list_running(), *self.store.list_queued()):
            if not job.is_local and self.remote_monitor:
                self.remote_monitor.start(job)
        self._register_untracked_runs()
        for job in self.store.list_jobs() if self.resume_interrupted else []:
            steps = RunDir(self.runs_dir / job.id).list_steps()
            has_progress = steps and steps[-1] > job.from_step
            # Give up on jobs that crash the app at every attempt.
            if job.state == "interrupted" and job.is_local and job.attempt and (has_progress or job.attempt < 3):
                with suppress(ValueError):  # the run directory may be gone
                    self._resume(job, job.queued)

    def _register_untracked_runs(self) -> None:
        """Add jobs for runs that were started on the command line or copied from another host."""
        self._last_discovery_at = time.monotonic()
        with self._lock:
            for job in discover_untracked_runs(self.runs_dir, {job.id for job in self.store.list_jobs()}):
                self.store.add(job)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _end_job(self, job_id: str, intent: RequestedAction, signum: int) -> Job:
        self._require_leader()
        with self._lock:
            job = self.store.get(job_id)
            if job.state == "queued":
                return self.store.update(
                    job_id, state="cancelled", ended=time.time(), sentence="Removed from the queue."
                )
            if job.is_finished:
                raise ValueError(f"The run {job_id} is over already: {job.state}.")
            if job.is_local:
                job = self._request_stop(job, intent, signum)
                self._wake_event.set()
                return job
        return self._end_remote_job(job, intent)

    def _request_stop(self, job: Job, intent: RequestedAction, signum: int) -> Job:
        """Signal the processes of a job, then record the request: a full disk must not keep a job running."""
        self._get_process_group(job).send_signal(signum)
        self._requested_actions[job.id] = intent
        sentences = {"stop": "Stopping: it saves first.", "kill": "Being killed.", "leave": "The app ends: it saves."}
        sentence = sentences[intent]
        try:
            return self.store.update(job.id, intent=intent, asked=job.asked or time.time(), sentence=sentence)
        except ValueError as error:
            log.warning("The request to %s %s could not be recorded: %s", intent, job.id, error)
            return replace(job, intent=intent, sentence=sentence)

    def _end_remote_job(self, job: Job, intent: RequestedAction) -> Job:
        if self.remote_monitor is None and intent == "kill":
            sentence = "Abandoned, because this app cannot reach Hugging Face Jobs; it may still run there."
            return self.store.update(job.id, state="cancelled", ended=time.time(), sentence=sentence)
        job = self.store.update(job.id, intent=intent, asked=job.asked or time.time(), sentence="Being cancelled.")
        try:
            self._require_remote_monitor().cancel(job)
        except ValueError:
            self.store.update(job.id, intent="")  # the request did not arrive, so the job continues
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
        return str(self.runs_dir / job_id)  # absolute: two apps may have runs of the same name

    def _create_run_dir(self, name: str) -> RunDir:
        """Create a run directory with a unique name."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in range(1, 1_000):
            path = self.runs_dir / (f"{name}-{stamp}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return RunDir(path)
        raise ValueError("A thousand runs were created in one second; wait a moment.")

    def _require_leader(self) -> None:
        if not self.is_leader:
            raise ValueError("Another app looks after the runs in this folder: use that one, or end it first.")


@contextmanager
def remove_on_error(directory: Path) -> Iterator[None]:
    """Remove a directory if the block fails: a partial run would be discovered as an untracked run."""
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
