"""Accuracy of the bundled models for questions on digits, by the number of operations and by the images of the digits.

    python -m benchmarks.digit_questions [--json FILE]

The same kinds of questions are asked about test images, which no training saw, and about training images without distortion. The
models recognise nearly all training images, so errors there are errors in remembering and adding; the difference to the
test images is due to misread digits. The answers are those at the most certain tick, without halting.
"""

from typing import Any

import torch

from benchmarks.paths import ROOT, run_benchmark
from ctm.checkpoint import load
from training.evaluation import evaluate_curves, split_into_batches
from training.metrics import summarise_curves
from training.model_card import format_accuracy
from training.tasks import build_task
from training.tasks.qamnist import Qamnist
from training.tasks.splits import TEST, TRAIN, make_generator

CHECKPOINTS = ("qamnist-untaught", "qamnist")
RESULTS_NAME = "digit_questions"
QUESTIONS = 1_024  # for each number of operations and each source of images
IMAGE_SPLITS = {"test": TEST, "training": TRAIN}


def measure() -> dict[str, Any]:
    """Return the accuracy of every model."""
    return {"n": QUESTIONS, "models": [measure_checkpoint(name) for name in CHECKPOINTS]}


def measure_checkpoint(name: str) -> dict[str, Any]:
    """Return the accuracy for every number of operations, up to twice the longest training question.

    Args:
        name: Name of a bundled checkpoint. Its questions have as many digits as it can read.
    """
    checkpoint = load(ROOT / "checkpoints" / name)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    assert isinstance(task, Qamnist)
    trained = task.settings.operations
    rows = []
    for operations in range(1, 2 * trained + 1):
        row: dict[str, Any] = {"operations": operations}
        for source, split in IMAGE_SPLITS.items():
            generator = make_generator("digit questions", split, operations)
            digits = torch.full((QUESTIONS,), task.settings.digits)
            samples = task.sample_questions(split, digits, torch.full_like(digits, operations), operations, generator)
            curves = evaluate_curves(checkpoint.model, task.decoder, split_into_batches(samples))
            row[source] = summarise_curves(curves)["accuracy_certain"]
        print(name, row, flush=True)
        rows.append(row)
    return {"checkpoint": name, "digits": task.settings.digits, "trained_operations": trained, "rows": rows}


def render_table(figures: dict[str, Any]) -> str:
    """Render the accuracies as a Markdown table."""
    lines = ["| model | digits | operations | test images | training images |", "|---|---|---|---|---|"]
    for model in figures["models"]:
        for row in model["rows"]:
            note = "" if row["operations"] <= model["trained_operations"] else " (never trained)"
            shares = " | ".join(format_accuracy(row[name], figures["n"]) for name in IMAGE_SPLITS)
            lines.append(f"| {model['checkpoint']} | {model['digits']} | {row['operations']}{note} | {shares} |")
    source = f"{figures['n']:,} questions in each cell; `{figures['command']}`, {figures['date']}."
    return "\n".join([*lines, "", source])


if __name__ == "__main__":
    run_benchmark(RESULTS_NAME, __doc__, measure, render_table)
