"""Write the generated parts of the documents and of the recipes, and the model cards of the bundled checkpoints.

    python -m benchmarks.render_results [--check]

Measured tables of README.md, docs/results.md and docs/experiments.md, and the comments at the top of the recipes, come from `metrics.json` and
`halting.json` of the bundled checkpoints and from the files of the benchmarks. docs/configuration.md comes from the
settings classes. `--check` writes nothing and fails if a file is out of date.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    arithmetic_digits,
    browser_engine,
    compare_runs,
    digit_questions,
    digit_recall,
    first_answer,
    maze_attention,
    maze_backbones,
    maze_distances,
    maze_pictures,
    maze_reapplication,
    sampler_speed,
    seeds,
)
from benchmarks.browser_visit_metrics import render_browser_visits
from benchmarks.checkpoint_tables import (
    NOT_MEASURED,
    build_checkpoints_table,
    build_comparison_table,
    build_confidence_table,
    build_difficulty_table,
    build_models_table,
    describe_risk_control,
)
from benchmarks.compare_versions import render_training_table
from benchmarks.confidence import render_table as render_confidence_table
from benchmarks.goals import build_goals_table
from benchmarks.halting.markdown import render_table as render_halting_table
from benchmarks.image_files import render_summary
from benchmarks.paper_photos import render_table as render_photo_table
from benchmarks.paths import ROOT, find_recipe, read_benchmark
from benchmarks.render_configuration import render_configuration
from benchmarks.speed_tables import render_load, render_onnx, render_speed
from benchmarks.training_cost import render_training_cost
from ctm.checkpoint import MODEL_CARD_NAME
from training.config import read_recipe
from training.former_recipes import find_former_recipe
from training.model_card import render_checkpoint_card


def fill_sections(text: str, sections: Mapping[str, Callable[[], str]], file_name: str) -> str:
    """Return a document with its measured sections replaced.

    Args:
        text: Document with a pair of marks around every measured section.
        sections: Name of each section -> function that builds its text.
        file_name: Name of the document, for the error message.

    Raises:
        SystemExit: A mark is missing.
    """
    for name, build in sections.items():
        start, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"{file_name} lacks the marks {start} and {end}.")
        before, _, rest = text.partition(start)
        after = rest.partition(end)[2]
        text = f"{before}{start}\n{build()}\n{end}{after}"
    return text


def build_from_benchmark(name: str, render: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    """Return a function that renders the figures of a benchmark, or says that there are none yet.

    Args:
        name: Name of the file of figures in benchmarks/, without suffix.
        render: Renders the content of the file.
    """

    def build() -> str:
        figures = read_benchmark(name)
        return render(figures) if figures else NOT_MEASURED

    return build


MEASURED_SECTIONS: dict[str, dict[str, Callable[[], str]]] = {  # document -> name of a section -> its text
    "README.md": {"models": build_models_table},
    "docs/results.md": {
        "checkpoints": build_checkpoints_table,
        "goals": build_goals_table,
        "seeds": build_from_benchmark(seeds.RESULTS_NAME, seeds.render_table),
        "confidence": build_confidence_table,
        "unfamiliar inputs": build_from_benchmark("confidence", render_confidence_table),
        "guarantees": describe_risk_control,
        "training cost": build_from_benchmark("training_cost", render_training_cost),
        "comparison": build_comparison_table,
        "halting": build_from_benchmark("halting", render_halting_table),
        "maze reapplication": build_from_benchmark(maze_reapplication.RESULTS_NAME, maze_reapplication.render_table),
        "maze pictures": build_from_benchmark(
            "maze_pictures", lambda figures: maze_pictures.build_table(figures["kinds"])
        ),
        "speed": build_from_benchmark("tick", render_speed),
        "onnx": build_from_benchmark("onnx", render_onnx),
        "browser engine": build_from_benchmark(browser_engine.RESULTS_NAME, browser_engine.render_table),
        "first answer": build_from_benchmark(first_answer.RESULTS_NAME, first_answer.render_table),
        "load": build_from_benchmark("load", render_load),
        "browser visits": build_from_benchmark("browser_visits", render_browser_visits),
        "image files": build_from_benchmark("image_files", render_summary),
        "photos": build_from_benchmark("paper_photos", render_photo_table),
    },
    "docs/experiments.md": {
        "taught parity": build_from_benchmark("taught_parity", compare_runs.render_table),
        "parity of 64 bits": build_from_benchmark("parity_64_runs", compare_runs.render_table),
        "chains": build_from_benchmark("chain_runs", compare_runs.render_table),
        "chain lengths": partial(build_difficulty_table, "chain"),
        "arithmetic runs": build_from_benchmark("arithmetic_runs", compare_runs.render_table),
        "arithmetic digits": build_from_benchmark(arithmetic_digits.RESULTS_NAME, arithmetic_digits.render_table),
        "tracking runs": build_from_benchmark("tracking_runs", compare_runs.render_table),
        "tracking difficulty": partial(build_difficulty_table, "tracking-position"),
        "maze attention": build_from_benchmark(maze_attention.RESULTS_NAME, maze_attention.render_table),
        "paced mazes": build_from_benchmark("mazes_runs", compare_runs.render_table),
        "maze backbones": build_from_benchmark(maze_backbones.RESULTS_NAME, maze_backbones.render_table),
        "taught mazes": build_from_benchmark("taught_mazes", compare_runs.render_table),
        "large mazes": build_from_benchmark("large_maze_runs", compare_runs.render_table),
        "maze distances": build_from_benchmark(maze_distances.RESULTS_NAME, maze_distances.render_table),
        "bracket runs": build_from_benchmark("bracket_runs", compare_runs.render_table),
        "sorting runs": build_from_benchmark("sorting_runs", compare_runs.render_table),
        "digit questions": build_from_benchmark(digit_questions.RESULTS_NAME, digit_questions.render_table),
        "digit recall": build_from_benchmark(digit_recall.RESULTS_NAME, digit_recall.render_table),
        "taught digit questions": build_from_benchmark("qamnist_runs", compare_runs.render_table),
        "training speed": build_from_benchmark("training_speed", render_training_table),
        "samplers": build_from_benchmark("sampler_speed", sampler_speed.render_table),
    },
}


def update_recipe_header(text: str, metrics: dict[str, Any], recipe: Path) -> str:
    """Return a recipe whose opening comment states the command and the measured figures.

    Args:
        text: The recipe.
        metrics: Content of the `metrics.json` of a checkpoint that was trained with it, or with a recipe that it replaces.
        recipe: Path of the recipe.
    """
    train, lines = metrics["training"], text.splitlines()
    body = lines[next(index for index, line in enumerate(lines) if not line.startswith("#")) :]
    claims = [
        f"#   {e['split']}: {e['accuracy_halted']:.2%} accuracy on {e['n']:,} samples in {e['mean_ticks']:.1f} of "
        f"{e['iterations']} ticks on average ({e['policy']}); best fixed tick {e['accuracy_best']:.2%}"
        for e in metrics["evaluations"]
    ]
    former = find_former_recipe(train["command"])
    command = f"python -m training train {recipe.relative_to(ROOT)} train.device=cpu" if former else train["command"]
    head = [
        f"# {command}",
        f"# Measured {metrics['date']} on held-out samples, after {train['steps']:,} steps{format_stage(train, recipe)} on "
        f"{train['hardware']}, seed {train['seed']}:",
    ]
    return "\n".join([*head, *claims, *body]) + "\n"


def format_stage(train: dict[str, Any], recipe: Path) -> str:
    """Return which stages of a recipe the steps of a training are: all, or one that was a run of its own; "" for one stage.

    Args:
        train: Entry `training` of `metrics.json`.
        recipe: Path of the recipe.
    """
    num_stages = len(read_recipe(recipe).stages)
    if "stages" in train or not num_stages:
        return f" in {train['stages']} stages" if "stages" in train else ""
    former = find_former_recipe(train["command"])
    return f" of stage {former.stage if former else num_stages} of {num_stages}"


def render_files() -> dict[Path, str]:
    """Return every file with generated parts, as it should be."""
    files = {
        ROOT / name: fill_sections((ROOT / name).read_text("utf-8"), sections, name)
        for name, sections in MEASURED_SECTIONS.items()
    }
    files[ROOT / "docs/configuration.md"] = render_configuration()
    for path in sorted(ROOT.glob("checkpoints/*/metrics.json")):
        metrics = json.loads(path.read_text("utf-8"))
        recipe = find_recipe(metrics)
        former = find_former_recipe(metrics["training"]["command"])
        if not former or former.stage:
            files[recipe] = update_recipe_header(recipe.read_text("utf-8"), metrics, recipe)
        files[path.parent / MODEL_CARD_NAME] = render_checkpoint_card(path.parent)
    return files


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render_results", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a file is out of date")
    args = parser.parse_args()
    for path, text in render_files().items():
        if not args.check:
            path.write_text(text, "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != text:
            raise SystemExit(f"{path.relative_to(ROOT)} is out of date: run `make render-results`.")


if __name__ == "__main__":
    main()
