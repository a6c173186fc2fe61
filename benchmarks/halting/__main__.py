"""Compare all halting policies on the same frozen models, on held-out samples.

    python -m benchmarks.halting [--tasks digits brackets ...] [--seeds N]

Frozen models are the bundled checkpoints and, for further seeds, models trained with their recipes: those in `trunks/` beside
this file, and those in `runs/`. Unrolls and results of each model are cached in `runs/halting`, so an interrupted run resumes.
Writes `benchmarks/halting.json` (the figures of the README and of the model cards) and `docs/halting.html` (the frontiers).
"""

import argparse
import datetime
import json
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.halting.evaluate import NUM_HEAD_SEEDS, evaluate_frozen_model
from benchmarks.halting.frozen_models import CACHE_DIR, CACHE_VERSION, FrozenModel, find_frozen_models
from benchmarks.halting.plots import write_plots
from benchmarks.halting.policies_under_test import DEFAULT_ENERGY_KIND
from benchmarks.halting.summary import summarise_tasks
from benchmarks.paths import ROOT, write_figures
from benchmarks.speed import get_processor_name
from training.cli.options import bounded_number

TASKS = ("digits", "parity-16-untaught", "brackets-short", "arithmetic-table", "mazes-15-untaught")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.halting", description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="NAME", help="bundled checkpoints")
    parser.add_argument(
        "--seeds",
        type=bounded_number(1, 100, int),
        default=3,
        help="models of each task, if they were trained (default: 3)",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/halting.json", help="the figures")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/halting.html", help="page with the frontiers")
    args = parser.parse_args()
    for path in (args.out, args.page):
        if not path.absolute().parent.is_dir():
            raise SystemExit(f"Error: {path.parent} is no folder.")
    frozen_models = list(find_frozen_models(args.tasks, args.seeds))  # report missing ones before any is measured
    results = [load_or_evaluate(frozen_model) for frozen_model in frozen_models]
    figures = build_figures(results, f"--tasks {' '.join(args.tasks)} --seeds {args.seeds}")
    write_figures(args.out, figures)
    write_plots(figures, args.page)
    for name, task in figures["summary"].items():
        print(name, json.dumps(task["energy_against_certainty"]))


def build_figures(results: list[dict[str, Any]], arguments: str) -> dict[str, Any]:
    """Build the content of `benchmarks/halting.json`.

    Args:
        results: results of all models.
        arguments: arguments of the command.
    """
    return {
        "command": f"python -m benchmarks.halting {arguments}",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "hardware": {
            "processor": get_processor_name(),
            "threads": torch.get_num_threads(),
            "system": platform.system(),
        },
        "heads": NUM_HEAD_SEEDS[DEFAULT_ENERGY_KIND],
        "summary": summarise_tasks(results),
        "trunks": [{name: value for name, value in result.items() if name != "draws"} for result in results],
    }


def load_or_evaluate(frozen_model: FrozenModel) -> dict[str, Any]:
    """Return the results of a frozen model, from the cache if they are there."""
    path = CACHE_DIR / f"{frozen_model.name}-seed{frozen_model.seed}-{frozen_model.digest}-v{CACHE_VERSION}.json"
    if not path.is_file():
        print(f"{frozen_model.name}, seed {frozen_model.seed} ...", flush=True)
        temporary_path = path.with_suffix(".part")
        text = json.dumps(evaluate_frozen_model(frozen_model))
        temporary_path.write_text(text, "utf-8")
        temporary_path.replace(path)
    return json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
