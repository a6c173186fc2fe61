"""Load test of the page: a server of this project, visited by https://locust.io.

    python -m benchmarks.load_test [--visitors N] [--seconds T] [--checkpoint NAME ...] [--pause LEAST MOST]
                                   [--compare | --baseline DIR] [--json FILE]

`app.py` starts in a separate process with an empty home directory and is polled until it is ready. Visitors open the page and run
inference on held-out samples of the checkpoints, with a pause between two requests; `--pause 0 0` removes the pause and measures
the maximum throughput. One visitor runs alone first, then N at once. The latency is the time from request to answer. Anything but
an answer is an error; with an error, or without any answer, the exit code is 1.

`--compare` measures the same load with and without dynamic batching (`CTM_BATCH`), alternating, on newly started servers.
`--baseline DIR` measures it with this version and with the version in another directory, such as a worktree of 0.1.0. The
visitors share the processor with the server; their CPU usage is reported beside the server's.

All predictions of these visitors run on the server. `benchmarks.browser_visits` measures visitors whose browsers compute.
"""

import argparse
import datetime
import json
import os
import shlex
import sys
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.load_metrics import LoadTestResult, compute_metrics, compute_ratios
from benchmarks.load_plan import build_plan
from benchmarks.load_server import TIMEOUT_S, ServerProcess, run_server
from benchmarks.load_visitors import SPAWN_RATE_PER_S, run_locust
from benchmarks.paths import ROOT, write_figures
from benchmarks.speed import get_processor_name

CHECKPOINTS = ("digits", "parity-16", "arithmetic")
SINGLE_VISITOR_S = 15  # duration of the run with one visitor
WARMUP_S = 5  # duration of a first run that makes the server load every checkpoint
BATCHING_ENVIRONMENTS = {"off": {"CTM_BATCH": "1"}, "on": {}}
# Servers in the order in which they are measured: version and batching. Symmetric, so that a slowdown of the computer affects both
# sides equally.
PLAIN_ORDER = (("current", "on"),)
COMPARE_ORDER = (("current", "off"), ("current", "on"), ("current", "on"), ("current", "off"))
BASELINE_ORDER = (("baseline", "on"), ("current", "on"), ("current", "on"), ("baseline", "on"))


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
    run_seconds = seconds + (visitors - 1) / SPAWN_RATE_PER_S
    results, usage_samples = run_locust(server, "ServerVisitor", plan, visitors, run_seconds, SPAWN_RATE_PER_S)
    return select_full_load(visitors, results, usage_samples)


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


# --- command ----------------------------------------------------------------------------------------------------


def run_load_test(args: argparse.Namespace, order: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """Measure the load with one visitor and with all of them.

    Args:
        args: arguments of the command.
        order: version ("current" or "baseline") and key of `BATCHING_ENVIRONMENTS`, one pair for each server to start.

    Returns:
        For each version, batching mode and number of visitors the metrics, see `compute_metrics`.

    Raises:
        SystemExit: The page was open for all visitors for too short a time.
    """
    results: dict[tuple[str, str, int], list[LoadTestResult]] = {}
    for version, batching in order:
        root = args.baseline if version == "baseline" else ROOT
        with run_server(root, **BATCHING_ENVIRONMENTS[batching]) as server:
            with urllib.request.urlopen(f"{server.address}/config", timeout=TIMEOUT_S) as response:
                plan = build_plan(json.load(response), args.checkpoint, args.pause)
            run_visitors(server, plan | {"pause": [0, 0]}, 1, WARMUP_S)
            for visitors, seconds in ((1, SINGLE_VISITOR_S), (args.visitors, args.seconds)):
                result = run_visitors(server, plan, visitors, seconds)
                if len(result.usage_samples) < 2:
                    raise SystemExit("The page was open for all visitors too late: increase --seconds.")
                results.setdefault((version, batching, visitors), []).append(result)
    return [
        {"version": version, "batching": batching} | compute_metrics(group)
        for (version, batching, _), group in results.items()
    ]


def print_report(rows: list[dict[str, Any]]) -> None:
    """Print the table and the errors."""
    print(
        f"{'version':8} {'batching':8} {'visitors':>8} {'thoughts/s':>10} {'p50 ms':>7} {'p95':>6} {'p99':>6} {'max':>6} "
        f"{'page p50':>8} {'p95':>5} {'errors':>6} {'right':>6} {'CPUs':>5} {'ms each':>7} {'MiB':>5} {'threads':>7} "
        f"{'files':>5}"
    )
    for row in rows:
        answer, page = ({"p50": 0, "p95": 0, "p99": 0, "max": 0} | row[name] for name in ("thought", "page"))
        server = row["server"]
        errors = row["errors"]
        print(
            f"{row['version']:8} {row['batching']:8} {row['visitors']:8} {row['thoughts_per_second']:10.2f} {answer['p50']:7.0f} "
            f"{answer['p95']:6.0f} {answer['p99']:6.0f} {answer['max']:6.0f} {page['p50']:8.0f} {page['p95']:5.0f} "
            f"{sum(errors.values()):6} {row['right']:6.1%} {server['cpu']:5.2f} {server['cpu_ms_per_thought']:7.1f} "
            f"{server['peak_mib_after']:5.0f} {server['threads']:7} {server['files']:5}"
        )
        for error, count in errors.items():
            print(f"{count} x {error}")


def format_command(module: str) -> str:
    """Return the command of this process, with the directory of the baseline by its name alone."""
    arguments = [Path(word).name if before == "--baseline" else word for before, word in pairwise(sys.argv)]
    return shlex.join(["python", "-m", module, *arguments])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50, help="visitors at once, after one alone")
    parser.add_argument("--seconds", type=float, default=120, help="duration of the run with all visitors")
    parser.add_argument("--checkpoint", nargs="+", default=CHECKPOINTS, help="checkpoints that visitors use")
    parser.add_argument(
        "--pause", nargs=2, type=float, default=(0.5, 1.5), help="seconds between two requests, at least and at most"
    )
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument(
        "--compare", action="store_true", help="without and with dynamic batching, twice each, alternating"
    )
    sides.add_argument(
        "--baseline",
        type=Path,
        metavar="DIR",
        help="another version and this one, twice each, alternating; e.g. a worktree",
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.baseline and not (args.baseline / "app.py").is_file():
        raise SystemExit(f"--baseline names the directory of a version with app.py: got {args.baseline}.")
    rows = run_load_test(args, COMPARE_ORDER if args.compare else BASELINE_ORDER if args.baseline else PLAIN_ORDER)
    print_report(rows)
    key, base, other = ("version", "baseline", "current") if args.baseline else ("batching", "off", "on")
    ratios = compute_ratios(rows, key, base, other)
    for ratio in ratios:
        print(f"{key} {other}, relative to {base}:", {name: round(value, 2) for name, value in ratio.items()})
    if args.json:
        figures = {
            "rows": rows,
            "ratios": ratios,
            "pause": args.pause,
            "command": format_command("benchmarks.load_test"),
            "date": f"{datetime.date.today():%Y-%m-%d}",
            "hardware": {"processor": get_processor_name(), "cores": os.cpu_count()},
            "torch": torch.__version__,
        }
        write_figures(args.json, figures)
    if any(row["errors"] or not row["thought"]["n"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
