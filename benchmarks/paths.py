"""Root directory of the project, the recipe of a bundled checkpoint, and the files of figures of the benchmarks."""

import argparse
import datetime
import json
from collections.abc import Callable
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
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description.splitlines()[0])
    parser.add_argument("--json", type=Path, default=ROOT / f"benchmarks/{name}.json", help="file to write")
    args = parser.parse_args()
    figures = {"command": f"python -m benchmarks.{name}", "date": datetime.date.today().isoformat(), **measure()}
    write_figures(args.json, figures)
    print(render_table(figures))
