"""CPU limits of this container, and the thread variables that depend on them."""

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CGROUP_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def fix_thread_env(variables: MutableMapping[str, str]) -> None:
    """Mend numbers of threads that libraries would stumble over: a Space says `OMP_NUM_THREADS=3500m`."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in variables and not (variables[name].isdecimal() and int(variables[name])):
            variables[name] = str(count_available_cpus(variables))


def count_available_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Processors that may be used; a container may use fewer than its machine has, as `CPU_CORES=3500m` or its quota says."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", environment.get("CPU_CORES", "").strip())
    share = float(told[1]) / (1_000 if told[2] else 1) if told else read_cpu_quota()
    return max(1, min(there, int(share))) if share else there


def read_cpu_quota() -> float:
    """Processors that the system grants this container; 0 where it sets no bound."""
    try:
        granted, period = CGROUP_CPU_QUOTA.read_text("utf-8").split()
        return int(granted) / int(period)
    except (OSError, ValueError):  # no such file, or `max`
        return 0.0
