"""Difficulty of inputs: how often a checkpoint was right at each difficulty, for the slider of the page."""

from typing import Any

import numpy as np

from training.tasks import Task
from ui.services.gallery_metrics import MIN_GROUP_SIZE, get_evaluation

EASY_ACCURACY, HARD_ACCURACY = 0.97, 0.5  # bounds of the labels of examples
RELIABLE_ACCURACY = 0.9  # of the level that the slider begins with


def build_difficulty_scale(task: Task, metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Return the measured accuracy by difficulty.

    Args:
        task: The task.
        metrics: Contents of metrics.json.

    Returns:
        `name`: what the difficulty counts; `noun` and `verb`: words for the line; `levels`: difficulty, accuracy and samples
        with the default policy; `selected`: index of the level to begin with. None if the task cannot generate inputs of a
        chosen difficulty, or if fewer than two levels have enough samples.
    """
    evaluation = get_evaluation(metrics) if task.difficulty_name else None
    groups = (evaluation or {}).get("by_difficulty") or {}
    levels = [
        {"level": int(level), "accuracy": round(group["accuracy_halted"], 4), "samples": group["n"]}
        for level, group in sorted(groups.items(), key=lambda item: int(item[0]))
        if group["n"] >= MIN_GROUP_SIZE
    ]
    if len(levels) < 2:
        return None
    return {
        "name": task.difficulty_name,
        "noun": task.input_noun,
        "verb": task.success_phrase,
        "levels": levels,
        "selected": select_default_level(levels),
    }


def select_default_level(levels: list[dict[str, Any]]) -> int:
    """Return the index of the level to begin with: the median sample, or the hardest reliable level below it.

    Args:
        levels: Levels in ascending order of difficulty.
    """
    counts = np.cumsum([level["samples"] for level in levels])
    median = int(np.searchsorted(counts, counts[-1] / 2))
    reliable = [index for index in range(median + 1) if levels[index]["accuracy"] >= RELIABLE_ACCURACY]
    return reliable[-1] if reliable else max(range(len(levels)), key=lambda index: levels[index]["accuracy"])


def describe_example(scale: dict[str, Any] | None, difficulty: int | None) -> str:
    """Return the label of an example, such as "Easy: 10 steps to the goal"; empty if its accuracy was not measured."""
    levels = {level["level"]: level["accuracy"] for level in scale["levels"]} if scale else {}
    if scale is None or difficulty not in levels:
        return ""
    accuracy = levels[difficulty]
    grade = "Easy" if accuracy >= EASY_ACCURACY else "Typical" if accuracy >= HARD_ACCURACY else "Too hard"
    return f"{grade}: {difficulty} {scale['name']}"
