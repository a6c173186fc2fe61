"""Load test of the page: a server of this project, visited by https://locust.io.

    python -m benchmarks.load_test [--visitors N] [--seconds T] [--checkpoint NAME ...] [--pause LEAST MOST] [--compare]
                              [--json FILE]

`app.py` starts in a separate process with an empty home directory and is polled until it is ready. Visitors open the page and run
inference on held-out samples of the checkpoints, with a pause between two requests; `--pause 0 0` removes the pause and measures
the maximum throughput. One visitor runs alone first, then N at once. The latency is the time from request to answer. Anything but
an answer is an error; with an error, or without any answer, the exit code is 1.

`--compare` measures the same load with and without dynamic batching (`CTM_BATCH`), alternating, on newly started servers. The
visitors share the processor with the server; their CPU usage is reported beside the server's.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.load_metrics import LoadTestResult, compute_metrics, compute_ratios
from benchmarks.load_plan import build_plan
from benchmarks.paths import ROOT
from benchmarks.speed import get_processor_name, read_memory_kib

CHECKPOINTS = ("digits", "parity-16", "arithmetic")
READY_PATH = "/readyz"
APP_VARIABLE_PREFIXES = ("GRADIO_", "SPACE_", "CTM_", "HF_")  # environment variables that configure the server
TIMEOUT_S = 120  # for a server to become ready, and for a request to end
SINGLE_VISITOR_S = 15  # duration of the run with one visitor
SPAWN_RATE_PER_S = 10  # new visitors per second
WARMUP_S = 5  # duration of a first run that makes the server load every checkpoint
MAX_LOG_CHARS = 5_000
BATCHING_ENVIRONMENTS = {"off": {"CTM_BATCH": "1"}, "on": {}}
BATCHING_ORDER = ("off", "on", "on", "off")  # symmetric, so that a slowdown of the computer affects both equally
USAGE_INTERVAL_S = 0.25  # time between two samples of the server's usage


# --- the server --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerProcess:
    """Running server.

    Attributes:
        address: its URL.
        process: its process.
    """

    address: str
    process: subprocess.Popen


@contextmanager
def run_server(**environment: str) -> Iterator[ServerProcess]:
    """Run the server until it is ready, with a clean environment; print the end of its log when it stops.

    Args:
        environment: environment variables of the server.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(APP_VARIABLE_PREFIXES)}
    with tempfile.TemporaryDirectory() as home_dir:
        log_path = Path(home_dir, "log.txt")
        overrides = {
            "CTM_HOME": home_dir,
            "GRADIO_TEMP_DIR": f"{home_dir}/uploads",
            "GRADIO_SERVER_PORT": "0",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, "app.py"]
        with log_path.open("w") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=inherited | overrides | environment, stdout=log, stderr=log
            )
        try:
            yield ServerProcess(wait_for_address(process, log_path), process)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
            text = re.sub(r"^(Starting|Open)\b.*\n", "", log_path.read_text("utf-8"), flags=re.M)
            print(text[-MAX_LOG_CHARS:], end="", file=sys.stderr)


