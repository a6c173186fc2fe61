"""The state of a training in sentences, by rules on its metrics: whether it learns, and how it compares with a published result.

All accuracies are shares of one. The validation samples are the same at every evaluation of a run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.halting.evidence import format_accuracy

NUM_FLAT_EVALUATIONS = 5  # without a change before a training counts as flat
NUM_FALLING_EVALUATIONS = 3  # below the best one before a training counts as worse
MIN_NOISE = 0.005  # changes of an accuracy below this size say nothing
MIN_WHOLE_ACCURACY = 0.05  # of whole answers; below it, the accuracy of single positions shows the progress
REACHED_SHARE = 0.99  # of the published accuracy that counts as reached
SOLVED_ACCURACY = 0.995
MAX_CURVE_POINTS = 50


@dataclass(frozen=True)
class PublishedResult:
    """What the published run of a recipe reached.

    Attributes:
        accuracy: Accuracy of its final checkpoint on the test split.
        steps: Its optimiser steps.
        curve: Step and validation accuracy of its evaluations; empty if they are not published.
    """

    accuracy: float
    steps: int
    curve: tuple[tuple[int, float], ...] = ()

    def get_accuracy_at(self, step: int) -> float | None:
        """Return the validation accuracy of the published run at the latest evaluation up to a step; None if unknown."""
        return next((accuracy for curve_step, accuracy in reversed(self.curve) if curve_step <= step), None)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run.

    Attributes:
        step: Optimiser step.
        accuracy: Share of correct answers at the best tick.
        position_accuracy: Share of correct positions; None if an answer has one position.
        training_accuracy: Mean accuracy of the training batches logged since the evaluation before; None without any.
    """

    step: int
    accuracy: float
    position_accuracy: float | None
    training_accuracy: float | None


def read_evaluations(lines: Sequence[Mapping[str, Any]]) -> list[Evaluation]:
    """Return the evaluations in the lines of metrics.jsonl; lines with values of another form are skipped."""
    evaluations: list[Evaluation] = []
    training: list[float] = []
    for line in lines:
        if (value := _read_share(line, "accuracy")) is not None:
            training.append(value)
        accuracy = _read_share(line, "validation_accuracy_best")
        if accuracy is None or type(line.get("step")) is not int:
            continue
        position_accuracy = _read_share(line, "validation_position_accuracy_last")
        training_accuracy = sum(training) / len(training) if training else None
        evaluations.append(Evaluation(line["step"], accuracy, position_accuracy, training_accuracy))
        training = []
    return evaluations


def _read_share(line: Mapping[str, Any], name: str) -> float | None:
    value = line.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return None


def build_accuracy_curve(lines: Sequence[Mapping[str, Any]]) -> list[list[int | float]]:
    """Return step and validation accuracy of at most `MAX_CURVE_POINTS` evaluations, always the first and the last.

    Args:
        lines: Lines of metrics.jsonl.
    """
    evaluations = read_evaluations(lines)
    stride = max(1, math.ceil((len(evaluations) - 1) / (MAX_CURVE_POINTS - 1)))
    chosen = evaluations[::stride]
    if evaluations and chosen[-1] is not evaluations[-1]:
        chosen.append(evaluations[-1])
    return [[evaluation.step, round(evaluation.accuracy, 4)] for evaluation in chosen]


def describe_progress(
    lines: Sequence[Mapping[str, Any]],
    position_noun: str,
    num_samples: int,
    published: PublishedResult | None = None,
) -> str:
    """Return how a training goes, in a sentence or two.

    Args:
        lines: Lines of metrics.jsonl.
        position_noun: What the positions of an answer are, in the plural; see `Task.position_noun`.
        num_samples: Samples of an evaluation, which determine how much of a change is noise.
        published: Result of the recipe; None if none is published.
    """
    if (step := _find_invalid_loss(lines)) is not None:
        return f"The loss is not a number since step {step:,}: lower the learning rate and start again."
    evaluations = read_evaluations(lines)
    if not evaluations:
        return "It has not been evaluated yet." if lines else "It has not logged a step yet."
    latest = evaluations[-1]
    if published is not None and latest.accuracy >= REACHED_SHARE * published.accuracy:
        return f"Reached {_format_ratio(latest.accuracy, published.accuracy)} of the recipe's accuracy: {_format_whole(latest)}."
    return (
        _describe_fall(evaluations, num_samples)
        or _describe_standstill(evaluations, position_noun, num_samples)
        or _describe_rise(evaluations, position_noun, num_samples)
    )


