"""Figures of the gallery: measured values for texts and charts, all from metrics.json of the checkpoints."""

import re
from collections.abc import Mapping
from typing import Any

from ctm.checkpoint.metadata import MetricsMetadata
from inference.halting.evidence import format_accuracy, format_mean
from training.model_card import compute_wilson_interval

PLACEHOLDER = re.compile(r"\{([\w.-]+)\.(\w+)\}")
MIN_GROUP_SIZE = 20  # samples of one difficulty; the accuracy of fewer says nothing

Evaluation = dict[str, Any]


def get_evaluation(metrics: dict[str, Any]) -> Evaluation | None:
    """Return the first evaluation of metrics.json, that of the held-out split; None without one."""
    evaluations = MetricsMetadata.model_validate(metrics).evaluations
    return evaluations[0].model_dump() if evaluations else None


def fill_text(text: str, evaluations: Mapping[str, Evaluation]) -> str:
    """Return a text with measured figures in place of its placeholders.

    Args:
        text: Text with placeholders `{CHECKPOINT.FIGURE}`.
        evaluations: Evaluation by checkpoint.

    Raises:
        ValueError: A checkpoint or a figure is not known.
    """

    def get_value(match: re.Match[str]) -> str:
        checkpoint, figure = match.groups()
        values = format_values(evaluations[checkpoint]) if checkpoint in evaluations else {}
        if figure not in values:
            raise ValueError(f"There is no figure {match.group()}: name a measured checkpoint and one of its figures.")
        return values[figure]

    return PLACEHOLDER.sub(get_value, text)


def format_values(evaluation: Evaluation) -> dict[str, str]:
    """Return the figures that a text may name, as text.

    Returns:
        `accuracy` and `ticks` with the default policy, `first`, `best` and `best_tick` with a fixed number of ticks,
        `places`: accuracy of single positions.
    """
    values = {
        "accuracy": format_accuracy(evaluation["accuracy_halted"]),
        "ticks": format_mean(evaluation["mean_ticks"]),
    }
    if by_tick := evaluation["accuracy_by_tick"]:
        values |= {"first": format_accuracy(by_tick[0]), "best": format_accuracy(max(by_tick))}
        values["best_tick"] = str(by_tick.index(max(by_tick)) + 1)
    if (places := get_position_accuracy(evaluation)) is not None:
        values["places"] = format_accuracy(places)
    return values


def get_position_accuracy(evaluation: Evaluation) -> float | None:
    """Return the accuracy of single positions of the answer; None if it was not measured."""
    figures = evaluation.get("figures")
    places = figures.get("places") if isinstance(figures, dict) else None
    return float(places) if isinstance(places, int | float) else None


def build_figure(
    kind: str, axis: str, titles: Mapping[str, str], evaluations: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """Build the data of a chart.

    Args:
        kind: "halted": accuracy with the default policy; "by_tick": accuracy after every tick; "by_difficulty": accuracy by
            difficulty of the sample; "first_tick": accuracy after the first tick, when halted, and after the best tick.
        axis: Name of the horizontal axis of a figure by difficulty.
        titles: Label of every checkpoint.
        evaluations: Evaluation of every checkpoint.

    Returns:
        Rows or series of values with 95% intervals (Wilson score), as JSON data.
    """
    if kind == "halted":
        rows = [build_row(titles[name], e["accuracy_halted"], e["n"]) for name, e in evaluations.items()]
        return {"kind": "dots", "rows": rows}
    if kind == "first_tick":
        e = next(iter(evaluations.values()))
        by_tick = e["accuracy_by_tick"]
        shares = {
            "After tick 1": by_tick[0],
            "When it stops by itself": e["accuracy_halted"],
            f"After tick {by_tick.index(max(by_tick)) + 1}, the best": max(by_tick),
        }
        return {"kind": "dots", "rows": [build_row(label, share, e["n"]) for label, share in shares.items()]}
    build_points = build_points_by_tick if kind == "by_tick" else build_points_by_difficulty
    series = [{"label": titles[name], "points": build_points(e)} for name, e in evaluations.items()]
    return {"kind": "lines", "axis": "tick" if kind == "by_tick" else axis, "series": series}


def build_row(label: str, share: float, num_samples: int) -> dict[str, Any]:
    """Return a labelled share with its interval."""
    low, high = compute_wilson_interval(share, num_samples)
    return {"label": label, "value": round(share, 5), "low": round(low, 5), "high": round(high, 5)}


def build_point(x: int, share: float, num_samples: int) -> list[float]:
    """Return [x, share, lower bound, upper bound]."""
    return [x, round(share, 4), *(round(bound, 4) for bound in compute_wilson_interval(share, num_samples))]


def build_points_by_tick(evaluation: Evaluation) -> list[list[float]]:
    """Return the accuracy after every tick."""
    return [build_point(tick, share, evaluation["n"]) for tick, share in enumerate(evaluation["accuracy_by_tick"], 1)]


def build_points_by_difficulty(evaluation: Evaluation) -> list[list[float]]:
    """Return the accuracy by difficulty, in ascending order, where enough samples have it."""
    groups = sorted((int(level), group) for level, group in evaluation["by_difficulty"].items())
    return [
        build_point(level, group["accuracy_halted"], group["n"])
        for level, group in groups
        if group["n"] >= MIN_GROUP_SIZE
    ]
