"""What a run would cost here, measured in a process of its own: the app itself never trains."""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import RunConfig
from training.jobs.processes import clean_environment, cores, launch

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
    command = [sys.executable, "-m", "training", "estimate", str(recipe)]
    group, process = launch(command, f"estimate {folder.name}", log, clean)
    until = time.monotonic() + limit
    try:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        group.signal(signal.SIGKILL)
        process.wait()
    said = log.read_text("utf-8", "replace").strip().splitlines()
    if time.monotonic() >= until:
        raise ValueError(f"A few steps take more than {limit:.0f} seconds here: make the machine or the batch smaller.")
    if process.returncode == 0 and said:
        return json.loads(said[-1])
    told = [line for line in said if line.startswith("Error: ")] or said[-1:]
    why = told[-1].removeprefix("Error: ")[:500] if told else f"it ended with code {process.returncode}"
    if process.returncode == -signal.SIGKILL:
        why = "the system killed it, most likely for want of memory: make the batch or the machine smaller"
    raise ValueError(f"A few steps were tried, and failed: {why}")
