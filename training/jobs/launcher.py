"""Launcher of local jobs: starts their processes, finds them again, and reads their exit codes."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config import RunConfig
from training.jobs.cpu_limits import count_available_cpus
from training.jobs.job import Job
from training.jobs.launch_command import build_training_command
from training.jobs.process_group import ProcessGroup, build_job_environment, find_process_group, launch
from training.run_dir import RunDir

SUPERVISOR_MODULE = "training.jobs.supervisor"


@dataclass(frozen=True)
class ProcessExit:
    """How the processes of a job ended.

    Attributes:
        code: Exit code of the training program; negative for a signal, None if unknown.
        is_out_of_memory: Whether the kernel killed processes of this container for lack of memory in the meantime.
    """

    code: int | None
    is_out_of_memory: bool


class JobLauncher:
    """Starts local jobs, each in its own process group.

    Args:
        runs_dir: Parent of the run directories; absolute.
        environment: Environment of the app.
        token: Hub token for the jobs; empty for none.
    """

    def __init__(self, runs_dir: Path, environment: Mapping[str, str], token: str) -> None:
        self.runs_dir = runs_dir
        self.environment = environment
        self.token = token
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def get_run_dir(self, job: Job) -> RunDir:
        """Return the run directory of a job."""
        return RunDir(self.runs_dir / job.id)

    def start(self, job: Job, stop_timeout_s: float) -> ProcessGroup:
        """Start the processes of a job.

        Args:
            job: The job.
            stop_timeout_s: Seconds that the processes have to save and end after a request to stop.

        Raises:
            ValueError: The settings of the run are broken, or this host has fewer devices than the job needs.
            OSError: The run directory cannot be written, or the process cannot be started.
        """
        run_dir = self.get_run_dir(job)
        run_dir.exit_file.unlink(missing_ok=True)
        run_dir.reset_outcome()
        config = run_dir.load_config()
        check_devices(config, job.devices)
        training_command = build_training_command(
            sys.executable, job.devices, config, str(run_dir.config_file), str(run_dir.path), is_upload_disabled=True
        )
        command = [sys.executable, "-m", SUPERVISOR_MODULE, str(run_dir.exit_file), *training_command]
        environment = self._build_environment(job, config, stop_timeout_s)
        group, child = launch(command, self._get_tag(job), run_dir.log_file, environment)
        self._children[job.id] = child
        return group

    def get_process_group(self, job: Job) -> ProcessGroup:
        """Return the process group of a job, whether or not it has living processes."""
        return ProcessGroup(self._get_tag(job), job.pid)

    def find_process_group(self, job: Job) -> ProcessGroup | None:
        """Find the processes of a job whose process id was not recorded; None if there are none."""
        return find_process_group(self._get_tag(job))

    def has_running_child(self, job: Job) -> bool:
        """Return whether this app started the supervisor of a job, and it has not ended."""
        child = self._children.get(job.id)
        return child is not None and child.poll() is None

    def read_exit(self, job: Job) -> ProcessExit:
        """Return how a job without living processes ended.

        The supervisor writes the exit code into the run directory. Without that file, the exit code of the supervisor
        counts, which only the app that started it can read.
        """
        exit_info = self.get_run_dir(job).read_exit_info()
        code = exit_info.get("code") if isinstance(exit_info.get("code"), int) else None
        if child := self._children.get(job.id):
            supervisor_code = child.wait()  # the process has ended; waiting also reaps it
            code = supervisor_code if code is None else code
        return ProcessExit(code, bool(exit_info.get("out_of_memory")))

    def forget(self, job: Job) -> None:
        """Forget the child process of a job whose outcome is recorded."""
        self._children.pop(job.id, None)

    def _build_environment(self, job: Job, config: RunConfig, stop_timeout_s: float) -> dict[str, str]:
        # One CPU stays free for the page.
        threads = max(1, (count_available_cpus(self.environment) - 1) // job.devices)
        environment = build_job_environment(self.environment, threads, self.token)
        # The launcher's own default kills the workers after 30 seconds.
        environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(int(stop_timeout_s))
        if config.train.device == "cpu":
            environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
        return environment

    def _get_tag(self, job: Job) -> str:
        return str(self.runs_dir / job.id)  # absolute: two apps may have runs of the same name


def check_devices(config: RunConfig, devices: int) -> None:
    """Check that this host has the devices of a job.

    Raises:
        ValueError: It has fewer.
    """
    num_devices = torch.cuda.device_count()
    if config.train.device != "cpu" and devices > max(1, num_devices):
        raise ValueError(f"it needs {devices} devices, and there are {num_devices} here.")
