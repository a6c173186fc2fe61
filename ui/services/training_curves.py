"""Data of the training curves: one run by its metrics, or several runs side by side.

The lines of metrics.jsonl become plain numbers, few enough to send every second. `ui/static/curves/` draws them and keeps
the state of the view (zoom, hidden runs, crosshair) while new metrics arrive.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ui.services.training_charts import ACCURACY_BY_TICK_KEY, CHARTS, Chart

MAX_POINTS_PER_SERIES = 300
MIN_POINTS_PER_SERIES = 40
MAX_NUMBERS_PER_RUN = 5000  # of about 7 characters each, so under 40 kB; several runs share twice as many
BUCKET_SIZES = sorted(
    factor * 2**power for factor in (1, 3) for power in range(40)
)  # points: 1, 2, 3, 4, 6, 8, 12, ...
MIN_POINTS_TO_SMOOTH = 12  # shorter series are drawn without a smoothed line
NO_RUN_MESSAGE = "Choose a run to see its curves."
NO_DATA_MESSAGE = "Waiting for the first step."


def build_curves_data(
    runs: Sequence[tuple[str, list[dict], int]], charts: Sequence[Chart] = CHARTS, message: str | None = None
) -> dict[str, Any]:
    """Build the value of the curves component.

    Args:
        runs: Name, parsed lines of metrics.jsonl and planned steps of each run.
        charts: Possible charts. Charts and series without points are left out.
        message: Shown while there is nothing to draw; None for the default.

    Returns:
        JSON data.
    """
    max_numbers = 2 * MAX_NUMBERS_PER_RUN // max(2, len(runs))
    run_data = [build_run_data(name, lines, steps, charts, max_numbers) for name, lines, steps in runs]
    available_keys = {key for run in run_data for key in run["points"]}
    chart_data = [build_chart_data(chart, available_keys) for chart in charts]
    return {
        "charts": [chart for chart in chart_data if chart["series"]],
        "runs": run_data,
        "note": message or (NO_DATA_MESSAGE if runs else NO_RUN_MESSAGE),
    }


def build_chart_data(chart: Chart, available_keys: set[str]) -> dict[str, Any]:
    """Return a chart as JSON data, with the series that have points."""
    series = [{"key": line.key, "label": line.label} for line in chart.series if line.key in available_keys]
    values = asdict(chart)
    return values | {"help": values.pop("help_text"), "series": series}


def build_run_data(
    name: str, lines: list[dict], steps: int, charts: Sequence[Chart], max_numbers: int
) -> dict[str, Any]:
    """Return a run as JSON data: steps and values of the points by key, thinned to about `max_numbers` numbers.

    Args:
        name: Name of the run.
        lines: Parsed lines of metrics.jsonl.
        steps: Planned steps.
        charts: Possible charts.
        max_numbers: Maximum number of numbers of all series together.
    """
    series = {line.key: line for chart in charts for line in chart.series}
    points = read_points(lines, [key for key in series if key != ACCURACY_BY_TICK_KEY])
    step, by_tick = read_accuracy_by_tick(lines) if ACCURACY_BY_TICK_KEY in series else (None, {})
    if by_tick:
        points[ACCURACY_BY_TICK_KEY] = by_tick
    is_smoothed = {key: series[key].noisy and len(values) >= MIN_POINTS_TO_SMOOTH for key, values in points.items()}
    sizes = [(len(values), 3 if is_smoothed[key] else 2) for key, values in points.items()]
    max_points = compute_points_per_series(sizes, max_numbers)
    log_keys = {line.key for chart in charts if chart.log for line in chart.series}
    columns = {key: thin_points(points[key], max_points, is_smoothed[key], key in log_keys) for key in points}
    return {"name": name, "points": columns, "steps": steps, "evaluated": step}


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


def read_accuracy_by_tick(lines: Sequence[dict]) -> tuple[int | None, dict[int, float]]:
    """Return step and accuracy by tick of the newest evaluation; None and nothing without one."""
    for line in reversed(lines):
        step = parse_step(line)
        values = line.get(ACCURACY_BY_TICK_KEY) if step is not None else None
        if isinstance(values, list):
            accuracy = {
                tick: share for tick, value in enumerate(values, 1) if (share := to_finite_float(value)) is not None
            }
            if accuracy:
                return step, accuracy
    return None, {}


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


def thin_points(points: dict[int, float], max_points: int, smooth: bool, log: bool) -> list[list[float]]:
    """Return at most `max_points` points as columns: steps, values and, if requested, smoothed values.

    Args:
        points: Values by step.
        max_points: Maximum number of points.
        smooth: Whether to add a column of smoothed values.
        log: Whether to smooth on a logarithmic scale.
    """
    steps = list(points)
    values = np.array(list(points.values()))
    indices = select_extrema(values, max_points)
    columns: list[list[float]] = [
        [steps[index] for index in indices],
        [round_significant(values[index]) for index in indices],
    ]
    if smooth:
        smoothed = smooth_values(values, log)
        columns.append([round_significant(smoothed[index]) for index in indices])
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


def smooth_values(values: np.ndarray, log: bool) -> np.ndarray:
    """Smooth values twice by moving averages that reach over a sixtieth of the run to both sides.

    Args:
        values: Values in the order of their steps.
        log: Whether to average logarithms, if all values are positive.
    """
    if log and (values > 0).all():
        return np.exp(smooth_values(np.log(values), log=False))
    half = max(2, len(values) // 60)
    return compute_moving_average(compute_moving_average(values, half), half)


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
