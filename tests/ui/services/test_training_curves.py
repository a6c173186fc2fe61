"""Test the data of the training curves: extrema survive the thinning, and the data stay small."""

import json
import math

import numpy as np
import pytest

from ui.services.training_curves import (
    ACCURACY_BY_TICK_KEY,
    CHARTS,
    MAX_CLOCK_POINTS,
    MAX_HEATMAP_EVALUATIONS,
    MAX_HEATMAP_TICKS,
    MAX_NUMBERS_PER_COMPARED_RUN,
    MAX_POINTS_PER_SERIES,
    build_clock,
    build_curves_data,
    build_heatmap,
    build_run_data,
    count_samples,
)

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
    return build_run_data("run", lines)["points"][key]


def test_training_and_validation_lines_are_separated_by_their_keys():
    lines = [{"step": 20, "loss": 2.0}, {"step": 20, "validation_loss": 3.0}, {"step": 40, "loss": 1.0}]
    value = build_curves_data([build_run_data("run", lines, 32)])
    assert value["runs"] == [
        {
            "name": "run",
            "points": {"loss": [[20, 40], [2, 1]], "validation_loss": [[20], [3]]},
            "clock": [[], []],
            "samples": [[40], [1280]],
        }
    ]
    assert [chart["id"] for chart in value["charts"]] == ["loss"]
    assert [series["label"] for series in value["charts"][0]["series"]] == ["training", "held out"]


