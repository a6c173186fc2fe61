"""Data of the training charts: the metrics of one run, or of several runs in common charts.

The lines of metrics.jsonl become plain numbers, few enough to send every second. `ui/static/curves/` draws them with plotly.js and
keeps the state of the view (zoom, scales, smoothing) while new metrics arrive.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ui.services.training_charts import ACCURACY_BY_TICK_KEY, CHARTS, SAMPLES_KEY, SECONDS_KEY, Chart

MAX_POINTS_PER_SERIES = 300
MIN_POINTS_PER_SERIES = 40
MAX_NUMBERS_PER_RUN = 4000  # of about 7 characters each, so under 30 kB, if one run is shown
MAX_NUMBERS_PER_COMPARED_RUN = 1600
MAX_CLOCK_POINTS = 60  # steps whose time is sent; the time of those between is interpolated
MAX_HEATMAP_EVALUATIONS, MAX_HEATMAP_TICKS = 40, 60
BUCKET_SIZES = sorted(
    factor * 2**power for factor in (1, 3) for power in range(40)
)  # points: 1, 2, 3, 4, 6, 8, 12, ...
NO_RUN_MESSAGE = "Select a run to see its charts."
NO_DATA_MESSAGE = "Waiting for the first step."


def build_curves_data(
    runs: Sequence[dict[str, Any]], heatmap: dict[str, Any] | None = None, charts: Sequence[Chart] = CHARTS
) -> dict[str, Any]:
    """Build the value of the curves component.

    Args:
        runs: Results of `build_run_data`.
        heatmap: Result of `build_heatmap` for the run that is shown; None without one.
        charts: Possible charts. Charts and series without points are left out.

    Returns:
        JSON data.
    """
    available_keys = {key for run in runs for key in run["points"]}
    chart_data = [build_chart_data(chart, available_keys) for chart in charts]
    return {
        "charts": [chart for chart in chart_data if chart["series"]],
        "runs": list(runs),
        "heatmap": heatmap,
        "note": NO_DATA_MESSAGE if runs else NO_RUN_MESSAGE,
    }


def build_chart_data(chart: Chart, available_keys: set[str]) -> dict[str, Any]:
    """Return a chart as JSON data, with the series that have points."""
    series = [
        {"key": line.key, "label": line.label, "noisy": line.noisy}
        for line in chart.series
        if line.key in available_keys
    ]
    values = asdict(chart)
    return values | {"help": values.pop("help_text"), "series": series}


def build_run_data(
    name: str,
    lines: list[dict],
    samples_per_step: int = 1,
    max_numbers: int = MAX_NUMBERS_PER_RUN,
    charts: Sequence[Chart] = CHARTS,
) -> dict[str, Any]:
    """Return a run as JSON data: steps and values of the points by key, thinned to about `max_numbers` numbers.

    Args:
        name: Name of the run.
        lines: Parsed lines of metrics.jsonl.
        samples_per_step: Training samples of one step, for lines without their number.
        max_numbers: Maximum number of numbers of all series together.
        charts: Possible charts.

    Returns:
        `points`: columns by key, see `thin_points`; `clock`: steps and the seconds of training until them; `samples`: steps and the
        training samples until them.
    """
    series = {line.key: line for chart in charts for line in chart.series}
    points = read_points(lines, series)
    sizes = [(len(values), 3 if series[key].noisy else 2) for key, values in points.items()]
    max_points = compute_points_per_series(sizes, max_numbers)
    log_keys = {line.key for chart in charts if chart.log for line in chart.series}
    columns = {key: thin_points(points[key], max_points, series[key].noisy, key in log_keys) for key in points}
    return {
        "name": name,
        "points": columns,
        "clock": build_clock(lines),
        "samples": count_samples(lines, samples_per_step),
    }


def build_clock(lines: Sequence[dict]) -> list[list[float]]:
    """Return steps and the seconds of training until them, as two columns; empty columns if no line has a time.

    A line without the seconds has its step and the average speed since the training started or resumed, which gives them.
    """
    seconds_by_step = read_points(lines, [SECONDS_KEY, "steps_per_second"])
    seconds = seconds_by_step.get(SECONDS_KEY) or {
        step: step / speed for step, speed in seconds_by_step.get("steps_per_second", {}).items() if speed > 0
    }
    return select_rising_points(seconds, MAX_CLOCK_POINTS)


def count_samples(lines: Sequence[dict], samples_per_step: int) -> list[list[float]]:
    """Return steps and the training samples until them, as two columns; empty columns without a line that has a step.

    The number of samples of a step differs between the stages of a run, so the lines have the sum.
    """
    if samples := read_points(lines, [SAMPLES_KEY]).get(SAMPLES_KEY):
        return select_rising_points(samples, MAX_CLOCK_POINTS)
    last_step = max((step for step in map(parse_step, lines) if step is not None), default=0)
    return [[last_step], [last_step * samples_per_step]] if last_step else [[], []]


def select_rising_points(value_by_step: Mapping[int, float], count: int) -> list[list[float]]:
    """Return at most `count` evenly spaced points as columns of steps and values; a value is at least as large as those before it."""
    if not value_by_step:
        return [[], []]
    steps, values = np.array(list(value_by_step)), np.maximum.accumulate(list(value_by_step.values()))
    indices = np.unique(np.linspace(0, len(steps) - 1, count).round().astype(int))
    return [[int(steps[index]) for index in indices], [round_significant(values[index]) for index in indices]]


def build_heatmap(lines: Sequence[dict], name: str) -> dict[str, Any] | None:
    """Return the accuracy of every tick at every evaluation as JSON data; None without an evaluation.

    Args:
        lines: Parsed lines of metrics.jsonl.
        name: Name of the run.

    Returns:
        `steps` of the evaluations, `ticks`, and `rows`: the accuracy in thousandths of each step and tick. Of many evaluations and
        ticks, evenly spaced ones are kept, always the first and the last.
    """
    rows = {}
    for line in lines:
        step = parse_step(line)
        values = line.get(ACCURACY_BY_TICK_KEY) if step is not None else None
        if step is not None and isinstance(values, list) and values:
            rows[step] = [to_finite_float(value) for value in values]
    if not rows:
        return None
    num_ticks = max(len(row) for row in rows.values())
    kept_steps = select_evenly(sorted(rows), MAX_HEATMAP_EVALUATIONS)
    kept_ticks = select_evenly(list(range(num_ticks)), MAX_HEATMAP_TICKS)
    return {
        "name": name,
        "steps": kept_steps,
        "ticks": [tick + 1 for tick in kept_ticks],
        "rows": [[to_thousandths(rows[step], tick) for tick in kept_ticks] for step in kept_steps],
    }


def to_thousandths(row: Sequence[float | None], tick: int) -> int | None:
    """Return the accuracy at a tick in thousandths; None where it is not known."""
    value = row[tick] if tick < len(row) else None
    return None if value is None else round(1000 * min(1.0, max(0.0, value)))


def select_evenly(values: list[int], count: int) -> list[int]:
    """Return at most `count` evenly spaced values, always the first and the last."""
    if len(values) <= count:
        return values
    return [values[index] for index in np.linspace(0, len(values) - 1, count).round().astype(int)]


# --- reading metrics.jsonl -------------------------------------------------------------------------------------------


def to_finite_float(value: Any) -> float | None:
    """Return a finite number, or None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e30 else None  # false for nan as well


