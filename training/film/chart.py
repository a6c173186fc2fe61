"""Energy and certainty by tick, as far as a film has played."""

import math
from typing import Any

from training.film.canvas import CERTAINTY, ENERGY, LINE, MUTED, TEXT, Box, Canvas, Number

MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 44, 36, 24, 34
MIN_RANGE = 0.4  # of energies, relative to the largest one: nearly equal values do not look far apart


def draw_chart(canvas: Canvas, record: dict[str, Any], tick: int, is_final: bool, box: Box) -> None:
    """Draw the chart up to a tick, with the thresholds of the halting policy.

    Args:
        canvas: The frame.
        record: The record.
        tick: The tick, from 1.
        is_final: Whether the answer counts: all ticks are drawn, and the last one is marked.
        box: Where it goes.
    """
    plot = Box(
        box.left + MARGIN_LEFT,
        box.top + MARGIN_TOP,
        box.width - MARGIN_LEFT - MARGIN_RIGHT,
        box.height - MARGIN_TOP - MARGIN_BOTTOM,
    )
    shown = record["ticks"] if is_final else tick
    draw_axes(canvas, record["iterations"], plot)
    bounds = find_bounds(record)
    if bounds:
        draw_energy_axis(canvas, bounds, plot)
    width = max(2.0, plot.width / record["iterations"])
    canvas.fill(Box(to_x(plot, tick, record["iterations"]) - width / 2, plot.top, width, plot.height), LINE)
    for line in record["lines"]:
        draw_threshold(canvas, line, bounds, plot)
    if bounds:
        draw_series(canvas, record["energy"][:shown], record["iterations"], bounds, ENERGY, plot)
    draw_series(canvas, record["certainty"][:shown], record["iterations"], (0.0, 1.0), CERTAINTY, plot)
    if is_final and record["ticks"] < record["iterations"]:
        x = to_x(plot, record["ticks"], record["iterations"])
        canvas.draw_line([(x, plot.top), (x, plot.bottom)], TEXT, 1.5)
        x = min(max(x, plot.left + 24), plot.right - 24)
        canvas.draw_text("stopped", x, plot.top - 8, 11, align="center", is_bold=True)


def find_bounds(record: dict[str, Any]) -> tuple[Number, Number] | None:
    """Return the ends of the scale of energies; None without energies."""
    if not record["energy"]:
        return None
    values = [*record["energy"], *(line["at"] for line in record["lines"] if line["of"] == "energy")]
    finite = [value for value in values if math.isfinite(value) and abs(value) < 1e6]
    low, high = min(finite), max(finite)
    missing = MIN_RANGE * max(abs(low), abs(high), 0.01) - (high - low)
    return (low - missing / 2, high + missing / 2) if missing > 0 else (low, high)


def to_x(plot: Box, tick: int, iterations: int) -> Number:
    """Return where the middle of a tick is."""
    return plot.left + (tick - 0.5) / iterations * plot.width


def to_y(plot: Box, value: Number, bounds: tuple[Number, Number]) -> Number:
    """Return the height of a value."""
    low, high = bounds
    return plot.bottom - (value - low) / (high - low) * plot.height


def draw_axes(canvas: Canvas, iterations: int, plot: Box) -> None:
    """Draw the axis of ticks and that of certainty."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10_000) if iterations / step <= 8)
    for tick in sorted({1, *range(step, iterations + 1, step)}):
        if tick == 1 or tick - 1 >= step / 2:
            canvas.draw_text(str(tick), to_x(plot, tick, iterations), plot.bottom + 11, 11, MUTED, "center")
    canvas.draw_text("tick", plot.left + plot.width / 2, plot.bottom + 26, 11, MUTED, "center")
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = plot.bottom - share * plot.height
        canvas.draw_line([(plot.left, y), (plot.right, y)], LINE if share else MUTED)
        canvas.draw_text(f"{share:g}", plot.right + 6, y, 11, CERTAINTY)
    canvas.draw_text("certainty", plot.right + MARGIN_RIGHT, plot.top - 16, 11, CERTAINTY, "right")


def draw_energy_axis(canvas: Canvas, bounds: tuple[Number, Number], plot: Box) -> None:
    """Label the scale of energies."""
    canvas.draw_text("energy", plot.left - MARGIN_LEFT, plot.top - 16, 11, ENERGY)
    for share in (0, 0.5, 1):
        value = bounds[0] + share * (bounds[1] - bounds[0])
        canvas.draw_text(f"{value:.2g}", plot.left - 6, to_y(plot, value, bounds), 11, ENERGY, "right")


def draw_threshold(canvas: Canvas, line: dict[str, Any], bounds: tuple[Number, Number] | None, plot: Box) -> None:
    """Draw one threshold of the halting policy, if the chart has its quantity and it is within the scale."""
    scale = bounds if line["of"] == "energy" else (0.0, 1.0) if line["of"] == "certainty" else None
    if scale is None or not scale[0] <= line["at"] <= scale[1]:
        return
    colour = ENERGY if line["of"] == "energy" else CERTAINTY
    y = to_y(plot, line["at"], scale)
    canvas.draw_dashes(plot.left, plot.right, y, colour)
    word = "below" if line["of"] == "energy" else "above"
    text = f"stop {word} {line['at']:.4g}"
    canvas.draw_text(text, plot.right - 4, y - 9 if y - 18 > plot.top else y + 10, 11, colour, "right")


def draw_series(
    canvas: Canvas, values: list[float], iterations: int, bounds: tuple[Number, Number], colour: str, plot: Box
) -> None:
    """Draw the values of the ticks so far, and a mark at the last one."""
    points = [(to_x(plot, tick, iterations), to_y(plot, value, bounds)) for tick, value in enumerate(values, 1)]
    if len(points) > 1:
        canvas.draw_line(points, colour, 2)
    canvas.draw_disc(*points[-1], 4, colour)
