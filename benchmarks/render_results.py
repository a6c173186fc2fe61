"""Write the generated parts of the documents and of the recipes, and the model cards of the bundled checkpoints.

    python -m benchmarks.render_results [--check]

Measured tables of README.md, docs/results.md and docs/experiments.md, and the comments at the top of the recipes, come from `metrics.json` and
`halting.json` of the bundled checkpoints and from the files of the benchmarks. docs/configuration.md comes from the
settings classes. `--check` writes nothing and fails if a file is out of date.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import browser_engine, first_answer, maze_pictures, sampler_speed, taught_parity
from benchmarks.browser_visit_metrics import render_browser_visits
from benchmarks.confidence import render_table as render_confidence_table
from benchmarks.halting.markdown import render_table
from benchmarks.image_files import render_summary
from benchmarks.paper_photos import render_table as render_photo_table
from benchmarks.paths import ROOT, find_recipe
from benchmarks.render_configuration import render_configuration
from benchmarks.training_cost import render_training_cost
from ctm.checkpoint import MODEL_CARD_NAME, count_weights
from ctm.config import SCHEDULED_BACKBONE, get_backbone_type, infer_model_type
from training.config import read_recipe
from training.former_recipes import find_former_recipe
from training.model_card import format_accuracy, format_auroc, render_checkpoint_card
from training.tasks.registry import get_task_types
from training.training_cost import format_flops, format_processor_time

NOT_MEASURED = "Not measured yet."
MODEL_TYPE_NAMES = {"ctm": "CTM", "lstm": "LSTM", "ff": "feed-forward"}


def build_models_table() -> str:
    """Build a row for the test split of every bundled checkpoint, baselines last."""
    lines = ["| model | task | type | accuracy | mean ticks |", "|---|---|---|---|---|"]
    for folder, kind, metrics in sorted(load_checkpoint_metrics(), key=lambda entry: entry[1] != "ctm"):
        e = metrics["evaluations"][0]
        lines.append(
            f"| [{folder.name}](checkpoints/{folder.name}) | {get_task_types()[e['task']].title} | {MODEL_TYPE_NAMES[kind]} "
            f"| {e['accuracy_halted']:.2%} | {e['mean_ticks']:.1f} of {e['iterations']} |"
        )
    return "\n".join(lines)


def build_checkpoints_table() -> str:
    """Build a row for every held-out split of every bundled CTM, and a line for its training."""
    lines = [
        "| model | parameters | held-out split | n | halted accuracy | mean ticks | best fixed tick | last tick "
        "| ticks by difficulty |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for folder, kind, metrics in load_checkpoint_metrics():
        if kind != "ctm":
            continue
        lines += [format_evaluation_row(folder, evaluation) for evaluation in metrics["evaluations"]]
        train = metrics["training"]
        former = find_former_recipe(train["command"])
        notes.append(
            f"- **{folder.name}**: {format_command(train)}, seed {train['seed']}, {train['steps']:,} steps on "
            f"{train['hardware']}{format_init_from(train)}. {format_cost(folder, train)} Measured {metrics['date']}; "
            f"default policy `{metrics['evaluations'][0]['policy']}`.{f' {former.describe()}' if former else ''}"
        )
    return "\n".join([*lines, "", *notes])


def format_command(train: dict[str, Any]) -> str:
    """Return the command of a training; that of the recipe with its stage, if the recipe of the training is no longer a file.

    Args:
        train: Entry `training` of `metrics.json`.
    """
    former = find_former_recipe(train["command"])
    if former and not former.stage:
        return f"recipe `{former.name}` of 0.1"
    return (
        f"`python -m training train configs/{former.successor}.yaml train.device=cpu`"
        if former
        else f"`{train['command']}`"
    )


def format_cost(folder: Path, train: dict[str, Any]) -> str:
    """Return processor time and floating-point operations of a training, as sentences; a dash for what is not known.

    Args:
        folder: Directory of the checkpoint.
        train: Entry `training` of its `metrics.json`.
    """
    flops = find_flops(folder, train)
    origin = " (of one step, times the steps)" if flops is not None and "flops" not in train else ""
    return f"Processor time {format_processor_time(train.get('processor_seconds'))}, operations {format_flops(flops)}{origin}."


def find_flops(folder: Path, train: dict[str, Any]) -> float | None:
    """Return the floating-point operations of a training; None if they are not known.

    Operations that the run did not record are those of one step times the number of steps. That is exact: all batches of
    these trainings have one shape, which determines the operations, unless the ticks depend on the content of the input.

    Args:
        folder: Directory of the checkpoint.
        train: Entry `training` of its `metrics.json`.
    """
    if "flops" in train:
        return train["flops"]
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if get_backbone_type(config) == SCHEDULED_BACKBONE:
        return None
    rows = read_benchmark("training_cost").get("rows", [])
    return next((row["flops_per_step"] * train["steps"] for row in rows if row["checkpoint"] == folder.name), None)


def format_init_from(train: dict[str, Any]) -> str:
    """Name the checkpoint that gave the initial weights; empty if they are random."""
    return f", initial weights from `{train['init_from']}`" if "init_from" in train else ""


def format_evaluation_row(folder: Path, e: dict[str, Any]) -> str:
    """Format the row of one held-out split."""
    return (
        f"| [{folder.name}](../checkpoints/{folder.name}) | {count_weights(folder):,} | {e['split']} | {e['n']:,} "
        f"| **{format_accuracy(e['accuracy_halted'], e['n'])}** | {e['mean_ticks']:.1f} of {e['iterations']} "
        f"| {e['accuracy_best']:.2%} (tick {e['best_tick']}) | {e['accuracy_last']:.2%} | {format_difficulty(e)} |"
    )


def build_confidence_table() -> str:
    """Build a row for every held-out split of every bundled model whose confidence was measured."""
    lines = [
        "| model | held-out split | n | confidence in | ECE | Brier score | AUROC |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder, _, metrics in load_checkpoint_metrics():
        for e in metrics["evaluations"]:
            for key, name in (("reliability", "whole answer"), ("reliability_last", "last position")):
                if values := e.get(key):
                    lines.append(
                        f"| {folder.name} | {e['split']} | {e['n']:,} | {name} | {values['ece']:.3f} | {values['brier']:.3f} "
                        f"| {format_auroc(values.get('auroc'))} |"
                    )
    return "\n".join(lines)


def build_unfamiliar_table() -> str:
    """Build the table of the confidence that is shown for inputs unlike the training data, from `benchmarks.confidence`."""
    figures = read_benchmark("confidence")
    return render_confidence_table(figures) if figures else NOT_MEASURED


def format_difficulty(e: dict[str, Any]) -> str:
    """Format mean ticks of the easiest and the hardest samples, and Spearman's rank correlation."""
    groups = sorted(e.get("by_difficulty", {}).items(), key=lambda item: int(item[0]))
    if e.get("spearman") is None or not groups:
        return "-"
    first, last = (f"{group['mean_ticks']:.1f}" for _, group in (groups[0], groups[-1]))
    return f"{first} to {last} (rho {e['spearman']:.2f})"


