"""Accuracy for questions on digits, by the digit that the last part of the question refers to.

    python -m benchmarks.digit_recall CHECKPOINT_DIR ... [--json FILE]

The questions have the most digits and operations of the training questions, and the images are training images without
distortion, which the models recognise. The earlier a digit is shown, the more ticks the model must remember it. The answers are
those at the last tick, without halting.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.paths import run_checkpoint_benchmark
from ctm.checkpoint import load
from ctm.modules.input_schedule import parse_frame_codes
from training.evaluation import evaluate_curves, split_into_batches
from training.model_card import format_accuracy
from training.tasks import build_task
from training.tasks.qamnist import Qamnist
from training.tasks.splits import TRAIN, make_generator

RESULTS_NAME = "digit_recall"
QUESTIONS = 4_096


def find_last_positions(frames: Float[Tensor, "B F 1025"]) -> Int[Tensor, " B"]:
    """Return the position, counted from 0, that the last part of every question refers to."""
    codes = parse_frame_codes(frames)
    frame_numbers = torch.arange(codes.size(1)).where(codes >= 0, -1)
    return codes.gather(1, frame_numbers.amax(1, keepdim=True)).squeeze(1)


def measure_checkpoint(checkpoint_dir: Path) -> dict[str, Any]:
    """Return the accuracy by the last digit asked for.

    Args:
        checkpoint_dir: Checkpoint of a model for questions on digits.
    """
    checkpoint = load(checkpoint_dir)
    config = checkpoint.model.config
    task = build_task(checkpoint.task, config.to_dict())
    assert isinstance(task, Qamnist)
    settings = task.settings
    digits, operations = (torch.full((QUESTIONS,), size) for size in (settings.digits, settings.operations))
    generator = make_generator("digit recall")
    samples = task.sample_questions(TRAIN, digits, operations, settings.operations, generator)
    correct = evaluate_curves(checkpoint.model, task.decoder, split_into_batches(samples)).correct[:, -1]
    positions = find_last_positions(samples.inputs)
    question_ticks = 2 * settings.operations * settings.per_part
    rows = []
    for position in range(settings.digits):
        is_row = positions == position
        rows.append(
            {
                "digit": position + 1,
                "ticks": (settings.digits - position - 1) * settings.per_digit + question_ticks,
                "n": int(is_row.sum()),
                "accuracy": float(correct[is_row].double().mean()),
            }
        )
    return {"checkpoint": checkpoint_dir.name, "memory_length": config.memory_length, "rows": rows}


def render_table(figures: dict[str, Any]) -> str:
    """Render the accuracies as a Markdown table."""
    lines = [
        "| model | history, ticks | digit asked for last | ticks between | n | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for model in figures["models"]:
        for row in model["rows"]:
            accuracy = format_accuracy(row["accuracy"], row["n"])
            cells = (
                f"`{model['checkpoint']}`",
                model["memory_length"],
                row["digit"],
                row["ticks"],
                f"{row['n']:,}",
                accuracy,
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", f"`{figures['command']}`, {figures['date']}."])


if __name__ == "__main__":
    run_checkpoint_benchmark(RESULTS_NAME, __doc__, measure_checkpoint, render_table)
