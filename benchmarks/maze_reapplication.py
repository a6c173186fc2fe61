"""Share of mazes that the bundled maze models solve when they are applied repeatedly, by the size of the maze.

    python -m benchmarks.maze_reapplication [--json FILE]

Each application starts where the route of the one before ended; see `training.reapplication`. The mazes are generated ones of
the test split. The default halting policy of the checkpoint ends each application.
"""

from typing import Any

from benchmarks.paths import ROOT, run_benchmark
from ctm.checkpoint import load
from inference.engine import Engine
from training.finalize import get_default_policy
from training.model_card import format_accuracy
from training.reapplication import evaluate_reapplication, generate_test_mazes
from training.tasks import build_task

RESULTS_NAME = "maze_reapplication"
CHECKPOINTS = ("mazes-15-untaught", "mazes-15")
NUM_MAZES_BY_SIDE = {15: 2_048, 19: 1_024, 27: 512, 39: 256, 99: 32}
MAX_APPLICATIONS = 40
SHOWN_APPLICATIONS = (1, 2, 3, 10, 40)


def measure() -> dict[str, Any]:
    """Return the figures of every model."""
    return {"models": [measure_checkpoint(name) for name in CHECKPOINTS]}


def measure_checkpoint(name: str) -> dict[str, Any]:
    """Return the figures of a bundled checkpoint for each side."""
    checkpoint = load(ROOT / "checkpoints" / name)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    engine = Engine(checkpoint.model, policy := get_default_policy(checkpoint.halting))
    sides = {}
    for side, count in NUM_MAZES_BY_SIDE.items():
        mazes = generate_test_mazes(task, side, count)
        sides[str(side)] = evaluate_reapplication(engine, task, mazes, MAX_APPLICATIONS)
        print(f"{name}, {side} x {side}: {sides[str(side)]['by_application'][-1]['solved']:.1%}", flush=True)
    return {"checkpoint": name, "policy": str(policy), "sides": sides}


def render_table(figures: dict[str, Any]) -> str:
    """Render the shares of solved mazes as a Markdown table."""
    header = " | ".join(str(count) for count in SHOWN_APPLICATIONS)
    lines = [
        f"| model | side | n | shortest route, mean | {header} | mean ticks in all |",
        "|" + "---|" * (len(SHOWN_APPLICATIONS) + 5),
        *(
            format_row(model["checkpoint"], side, row)
            for model in figures["models"]
            for side, row in model["sides"].items()
        ),
    ]
    policies = ", ".join(f"`{model['checkpoint']}` with `{model['policy']}`" for model in figures["models"])
    return "\n".join([*lines, "", f"{policies}; `{figures['command']}`, {figures['date']}."])


def format_row(checkpoint: str, side: str, row: dict[str, Any]) -> str:
    """Format the shares of a model for mazes of one side."""
    results = row["by_application"]  # the last one holds for more applications, too: nothing was left to do
    shares = [
        format_accuracy(results[min(count, len(results)) - 1]["solved"], row["n"]) for count in SHOWN_APPLICATIONS
    ]
    return (
        f"| {checkpoint} | {side} x {side} | {row['n']:,} | {row['mean_shortest']:.1f} | {' | '.join(shares)} "
        f"| {results[-1]['mean_ticks']:.1f} |"
    )


if __name__ == "__main__":
    run_benchmark(RESULTS_NAME, __doc__, measure, render_table)
