"""Speed of this version beside another version of the project, alternating in one run.

    git worktree add ../v0.1.0 v0.1.0
    python -m benchmarks.compare_versions ../v0.1.0 [--repeats 20] [--only CASE ...] [--training] [--json FILE]

Each version runs in a process of its own with one thread, and reports CPU time. The processes take turns, so that other load on the
computer affects both equally. Ratios are medians over pairs of calls, with the interval that holds the middle 95 % of bootstrap medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.halting.metrics import NUM_BOOTSTRAP_DRAWS, compute_confidence_interval
from benchmarks.paths import ROOT, write_figures
from benchmarks.speed import get_processor_name

CASES = [
    f"{checkpoint} {operation} {batch_size}"
    for checkpoint in ("digits", "parity-16", "mazes-15")
    for operation, batch_size in (("unroll", 1), ("unroll", 64), ("engine", 1), ("engine", 64), ("backward", 32))
]
TRAINING_CASES = [f"{recipe} train 64" for recipe in ("parity-16", "parity-64", "mazes-15", "digits", "sorting-10")]


@dataclass(frozen=True)
class CaseComparison:
    """Result of one case.

    Attributes:
        case: name of the case.
        current_ms: median CPU milliseconds of this version.
        other_ms: median CPU milliseconds of the other version.
        ratio: median of current divided by other; below 1 if this version is faster.
        low: lower end of the 95 % bootstrap interval of the ratio.
        high: upper end of that interval.
    """

    case: str
    current_ms: float
    other_ms: float
    ratio: float
    low: float
    high: float


class VersionWorker:
    """Process that times cases with one checkout of the project.

    Args:
        checkout: root directory of the checkout.
    """

    def __init__(self, checkout: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
        worker = Path(__file__).with_name("version_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(worker)],
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time_case(self, name: str) -> float:
        """Return the CPU seconds of one call of a case."""
        assert self._process.stdin and self._process.stdout
        print(name, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare_case(name: str, current: VersionWorker, other: VersionWorker, repeats: int) -> CaseComparison:
    """Time a case alternately in both versions.

    Args:
        name: name of the case.
        current: worker of this version.
        other: worker of the other version.
        repeats: pairs of calls.
    """
    pairs = []
    for index in range(repeats):
        first, second = (current, other) if index % 2 else (other, current)
        times = {first: first.time_case(name), second: second.time_case(name)}
        pairs.append((times[current], times[other]))
    ratios = torch.tensor([current_s / other_s for current_s, other_s in pairs], dtype=torch.double)
    draws = torch.randint(repeats, (NUM_BOOTSTRAP_DRAWS, repeats), generator=torch.Generator().manual_seed(0))
    low, _, high = compute_confidence_interval(ratios[draws].quantile(0.5, 1))
    return CaseComparison(
        name,
        current_ms=1e3 * statistics.median(current_s for current_s, _ in pairs),
        other_ms=1e3 * statistics.median(other_s for _, other_s in pairs),
        ratio=statistics.median(ratios.tolist()),
        low=low,
        high=high,
    )


def render_training_table(figures: dict[str, Any]) -> str:
    """Render the steps of training as a Markdown table."""
    lines = [
        "| recipe of 0.1, batch size | samples per second | samples per second of 0.1 | time of a step, ratio |",
        "|---|---|---|---|",
    ]
    for case in figures["cases"]:
        recipe, _, batch_size = case["case"].split()
        current, other = (f"{1e3 * int(batch_size) / case[name]:,.0f}" for name in ("current_ms", "other_ms"))
        interval = f"{case['ratio']:.2f} [{case['low']:.2f}, {case['high']:.2f}]"
        lines.append(f"| {recipe}, {batch_size} | {current} | {other} | {interval} |")
    source = (
        f"Samples per second of processor time, {figures['hardware']['threads']} thread of {figures['hardware']['processor']}, with "
        f"{figures['repeats']} pairs of steps in turns; other programs ran at the same time. `python -m benchmarks.compare_versions "
        f"../v0.1.0 --training`, {figures['date']}."
    )
    return "\n".join([*lines, "", source])


def main(arguments: list[str] | None = None) -> None:
    """Run the cases, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_versions", description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, help="checkout of the other version")
    parser.add_argument("--repeats", type=int, default=20, help="pairs of calls per case (default: %(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*CASES, *TRAINING_CASES],
        default=CASES,
        metavar="CASE",
        help="cases to run (default: all but those of training)",
    )
    parser.add_argument("--training", action="store_true", help="run the steps of training only")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(arguments)
    current = VersionWorker(ROOT)
    other = VersionWorker(args.checkout)
    comparisons = []
    for name in TRAINING_CASES if args.training else args.only:
        comparison = compare_case(name, current, other, args.repeats)
        print(
            f"{name:22} {comparison.current_ms:9.2f} ms {comparison.other_ms:9.2f} ms   "
            f"ratio {comparison.ratio:.3f} ({comparison.low:.3f} to {comparison.high:.3f})",
            flush=True,
        )
        comparisons.append(asdict(comparison))
    current.close()
    other.close()
    if args.json:
        hardware = {"processor": get_processor_name(), "cores": os.cpu_count(), "threads": 1}
        result = {"hardware": hardware, "repeats": args.repeats, "date": date.today().isoformat(), "cases": comparisons}
        write_figures(args.json, result)


if __name__ == "__main__":
    main()