def test_a_chart_or_series_without_values_in_any_run_is_omitted():
    runs = [
        build_run_data("a", [{"step": 1, "loss": 1.0}]),
        build_run_data("b", [{"step": 1, "validation_accuracy_best": 0.5}]),
        build_run_data("c", []),
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
    steps, values, *means = get_points([{"step": 20 * at, "loss": loss} for at, loss in enumerate(losses)])
    assert len(steps) == len(values) <= MAX_POINTS_PER_SERIES
    assert [len(column) for column in means] == [len(steps)] * (count > MAX_POINTS_PER_SERIES)
    assert {50, 0.001} <= set(values)
    assert (steps[0], steps[-1]) == (0, 20 * (count - 1)) and values[-1] == 1
    assert steps == sorted(set(steps))


def test_a_new_point_does_not_change_the_selection_of_old_points():
    noise = np.random.default_rng(0).random(3001)
    before, after = (
        get_points([{"step": at, "lr": x} for at, x in enumerate(noise[:count])], "lr") for count in (3000, 3001)
    )
    assert len(set(before[0]) - set(after[0])) <= 2


def test_thinned_noise_has_means_that_follow_the_trend():
    draw = np.random.default_rng(0).normal
    trend = np.exp(-np.arange(2000) / 500)
    lines = [{"step": at, "loss": x * math.exp(draw() * 0.3), "lr": x} for at, x in enumerate(trend)]
    steps, values, means = get_points(lines)
    deviations = [np.abs(np.log(np.array(line) / trend[steps])).mean() for line in (values, means)]
    assert deviations[1] < deviations[0] / 2
    assert len(get_points(lines, "lr")) == 2, "a learning rate is not noisy"
    assert len(get_points(lines[:300])) == 2, "a series that is not thinned has no means"


def make_long_metrics(draw) -> list[dict]:
    training = [{"step": 20 * at} | {key: draw() for key in TRAINING_SERIES} for at in range(5000)]
    keys = [series.key for chart in CHARTS for series in chart.series if series.key.startswith("validation")]
    evaluations = [
        {key: draw() for key in keys} | {ACCURACY_BY_TICK_KEY: [draw() for _ in range(100)]} for _ in range(100)
    ]
    return training + [{"step": 1000 * at} | line for at, line in enumerate(evaluations)]


def test_the_data_of_a_long_run_with_all_series_are_small():
    lines = make_long_metrics(np.random.default_rng(0).random)
    one = build_curves_data([build_run_data("run", lines)], build_heatmap(lines, "run"))
    assert len(json.dumps(one, separators=(",", ":"))) < 40_000
    runs = [build_run_data(f"run {number}", lines, max_numbers=MAX_NUMBERS_PER_COMPARED_RUN) for number in range(6)]
    six = build_curves_data(runs, build_heatmap(lines, "run"))
    assert len(json.dumps(six, separators=(",", ":"), allow_nan=False)) < 120_000


def test_numbers_have_five_significant_digits():
    lines = [{"step": 1, "loss": 0.123456789}, {"step": 2, "loss": 0.00001234567}, {"step": 3, "loss": 4.0}]
    assert get_points(lines)[1] == [0.12346, 1.2346e-5, 4]


def test_the_heat_map_has_the_accuracy_of_all_evaluations():
    lines = [
        {"step": 1, ACCURACY_BY_TICK_KEY: [0.1, 0.2]},
        {"step": 2, ACCURACY_BY_TICK_KEY: [0.3, None, 0.5]},
        {"step": 3, ACCURACY_BY_TICK_KEY: []},
        {"step": 4, ACCURACY_BY_TICK_KEY: "x", "loss": 1.0},
        {"step": None, ACCURACY_BY_TICK_KEY: [1.0]},
        {"step": 5, ACCURACY_BY_TICK_KEY: [math.nan, 7, -1]},
    ]
    assert build_heatmap(lines, "run") == {
        "name": "run",
        "steps": [1, 2, 5],
        "ticks": [1, 2, 3],
        "rows": [[100, 200, None], [300, None, 500], [None, 1000, 0]],
    }
    assert build_heatmap([{"step": 1, "loss": 1.0}], "run") is None


def test_a_large_heat_map_keeps_evenly_spaced_evaluations_and_ticks_with_both_ends():
    lines = [{"step": step, ACCURACY_BY_TICK_KEY: [tick / 500 for tick in range(500)]} for step in range(1, 301)]
    heatmap = build_heatmap(lines, "run")
    assert heatmap is not None
    assert (len(heatmap["steps"]), heatmap["steps"][0], heatmap["steps"][-1]) == (MAX_HEATMAP_EVALUATIONS, 1, 300)
    assert (len(heatmap["ticks"]), heatmap["ticks"][0], heatmap["ticks"][-1]) == (MAX_HEATMAP_TICKS, 1, 500)
    assert all(row[0] == 0 and row[-1] == 998 for row in heatmap["rows"])


def test_the_clock_has_the_logged_seconds_or_those_that_the_speed_gives():
    logged = [{"step": 10, "seconds": 4.0, "steps_per_second": 1.0}, {"step": 20, "seconds": 9.5}]
    assert build_clock(logged) == [[10, 20], [4, 9.5]]
    speeds = [
        {"step": step, "steps_per_second": speed} for step, speed in ((10, 5.0), (20, 4.0), (30, 30.0), (40, 0.0))
    ]
    assert build_clock(speeds) == [[10, 20, 30], [2, 5, 5]], "time does not run backwards"
    steps, seconds = build_clock([{"step": step, "seconds": step / 2} for step in range(1, 1001)])
    assert (len(steps), steps[0], steps[-1], seconds[-1]) == (MAX_CLOCK_POINTS, 1, 1000, 500)
    assert build_clock([{"step": 1, "loss": 2.0}]) == [[], []]


def test_the_samples_are_those_of_the_lines_or_those_that_the_batch_size_gives():
    stages = [{"step": 10, "samples": 320}, {"step": 20, "samples": 640}, {"step": 30, "samples": 1280}]
    assert count_samples(stages, 32) == [[10, 20, 30], [320, 640, 1280]]
    assert count_samples([{"step": 10, "loss": 1.0}, {"step": 5}], 32) == [[10], [320]]
    assert count_samples([], 32) == count_samples([{"step": 0}], 32) == [[], []]


def test_an_empty_chart_shows_a_note():
    empty = {"charts": [], "runs": [], "heatmap": None}
    assert build_curves_data([]) == empty | {"note": "Select a run to see its charts."}
    assert build_curves_data([build_run_data("run", [])])["note"] == "Waiting for the first step."


def test_charts_have_unique_ids_and_a_help_text():
    assert len({chart.id for chart in CHARTS}) == len(CHARTS)
    assert all(chart.help_text.endswith(".") and chart.series for chart in CHARTS)
