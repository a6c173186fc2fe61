"""Test the data of the training curves: extrema survive the thinning, and the data stay small."""

import json
import math

import numpy as np
import pytest

from ui.services.training_curves import ACCURACY_BY_TICK_KEY, CHARTS, MAX_POINTS_PER_SERIES, build_curves_data

TRAINING_SERIES = [
    "loss",
    "accuracy",
    "lr",
    "grad_norm",
    "energy_grad_norm",
    "steps_per_second",
    "memory_gb",
    "gpu_memory_gb",
    "gpu_utilisation",
]


def get_points(lines: list, key: str = "loss") -> list[list[float]]:
    return build_curves_data([("run", lines, 100)])["runs"][0]["points"][key]


def test_training_and_validation_lines_are_separated_by_their_keys():
    lines = [{"step": 20, "loss": 2.0}, {"step": 20, "validation_loss": 3.0}, {"step": 40, "loss": 1.0}]
    value = build_curves_data([("run", lines, 100)])
    assert value["runs"] == [
        {
            "name": "run",
            "points": {"loss": [[20, 40], [2, 1]], "validation_loss": [[20], [3]]},
            "steps": 100,
            "evaluated": None,
        }
    ]
    assert [chart["id"] for chart in value["charts"]] == ["loss"]
    assert [series["label"] for series in value["charts"][0]["series"]] == ["training", "held out"]


def test_a_chart_or_series_without_values_in_any_run_is_omitted():
    runs = [
        ("a", [{"step": 1, "loss": 1.0}], 9),
        ("b", [{"step": 1, "validation_accuracy_best": 0.5}], 9),
        ("c", [], 9),
    ]
    charts = {chart["id"]: [series["key"] for series in chart["series"]] for chart in build_curves_data(runs)["charts"]}
    assert charts == {"loss": ["loss"], "accuracy": ["validation_accuracy_best"]}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1", True, [1], 10**400, {}])
def test_values_that_are_not_finite_numbers_are_skipped(value):
    assert get_points([{"step": 1, "loss": 2.0}, {"step": 2, "loss": value}, {"step": value, "loss": 5.0}]) == [
        [1],
        [2],
    ]


def test_lines_that_are_not_valid_objects_are_skipped():
    assert get_points([7, None, "x", {"loss": 3}, {"step": -1, "loss": 3}, {"step": 1, "loss": 2.0}]) == [[1], [2]]


def test_a_repeated_step_has_its_last_value_and_steps_are_sorted():
    assert get_points([{"step": step, "loss": loss} for step, loss in ((3, 1.0), (1, 2.0), (3, 4.0))]) == [
        [1, 3],
        [2, 4],
    ]


@pytest.mark.parametrize("count", [MAX_POINTS_PER_SERIES, 301, 1000, 4097, 20_000])
def test_thinning_keeps_spikes_and_both_ends(count):
    losses = np.linspace(3, 1, count)
    losses[count // 3], losses[count // 2] = 50, 0.001
    steps, values, smooth = get_points([{"step": 20 * at, "loss": loss} for at, loss in enumerate(losses)])
    assert len(steps) == len(values) == len(smooth) <= MAX_POINTS_PER_SERIES
    assert {50, 0.001} <= set(values)
    assert (steps[0], steps[-1]) == (0, 20 * (count - 1)) and values[-1] == 1
    assert steps == sorted(set(steps))


def test_a_new_point_does_not_change_the_selection_of_old_points():
    noise = np.random.default_rng(0).random(3001)
    before, after = (
        get_points([{"step": at, "lr": x} for at, x in enumerate(noise[:count])], "lr") for count in (3000, 3001)
    )
    assert len(set(before[0]) - set(after[0])) <= 2


def test_noise_is_smoothed_and_the_smoothed_line_follows_the_trend():
    draw = np.random.default_rng(0).normal
    trend = np.exp(-np.arange(2000) / 500)
    lines = [{"step": at, "loss": x * math.exp(draw() * 0.3), "lr": x} for at, x in enumerate(trend)]
    steps, values, smooth = get_points(lines)
    deviations = [np.abs(np.log(np.array(line) / trend[steps])).mean() for line in (values, smooth)]
    assert deviations[1] < deviations[0] / 4
    assert len(get_points(lines, "lr")) == 2, "a learning rate is not smoothed"
    assert len(get_points(lines[:5])) == 2, "five points are not smoothed"


def make_long_metrics(draw) -> list[dict]:
    training = [{"step": 20 * at} | {key: draw() for key in TRAINING_SERIES} for at in range(5000)]
    keys = [series.key for chart in CHARTS for series in chart.series if series.key.startswith("validation")]
    evaluations = [
        {key: draw() for key in keys} | {ACCURACY_BY_TICK_KEY: [draw() for _ in range(100)]} for _ in range(100)
    ]
    return training + [{"step": 1000 * at} | line for at, line in enumerate(evaluations)]


def test_the_data_of_a_long_run_with_all_series_are_small():
    lines = make_long_metrics(np.random.default_rng(0).random)
    size = len(json.dumps(build_curves_data([("run", lines, 100_000)]), separators=(",", ":")))
    assert size < 40_000
    data_of_several_runs = build_curves_data([(f"run {number}", lines, 100_000) for number in range(6)])
    assert len(json.dumps(data_of_several_runs, separators=(",", ":"), allow_nan=False)) < 90_000


def test_numbers_have_five_significant_digits():
    lines = [{"step": 1, "loss": 0.123456789}, {"step": 2, "loss": 0.00001234567}, {"step": 3, "loss": 4.0}]
    assert get_points(lines)[1] == [0.12346, 1.2346e-5, 4]


def test_accuracy_by_tick_is_that_of_the_newest_evaluation():
    lines = [
        {"step": 1, ACCURACY_BY_TICK_KEY: [0.1, 0.2]},
        {"step": 2, ACCURACY_BY_TICK_KEY: [0.3, None, 0.5]},
        {"step": 3, ACCURACY_BY_TICK_KEY: []},
    ]
    value = build_curves_data([("run", [*lines, {"step": 4, "loss": 1.0, ACCURACY_BY_TICK_KEY: "x"}], 9)])
    assert (
        value["runs"][0]["points"][ACCURACY_BY_TICK_KEY] == [[1, 3], [0.3, 0.5]] and value["runs"][0]["evaluated"] == 2
    )
    assert [chart["axis"] for chart in value["charts"]] == ["step", "tick"]


def test_an_empty_chart_shows_a_note():
    assert build_curves_data([]) == {"charts": [], "runs": [], "note": "Choose a run to see its curves."}
    assert build_curves_data([("run", [], 9)])["note"] == "Waiting for the first step."
    assert build_curves_data([("run", [], 9)], message="In line.")["note"] == "In line."


def test_charts_have_unique_ids_and_a_help_text():
    assert len({chart.id for chart in CHARTS}) == len(CHARTS)
    assert all(chart.help_text.endswith(".") and chart.series for chart in CHARTS)
