"""Process groups: begun apart from the app, found again by another app, signalled as a whole.

A job's processes are marked in their environment, so a process number that the system gave to somebody else is never taken for
one of them.
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

_launched_processes: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()  # who began them asks for their exit codes


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one job.

    Args:
        mark: what `CTM_JOB` says in their environment.
        pid: the leader's number; 0 for a group that was never begun.
    """

    tag: str
    pid: int

    def list_members(self) -> list[psutil.Process]:
        """Those that are alive, oldest first; one that has ended and only waits to be asked for its exit code is not.

        A launcher of several processes begins each of them apart from itself, so only the mark tells that it is ours.
        """
        return list_tagged_processes(self.tag) if self.pid else []

    def send_signal(self, signum: int) -> None:
        """Send a signal to all of them: a launcher hands on what it is sent to those it began, but for a kill."""
        members = self.list_members()
        led = [process for process in members if self._is_in_leader_group(process)]
        for process in members if signum == signal.SIGKILL or not led else led:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def _is_in_leader_group(self, process: psutil.Process) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(process.pid) == self.pid
        return False


def find_process_group(tag: str) -> ProcessGroup | None:
    """The group of a job, searched for by its mark alone; its oldest process leads it."""
    members = list_tagged_processes(tag)
    return ProcessGroup(tag, members[0].pid) if members else None


def list_tagged_processes(tag: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if has_tag(process, tag):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(found, key=lambda process: process.create_time())


def has_tag(process: psutil.Process, tag: str) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(JOB_TAG_ENV) == tag


def launch(
    command: Sequence[str], tag: str, log: Path, environment: Mapping[str, str]
) -> tuple[ProcessGroup, subprocess.Popen]:
    """Begin a process group of its own, whose output is appended to `log`.

    Raises:
        OSError: it could not be begun.
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
    """Let go of ended processes that this one inherited, if it is the first of a container: nobody else would.

    Args:
        first: number of a container's first process.
    """
    if os.getpid() != init_pid:
        return
    begun = {process.pid for process in _launched_processes}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid not in begun and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def build_job_environment(source: Mapping[str, str], threads: int, token: str = "") -> dict[str, str]:
    """What a job's processes see of the environment: what they need, sound numbers of threads, and none of our secrets.

    Args:
        source: the app's environment, which may hold nonsense such as `OMP_NUM_THREADS=3500m`.
        threads: for each process.
        token: of the Hub; empty for none.
    """
    kept = {name: value for name, value in source.items() if ENV_ALLOWLIST.fullmatch(name) and name != "HF_HUB_TOKEN"}
    fixed = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return kept | fixed | ({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})
