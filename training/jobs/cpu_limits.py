"""CPU limits of this container and the thread variables that depend on them.

`app.py` imports this module before torch, so it imports only the standard library.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CGROUP_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def fix_thread_env(variables: MutableMapping[str, str]) -> None:
    """Replace invalid thread counts in an environment, in place.

    A Space sets `OMP_NUM_THREADS=3500m`, which libraries cannot parse.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in variables and not (variables[name].isdecimal() and int(variables[name])):
            variables[name] = str(count_available_cpus(variables))


def count_available_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    A container may use fewer CPUs than its host has. `CPU_CORES` (such as `3500m`) has precedence over the cgroup
    quota.
    """
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", environment.get("CPU_CORES", "").strip())
    limit = float(match[1]) / (1_000 if match[2] else 1) if match else read_cpu_quota()
    return max(1, min(num_cpus, int(limit))) if limit else num_cpus


def read_cpu_quota() -> float:
    """Return the CPU quota of this container in CPUs; 0 if there is no limit."""
    try:
        quota, period = CGROUP_CPU_QUOTA.read_text("utf-8").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # the file is missing or says `max`
        return 0.0
