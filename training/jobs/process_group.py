"""Process groups of jobs: started independently of the app, found again by a later app, signalled as a whole.

Every process of a job carries the job's tag in its environment. A process id that the system has reused is therefore
never mistaken for a process of the job.
"""

import contextlib
import os
import re
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from training.paths import ROOT

JOB_TAG_ENV = "CTM_JOB"
ENV_ALLOWLIST = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|SSL_CERT_\w+|"
    r"(?i:https?_proxy|no_proxy|all_proxy)|REQUESTS_CA_BUNDLE|XDG_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|PYTORCH_\w+|TORCH\w*|"
    r"HF_HOME|HF_ENDPOINT|HF_HUB_\w+|HF_XET_\w+|HF_DATASETS_\w+|SYSTEM|SPACE_ID|CTM_HOME"
)

# `reap_zombies` skips these: their owners read the exit codes.
_launched_processes: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one job.

    Attributes:
        tag: Value of `CTM_JOB` in the environment of the processes.
        pid: Process id of the leader; 0 for a group that was never started.
    """

    tag: str
    pid: int

    def list_members(self) -> list[psutil.Process]:
        """Return the living processes, oldest first; zombies do not count.

        Launchers start each worker in a session of its own, so only the tag identifies a member.
        """
        return list_tagged_processes(self.tag) if self.pid else []

    def send_signal(self, signum: int) -> None:
        """Send a signal to the group.

        SIGKILL goes to every member. Other signals go to the leader's system process group only, because launchers
        forward them to their workers.

        Args:
            signum: Signal number.
        """
        members = self.list_members()
        leader_group = [process for process in members if self._is_in_leader_group(process)]
        for process in members if signum == signal.SIGKILL or not leader_group else leader_group:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def _is_in_leader_group(self, process: psutil.Process) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(process.pid) == self.pid
        return False


def find_process_group(tag: str) -> ProcessGroup | None:
    """Find the process group of a job by its tag alone; None if no process carries it.

    The oldest process is taken as the leader.
    """
    members = list_tagged_processes(tag)
    return ProcessGroup(tag, members[0].pid) if members else None


def list_tagged_processes(tag: str) -> list[psutil.Process]:
    """Return the living processes that carry a tag, oldest first."""
    processes = []
    for process in psutil.process_iter():
        try:
            if has_tag(process, tag):
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(processes, key=lambda process: process.create_time())


def has_tag(process: psutil.Process, tag: str) -> bool:
    """Return whether a living process carries a tag."""
    return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(JOB_TAG_ENV) == tag


def launch(
    command: Sequence[str], tag: str, log: Path, environment: Mapping[str, str]
) -> tuple[ProcessGroup, subprocess.Popen]:
    """Start a command in a process group of its own.

    Args:
        command: Program and arguments.
        tag: Tag of the job.
        log: File to which standard output and standard error are appended.
        environment: Environment of the command; the tag is added.

    Raises:
        OSError: The command cannot be started.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, JOB_TAG_ENV: tag},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
        )
    _launched_processes.add(process)
    return ProcessGroup(tag, process.pid), process


def reap_zombies(init_pid: int = 1) -> None:
    """Reap the zombies that this process inherited, if it is the init process of its container.

    Args:
        init_pid: Process id of the container's init process.
    """
    if os.getpid() != init_pid:
        return
    own_pids = {process.pid for process in _launched_processes}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid not in own_pids and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def build_job_environment(source: Mapping[str, str], threads: int, token: str = "") -> dict[str, str]:
    """Build the environment of a job: the allow-listed variables, valid thread counts, and none of the app's secrets.

    Args:
        source: Environment of the app, which may hold invalid values such as `OMP_NUM_THREADS=3500m`.
        threads: Threads per process.
        token: Hub token for the job; empty for none.
    """
    allowed = {
        name: value for name, value in source.items() if ENV_ALLOWLIST.fullmatch(name) and name != "HF_HUB_TOKEN"
    }
    fixed = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return allowed | fixed | ({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})
