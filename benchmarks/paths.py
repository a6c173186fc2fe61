"""Root directory of the project, the recipe of a bundled checkpoint, and the files of figures of the benchmarks."""

import argparse
import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.former_recipes import find_former_recipe

ROOT = Path(__file__).parents[1]


def find_recipe(metrics: dict[str, Any]) -> Path:
    """Return the recipe that a checkpoint was trained with, or the one that has replaced it."""
    command = metrics["training"]["command"]
    if former := find_former_recipe(command):
        return ROOT / "configs" / f"{former.successor}.yaml"
    return ROOT / next(word for word in command.split() if word.endswith(".yaml"))


def read_benchmark(benchmark: str) -> dict[str, Any]:
    """Return the figures of a benchmark; {} before its first run."""
    path = ROOT / "benchmarks" / f"{benchmark}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def read_metrics(checkpoint: str) -> dict[str, Any]:
    """Return the `metrics.json` of a bundled checkpoint."""
    return json.loads((ROOT / "checkpoints" / checkpoint / "metrics.json").read_text("utf-8"))


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Write the figures of a benchmark as JSON."""
    path.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def run_benchmark(
    name: str, description: str, measure: Callable[[], dict[str, Any]], render_table: Callable[[dict[str, Any]], str]
) -> None:
    """Run the command of a benchmark without settings: measure, write the figures, and print their table.

    Args:
        name: Name of the module, and of the file of figures without suffix.
        description: Docstring of the module, whose first line is the help text.
        measure: Returns the figures; the command and the date are added.
        render_table: Renders the figures.
    """
    parser = build_parser(name, description)
    args = parser.parse_args()
    report_figures(args.json, f"python -m benchmarks.{name}", measure(), render_table)


def run_checkpoint_benchmark(
    name: str,
    description: str,
    measure: Callable[[Path], dict[str, Any]],
    render_table: Callable[[dict[str, Any]], str],
    default_checkpoints: Sequence[str] = (),
) -> None:
    """Run the command of a benchmark of some checkpoints; their figures are the entry `models`.

    Args:
        name: See `run_benchmark`.
        description: See `run_benchmark`.
        measure: Returns the figures of a checkpoint directory.
        render_table: Renders the figures.
        default_checkpoints: Names of the bundled checkpoints to measure if none are given; without them, some must be given.
    """
    parser = build_parser(name, description)
    defaults = [ROOT / "checkpoints" / checkpoint for checkpoint in default_checkpoints]
    nargs = "*" if defaults else "+"
    parser.add_argument(
        "checkpoints", nargs=nargs, type=Path, default=defaults, metavar="CHECKPOINT_DIR", help="trained checkpoints"
    )
    args = parser.parse_args()
    command = f"python -m benchmarks.{name}" + ("" if defaults else " CHECKPOINT_DIR ...")
    report_figures(args.json, command, {"models": [measure(path) for path in args.checkpoints]}, render_table)


def build_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Build the parser of a benchmark; see `run_benchmark`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description.splitlines()[0])
    parser.add_argument("--json", type=Path, default=ROOT / f"benchmarks/{name}.json", help="file to write")
    return parser


def report_figures(
    path: Path, command: str, figures: dict[str, Any], render_table: Callable[[dict[str, Any]], str]
) -> None:
    """Write figures with their command and date, and print their table."""
    figures = {"command": command, "date": datetime.date.today().isoformat(), **figures}
    write_figures(path, figures)
    print(render_table(figures))