def wait_for_address(process: subprocess.Popen, log_path: Path) -> str:
    """Wait until the server is ready and return its URL.

    Raises:
        SystemExit: It ended, or was not ready within `TIMEOUT_S`.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"Open (http://\S+)", log_path.read_text("utf-8")):
            with suppress(urllib.error.URLError), urllib.request.urlopen(match[1] + READY_PATH, timeout=TIMEOUT_S):
                return match[1]
        time.sleep(0.1)
    raise SystemExit("The server did not get ready.")


def sample_usage(pid: int) -> dict[str, float]:
    """Return the CPU time (seconds), peak memory (MiB), threads and open files of a process."""
    process = psutil.Process(pid)
    with process.oneshot():
        cpu_times = process.cpu_times()
        return {
            "time": time.time(),
            "cpu": cpu_times.user + cpu_times.system,
            "peak_mib": read_memory_kib("VmHWM", pid) / 1024,
            "threads": process.num_threads(),
            "files": process.num_fds(),
        }


# --- visitors -------------------------------------------------------------------------------------------------


def run_visitors(server: ServerProcess, plan: dict[str, Any], visitors: int, seconds: float) -> LoadTestResult:
    """Run visitors for a number of seconds. Requests count from when the page is open for all of them.

    Args:
        server: the server.
        plan: the request plan, see `benchmarks.load_plan.build_plan`.
        visitors: number of visitors.
        seconds: duration with all visitors, in seconds.

    Raises:
        SystemExit: Locust wrote no results, or the server ended.
    """
    with tempfile.TemporaryDirectory() as temporary_dir:
        plan_path, results_path, log_path = (
            Path(temporary_dir, name) for name in ("plan.json", "results.json", "log.txt")
        )
        plan_path.write_text(json.dumps(plan), "utf-8")
        run_seconds = seconds + (visitors - 1) / SPAWN_RATE_PER_S
        command = build_locust_command(server.address, visitors, run_seconds)
        command += ["--plan", str(plan_path), "--results", str(results_path)]
        with (
            log_path.open("w") as log,
            subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as locust_process,
        ):
            usage_samples = list(monitor_usage(server.process, locust_process))
        if not results_path.is_file():
            raise SystemExit(f"No visitor reached the server:\n{log_path.read_text('utf-8')}")
        results = json.loads(results_path.read_text("utf-8"))
    return select_full_load(visitors, results, usage_samples)


def build_locust_command(address: str, visitors: int, seconds: float) -> list[str]:
    """Return the command of a Locust process, without the plan and the results."""
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", "benchmarks/locustfile.py"]
    command += ["--host", address, "--users", str(visitors), "--spawn-rate", str(SPAWN_RATE_PER_S)]
    command += ["--run-time", f"{seconds:.0f}s", "--stop-timeout", str(TIMEOUT_S)]
    return command


def select_full_load(visitors: int, results: dict[str, Any], usage_samples: list[dict[str, float]]) -> LoadTestResult:
    """Select what was measured while all visitors were active; failed requests and page loads always count.

    Args:
        visitors: number of visitors.
        results: content of the file that `benchmarks.locustfile` writes.
        usage_samples: usage of the server.
    """
    end_time = results["end_time"]
    start_time = min(results.get("start_time", end_time), end_time)
    request_samples = [
        sample
        for sample in results["samples"]
        if sample["name"] != "thought" or sample["error"] or start_time <= sample["start_time"] <= end_time
    ]
    usage_samples = [sample for sample in usage_samples if start_time <= sample["time"] <= end_time]
    return LoadTestResult(visitors, end_time - start_time, results["cpu_s"], request_samples, usage_samples)


def monitor_usage(server: subprocess.Popen, locust_process: subprocess.Popen) -> Iterator[dict[str, float]]:
    """Yield the usage of the server until Locust ends; end Locust if the caller stops early.

    Raises:
        SystemExit: The server ended.
    """
    try:
        while locust_process.poll() is None:
            if server.poll() is not None:
                raise SystemExit(f"The server ended with exit code {server.returncode} during the load test.")
            with suppress(psutil.Error):  # it may end meanwhile
                yield sample_usage(server.pid)
            time.sleep(USAGE_INTERVAL_S)
    finally:
        locust_process.terminate()


# --- command ----------------------------------------------------------------------------------------------------


def run_load_test(args: argparse.Namespace, batching_order: tuple[str, ...]) -> list[dict[str, Any]]:
    """Measure the load with one visitor and with all of them.

    Args:
        args: arguments of the command.
        batching_order: keys of `BATCHING_ENVIRONMENTS`, one for each server to start.

    Returns:
        For each batching mode and number of visitors the metrics, see `compute_metrics`.

    Raises:
        SystemExit: The page was open for all visitors for too short a time.
    """
    results: dict[tuple[str, int], list[LoadTestResult]] = {}
    for batching in batching_order:
        with run_server(**BATCHING_ENVIRONMENTS[batching]) as server:
            with urllib.request.urlopen(f"{server.address}/config", timeout=TIMEOUT_S) as response:
                plan = build_plan(json.load(response), args.checkpoint, args.pause)
            run_visitors(server, plan | {"pause": [0, 0]}, 1, WARMUP_S)
            for visitors, seconds in ((1, SINGLE_VISITOR_S), (args.visitors, args.seconds)):
                result = run_visitors(server, plan, visitors, seconds)
                if len(result.usage_samples) < 2:
                    raise SystemExit("The page was open for all visitors too late: increase --seconds.")
                results.setdefault((batching, visitors), []).append(result)
    return [{"batching": batching} | compute_metrics(group) for (batching, _), group in results.items()]


def print_report(rows: list[dict[str, Any]]) -> None:
    """Print the table and the errors."""
    print(
        f"{'batching':8} {'visitors':>8} {'thoughts/s':>10} {'p50 ms':>7} {'p95':>6} {'p99':>6} {'max':>6} "
        f"{'page p50':>8} {'p95':>5} {'errors':>6} {'right':>6} {'CPUs':>5} {'ms each':>7} {'MiB':>5} {'threads':>7} "
        f"{'files':>5}"
    )
    for row in rows:
        answer, page = ({"p50": 0, "p95": 0, "p99": 0, "max": 0} | row[name] for name in ("thought", "page"))
        server = row["server"]
        errors = row["errors"]
        print(
            f"{row['batching']:8} {row['visitors']:8} {row['thoughts_per_second']:10.2f} {answer['p50']:7.0f} "
            f"{answer['p95']:6.0f} {answer['p99']:6.0f} {answer['max']:6.0f} {page['p50']:8.0f} {page['p95']:5.0f} "
            f"{sum(errors.values()):6} {row['right']:6.1%} {server['cpu']:5.2f} {server['cpu_ms_per_thought']:7.1f} "
            f"{server['peak_mib_after']:5.0f} {server['threads']:7} {server['files']:5}"
        )
        for error, count in errors.items():
            print(f"{count} x {error}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50, help="visitors at once, after one alone")
    parser.add_argument("--seconds", type=float, default=120, help="duration of the run with all visitors")
    parser.add_argument("--checkpoint", nargs="+", default=CHECKPOINTS, help="checkpoints that visitors use")
    parser.add_argument(
        "--pause", nargs=2, type=float, default=(0.5, 1.5), help="seconds between two requests, at least and at most"
    )
    parser.add_argument(
        "--compare", action="store_true", help="without and with dynamic batching, twice each, alternating"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    rows = run_load_test(args, BATCHING_ORDER if args.compare else ("on",))
    print_report(rows)
    ratios = compute_ratios(rows)
    for ratio in ratios:
        print("with batching, relative to without:", {name: round(value, 2) for name, value in ratio.items()})
    if args.json:
        figures = {
            "rows": rows,
            "ratios": ratios,
            "pause": args.pause,
            "command": shlex.join(["python", "-m", "benchmarks.load_test", *sys.argv[1:]]),
            "date": f"{datetime.date.today():%Y-%m-%d}",
            "hardware": {"processor": get_processor_name(), "cores": os.cpu_count()},
            "torch": torch.__version__,
        }
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    if any(row["errors"] or not row["thought"]["n"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
