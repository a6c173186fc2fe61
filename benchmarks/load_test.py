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
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.load_plan import build_plan
from benchmarks.paths import ROOT
from benchmarks.speed import get_processor_name, read_memory_kib

CHECKPOINTS = ("digits", "parity-16", "arithmetic")
READY_PATH = "/readyz"
TIMEOUT_S = 120  # for a server to become ready, and for a request to end
SINGLE_VISITOR_S = 15  # duration of the run with one visitor
SPAWN_RATE_PER_S = 10  # new visitors per second
WARMUP_S = 5  # duration of a first run that makes the server load every checkpoint
MAX_LOG_CHARS = 5_000
BATCHING_ENVIRONMENTS = {"off": {"CTM_BATCH": "1"}, "on": {}}
BATCHING_ORDER = ("off", "on", "on", "off")  # symmetric, so that a slowdown of the computer affects both equally


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
    """Run the server until it is ready, with a clean environment; print the end of its log when it stops."""
    prefixes = ("GRADIO_", "SPACE_", "CTM_", "HF_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    with tempfile.TemporaryDirectory() as home:
        log = Path(home, "log.txt")
        overrides = {
            "CTM_HOME": home,
            "GRADIO_TEMP_DIR": f"{home}/uploads",
            "GRADIO_SERVER_PORT": "0",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, "app.py"]
        with log.open("w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=inherited | overrides | environment, stdout=file, stderr=file
            )
        try:
            yield ServerProcess(wait_for_address(process, log), process)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
            text = re.sub(r"^(Starting|Open)\b.*\n", "", log.read_text("utf-8"), flags=re.M)
            print(text[-MAX_LOG_CHARS:], end="", file=sys.stderr)


def wait_for_address(process: subprocess.Popen, log: Path) -> str:
    """Wait until the server is ready and return its URL.

    Raises:
        SystemExit: It ended, or was not ready within `TIMEOUT_S`.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"Open (http://\S+)", log.read_text("utf-8")):
            with suppress(urllib.error.URLError), urllib.request.urlopen(match[1] + READY_PATH, timeout=TIMEOUT_S):
                return match[1]
        time.sleep(0.1)
    raise SystemExit("The server did not get ready.")


def sample_usage(pid: int) -> dict[str, float]:
    """Return the CPU time, peak memory, threads and open files of a process."""
    process = psutil.Process(pid)
    with process.oneshot():
        spent = process.cpu_times()
        return {
            "at": time.time(),
            "cpu": spent.user + spent.system,
            "peak_mib": read_memory_kib("VmHWM", pid) / 1024,
            "threads": process.num_threads(),
            "files": process.num_fds(),
        }


# --- visitors -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadTestResult:
    """Requests of the visitors, and the server's usage while all of them were active.

    Attributes:
        visitors: number of visitors.
        seconds: duration, in seconds.
        visitors_cpu_s: CPU time of the visitors themselves, in seconds.
        request_samples: one entry per request.
        usage_samples: usage of the server over time.
    """

    visitors: int
    seconds: float
    visitors_cpu_s: float
    request_samples: list[dict[str, Any]]
    usage_samples: list[dict[str, float]]


def run_visitors(server: ServerProcess, plan: dict[str, Any], visitors: int, seconds: float) -> LoadTestResult:
    """Run visitors for a number of seconds. Requests count from when the page is open for all of them.

    Raises:
        SystemExit: Locust wrote no results, or the server ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan_path, results_path, log = (Path(folder, name) for name in ("plan.json", "results.json", "log.txt"))
        plan_path.write_text(json.dumps(plan), "utf-8")
        command = [
            sys.executable,
            "-m",
            "locust",
            "--headless",
            "--only-summary",
            "-f",
            "benchmarks/locustfile.py",
            "--host",
            server.address,
            "--users",
            str(visitors),
            "--spawn-rate",
            str(SPAWN_RATE_PER_S),
            "--run-time",
            f"{seconds + (visitors - 1) / SPAWN_RATE_PER_S:.0f}s",
            "--stop-timeout",
            str(TIMEOUT_S),
            "--plan",
            str(plan_path),
            "--results",
            str(results_path),
        ]
        with log.open("w") as file, subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file) as process:
            usage = list(monitor_usage(server.process, process))
        if not results_path.is_file():
            raise SystemExit(f"No visitor reached the server:\n{log.read_text('utf-8')}")
        results = json.loads(results_path.read_text("utf-8"))
    ended = results["ended"]
    began = min(results.get("began", ended), ended)
    samples = [s for s in results["samples"] if s["name"] != "thought" or s["error"] or began <= s["began"] <= ended]
    usage = [look for look in usage if began <= look["at"] <= ended]
    return LoadTestResult(visitors, ended - began, results["cpu"], samples, usage)


