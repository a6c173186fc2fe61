"""Load of visitors whose browsers compute the predictions: what the server has left to do.

    python -m benchmarks.browser_visits [--visitors 500] [--predictions 20] [--pause 2 8] [--spawn-rate 2] [--json FILE]

A visitor is an HTTP client of https://locust.io, not a browser: 500 browsers do not fit on one computer. It sends the requests that
Chromium makes, which the command records first: it opens the page and runs the maze twice; the second prediction must not ask the
server. A visitor opens the page with an empty cache, loads the model, and stays with an open session for its predictions, which
are waited for and not computed. Later it visits the page once more; its cache then holds what the headers of the server permit, such
as the weights. Visitors share the processor with the server.

All visitors open the page before the first of them predicts, so that the processor time of the server is known for both: of an opened
page, and of a prediction while all pages are open. With an error, the exit code is 1.
"""

import argparse
import json
import os
import urllib.request
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.browser_requests import record_requests
from benchmarks.browser_visit_metrics import VISIT_KINDS, compute_visit_metrics, render_browser_visits
from benchmarks.load_plan import build_load_calls
from benchmarks.load_server import TIMEOUT_S, run_server
from benchmarks.load_test import format_command
from benchmarks.load_visitors import run_locust
from benchmarks.paths import write_figures
from benchmarks.speed import get_processor_name


def run_visits(args: argparse.Namespace) -> dict[str, Any]:
    """Start a server, record the requests of a browser, and run the visitors.

    Args:
        args: arguments of the command.

    Returns:
        The metrics, see `compute_visit_metrics`.

    Raises:
        SystemExit: The requests cannot be recorded, or visitors did not finish.
    """
    with run_server() as server:
        recorded = record_requests(server.address)
        with urllib.request.urlopen(f"{server.address}/config", timeout=TIMEOUT_S) as response:
            on_load = build_load_calls(json.load(response))
        plan = {
            "on_load": on_load,
            "page_paths": recorded.page,
            "model_paths": recorded.model,
            "pause": args.pause,
            "thoughts": args.predictions,
            "visit_kinds": VISIT_KINDS,
            "opening_s": args.visitors / args.spawn_rate,
            "visitors": args.visitors,
        }
        visit_s = 2 * args.visitors / args.spawn_rate + args.pause[1] * args.predictions
        seconds = TIMEOUT_S + len(VISIT_KINDS) * visit_s
        results, usage_samples = run_locust(server, "BrowserVisitor", plan, args.visitors, seconds, args.spawn_rate)
    if results.get("finished", 0) < args.visitors:
        raise SystemExit(f"{results.get('finished', 0)} of {args.visitors} visitors finished within {seconds:.0f} s.")
    return compute_visit_metrics(results, usage_samples) | {
        "recorded": {"page": len(recorded.page), "model": len(recorded.model)}  # numbers of requests
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.browser_visits", description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=500, help="number of visitors (default: %(default)s)")
    parser.add_argument("--predictions", type=int, default=20, help="predictions of a visit (default: %(default)s)")
    parser.add_argument(
        "--pause", nargs=2, type=float, default=(2.0, 8.0), help="seconds between two predictions, at least and at most"
    )
    parser.add_argument(
        "--spawn-rate", type=float, default=2.0, help="visitors per second that open the page (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    figures = run_visits(args) | {
        "visitors": args.visitors,
        "spawn_rate": args.spawn_rate,
        "predictions_each": args.predictions,
        "pause": args.pause,
        "command": format_command("benchmarks.browser_visits"),
        "date": f"{date.today():%Y-%m-%d}",
        "hardware": {"processor": get_processor_name(), "cores": os.cpu_count()},
    }
    print(render_browser_visits(figures))
    for error, count in figures["errors"].items():
        print(f"{count} x {error}")
    if args.json:
        write_figures(args.json, figures)
    if figures["errors"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
