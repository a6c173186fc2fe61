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
from training.jobs.process_group import clean_environment, cores, launch
from training.jobs.supervisor import NICE

LIMIT = 180.0  # seconds
_alone = threading.Lock()


def measure(config: RunConfig, environment: Mapping[str, str] = os.environ, limit: float = LIMIT) -> dict[str, Any]:
    """Train a few steps and tell what they took; see `training.estimate`. It takes a quarter of a minute or so.

    Raises:
        ValueError: one sentence: what the run itself would fail with, or that it takes too long.
    """
    if not _alone.acquire(blocking=False):
        raise ValueError("Another estimate is being measured; ask again in a moment.")
    try:
        with tempfile.TemporaryDirectory(prefix="ctm-estimate-") as folder:
            return _measured(config, Path(folder), environment, limit)
    finally:
        _alone.release()


def _measured(config: RunConfig, folder: Path, environment: Mapping[str, str], limit: float) -> dict[str, Any]:
    recipe, log = folder / "settings.json", folder / "log.txt"
    recipe.write_text(json.dumps(config.model_dump(mode="json")), "utf-8")
    clean = clean_environment(environment, max(1, cores(environment) - 1))
    command = [sys.executable, "-m", "training", "estimate", str(recipe), "--limit", str(int(limit) + 5)]
    group, process = launch(command, f"estimate {folder.name}", log, clean)
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(NICE)  # the page goes first
    until = time.monotonic() + limit
    try:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        late = process.poll() is None
    finally:
        group.signal(signal.SIGKILL)
        process.wait()
    said = log.read_text("utf-8", "replace").strip().splitlines()
    if late:
        raise ValueError(f"A few steps take more than {limit:.0f} seconds here: make the machine or the batch smaller.")
    if process.returncode == 0:
        return figures_of(said[-1:])
    told = [line for line in said if line.startswith("Error: ")] or said[-1:]
    why = told[-1].removeprefix("Error: ")[:500] if told else f"it ended with code {process.returncode}"
    if process.returncode == -signal.SIGKILL:
        why = "the system killed it, most likely for want of memory: make the batch or the machine smaller"
    raise ValueError(f"A few steps were tried, and failed: {why}")


def figures_of(said: list[str]) -> dict[str, Any]:
    """What the program printed last."""
    with suppress(ValueError):
        if isinstance(told := json.loads("".join(said)), dict):
            return told
    raise ValueError("A few steps were tried, and failed: it told no figures.")
