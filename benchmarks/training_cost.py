"""Measure what the training of the bundled models costs: floating-point operations and processor time.

    python -m benchmarks.training_cost [--checkpoint NAME ...] [--steps 5] [--save]

The operations of one optimiser step are counted (matrix products, convolutions and attention, forward and backward, two per
multiply-add), those of a prediction, too. The processor time of a step is the median over `--steps` steps on one thread. Both
are multiplied by the steps of the training; evaluations during the training are not included. Minutes of a run say less: they
depend on what else ran on the computer. `--save` writes benchmarks/training_cost.json, from which docs/results.md is rendered.
"""

import argparse
import json
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.paths import ROOT, find_recipe, write_figures
from benchmarks.speed import get_processor_name
from ctm.checkpoint import load
from training.config import RunConfig, read_recipe
from training.flops import count_flops, count_prediction_flops
from training.tasks import build_task
from training.tasks.splits import VALIDATION, make_generator
from training.trainer import Trainer

RESULT_FILE = ROOT / "benchmarks" / "training_cost.json"


def load_run_config(checkpoint_dir: Path) -> RunConfig:
    """Return the settings that a bundled checkpoint was trained with, on the CPU; those of its last stage if it had several."""
    training = json.loads((checkpoint_dir / "metrics.json").read_text("utf-8"))["training"]
    settings = training.get("settings")
    config = RunConfig.parse(settings) if settings else read_recipe(find_recipe({"training": training}))
    return config.with_overrides({"train.device": "cpu", "train.seed": training["seed"]}).last_stage


def count_sample_flops(checkpoint_dir: Path) -> int:
    """Count the floating-point operations of the prediction of one validation sample with all ticks."""
    checkpoint = load(checkpoint_dir)
    batch = build_task(checkpoint.task).sample(VALIDATION, 1, make_generator("training cost", VALIDATION))
    return count_prediction_flops(checkpoint.model, batch.inputs)


def measure_checkpoint(checkpoint_dir: Path, num_steps: int) -> dict[str, Any]:
    """Measure the training steps of a checkpoint, and one prediction.

    Raises:
        ValueError: The data set cannot be read.
    """
    training = json.loads((checkpoint_dir / "metrics.json").read_text("utf-8"))["training"]
    trainer = Trainer(load_run_config(checkpoint_dir))
    trainer.prepare()
    batches = trainer.iterate_batches()
    flops_per_step = count_flops(lambda: trainer.train_step(batches))
    seconds = []
    for _ in range(num_steps):
        start_time = time.process_time()
        trainer.train_step(batches)
        seconds.append(time.process_time() - start_time)
    return {
        "checkpoint": checkpoint_dir.name,
        "steps": training["steps"],
        "batch_size": trainer.config.train.batch_size * trainer.config.train.gradient_accumulation_steps,
        "flops_per_step": flops_per_step,
        "cpu_s_per_step": statistics.median(seconds),
        "flops_per_prediction": count_sample_flops(checkpoint_dir),
    }


def render_training_cost(figures: dict[str, Any]) -> str:
    """Render the measured costs as a Markdown table."""
    lines = [
        "| model | steps | samples per step | operations per step | processor time per step | operations of the training "
        "| processor time of the training | operations of a prediction, all ticks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        lines.append(
            f"| {row['checkpoint']} | {row['steps']:,} | {row['batch_size']} | {row['flops_per_step'] / 1e9:.3g} GFLOP "
            f"| {row['cpu_s_per_step']:.3f} s | {row['flops_per_step'] * row['steps'] / 1e12:,.1f} TFLOP "
            f"| {row['cpu_s_per_step'] * row['steps'] / 3600:.1f} h | {row['flops_per_prediction'] / 1e6:,.1f} MFLOP |"
        )
    lines += [
        "",
        f"`{figures['command']}`, {figures['num_timed_steps']} timed steps for each model on one thread. Measured "
        f"{figures['date']} on {figures['hardware']['processor']}, torch {figures['torch']}.",
    ]
    if figures["skipped"]:
        lines.append(f"Not measured, because the data set is not available: {', '.join(figures['skipped'])}.")
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", nargs="+", help="bundled checkpoints to measure (default: all)")
    parser.add_argument("--steps", type=int, default=5, help="timed optimiser steps for each model")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.relative_to(ROOT)}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = args.checkpoint or sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/config.json"))
    rows, skipped = [], []
    for name in names:
        try:
            rows.append(measure_checkpoint(ROOT / "checkpoints" / name, args.steps))
        except ValueError as error:
            skipped.append(name)
            print(f"{name}: {error}", flush=True)
        else:
            print(json.dumps(rows[-1]), flush=True)
    figures = {
        "command": f"python -m benchmarks.training_cost --steps {args.steps}",
        "date": date.today().isoformat(),
        "num_timed_steps": args.steps,
        "hardware": {"processor": get_processor_name()},
        "torch": torch.__version__,
        "skipped": skipped,
        "rows": rows,
    }
    if args.save:
        write_figures(RESULT_FILE, figures)
    print(render_training_cost(figures))


if __name__ == "__main__":
    main()
