"""How well backbones of different depths learn the way from every cell of a maze to the goal.

    python -m benchmarks.maze_backbones [--blocks N ...] [--steps N] [--json FILE]

Each backbone is trained alone, with the feature loss of `training.auxiliary_losses`: a linear probe of its features reads at every cell
the move that leads towards the goal. Accuracy is measured on test mazes.
"""

import argparse
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.paths import ROOT, write_figures
from ctm.modules.backbones import make_backbone
from training.auxiliary_losses import FeatureProbe
from training.losses import IGNORE_INDEX
from training.model_card import format_accuracy
from training.tasks import make_task
from training.tasks.mazes import Mazes
from training.tasks.splits import TEST, make_generator

RESULTS_NAME = "maze_backbones"
BLOCKS = (2, 3, 8)
STEPS = 1_000
BATCH_SIZE = 64
WARMUP_STEPS = 100
LEARNING_RATE = 1e-3
NUM_TEST_MAZES = 2_048
CHANNELS = 64


def measure(blocks: int, steps: int) -> dict[str, Any]:
    """Train a backbone, and return its accuracy on test mazes."""
    torch.manual_seed(0)
    task = make_task({"kind": "mazes", "side": 15, "route": 50, "even_lengths": True})
    assert isinstance(task, Mazes)
    to_rgb, backbone, channels = make_backbone(f"resnet-64x{blocks}", CHANNELS, 3)
    encoder = nn.Sequential(to_rgb, backbone)
    probe = FeatureProbe(channels, task.num_place_classes, seed=0)
    parameters = [*encoder.parameters(), *probe.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / WARMUP_STEPS, total_iters=WARMUP_STEPS)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - WARMUP_STEPS)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [WARMUP_STEPS])
    batches = task.iterate_batches(BATCH_SIZE, seed=0)
    for _ in range(steps):
        batch = next(batches)
        targets = replace(task.compute_auxiliary_targets(batch), place_classes=task.compute_place_classes(batch))
        loss = probe(encoder(batch.inputs).flatten(2).transpose(1, 2), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
    return {"blocks": blocks, **evaluate(task, encoder.eval(), probe)}


@torch.inference_mode()
def evaluate(task: Mazes, encoder: nn.Module, probe: FeatureProbe) -> dict[str, Any]:
    """Return the share of cells whose move is right, and of mazes in which all are."""
    samples = task.sample(TEST, NUM_TEST_MAZES, make_generator("maze backbones"))
    targets = task.compute_auxiliary_targets(samples)
    classes = task.compute_place_classes(samples)
    features = encoder(samples.inputs).flatten(2).transpose(1, 2)
    choices = probe.linear(features).argmax(2)
    places = torch.arange(classes.size(1))
    is_right = choices[:, targets.locate_places(places, features.size(1))] == classes
    is_cell = classes != IGNORE_INDEX
    return {
        "cells": is_right[is_cell].float().mean().item(),
        "num_cells": int(is_cell.sum()),
        "mazes": (is_right | ~is_cell).all(1).float().mean().item(),
        "num_mazes": len(features),
    }


def render_table(figures: dict[str, Any]) -> str:
    """Render the accuracies as a Markdown table."""
    lines = ["| blocks | right moves | mazes with all moves right |", "|---|---|---|"]
    for row in figures["rows"]:
        cells, mazes = format_accuracy(row["cells"], row["num_cells"]), format_accuracy(row["mazes"], row["num_mazes"])
        lines.append(f"| {row['blocks']} | {cells} | {mazes} |")
    source = (
        f"Test mazes, n = {figures['rows'][0]['num_mazes']:,}; {figures['steps']:,} steps with batches of {BATCH_SIZE}, seed 0. "
        f"`{figures['command']}`, {figures['date']}."
    )
    return "\n".join([*lines, "", source])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maze_backbones", description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", nargs="+", type=int, default=list(BLOCKS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", type=Path, default=ROOT / f"benchmarks/{RESULTS_NAME}.json", help="file to write")
    args = parser.parse_args()
    figures = {
        "command": "python -m benchmarks.maze_backbones",
        "date": datetime.date.today().isoformat(),
        "steps": args.steps,
        "rows": [measure(blocks, args.steps) for blocks in args.blocks],
    }
    write_figures(args.json, figures)
    print(render_table(figures))


if __name__ == "__main__":
    main()