def monitor_usage(server: subprocess.Popen, visitors: subprocess.Popen) -> Iterator[dict[str, float]]:
    """Yield the usage of the server four times a second until the visitors end; end them if the caller stops early."""
    try:
        while visitors.poll() is None:
            if server.poll() is not None:
                raise SystemExit(f"The server ended with exit code {server.returncode} during the load test.")
            with suppress(psutil.Error):  # it may end meanwhile
                yield sample_usage(server.pid)
            time.sleep(0.25)
    finally:
        visitors.terminate()


# --- metrics --------------------------------------------------------------------------------------------


def compute_percentiles(values: list[float]) -> dict[str, float]:
    """Return the count, percentiles and the maximum."""
    if not values:
        return {"n": 0}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    percentiles = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}
    return {"n": len(values)} | {name: round(value, 1) for name, value in percentiles.items()}


def compute_metrics(visits: list[LoadTestResult]) -> dict[str, Any]:
    """Return the metrics of runs with equally many visitors; latencies in milliseconds."""
    seconds = sum(visit.seconds for visit in visits)
    samples = [sample for visit in visits for sample in visit.request_samples]
    well = [sample for sample in samples if not sample["error"]]
    thoughts = [sample for sample in well if sample["name"] == "thought"]
    names = sorted({thought["checkpoint"] for thought in thoughts})
    server = summarise_usage([visit.usage_samples for visit in visits])
    return {
        "visitors": visits[0].visitors,
        "seconds": round(seconds, 1),
        "thoughts_per_second": round(len(thoughts) / seconds, 2),
        "thought": compute_percentiles([thought["milliseconds"] for thought in thoughts]),
        "right": compute_accuracy(thoughts),
        "by_checkpoint": {
            name: compute_checkpoint_metrics([t for t in thoughts if t["checkpoint"] == name]) for name in names
        },
        "page": compute_percentiles([sample["milliseconds"] for sample in well if sample["name"] == "page"]),
        "errors": dict(Counter(f"{s['name']}: {s['error']}" for s in samples if s["error"])),
        "server": server | {"cpu_ms_per_thought": round(server["cpu"] * seconds / max(1, len(thoughts)) * 1e3, 1)},
        "visitors_cpu": round(sum(visit.visitors_cpu_s for visit in visits) / seconds, 2),
    }


def compute_checkpoint_metrics(thoughts: list[dict[str, Any]]) -> dict[str, float]:
    """Return the latency percentiles and the accuracy of one checkpoint."""
    return compute_percentiles([thought["milliseconds"] for thought in thoughts]) | {
        "right": compute_accuracy(thoughts)
    }


def compute_accuracy(thoughts: list[dict[str, Any]]) -> float:
    """Return the share of correct answers; answers sent to the wrong visitor would lower it."""
    return round(sum(thought["right"] for thought in thoughts) / max(1, len(thoughts)), 4)


def summarise_usage(visits: list[list[dict[str, float]]]) -> dict[str, float]:
    """Return the mean number of CPUs, the peak memory (MiB) before and after, and the most threads and open files."""
    looks = [look for visit in visits for look in visit]
    cpu, seconds = (sum(visit[-1][name] - visit[0][name] for visit in visits) for name in ("cpu", "at"))
    return {
        "cpu": round(cpu / seconds, 2),
        "peak_mib_before": round(max(visit[0]["peak_mib"] for visit in visits), 1),
        "peak_mib_after": round(max(visit[-1]["peak_mib"] for visit in visits), 1),
        "threads": max(look["threads"] for look in looks),
        "files": max(look["files"] for look in looks),
    }


