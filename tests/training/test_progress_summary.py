"""Test the sentences about the progress of a training, each on metrics that are made for its rule."""

import math

import pytest

from training.progress_summary import (
    MAX_CURVE_POINTS,
    PublishedResult,
    build_accuracy_curve,
    describe_expectation,
    describe_progress,
    estimate_noise,
    read_evaluations,
)

PUBLISHED = PublishedResult(0.9, 3_000)


def make_lines(
    accuracies: list[float], positions: list[float] | None = None, training: list[float] | None = None
) -> list[dict]:
    """Return metrics with an evaluation every 100 steps, and one training line before each."""
    lines: list[dict] = []
    for index, accuracy in enumerate(accuracies):
        step = 100 * (index + 1)
        lines.append({"step": step, "loss": 0.5, "accuracy": training[index] if training else accuracy})
        evaluation = {"step": step, "validation_accuracy_best": accuracy}
        if positions:
            evaluation["validation_position_accuracy_last"] = positions[index]
        lines.append(evaluation)
    return lines


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "It has not logged a step yet."),
        ([{"step": 10, "loss": 0.5}], "It has not been evaluated yet."),
        (make_lines([0.3]), "First evaluation: 30% of answers right."),
        (make_lines([0.0, 0.0], [0.5, 0.61]), "Learning: 61% of bits right, up from 50%; 0% of whole answers right yet."),
        (make_lines([0.0, 0.3], [0.5, 0.9]), "Learning: 30% of whole answers right, up from 0%."),
        (make_lines([0.1, 0.5]), "Learning: 50% of answers right, up from 10%."),
        (make_lines([0.5, 0.505, 0.5]), "No progress yet: 50% of answers right."),
        (make_lines([0.2, *[0.6] * 6]), "Flat for 5 evaluations: 60% of answers right."),
        (make_lines([0.0] * 6, [0.5] * 6), "Flat for 5 evaluations: 50% of bits right, 0% of whole answers right."),
        (make_lines([0.0] * 6, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75]),
         "Learning: 75% of bits right, up from 50%; 0% of whole answers right yet."),
        (make_lines([0.5, *[0.999] * 7]), "Learned: 99.9% of answers right."),
        (make_lines([0.5, 0.8, 0.7, 0.69, 0.68], training=[0.5, 0.8, 0.85, 0.9, 0.95]),
         "Overfitting: the training accuracy rises from 80% to 95%, the validation accuracy falls from 80% at step 200 to 68%."),
        (make_lines([0.5, 0.8, 0.7, 0.69, 0.68]), "Getting worse: the validation accuracy falls from 80% at step 200 to 68%."),
        (make_lines([0.5, 0.8, 0.5, 0.79, 0.7]), "Learning: 70% of answers right, up from 50%."),
        ([*make_lines([0.5]), {"step": 110, "loss": math.nan}, {"step": 120, "loss": math.inf}],
         "The loss is not a number since step 110: lower the learning rate and start again."),
    ],
)  # fmt: skip
def test_the_progress_of_a_training_is_one_sentence(lines, expected):
    assert describe_progress(lines, "bits", 500) == expected


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (0.88, "Learning: 88% of answers right, up from 10%."),
        (0.895, "Reached 99% of the recipe's accuracy: 90% of answers right."),
        (0.95, "Reached 100% of the recipe's accuracy: 95% of answers right."),
    ],
)
def test_a_training_that_reaches_the_published_accuracy_says_so(accuracy, expected):
    assert describe_progress(make_lines([0.1, accuracy]), "bits", 500, PUBLISHED) == expected


def test_few_samples_make_more_noise():
    lines = make_lines([0.5, 0.53])
    assert describe_progress(lines, "bits", 100).startswith("No progress")
    assert describe_progress(lines, "bits", 10_000).startswith("Learning")
    assert estimate_noise(0.5, 100) == pytest.approx(0.05) and estimate_noise(0.0, 100) == 0.005


@pytest.mark.parametrize(
    "line",
    [
        {"validation_accuracy_best": 0.5},
        {"step": "5", "validation_accuracy_best": 0.5},
        {"step": 5, "validation_accuracy_best": "high"},
        {"step": 5, "validation_accuracy_best": math.nan},
        {"step": 5, "validation_accuracy_best": True},
        {"step": 5, "validation_accuracy_best": 7, "loss": []},
    ],
)
def test_damaged_lines_are_no_evaluations(line):
    assert read_evaluations([line]) == []
    assert describe_progress([line], "bits", 10) == "It has not been evaluated yet."


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 99, 1_234])
def test_the_published_curve_is_short_and_keeps_both_ends(count):
    lines = make_lines([index / 2_000 for index in range(count)])
    curve = build_accuracy_curve(lines)
    assert len(curve) == min(count, len(curve)) <= MAX_CURVE_POINTS
    if count:
        assert curve[0] == [100, 0.0] and curve[-1] == [100 * count, round((count - 1) / 2_000, 4)]


def test_the_expectation_is_what_is_published_and_nothing_else():
    assert describe_expectation(50, None) == ""
    assert describe_expectation(50, PUBLISHED) == "The recipe reached 90.0% after 3,000 steps."
    with_curve = PublishedResult(0.9, 3_000, ((1_000, 0.4), (2_000, 0.7)))
    assert with_curve.get_accuracy_at(999) is None
    assert (
        describe_expectation(2_500, with_curve)
        == "The recipe reached 90.0% after 3,000 steps; at this step it had 70%."
    )
