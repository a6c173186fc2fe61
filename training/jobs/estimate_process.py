"""What a run would cost here, measured in a process of its own: the app itself never trains."""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from training.config import RunConfig
from training.jobs.cpu_limits import count_available_cpus
from training.jobs.process_group import build_job_environment, launch
from training.jobs.supervisor import NICENESS

ESTIMATE_TIMEOUT_S = 180.0  # seconds
_estimate_lock = threading.Lock()


def run_estimate(
    config: RunConfig, environment: Mapping[str, str] = os.environ, timeout_s: float = ESTIMATE_TIMEOUT_S
) -> dict[str, Any]:
    """Train a few steps and tell what they took; see `training.estimate`. It takes a quarter of a minute or so.

    Raises:
        ValueError: one sentence: what the run itself would fail with, or that it takes too long.
    """
    if not _estimate_lock.acquire(blocking=False):
        raise ValueError("Another estimate is being measured; ask again in a moment.")
    try:
        with tempfile.TemporaryDirectory(prefix="ctm-estimate-") as folder:
            return _run_estimate_process(config, Path(folder), environment, timeout_s)
    finally:
        _estimate_lock.release()


def _run_estimate_process(
    config: RunConfig, work_dir: Path, environment: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:
    recipe, log = work_dir / "settings.json", work_dir / "log.txt"
    recipe.write_text(json.dumps(config.model_dump(mode="json")), "utf-8")
    clean = build_job_environment(environment, max(1, count_available_cpus(environment) - 1))
    command = [sys.executable, "-m", "training", "estimate", str(recipe), "--limit", str(int(timeout_s) + 5)]
    group, process = launch(command, f"estimate {work_dir.name}", log, clean)
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(NICENESS)  # the page goes first
    until = time.monotonic() + timeout_s
    try:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        late = process.poll() is None
    finally:
        group.send_signal(signal.SIGKILL)
        process.wait()
    said = log.read_text("utf-8", "replace").strip().splitlines()
    if late:
        raise ValueError(
            f"A few steps take more than {timeout_s:.0f} seconds here: make the machine or the batch smaller."
        )
    if process.returncode == 0:
        return parse_estimate(said[-1:])
    told = [line for line in said if line.startswith("Error: ")] or said[-1:]
    why = told[-1].removeprefix("Error: ")[:500] if told else f"it ended with code {process.returncode}"
    if process.returncode == -signal.SIGKILL:
        why = "the system killed it, most likely for want of memory: make the batch or the machine smaller"
    raise ValueError(f"A few steps were tried, and failed: {why}")


def parse_estimate(output_lines: list[str]) -> dict[str, Any]:
    """What the program printed last."""
    with suppress(ValueError):
        if isinstance(told := json.loads("".join(output_lines)), dict):
            return told
    raise ValueError("A few steps were tried, and failed: it told no figures.")
