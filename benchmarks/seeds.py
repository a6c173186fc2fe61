"""Accuracy of models that were trained with the same recipe and different seeds.

    python -m benchmarks.seeds CHECKPOINT_DIR ...

Evaluates checkpoints on the test split of their task, without halting, and adds the figures to `benchmarks/seeds.json` under
their recipe and seed, which `metrics.json` states. The weights may be deleted afterwards.
"""

import argparse
import datetime
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare_runs import FIGURES
from benchmarks.paths import ROOT, find_recipe, read_benchmark, write_figures
from ctm.checkpoint import load
from training.evaluation import MAX_EVALUATION_SAMPLES, build_split_batches, evaluate_curves
from training.metrics import summarise_curves
from training.tasks import build_task
from training.tasks.splits import TEST

RESULTS_NAME = "seeds"


def evaluate_checkpoint(checkpoint_dir: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the recipe of a checkpoint, and its seed, cost and accuracy on test samples."""
    checkpoint = load(checkpoint_dir)
    training = checkpoint.metrics["training"]
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    batches = build_split_batches(task, TEST, MAX_EVALUATION_SAMPLES)
    curves = evaluate_curves(checkpoint.model, task.decoder, batches)
    summary = summarise_curves(curves)
    return find_recipe(checkpoint.metrics).stem, {
        "seed": training["seed"],
        "steps": training["steps"],
        "processor_seconds": training.get("processor_seconds"),
        "n": len(curves.correct),
        **{name: summary[name] for name in FIGURES},
    }


def add_models(figures: dict[str, Any], checkpoint_dirs: list[Path]) -> dict[str, Any]:
    """Return the figures with those of further checkpoints; the same recipe and seed are replaced."""
    recipes = {name: list(models) for name, models in figures.get("recipes", {}).items()}
    for checkpoint_dir in checkpoint_dirs:
        recipe, model = evaluate_checkpoint(checkpoint_dir)
        others = [other for other in recipes.get(recipe, []) if other["seed"] != model["seed"]]
        recipes[recipe] = sorted([*others, model], key=lambda entry: entry["seed"])
    return {
        "command": "python -m benchmarks.seeds CHECKPOINT_DIR ...",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "recipes": dict(sorted(recipes.items())),
    }


def render_table(figures: dict[str, Any]) -> str:
    """Render mean, standard deviation and single values of every recipe as a Markdown table."""
    lines = [f"| recipe | seeds | n | {' | '.join(FIGURES.values())} |", "|---|---|---|" + "---|" * len(FIGURES)]
    for recipe, models in figures["recipes"].items():
        cells = [format_figures([model[name] for model in models]) for name in FIGURES]
        seeds = ", ".join(str(model["seed"]) for model in models)
        lines.append(f"| {recipe} | {seeds} | {models[0]['n']:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"`{figures['command']}`, {figures['date']}."])


def format_figures(values: list[float]) -> str:
    """Format mean and standard deviation of some shares, and each of them."""
    each = ", ".join(f"{100 * value:.2f}" for value in values)
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}%{spread} ({each})"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT_DIR", help="trained checkpoints")
    args = parser.parse_args()
    figures = add_models(read_benchmark(RESULTS_NAME), args.checkpoints)
    write_figures(ROOT / f"benchmarks/{RESULTS_NAME}.json", figures)
    print(render_table(figures))


if __name__ == "__main__":
    main()