def build_comparison_table() -> str:
    """Build a row for every model whose task has baselines, and for the baselines."""
    found = [
        (folder.name.removesuffix(f"-{kind}"), kind, folder, metrics)
        for folder, kind, metrics in load_checkpoint_metrics()
    ]
    compared = {name for name, kind, _, _ in found if kind != "ctm"}
    if not compared:
        return NOT_MEASURED
    lines = [
        "| task | model | parameters | steps | training | held-out split | n | halted accuracy | mean ticks | best fixed tick |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, kind, folder, metrics in found:
        if name in compared:
            train, e = metrics["training"], metrics["evaluations"][0]
            lines.append(
                f"| {name} | [{MODEL_TYPE_NAMES[kind]}](../checkpoints/{folder.name}) | {count_weights(folder):,} | {train['steps']:,} "
                f"| {format_flops(find_flops(folder, train))} | {e['split']} | {e['n']:,} | **{e['accuracy_halted']:.2%}** "
                f"| {e['mean_ticks']:.1f} of {e['iterations']} | {e['accuracy_best']:.2%} |"
            )
    return "\n".join(lines)


def load_checkpoint_metrics() -> list[tuple[Path, str, dict[str, Any]]]:
    """Return directory, model type and metrics of every bundled checkpoint."""
    found = []
    for path in sorted(ROOT.glob("checkpoints/*/metrics.json")):
        config, metrics = (
            json.loads((path.parent / f"{name}.json").read_text("utf-8")) for name in ("config", "metrics")
        )
        found.append((path.parent, infer_model_type(config), metrics))
    return found


def describe_risk_control() -> str:
    """Compare every guarantee with the loss on test samples. Models of a single tick cannot lose an answer."""
    lost = [
        (folder.name, rule["promise"]["risk"], metrics["evaluations"][0]["rules"][name]["lost"])
        for folder, _, metrics in load_checkpoint_metrics()
        if metrics["evaluations"][0]["iterations"] > 1
        for name, rule in json.loads((folder / "halting.json").read_text("utf-8"))["policies"].items()
        if "promise" in rule
    ]
    exceeded = [f"{name} {share:.2%} instead of {risk:.0%}" for name, risk, share in lost if share > risk]
    return (
        f"The bundled models have {len(lost)} thresholds that are certified with 95% confidence. On test samples {len(exceeded)} of "
        f"them lose a larger share of answers than certified{': ' if exceeded else ''}{', '.join(exceeded)}."
    )


def read_benchmark(benchmark: str) -> dict[str, Any]:
    """Return the figures of a benchmark; {} before its first run."""
    path = ROOT / "benchmarks" / f"{benchmark}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def build_speed_table() -> str:
    """Build the table of speed relative to the original code, from the figures of `benchmarks.speed`."""
    if not (figures := read_benchmark("tick")):
        return NOT_MEASURED
    lines = [
        "| case | inference, B = 1 | inference, B = 64 | training step, B = 32 | peak memory of the step |",
        "|---|---|---|---|---|",
    ]
    cases = dict.fromkeys(row["case"] for row in figures["rows"])
    for case in cases:
        one, many, step = (r for r in figures["rows"] if r["case"] == case)
        peaks = f"{step['ours_peak_mib']:.0f} of {step['original_peak_mib']:.0f} MiB"
        lines.append(
            f"| {case} | {one['ratio']:.1f}x ({one['ours'] * 1e3:.1f} ms) | {many['ratio']:.1f}x ({many['ours'] * 1e3:.0f} ms) "
            f"| {step['ratio']:.1f}x ({step['ours'] * 1e3:.0f} ms) | {peaks} |"
        )
    means = {what: figures["summary"][what]["geometric_mean"] for what in ("thought", "training step")}
    hardware = figures["hardware"]
    lines += [
        "",
        f"Geometric means: inference is {means['thought']:.1f} times as fast as the original code, a training step "
        f"{means['training step']:.1f} times. Inference runs all ticks. Measured on {hardware['processor']}, "
        f"{hardware['threads']} threads, torch {figures['torch']}.",
    ]
    return "\n".join(lines)


def build_browser_engine_table() -> str:
    """Build the table of the speed in a browser, from the figures of `benchmarks.browser_engine`."""
    figures = read_benchmark(browser_engine.RESULTS_NAME)
    return browser_engine.render_table(figures) if figures else NOT_MEASURED


def build_first_answer_table() -> str:
    """Build the table of the first answer after a touch, from the figures of `benchmarks.first_answer`."""
    figures = read_benchmark(first_answer.RESULTS_NAME)
    return first_answer.render_table(figures) if figures else NOT_MEASURED


def build_training_cost_table() -> str:
    """Build the table of the cost of training, from the figures of `benchmarks.training_cost`."""
    figures = read_benchmark("training_cost")
    return render_training_cost(figures) if figures else NOT_MEASURED


def build_onnx_table() -> str:
    """Build the table of speed relative to eager PyTorch, from the figures of `benchmarks.speed --runtime onnx`."""
    if not (figures := read_benchmark("onnx")):
        return NOT_MEASURED
    sizes = sorted({row["batch"] for row in figures["rows"]})
    lines = [f"| model | {' | '.join(f'B = {size}' for size in sizes)} |", f"|---{'|---' * len(sizes)}|"]
    for case in dict.fromkeys(row["case"] for row in figures["rows"]):
        cells = [f"{row['ratio']:.1f}x" for row in figures["rows"] if row["case"] == case]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    hardware = figures["hardware"]
    lines += [
        "",
        f"onnxruntime {figures['onnxruntime']}, torch {figures['torch']}, opset {figures['opset']}, on "
        f"{hardware['processor']}, {hardware['threads']} threads. Other programs ran at the same time, so that only ratios "
        "are given.",
    ]
    return "\n".join(lines)


def build_load_table() -> str:
    """Build the table of latency and throughput under load, from the figures of `benchmarks.load_test`."""
    if not (figures := read_benchmark("load")):
        return NOT_MEASURED
    lines = [
        "| version | visitors | batching | predictions per second | p50 latency | p95 latency | p99 latency | page load (p50) "
        "| peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        name = f"{row.get('version', 'current')} | {row['visitors']} | {row['batching']}"
        half, most, nearly_all = (f"{row['thought'][name]:,.0f} ms" for name in ("p50", "p95", "p99"))
        lines.append(
            f"| {name} | {row['thoughts_per_second']:.1f} | {half} | {most} | {nearly_all} "
            f"| {row['page']['p50']:,.0f} ms | {row['server']['peak_mib_after']:,.0f} MiB |"
        )
    errors = sum(sum(row["errors"].values()) for row in figures["rows"])
    pause = " to ".join(f"{seconds:g}" for seconds in figures["pause"])
    lines += [
        "",
        f"`{figures['command']}`: each visitor waits {pause} seconds between two predictions; {errors} errors. Measured "
        f"{figures['date']} on {figures['hardware']['processor']}, {figures['hardware']['cores']} cores, which the visitors "
        f"share with the server, torch {figures['torch']}.",
    ]
    return "\n".join(lines)


def build_browser_visits_table() -> str:
    """Build the table of what visitors cost whose browsers compute, from the figures of `benchmarks.browser_visits`."""
    figures = read_benchmark("browser_visits")
    return render_browser_visits(figures) if figures else NOT_MEASURED


def build_maze_pictures_table() -> str:
    """Build the table of pictures of mazes that are read correctly, from the figures of `benchmarks.maze_pictures`."""
    figures = read_benchmark("maze_pictures")
    return maze_pictures.build_table(figures["kinds"]) if figures else NOT_MEASURED


def build_halting_table() -> str:
    """Build the comparison of halting policies, from the figures of `benchmarks.halting`."""
    figures = read_benchmark("halting")
    return render_table(figures) if figures else NOT_MEASURED


def build_image_files_table() -> str:
    """Build the table of digits that are recognized in image files of many kinds, from the figures of `image_files`."""
    figures = read_benchmark("image_files")
    return render_summary(figures) if figures else NOT_MEASURED


def build_photos_table() -> str:
    """Build the table of digits that are recognized in photos and drawings, from the figures of `benchmarks.paper_photos`."""
    figures = read_benchmark("paper_photos")
    return render_photo_table(figures) if figures else NOT_MEASURED


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


def build_taught_parity_table() -> str:
    """Build the comparison of parity models that were trained with and without auxiliary losses."""
    path = ROOT / "benchmarks/taught_parity.json"
    return taught_parity.render_table(json.loads(path.read_text("utf-8"))) if path.is_file() else NOT_MEASURED


def build_sampler_table() -> str:
    """Build the table of the speed of the samplers."""
    path = ROOT / "benchmarks/sampler_speed.json"
    return sampler_speed.render_table(json.loads(path.read_text("utf-8"))) if path.is_file() else NOT_MEASURED


MEASURED_SECTIONS: dict[str, dict[str, Callable[[], str]]] = {  # document -> name of a section -> its text
    "README.md": {"models": build_models_table},
    "docs/results.md": {
        "checkpoints": build_checkpoints_table,
        "confidence": build_confidence_table,
        "unfamiliar inputs": build_unfamiliar_table,
        "guarantees": describe_risk_control,
        "training cost": build_training_cost_table,
        "comparison": build_comparison_table,
        "halting": build_halting_table,
        "maze pictures": build_maze_pictures_table,
        "speed": build_speed_table,
        "onnx": build_onnx_table,
        "browser engine": build_browser_engine_table,
        "first answer": build_first_answer_table,
        "load": build_load_table,
        "browser visits": build_browser_visits_table,
        "image files": build_image_files_table,
        "photos": build_photos_table,
    },
    "docs/experiments.md": {"taught parity": build_taught_parity_table, "samplers": build_sampler_table},
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