def _find_invalid_loss(lines: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the first step of the last losses if they are not finite."""
    step = None
    for line in reversed(lines):
        loss = line.get("loss")
        if type(loss) not in (int, float):
            continue
        if math.isfinite(loss):
            break
        step = line.get("step")
    return step if type(step) is int else None


def _describe_fall(evaluations: Sequence[Evaluation], num_samples: int) -> str:
    """Return that the accuracy falls, and whether the training accuracy rises meanwhile; empty if it does not fall."""
    latest, best = evaluations[-1], max(evaluations, key=lambda evaluation: evaluation.accuracy)
    limit = best.accuracy - 2 * estimate_noise(best.accuracy, num_samples)
    later = [evaluation for evaluation in evaluations if evaluation.step > best.step][-NUM_FALLING_EVALUATIONS:]
    if len(later) < NUM_FALLING_EVALUATIONS or any(evaluation.accuracy > limit for evaluation in later):
        return ""
    fall = f"{format_share(best.accuracy)} at step {best.step:,} to {format_share(latest.accuracy)}"
    before, now = best.training_accuracy, latest.training_accuracy
    if before is not None and now is not None and now > before + MIN_NOISE:
        rise = f"{format_share(before)} to {format_share(now)}"
        return f"Overfitting: the training accuracy rises from {rise}, the validation accuracy falls from {fall}."
    return f"Getting worse: the validation accuracy falls from {fall}."


def _describe_standstill(evaluations: Sequence[Evaluation], position_noun: str, num_samples: int) -> str:
    """Return for how many evaluations nothing has changed; empty if something has."""
    latest = evaluations[-1]
    num_flat = 0
    for earlier in reversed(evaluations[:-1]):
        if _find_change(earlier, latest, num_samples):
            break
        num_flat += 1
    if num_flat < NUM_FLAT_EVALUATIONS or latest.accuracy >= SOLVED_ACCURACY:
        return ""
    return f"Flat for {num_flat} evaluations: {_format_accuracy(latest, position_noun)}."


def _describe_rise(evaluations: Sequence[Evaluation], position_noun: str, num_samples: int) -> str:
    """Return the accuracy, and that of the first evaluation."""
    first, latest = evaluations[0], evaluations[-1]
    accuracy = _format_accuracy(latest, position_noun)
    if latest.accuracy >= SOLVED_ACCURACY:
        return f"Learned: {accuracy}."
    if len(evaluations) == 1:
        return f"First evaluation: {accuracy}."
    if _find_change(first, latest, num_samples) <= 0:
        return f"No progress yet: {accuracy}."
    if _shows_positions(latest):
        assert latest.position_accuracy is not None
        before = "" if first.position_accuracy is None else f", up from {format_share(first.position_accuracy)}"
        return f"Learning: {_format_positions(latest, position_noun)}{before}; {_format_whole(latest)} yet."
    return f"Learning: {_format_whole(latest)}, up from {format_share(first.accuracy)}."


def _find_change(earlier: Evaluation, later: Evaluation, num_samples: int) -> int:
    """Return 1 for a rise, -1 for a fall and 0 for noise, of the accuracy, or else of the accuracy of single positions."""
    pairs = [(earlier.accuracy, later.accuracy)]
    if earlier.position_accuracy is not None and later.position_accuracy is not None:
        pairs.append((earlier.position_accuracy, later.position_accuracy))
    for before, after in pairs:
        if abs(after - before) > estimate_noise(before, num_samples):
            return 1 if after > before else -1
    return 0


def estimate_noise(accuracy: float, num_samples: int) -> float:
    """Return the standard error of an accuracy, at least `MIN_NOISE`."""
    return max(MIN_NOISE, math.sqrt(accuracy * (1 - accuracy) / max(1, num_samples)))


def _shows_positions(evaluation: Evaluation) -> bool:
    """Return whether the accuracy of single positions tells more than that of whole answers."""
    return evaluation.position_accuracy is not None and evaluation.accuracy < MIN_WHOLE_ACCURACY


def _format_accuracy(evaluation: Evaluation, position_noun: str) -> str:
    if not _shows_positions(evaluation):
        return _format_whole(evaluation)
    return f"{_format_positions(evaluation, position_noun)}, {_format_whole(evaluation)}"


def _format_positions(evaluation: Evaluation, position_noun: str) -> str:
    return f"{format_share(evaluation.position_accuracy or 0.0)} of {position_noun} right"


def _format_whole(evaluation: Evaluation) -> str:
    noun = "answers" if evaluation.position_accuracy is None else "whole answers"
    return f"{format_share(evaluation.accuracy)} of {noun} right"


def _format_ratio(accuracy: float, published: float) -> str:
    """Return an accuracy in percent of a published one, rounded down, so that 100% means reached."""
    return f"{min(100, math.floor(100 * accuracy / published))}%"


def format_share(share: float) -> str:
    """Format a share as a percentage; with a decimal near 0 and 1, so that 99.6% is not 100%."""
    return f"{share:.0%}" if 0.05 <= share <= 0.95 or share in (0, 1) else format_accuracy(share)


def describe_expectation(step: int, published: PublishedResult | None) -> str:
    """Return what the published run of the recipe reached, and had at this step if that is published.

    Args:
        step: Steps that the run has done.
        published: Result of the recipe; None if none is published.

    Returns:
        A sentence; empty without a published result.
    """
    if published is None:
        return ""
    result = f"The recipe reached {format_accuracy(published.accuracy)} after {published.steps:,} steps"
    accuracy = published.get_accuracy_at(step)
    return f"{result}." if accuracy is None else f"{result}; at this step it had {format_share(accuracy)}."
