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
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from training.paths import ROOT

MARK = "CTM_JOB"
QUOTA = Path("/sys/fs/cgroup/cpu.max")
HANDED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|SSL_CERT_\w+|"
    r"(?i:https?_proxy|no_proxy|all_proxy)|REQUESTS_CA_BUNDLE|XDG_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|PYTORCH_\w+|TORCH\w*|"
    r"HF_HOME|HF_ENDPOINT|HF_HUB_\w+|HF_XET_\w+|HF_DATASETS_\w+|SYSTEM|SPACE_ID|CTM_HOME"
)

_begun: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()  # who began them asks for their exit codes


@dataclass(frozen=True)
class Group:
    """The processes of one job.

    Args:
        mark: what `CTM_JOB` says in their environment.
        pid: the leader's number; 0 for a group that was never begun.
    """

    mark: str
    pid: int

    def members(self) -> list[psutil.Process]:
        """Those that are alive, oldest first; one that has ended and only waits to be asked for its exit code is not.

        A launcher of several processes begins each of them apart from itself, so only the mark tells that it is ours.
        """
        return marked(self.mark) if self.pid else []

    def signal(self, number: int) -> None:
        """Send a signal to all of them: a launcher hands on what it is sent to those it began, but for a kill."""
        members = self.members()
        led = [process for process in members if self._leads(process)]
        for process in members if number == signal.SIGKILL or not led else led:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _leads(self, process: psutil.Process) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(process.pid) == self.pid
        return False


def find(mark: str) -> Group | None:
    """The group of a job, searched for by its mark alone; its oldest process leads it."""
    members = marked(mark)
    return Group(mark, members[0].pid) if members else None


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if is_marked(process, mark):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(found, key=lambda process: process.create_time())


def is_marked(process: psutil.Process, mark: str) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark


def launch(
    command: Sequence[str], mark: str, log: Path, environment: Mapping[str, str]
) -> tuple[Group, subprocess.Popen]:
    """Begin a process group of its own, whose output is appended to `log`.

    Raises:
        OSError: it could not be begun.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
        )
    _begun.add(process)
    return Group(mark, process.pid), process


def reap(first: int = 1) -> None:
    """Let go of ended processes that this one inherited, if it is the first of a container: nobody else would.

    Args:
        first: number of a container's first process.
    """
    if os.getpid() != first:
        return
    begun = {process.pid for process in _begun}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid not in begun and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def clean_environment(source: Mapping[str, str], threads: int, token: str = "") -> dict[str, str]:
    """What a job's processes see of the environment: what they need, sound numbers of threads, and none of our secrets.

    Args:
        source: the app's environment, which may hold nonsense such as `OMP_NUM_THREADS=3500m`.
        threads: for each process.
        token: of the Hub; empty for none.
    """
    kept = {name: value for name, value in source.items() if HANDED_ON.fullmatch(name) and name != "HF_HUB_TOKEN"}
    fixed = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return kept | fixed | ({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})


def tidy(variables: MutableMapping[str, str]) -> None:
    """Mend numbers of threads that libraries would stumble over: a Space says `OMP_NUM_THREADS=3500m`."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in variables and not (variables[name].isdecimal() and int(variables[name])):
            variables[name] = str(cores(variables))


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """Processors that may be used; a container may use fewer than its machine has, as `CPU_CORES=3500m` or its quota says."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", environment.get("CPU_CORES", "").strip())
    share = float(told[1]) / (1_000 if told[2] else 1) if told else quota()
    return max(1, min(there, int(share))) if share else there


def quota() -> float:
    """Processors that the system grants this container; 0 where it sets no bound."""
    try:
        granted, period = QUOTA.read_text("utf-8").split()
        return int(granted) / int(period)
    except (OSError, ValueError):  # no such file, or `max`
        return 0.0
