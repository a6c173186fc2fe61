"""Table of the accuracies that the models of this release were meant to reach, beside those that were measured."""

from typing import Any, NamedTuple

from benchmarks import maze_reapplication
from benchmarks.paths import read_benchmark, read_metrics
from training.model_card import format_accuracy


class Goal(NamedTuple):
    """Accuracy that a bundled model should reach.

    Attributes:
        checkpoint: Name of the checkpoint.
        split: Held-out split, or a side such as "39 x 39" of mazes with repeated application.
        accuracy: The goal, measured with the default halting policy.
        section: Heading in docs/experiments.md that explains a goal that was missed; "" for a goal that was reached.
    """

    checkpoint: str
    split: str
    accuracy: float
    section: str = ""


GOALS = (
    Goal("parity-16", "test", 0.999),
    Goal("parity-64", "longest", 0.99),
    Goal("mazes-15", "test", 0.95),
    Goal("mazes-15", "39 x 39", 0.6, "Larger mazes"),
    Goal("qamnist", "test", 0.99, "Questions on digits"),
    Goal("qamnist", "longer", 0.9, "Questions on digits"),
    Goal("arithmetic", "test", 0.999, "Number sequences by addition"),
    Goal("arithmetic", "typed", 0.99),
    Goal("arithmetic", "compositional", 0.95),
    Goal("arithmetic", "extrapolation", 0.9, "Number sequences by addition"),
    Goal("chain", "test", 0.999),
    Goal("chain", "longer", 0.95),
    Goal("sorting-10", "test", 0.995),
    Goal("tracking-position", "test", 0.995),
    Goal("tracking-position", "further", 0.9),
    Goal("brackets", "test", 0.998, "Brackets that are nested more deeply than in training"),
    Goal("brackets", "deeper", 0.95, "Brackets that are nested more deeply than in training"),
    Goal("digits", "test", 0.993, "Handwritten digits"),
    Goal("fashion", "test", 0.93, "Clothes"),
)


def build_goals_table() -> str:
    """Build a row for every goal."""
    lines = ["| model | held-out split | n | goal | measured | reached |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        accuracy, count = find_accuracy(goal)
        reached = "yes" if accuracy >= goal.accuracy else f"no: [{goal.section}]({format_link(goal.section)})"
        lines.append(
            f"| [{goal.checkpoint}](../checkpoints/{goal.checkpoint}) | {goal.split} | {count:,} | {goal.accuracy * 100:g}% "
            f"| {format_accuracy(accuracy, count)} | {reached} |"
        )
    return "\n".join(lines)


def find_accuracy(goal: Goal) -> tuple[float, int]:
    """Return the measured accuracy for a goal and the number of samples."""
    if " x " in goal.split:
        models = read_benchmark(maze_reapplication.RESULTS_NAME)["models"]
        sides: dict[str, Any] = next(row["sides"] for row in models if row["checkpoint"] == goal.checkpoint)
        row = sides[goal.split.split(" x ")[0]]
        return row["by_application"][-1]["solved"], row["n"]
    evaluation = next(e for e in read_metrics(goal.checkpoint)["evaluations"] if e["split"] == goal.split)
    return evaluation["accuracy_halted"], evaluation["n"]


def format_link(section: str) -> str:
    """Return the link from docs/results.md to a heading of docs/experiments.md, as GitHub names its anchor."""
    return f"experiments.md#{section.lower().replace(' ', '-')}"
