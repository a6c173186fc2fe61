"""Simulated visitors of a load test: a Locust process that runs `benchmarks/locustfile.py`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load_server import TIMEOUT_S, ServerProcess, monitor_usage
from benchmarks.paths import ROOT

SPAWN_RATE_PER_S = 10.0  # new visitors per second


def run_locust(
    server: ServerProcess, user_class: str, plan: dict[str, Any], visitors: int, seconds: float, spawn_rate_per_s: float
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Run visitors of one class until they have finished, or for a number of seconds.

    Args:
        server: the server.
        user_class: class of the visitors in `benchmarks/locustfile.py`.
        plan: what they do, as JSON data.
        visitors: number of visitors.
        seconds: longest duration.
        spawn_rate_per_s: new visitors per second.

    Returns:
        What the visitors recorded, and the usage of the server over time.

    Raises:
        SystemExit: Locust wrote no results, or the server ended.
    """
    with tempfile.TemporaryDirectory() as temporary_dir:
        plan_path, results_path, log_path = (
            Path(temporary_dir, name) for name in ("plan.json", "results.json", "log.txt")
        )
        plan_path.write_text(json.dumps(plan), "utf-8")
        command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", "benchmarks/locustfile.py"]
        command += [user_class, "--host", server.address, "--users", str(visitors)]
        command += ["--spawn-rate", str(spawn_rate_per_s), "--run-time", f"{seconds:.0f}s"]
        command += ["--stop-timeout", str(TIMEOUT_S), "--plan", str(plan_path), "--results", str(results_path)]
        with (
            log_path.open("w") as log,
            subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as locust_process,
        ):
            usage_samples = list(monitor_usage(server.process, locust_process))
        if not results_path.is_file():
            raise SystemExit(f"No visitor reached the server:\n{log_path.read_text('utf-8')}")
        return json.loads(results_path.read_text("utf-8")), usage_samples
