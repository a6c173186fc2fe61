"""Which digits the bundled arithmetic model predicts correctly, by the tens by which the next number differs.

    python -m benchmarks.arithmetic_digits [--json FILE]

The steps of the split `extrapolation` are larger than those of training, so that the next number sometimes differs by more tens than
ever in training. The answers are those of the last tick, without halting.
"""

from typing import Any

import torch

from benchmarks.paths import ROOT, run_benchmark
from ctm.checkpoint import load
from training.evaluation import evaluate_curves, split_into_batches
from training.model_card import format_accuracy
from training.tasks import build_task
from training.tasks.arithmetic import COMPOSITIONAL, EXTRAPOLATION, NUM_INPUT_TERMS, Arithmetic, get_sequences
from training.tasks.splits import TEST, TRAIN

CHECKPOINT = "arithmetic"
RESULTS_NAME = "arithmetic_digits"
SPLITS = (TEST, COMPOSITIONAL, EXTRAPOLATION)


def count_tens(task: Arithmetic, split: str) -> torch.Tensor:
    """Return by how many tens the fifth number of every sequence differs from the fourth one."""
    start, difference = get_sequences(split, task.settings).T
    fourth = start + (NUM_INPUT_TERMS - 1) * difference
    return ((fourth + difference) // 10 - fourth // 10).abs()


def measure() -> dict[str, Any]:
    """Return the share of correct digits for every split and every number of tens."""
    checkpoint = load(ROOT / "checkpoints" / CHECKPOINT)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    assert isinstance(task, Arithmetic)
    rows = []
    for split in SPLITS:
        curves = evaluate_curves(checkpoint.model, task.decoder, split_into_batches(task.load_full_split(split)))
        is_correct = curves.choices[:, :, -1] == curves.targets
        tens = count_tens(task, split)
        for number in tens.unique().tolist():
            correct = is_correct[tens == number]
            digits = correct.float().mean(0).tolist()
            rows.append(
                {"split": split, "tens": number, "n": len(correct), "digits": digits}
                | {"accuracy": correct.all(1).float().mean().item()}
            )
            print(rows[-1], flush=True)
    return {
        "checkpoint": CHECKPOINT,
        "trained_tens": int(count_tens(task, TRAIN).max()),
        "rows": rows,
    }


def render_table(figures: dict[str, Any]) -> str:
    """Render the shares as a Markdown table."""
    lines = ["| split | tens | n | all digits | hundreds | tens | ones |", "|---|---|---|---|---|---|---|"]
    for row in figures["rows"]:
        note = "" if row["tens"] <= figures["trained_tens"] else " (never trained)"
        digits = " | ".join(f"{share:.2%}" for share in row["digits"])
        accuracy = format_accuracy(row["accuracy"], row["n"])
        lines.append(f"| {row['split']} | {row['tens']}{note} | {row['n']:,} | {accuracy} | {digits} |")
    return "\n".join([*lines, "", f"`{figures['checkpoint']}`, last tick; `{figures['command']}`, {figures['date']}."])


if __name__ == "__main__":
    run_benchmark(RESULTS_NAME, __doc__, measure, render_table)
