"""Share of mazes that the bundled maze model solves when it is applied repeatedly, by the size of the maze.

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

CHECKPOINT = "mazes-15-untaught"
NUM_MAZES_BY_SIDE = {15: 2_048, 19: 1_024, 27: 512, 39: 256, 99: 32}
MAX_APPLICATIONS = 40
SHOWN_APPLICATIONS = (1, 2, 3, 10, 40)


def measure() -> dict[str, Any]:
    """Return the figures for each side."""
    checkpoint = load(ROOT / "checkpoints" / CHECKPOINT)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    engine = Engine(checkpoint.model, policy := get_default_policy(checkpoint.halting))
    sides = {}
    for side, count in NUM_MAZES_BY_SIDE.items():
        sides[str(side)] = evaluate_reapplication(
            engine, task, generate_test_mazes(task, side, count), MAX_APPLICATIONS
        )
        print(f"{side} x {side}: {sides[str(side)]['by_application'][-1]['solved']:.1%}", flush=True)
    return {
        "checkpoint": CHECKPOINT,
        "policy": str(policy),
        "sides": sides,
    }


def render_table(figures: dict[str, Any]) -> str:
    """Render the shares of solved mazes as a Markdown table."""
    header = " | ".join(str(count) for count in SHOWN_APPLICATIONS)
    lines = [
        f"| side | n | shortest route, mean | {header} | mean ticks in all |",
        "|" + "---|" * (len(SHOWN_APPLICATIONS) + 4),
    ]
    for side, row in figures["sides"].items():
        results = row["by_application"]  # the last one holds for more applications, too: nothing was left to do
        shares = [
            format_accuracy(results[min(count, len(results)) - 1]["solved"], row["n"]) for count in SHOWN_APPLICATIONS
        ]
        lines.append(
            f"| {side} x {side} | {row['n']:,} | {row['mean_shortest']:.1f} | {' | '.join(shares)} "
            f"| {results[-1]['mean_ticks']:.1f} |"
        )
    source = f"`{figures['checkpoint']}` with `{figures['policy']}`; `{figures['command']}`, {figures['date']}."
    return "\n".join([*lines, "", source])


if __name__ == "__main__":
    run_benchmark("maze_reapplication", __doc__, measure, render_table)
