"""How often the first moves of a maze model are right, by the distance of the goal, in mazes of 39 x 39.

    python -m benchmarks.maze_distances CHECKPOINT_DIR ... [--json FILE]

The first two moves lead from the cell of the start to the next cell. A model that is applied repeatedly walks in the wrong direction if
they are wrong. The answers are those at the last tick, without halting.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from benchmarks.maze_attention import MOVES_PER_CELL
from benchmarks.paths import run_checkpoint_benchmark
from ctm import TickModel
from ctm.checkpoint import load
from training.data.maze import Maze
from training.model_card import format_accuracy
from training.reapplication import generate_test_mazes
from training.tasks import build_task
from training.tasks.mazes import Mazes

RESULTS_NAME = "maze_distances"
SIDE = 39
NUM_MAZES = 1_024
BATCH_SIZE = 64
BOUNDS = (0, 50, 100, 150, 200, 1_000)  # of the bins, in moves; the last one is beyond all routes


def measure(checkpoint_dir: Path) -> dict[str, Any]:
    """Return the accuracy of the first moves of one model for each bin of distances."""
    checkpoint = load(checkpoint_dir)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    assert isinstance(task, Mazes)
    mazes = generate_test_mazes(task, SIDE, NUM_MAZES)
    is_right = check_first_moves(checkpoint.model.eval(), task, mazes)
    distances = torch.tensor([maze.steps_to_goal[maze.start] for maze in mazes])
    rows = []
    for shortest, longest in pairwise(BOUNDS):
        is_row = (distances > shortest) & (distances <= longest)
        rows.append({"n": int(is_row.sum()), "accuracy": float(is_right[is_row].double().mean())})
    return {"checkpoint": checkpoint_dir.name, "rows": rows}


@torch.inference_mode()
def check_first_moves(model: TickModel, task: Mazes, mazes: list[Maze]) -> Bool[Tensor, " n"]:
    """Return for each maze whether the first moves lead to the next cell of the shortest route."""
    is_right = []
    for start in range(0, len(mazes), BATCH_SIZE):
        batch = mazes[start : start + BATCH_SIZE]
        answers = model(torch.stack([task.encode_maze(maze) for maze in batch])).answers[..., -1:]
        choices = task.decoder.choices(answers).squeeze(-1)[:, :MOVES_PER_CELL]
        expected = torch.tensor([maze.find_shortest_moves()[:MOVES_PER_CELL] for maze in batch])
        is_right.append((choices == expected).all(1))
    return torch.cat(is_right)


def render_table(figures: dict[str, Any]) -> str:
    """Render the accuracies as a Markdown table."""
    models = figures["models"]
    names = " | ".join(f"`{model['checkpoint']}`" for model in models)
    lines = [f"| moves to the goal | n | {names} |", "|---|---|" + "---|" * len(models)]
    for row, (shortest, longest) in enumerate(pairwise(BOUNDS)):
        label = f"more than {shortest}" if longest == BOUNDS[-1] else f"{shortest + MOVES_PER_CELL} to {longest}"
        cells = (format_accuracy(model["rows"][row]["accuracy"], model["rows"][row]["n"]) for model in models)
        lines.append(f"| {label} | {models[0]['rows'][row]['n']:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Test mazes of {SIDE} x {SIDE}; `{figures['command']}`, {figures['date']}."])


if __name__ == "__main__":
    run_checkpoint_benchmark(RESULTS_NAME, __doc__, measure, render_table)
