"""Cost estimate of a run, measured in a separate process because the app itself never trains."""

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
from training.jobs.estimate_store import count_job_threads
from training.jobs.process_group import build_job_environment, launch
from training.jobs.supervisor import NICENESS

ESTIMATE_TIMEOUT_S = 180.0
_estimate_lock = threading.Lock()


def run_estimate(
    config: RunConfig,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = ESTIMATE_TIMEOUT_S,
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Train a few steps in a child process and return what they cost.

    Blocks for about 15 seconds. Only one estimate runs at a time. The child process and its files are removed in
    every case.

    Args:
        config: Configuration of the run.
        environment: Environment of the app.
        timeout_s: Seconds after which the child process is killed.
        wait_s: Seconds to wait for another estimate to end.

    Returns:
        The estimate; see `training.estimate` for its keys.

    Raises:
        ValueError: Another estimate is running, the estimate takes too long, or the run fails. The message is one
            sentence.
    """
    if not _estimate_lock.acquire(timeout=wait_s):
        raise ValueError("Another estimate is being measured; ask again in a moment.")
    try:
        with tempfile.TemporaryDirectory(prefix="ctm-estimate-") as work_dir:
            return _run_estimate_process(config, Path(work_dir), environment, timeout_s)
    finally:
        _estimate_lock.release()


def _run_estimate_process(
    config: RunConfig, work_dir: Path, environment: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:
    recipe = work_dir / "settings.json"
    log = work_dir / "log.txt"
    recipe.write_text(json.dumps(config.model_dump(mode="json")), "utf-8")
    job_environment = build_job_environment(environment, count_job_threads(environment))
    command = [sys.executable, "-m", "training", "estimate", str(recipe), "--limit", str(int(timeout_s) + 5)]
    group, process = launch(command, f"estimate {work_dir.name}", log, job_environment)
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(NICENESS)  # the page has priority
    deadline = time.monotonic() + timeout_s
    try:
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        is_late = process.poll() is None
    finally:
        group.send_signal(signal.SIGKILL)
        process.wait()
    output_lines = log.read_text("utf-8", "replace").strip().splitlines()
    if is_late:
        raise ValueError(
            f"A few steps take more than {timeout_s:.0f} seconds here: make the model or the batch smaller."
        )
    if process.returncode == 0:
        return parse_estimate(output_lines[-1:])
    error_lines = [line for line in output_lines if line.startswith("Error: ")] or output_lines[-1:]
    if process.returncode == -signal.SIGKILL:
        reason = "the system killed it, most likely for want of memory: make the batch or the model smaller"
    elif error_lines:
        reason = error_lines[-1].removeprefix("Error: ")[:500]
    else:
        reason = f"it ended with code {process.returncode}"
    raise ValueError(f"A few steps were tried, and failed: {reason}")


def parse_estimate(output_lines: list[str]) -> dict[str, Any]:
    """Parse the last line that the estimate program printed.

    Args:
        output_lines: The last line, or nothing.

    Raises:
        ValueError: The line is not a JSON object.
    """
    with suppress(ValueError):
        if isinstance(estimate := json.loads("".join(output_lines)), dict):
            return estimate
    raise ValueError("A few steps were tried, and failed: the program printed no estimate.")