def parse_step(line: Any) -> int | None:
    """Return the step of a line of metrics.jsonl, or None if it has none."""
    step = to_finite_float(line.get("step")) if isinstance(line, dict) else None
    return int(step) if step is not None and step >= 0 else None


def read_points(lines: Iterable[dict], keys: Iterable[str]) -> dict[str, dict[int, float]]:
    """Return the values of each key by step. The last line of a step counts; keys without values are left out."""
    points: dict[str, dict[int, float]] = {key: {} for key in keys}
    for line in lines:
        if (step := parse_step(line)) is None:
            continue
        for key, value in line.items():
            if key in points and (number := to_finite_float(value)) is not None:
                points[key][step] = number
    return {key: dict(sorted(values.items())) for key, values in points.items() if values}


# --- thinning --------------------------------------------------------------------------------------------------------


def compute_points_per_series(series: Sequence[tuple[int, int]], max_numbers: int) -> int:
    """Return the maximum number of points per series with which all series fit.

    Args:
        series: Number of points and numbers per point of each series.
        max_numbers: Maximum number of numbers of all series together.
    """
    for max_points in range(MAX_POINTS_PER_SERIES, MIN_POINTS_PER_SERIES, -20):
        if sum(min(length, max_points) * width for length, width in series) <= max_numbers:
            return max_points
    return MIN_POINTS_PER_SERIES


def thin_points(points: dict[int, float], max_points: int, is_noisy: bool, is_log: bool) -> list[list[float]]:
    """Return at most `max_points` points as columns: steps, values and, of a thinned noisy series, means around them.

    The page smooths the means: extrema alone would shift a smoothed line.

    Args:
        points: Values by step.
        max_points: Maximum number of points.
        is_noisy: Whether the page smooths the values.
        is_log: Whether to average logarithms.
    """
    steps = list(points)
    values = np.array(list(points.values()))
    indices = select_extrema(values, max_points)
    columns: list[list[float]] = [
        [steps[index] for index in indices],
        [round_significant(values[index]) for index in indices],
    ]
    if is_noisy and len(indices) < len(values):
        means = compute_means(values, math.ceil(len(values) / len(indices)), is_log)
        columns.append([round_significant(means[index]) for index in indices])
    return columns


def select_extrema(values: np.ndarray, max_points: int) -> list[int]:
    """Return the indices of both ends, and of the smallest and the largest value of each bucket.

    There are few bucket sizes, so new points rarely change which old points are selected, and the curve does not flicker.
    """
    count = len(values)
    if count <= max_points:
        return list(range(count))
    size = next(size for size in BUCKET_SIZES if 2 * math.ceil(count / size) + 2 <= max_points)
    indices = {0, count - 1}
    for start in range(0, count, size):
        bucket = values[start : start + size]
        indices |= {start + int(bucket.argmin()), start + int(bucket.argmax())}
    return sorted(indices)


def compute_means(values: np.ndarray, half_width: int, is_log: bool) -> np.ndarray:
    """Return the means around all values: of logarithms, if requested and all values are positive."""
    if is_log and (values > 0).all():
        return np.exp(compute_moving_average(np.log(values), half_width))
    return compute_moving_average(values, half_width)


def compute_moving_average(values: np.ndarray, half_width: int) -> np.ndarray:
    """Return means over centered windows, which become narrower towards the start and are cut off at the end."""
    indices = np.arange(len(values))
    reach = np.minimum(half_width, indices)
    first = indices - reach
    last = np.minimum(indices + reach + 1, len(values))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return (sums[last] - sums[first]) / (last - first)


def round_significant(value: float) -> float:
    """Round to five significant digits. Whole numbers become integers, which are shorter in JSON."""
    rounded = float(f"{value:.5g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded
