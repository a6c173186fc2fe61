"""Data of the training curves: one run by its metrics, or several runs side by side.

The lines of metrics.jsonl become plain numbers, few enough to send every second. `ui/static/curves/` draws them and keeps
the state of the view (zoom, hidden runs, crosshair) while new metrics arrive.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

MAX_POINTS_PER_SERIES, MIN_POINTS_PER_SERIES = 300, 40  # a series
MAX_NUMBERS_PER_RUN = 5000  # for one run, twice that for all of several; of about 7 characters each: under 40 kB
BUCKET_SIZES = sorted(
    factor * 2**power for factor in (1, 3) for power in range(40)
)  # points: 1, 2, 3, 4, 6, 8, 12, ...
MIN_POINTS_TO_SMOOTH = 12  # points: fewer are drawn as they are
ACCURACY_BY_TICK_KEY = "validation_accuracy_by_tick"
NO_RUN_MESSAGE = "Choose a run to see its curves."
NO_DATA_MESSAGE = "Waiting for the first figures."


class Series(NamedTuple):
    """A line of a chart: its key in metrics.jsonl, and what it is called."""

    key: str
    label: str
    noisy: bool = False  # drawn faintly, under a smoothed line


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn together on one pair of axes."""

    id: str
    title: str
    help_text: str
    series: tuple[Series, ...]
    unit: str = ""
    log: bool = False  # a logarithmic scale, wherever all that is seen is positive
    percent: bool = False  # values are shares of one
    zero: bool = False  # the scale starts at zero
    axis: str = "step"  # or "tick"


CHARTS = (
    Chart(
        id="loss",
        title="Loss",
        log=True,
        help_text="How far its answers are off: falling is good. Thin: each measurement; thick: smoothed.",
        series=(Series("loss", "training", noisy=True), Series("validation_loss", "held out")),
    ),
    Chart(
        id="accuracy",
        title="Accuracy",
        percent=True,
        help_text="Share of right answers; one of many positions is right when all of them are. Held out: never trained on.",
        series=(
            Series("accuracy", "training, last tick", noisy=True),
            Series("validation_accuracy_last", "held out, last tick"),
            Series("validation_accuracy_halted", "held out, when halted"),
            Series("validation_accuracy_best", "held out, best tick"),
        ),
    ),
    Chart(
        id="by-tick",
        title="Accuracy by tick, last evaluation",
        percent=True,
        axis="tick",
        help_text="How often it would be right if it answered at this tick: thinking longer should help.",
        series=(Series(ACCURACY_BY_TICK_KEY, "held out"),),
    ),
    Chart(
        id="energy",
        title="Energy",
        help_text="Its own word on thinking on: low says stop. The further apart the two lines, the better it knows when.",
        series=(Series("validation_energy_right", "right answers"), Series("validation_energy_wrong", "wrong answers")),
    ),
    Chart(
        id="ticks",
        title="Ticks used",
        zero=True,
        help_text="How long it thinks about a held-out sample, on average, before it halts.",
        series=(Series("validation_mean_ticks", "held out"),),
    ),
    Chart(
        id="rate",
        title="Learning rate",
        help_text="How far each step may move the weights: it warms up, then falls.",
        series=(Series("lr", "learning rate"),),
    ),
    Chart(
        id="gradient",
        title="Gradient norm",
        log=True,
        help_text="How hard a step pulls at the weights. A spike now and then is harmless; steady growth is not.",
        series=(Series("grad_norm", "machine", noisy=True), Series("energy_grad_norm", "energy head", noisy=True)),
    ),
    Chart(
        id="speed",
        title="Speed",
        zero=True,
        help_text="Training steps done in a second.",
        series=(Series("steps_per_second", "steps a second"),),
    ),
    Chart(
        id="memory",
        title="Memory",
        unit="GB",
        zero=True,
        help_text="Memory held by the training process, and by it on the GPU.",
        series=(Series("memory_gb", "process"), Series("gpu_memory_gb", "GPU")),
    ),
    Chart(
        id="gpu",
        title="GPU use",
        percent=True,
        help_text="Share of the time in which the GPU was busy. Low: it waits for data or for the processor.",
        series=(Series("gpu_utilisation", "GPU"),),
    ),
)


def build_curves_data(
    runs: Sequence[tuple[str, list[dict], int]], charts: Sequence[Chart] = CHARTS, message: str | None = None
) -> dict[str, Any]:
    """What the charts show of some runs, as plain data.

    Args:
        runs: name, parsed lines of metrics.jsonl and planned steps of each run.
        charts: what may be drawn; a chart or series that no run has figures for is left out.
        note: shown while there is nothing to draw; by default it says whether a run was chosen.
    """
    room = 2 * MAX_NUMBERS_PER_RUN // max(2, len(runs))
    drawn = [build_run_data(name, lines, steps, charts, room) for name, lines, steps in runs]
    there = {key for run in drawn for key in run["points"]}
    shown = [described for chart in charts if (described := describe_chart(chart, there))["series"]]
    return {"charts": shown, "runs": drawn, "note": message or (NO_DATA_MESSAGE if runs else NO_RUN_MESSAGE)}


def describe_chart(chart: Chart, available_keys: set[str]) -> dict[str, Any]:
    """A chart as plain data, with those of its series that have points."""
    series = [{"key": line.key, "label": line.label} for line in chart.series if line.key in available_keys]
    values = asdict(chart)
    return values | {"help": values.pop("help_text"), "series": series}


def build_run_data(
    name: str, lines: list[dict], steps: int, charts: Sequence[Chart], max_numbers: int
) -> dict[str, Any]:
    """A run as plain data: by key, the steps and the values of its points, thinned to about `room` numbers."""
    series = {line.key: line for chart in charts for line in chart.series}
    found = read_points(lines, [key for key in series if key != ACCURACY_BY_TICK_KEY])
    step, by_tick = read_accuracy_by_tick(lines) if ACCURACY_BY_TICK_KEY in series else (None, {})
    if by_tick:
        found[ACCURACY_BY_TICK_KEY] = by_tick
    smooth = {key: series[key].noisy and len(points) >= MIN_POINTS_TO_SMOOTH for key, points in found.items()}
    most = compute_points_per_series(
        [(len(points), 3 if smooth[key] else 2) for key, points in found.items()], max_numbers
    )
    logs = {line.key for chart in charts if chart.log for line in chart.series}
    points = {key: thin_points(found[key], most, smooth[key], key in logs) for key in found}
    return {"name": name, "points": points, "steps": steps, "evaluated": step}


# --- reading metrics.jsonl -------------------------------------------------------------------------------------------


def to_finite_float(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e30 else None  # false for nan as well


def parse_step(line: Any) -> int | None:
    step = to_finite_float(line.get("step")) if isinstance(line, dict) else None
    return int(step) if step is not None and step >= 0 else None


def read_points(lines: Iterable[dict], keys: Iterable[str]) -> dict[str, dict[int, float]]:
    """By key, value by step; the line written last counts, and keys without any value are left out."""
    found: dict[str, dict[int, float]] = {key: {} for key in keys}
    for line in lines:
        if (step := parse_step(line)) is None:
            continue
        for key, value in line.items():
            if key in found and (read := to_finite_float(value)) is not None:
                found[key][step] = read
    return {key: dict(sorted(points.items())) for key, points in found.items() if points}


def read_accuracy_by_tick(lines: Sequence[dict]) -> tuple[int | None, dict[int, float]]:
    """Step and accuracy by tick of the newest evaluation."""
    for line in reversed(lines):
        step = parse_step(line)
        values = line.get(ACCURACY_BY_TICK_KEY) if step is not None else None
        if isinstance(values, list):
            read = {
                tick: share for tick, value in enumerate(values, 1) if (share := to_finite_float(value)) is not None
            }
            if read:
                return step, read
    return None, {}


# --- thinning --------------------------------------------------------------------------------------------------------


def compute_points_per_series(series: Sequence[tuple[int, int]], max_numbers: int) -> int:
    """How many points a series may keep so that all fit, given the length of each and its numbers a point."""
    sizes = range(MAX_POINTS_PER_SERIES, MIN_POINTS_PER_SERIES, -20)
    fitting = (most for most in sizes if sum(min(length, most) * width for length, width in series) <= max_numbers)
    return next(fitting, MIN_POINTS_PER_SERIES)


def thin_points(points: dict[int, float], max_points: int, smooth: bool, log: bool) -> list[list[float]]:
    """Steps, values and, if wanted, smoothed values of at most `most` points."""
    steps, values = list(points), np.array(list(points.values()))
    kept = select_extrema(values, max_points)
    columns = [[steps[at] for at in kept], [round_significant(values[at]) for at in kept]]
    if smooth:
        line = smooth_values(values, log)
        columns.append([round_significant(line[at]) for at in kept])
    return columns


def select_extrema(values: np.ndarray, max_points: int) -> list[int]:
    """Places of the least and the largest value of each bucket, and of both ends.

    Bucket sizes are few, so that new points seldom change the choice among old ones: nothing flickers.
    """
    count = len(values)
    if count <= max_points:
        return list(range(count))
    size = next(size for size in BUCKET_SIZES if 2 * math.ceil(count / size) + 2 <= max_points)
    kept = {0, count - 1}
    for start in range(0, count, size):
        bucket = values[start : start + size]
        kept |= {start + int(bucket.argmin()), start + int(bucket.argmax())}
    return sorted(kept)


def smooth_values(values: np.ndarray, log: bool) -> np.ndarray:
    """A line through noise: averages over a sixtieth of the run to both sides, twice; of logarithms on such a scale."""
    if log and (values > 0).all():
        return np.exp(smooth_values(np.log(values), log=False))
    half = max(2, len(values) // 60)
    return compute_moving_average(compute_moving_average(values, half), half)


def compute_moving_average(values: np.ndarray, half_width: int) -> np.ndarray:
    """Means over windows that shrink towards the start and reach to the end."""
    count, places = len(values), np.arange(len(values))
    reach = np.minimum(half_width, places)
    first, last = places - reach, np.minimum(places + reach + 1, count)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return (sums[last] - sums[first]) / (last - first)


def round_significant(value: float) -> float:
    """Five significant digits; whole numbers without a point."""
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short
