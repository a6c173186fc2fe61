"""Tables of the bundled checkpoints, from their `metrics.json` and `halting.json`."""

import json
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT, read_benchmark, read_metrics
from ctm.checkpoint import count_weights
from ctm.config import SCHEDULED_BACKBONE, get_backbone_type, infer_model_type
from training.former_recipes import find_former_recipe
from training.model_card import format_accuracy, format_auroc
from training.tasks.registry import get_task_types
from training.training_cost import format_flops, format_processor_time

NOT_MEASURED = "Not measured yet."
# End of the name of a model that was trained as its baselines -> what its label says. The model with the plain name was not.
EQUALLY_TRAINED = {"-untaught": "untaught", "-short": "as many steps"}
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


def format_difficulty(e: dict[str, Any]) -> str:
    """Format mean ticks of the easiest and the hardest samples, and Spearman's rank correlation."""
    groups = sorted(e.get("by_difficulty", {}).items(), key=lambda item: int(item[0]))
    if e.get("spearman") is None or not groups:
        return "-"
    first, last = (f"{group['mean_ticks']:.1f}" for _, group in (groups[0], groups[-1]))
    return f"{first} to {last} (rho {e['spearman']:.2f})"


def build_difficulty_table(checkpoint: str) -> str:
    """Build a row for every difficulty of the samples of a bundled checkpoint.

    Args:
        checkpoint: Its name.
    """
    lines = ["| held-out split | difficulty | n | halted accuracy | mean ticks |", "|---|---|---|---|---|"]
    for e in read_metrics(checkpoint)["evaluations"]:
        for level, group in sorted(e["by_difficulty"].items(), key=lambda item: int(item[0])):
            accuracy = format_accuracy(group["accuracy_halted"], group["n"])
            lines.append(f"| {e['split']} | {level} | {group['n']:,} | {accuracy} | {group['mean_ticks']:.1f} |")
    return "\n".join(lines)


def build_comparison_table() -> str:
    """Build a row for every model whose task has baselines, and for the baselines."""
    found = [
        (*split_checkpoint_name(folder.name, kind), kind, folder, metrics)
        for folder, kind, metrics in load_checkpoint_metrics()
    ]
    compared = {name for name, _, kind, _, _ in found if kind != "ctm"}
    if not compared:
        return NOT_MEASURED
    lines = [
        "| task | model | parameters | steps | training | held-out split | n | halted accuracy | mean ticks | best fixed tick |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, note, kind, folder, metrics in found:
        if name in compared:
            train, e = metrics["training"], metrics["evaluations"][0]
            label = ", ".join(filter(None, (MODEL_TYPE_NAMES[kind], note)))
            lines.append(
                f"| {name} | [{label}](../checkpoints/{folder.name}) | {count_weights(folder):,} | {train['steps']:,} "
                f"| {format_flops(find_flops(folder, train))} | {e['split']} | {e['n']:,} | **{e['accuracy_halted']:.2%}** "
                f"| {e['mean_ticks']:.1f} of {e['iterations']} | {e['accuracy_best']:.2%} |"
            )
    return "\n".join(lines)


def split_checkpoint_name(name: str, kind: str) -> tuple[str, str]:
    """Return the name of a checkpoint without the end that tells it from others of its task, and what this end says.

    Args:
        name: Name of the checkpoint.
        kind: Kind of the model, which ends the names of baselines.
    """
    for ending, note in EQUALLY_TRAINED.items():
        if name.endswith(ending):
            return name.removesuffix(ending), note
    return name.removesuffix(f"-{kind}"), ""


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
