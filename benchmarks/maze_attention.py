"""Where a maze model looks while it answers: at which cell of the route, and how much of the route is correct by then.

    python -m benchmarks.maze_attention CHECKPOINT_DIR ... [--json FILE]

Test mazes whose routes have at least 40 moves, which are 20 cells after the start. A model that walks attends to later and later
cells; a model that reads the route from the features near the start does not.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.paths import run_checkpoint_benchmark
from ctm.checkpoint import load
from ctm.models.outputs import UnrolledOutput
from training.auxiliary_losses import AuxiliaryTargets
from training.evaluation import MAX_EVALUATION_SAMPLES
from training.losses import IGNORE_INDEX
from training.tasks import Task, build_task
from training.tasks.samples import Batch
from training.tasks.splits import TEST, make_generator

RESULTS_NAME = "maze_attention"
CHECKPOINTS = ("mazes-15-untaught", "mazes-15-paced", "mazes-15")
MIN_MOVES = 40
MOVES_PER_CELL = 2
SHOWN_TICKS = (1, 5, 10, 15, 20, 25, 30, 35, 40, 50)


def measure(checkpoint_dir: Path) -> dict[str, Any]:
    """Return name, number of mazes and the means at every tick of one model."""
    checkpoint = load(checkpoint_dir)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    samples = select_long_routes(task)
    with torch.inference_mode():
        output = checkpoint.model.eval()(samples.inputs, with_internals=True)
    targets = task.compute_auxiliary_targets(samples)
    assert targets is not None and output.attention is not None, "a CTM for mazes"
    weights = compute_route_weights(output.attention, targets)
    strongest = weights.max(1)
    return {
        "name": checkpoint_dir.name,
        "n": len(samples.inputs),
        "cell": strongest.indices.float().mean(0).tolist(),
        "weight": strongest.values.mean(0).tolist(),
        "correct_moves": count_correct_moves(output, samples.targets).float().mean(0).tolist(),
    }


def select_long_routes(task: Task) -> Batch:
    """Return the test mazes with a long route."""
    samples = task.sample(TEST, MAX_EVALUATION_SAMPLES, make_generator("maze attention"))
    rows = (samples.difficulty >= MIN_MOVES).nonzero().squeeze(1)
    return Batch(samples.inputs[rows], samples.targets[rows], samples.difficulty[rows])


def compute_route_weights(attention: Float[Tensor, "B H N T"], targets: AuxiliaryTargets) -> Float[Tensor, "B C T"]:
    """Return the largest attention weight of any head at every cell of the route; 0 after the goal.

    Args:
        attention: Attention weights at every tick.
        targets: Cells of the route, one for each move.
    """
    features = targets.locate_features(attention.size(2))[:, ::MOVES_PER_CELL]
    index = features.clamp(min=0)[:, None, :, None].expand(-1, attention.size(1), -1, attention.size(3))
    return attention.gather(2, index).amax(1) * (features != IGNORE_INDEX).unsqueeze(2)


def count_correct_moves(output: UnrolledOutput, targets: Tensor) -> Tensor:
    """Return the number of moves before the first wrong one, for every maze and tick."""
    choices = output.answers.unflatten(1, (targets.size(1), -1)).argmax(2)
    return (choices == targets.unsqueeze(2)).long().cumprod(1).sum(1)


def render_table(figures: dict[str, Any]) -> str:
    """Render cell, weight and correct moves at some ticks as a Markdown table."""
    models = figures["models"]
    names = " | ".join(f"`{model['name']}`" for model in models)
    lines = [f"| tick | {names} |", "|---|" + "---|" * len(models)]
    num_ticks = max(len(model["cell"]) for model in models)
    for tick in (tick for tick in SHOWN_TICKS if tick <= num_ticks):
        lines.append(f"| {tick} | {' | '.join(format_tick(model, tick) for model in models)} |")
    source = (
        f"Means over {models[0]['n']:,} test mazes with routes of {MIN_MOVES} moves and more: cell of the route with the largest "
        "attention weight, 0 for the start (weight) / correct moves before the first wrong one. "
        f"`{figures['command']}`, {figures['date']}."
    )
    return "\n".join([*lines, "", source])


def format_tick(model: dict[str, Any], tick: int) -> str:
    """Format the figures of a model at a tick, counted from 1; `-` beyond its last tick."""
    if tick > len(model["cell"]):
        return "-"
    cell, weight, moves = (model[name][tick - 1] for name in ("cell", "weight", "correct_moves"))
    return f"{cell:.1f} ({weight:.0%}) / {moves:.1f}"


if __name__ == "__main__":
    run_checkpoint_benchmark(RESULTS_NAME, __doc__, measure, render_table, CHECKPOINTS)