def compute_ratios(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """With batching, in times of without: thoughts a second (more is better) and latencies (less is better)."""
    without = {row["visitors"]: row for row in rows if row["batching"] == "off"}
    pairs = [(without[row["visitors"]], row) for row in rows if row["batching"] == "on" and row["visitors"] in without]
    return [
        {"visitors": on["visitors"], "thoughts_per_second": on["thoughts_per_second"] / off["thoughts_per_second"]}
        | {name: on["thought"][name] / off["thought"][name] for name in ("p50", "p95", "p99", "max")}
        for off, on in pairs
        if off["thought"]["n"] and on["thought"]["n"]
    ]


def run_load_test(args: argparse.Namespace, batching_order: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for one visitor and one for all of them, with and without batching as the turns have it."""
    visits: dict[tuple[str, int], list[LoadTestResult]] = {}
    for turn in batching_order:
        with run_server(**BATCHING_ENVIRONMENTS[turn]) as server:
            with urllib.request.urlopen(f"{server.address}/config", timeout=TIMEOUT_S) as config:
                plan = build_plan(json.load(config), args.checkpoint, args.pause)
            run_visitors(server, plan | {"pause": [0, 0]}, 1, WARMUP_S)
            for visitors, seconds in ((1, SINGLE_VISITOR_S), (args.visitors, args.seconds)):
                found = run_visitors(server, plan, visitors, seconds)
                if len(found.usage_samples) < 2:
                    raise SystemExit("The page was open for all visitors too late: increase --seconds.")
                visits.setdefault((turn, visitors), []).append(found)
    return [{"batching": turn} | compute_metrics(found) for (turn, _), found in visits.items()]


def print_report(rows: list[dict[str, Any]]) -> None:
    """Print the table and the errors."""
    print(
        f"{'batching':8} {'visitors':>8} {'thoughts/s':>10} {'p50 ms':>7} {'p95':>6} {'p99':>6} {'max':>6} "
        f"{'page p50':>8} {'p95':>5} {'errors':>6} {'right':>6} {'CPUs':>5} {'ms each':>7} {'MiB':>5} {'threads':>7} "
        f"{'files':>5}"
    )
    for row in rows:
        thought, page = ({"p50": 0, "p95": 0, "p99": 0, "max": 0} | row[what] for what in ("thought", "page"))
        server, errors = row["server"], row["errors"]
        print(
            f"{row['batching']:8} {row['visitors']:8} {row['thoughts_per_second']:10.2f} {thought['p50']:7.0f} "
            f"{thought['p95']:6.0f} {thought['p99']:6.0f} {thought['max']:6.0f} {page['p50']:8.0f} {page['p95']:5.0f} "
            f"{sum(errors.values()):6} {row['right']:6.1%} {server['cpu']:5.2f} {server['cpu_ms_per_thought']:7.1f} "
            f"{server['peak_mib_after']:5.0f} {server['threads']:7} {server['files']:5}"
        )
        for error, times in errors.items():
            print(f"{times} x {error}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50, help="visitors at once, after one alone")
    parser.add_argument("--seconds", type=float, default=120, help="duration of the run with all visitors")
    parser.add_argument("--checkpoint", nargs="+", default=CHECKPOINTS, help="checkpoints that visitors use")
    parser.add_argument("--pause", nargs=2, type=float, default=(0.5, 1.5), help="seconds between two requests")
    parser.add_argument(
        "--compare", action="store_true", help="without and with dynamic batching, twice each, alternating"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    rows = run_load_test(args, BATCHING_ORDER if args.compare else ("on",))
    print_report(rows)
    compared = compute_ratios(rows)
    for ratio in compared:
        print("with batching, relative to without:", {name: round(value, 2) for name, value in ratio.items()})
    if args.json:
        figures = {
            "rows": rows,
            "ratios": compared,
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
