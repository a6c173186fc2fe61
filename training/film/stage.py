"""The stage of a film: the input, where the model looks, and its answer at one tick."""

import colorsys

import numpy as np

from training.film.canvas import (
    ACCENT,
    BACKGROUND,
    CERTAINTY,
    LINE,
    MUTED,
    ROUTE,
    TEXT,
    Box,
    Canvas,
    Number,
    break_lines,
    shorten,
)
from training.film.record_view import RecordView

GLOW = (230, 159, 0)
GLOW_OPACITY = 0.75
GAP = 20
TITLE_HEIGHT = 24
BAR_HEIGHT = 26
MAX_BARS = 12
CELL_WIDTH, CELL_HEIGHT = 44, 44
MIN_CELL_WIDTH = 18
STRIP_HEIGHT = 130
LABEL_SIZE, MAX_LABEL_LINES = 22, 8
# Colours of classes that colour-blind people can tell apart (Okabe and Ito); further classes get hues.
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")


def draw_stage(canvas: Canvas, view: RecordView, tick: int, box: Box) -> None:
    """Draw the stage of the record's task.

    Args:
        canvas: The frame.
        view: The record.
        tick: The tick, from 1.
        box: Where it goes.
    """
    if view.record["routes"]:
        draw_picture(canvas, view, tick, box)
    elif view.picture is not None and view.picture.shape[1] > 2 * view.picture.shape[0]:  # a strip of pictures
        strip_height = box.width * view.picture.shape[0] / view.picture.shape[1]
        draw_picture(canvas, view, tick, Box(box.left, box.top, box.width, strip_height))
        rest = box.height - strip_height - GAP
        draw_answer(canvas, view, tick, Box(box.left, box.top + strip_height + GAP, box.width, rest))
    elif view.picture is not None:
        half = (box.width - GAP) / 2
        top = box.top + (box.height - half) / 2
        draw_picture(canvas, view, tick, Box(box.left, top, half, half))
        draw_answer(canvas, view, tick, Box(box.left + half + GAP, top - TITLE_HEIGHT, half, half + TITLE_HEIGHT))
    else:
        used = draw_sequence(canvas, view.record["input"]["items"], box)
        rest = Box(box.left, box.top + used + GAP, box.width, box.height - used - GAP)
        draw_answer(canvas, view, tick, rest)


# --- pictures ---


def draw_picture(canvas: Canvas, view: RecordView, tick: int, box: Box) -> None:
    """Draw the input picture as large as fits, with the attention of all heads and the path of the answer over it."""
    assert view.picture is not None
    height, width = view.picture.shape[:2]
    scale = min(box.width / width, box.height / height)
    shown = Box(
        box.left + (box.width - width * scale) / 2,
        box.top + (box.height - height * scale) / 2,
        width * scale,
        height * scale,
    )
    canvas.draw_pixels(view.picture, shown)
    if view.attention is not None:
        canvas.draw_pixels(build_glow(view.attention[tick - 1]), shown, is_smooth=True)
    if view.record["routes"]:
        draw_route(canvas, view, tick, shown, scale)


def build_glow(weights: np.ndarray) -> np.ndarray:
    """Return attention weights as a colour whose opacity is the weight, shape (rows, columns, 4), uint8."""
    glow = np.empty((*weights.shape, 4), np.uint8)
    glow[..., :3] = GLOW
    glow[..., 3] = np.rint(weights * GLOW_OPACITY * 255)
    return glow


def draw_route(canvas: Canvas, view: RecordView, tick: int, shown: Box, cell: Number) -> None:
    """Draw the path of a tick, the start and the goal."""

    def to_point(place: tuple[int, int] | list[int]) -> tuple[Number, Number]:
        return shown.left + (place[1] + 0.5) * cell, shown.top + (place[0] + 0.5) * cell

    points = [to_point(place) for place in view.get_route(tick)]
    width = min(7, max(2, 0.34 * cell))
    if len(points) > 1:
        canvas.draw_line(points, "#ffffff", width + 3)
        canvas.draw_line(points, ROUTE, width)
    if points:
        canvas.draw_disc(*points[-1], width, ROUTE, "#ffffff")
    for name, colour in (("start", "#ffffff"), ("goal", "#F0E442")):
        if place := view.record["input"].get(name):
            canvas.draw_disc(*to_point(place), max(4, 0.3 * cell), colour, "#000000")


# --- sequences ---


def draw_sequence(canvas: Canvas, items: list[str], box: Box) -> Number:
    """Draw the items of the input; return the height that they use."""
    canvas.draw_text("Input", box.left, box.top + 8, 13, MUTED)
    top = box.top + 22
    width = 8 + max(MIN_CELL_WIDTH, 9 * max(len(item) for item in items))
    columns = max(1, min(len(items), int(box.width // width)))
    height = 28
    for index, item in enumerate(items):
        row, column = divmod(index, columns)
        cell = Box(box.left + column * width, top + row * height, width - 3, height - 4)
        canvas.fill(cell, LINE)
        canvas.draw_text(item, cell.left + cell.width / 2, cell.top + cell.height / 2, 14, align="center")
    return 22 + height * -(-len(items) // columns)


# --- answers ---


def draw_answer(canvas: Canvas, view: RecordView, tick: int, box: Box) -> None:
    """Draw the answer of a tick: bars of classes, one cell by position, or the text of an emitted sequence."""
    choices = view.record["choices"]
    canvas.draw_text("Answer", box.left, box.top + 8, 13, MUTED)
    body = Box(box.left, box.top + TITLE_HEIGHT, box.width, box.height - TITLE_HEIGHT)
    if choices["kind"] == "classes":
        draw_bars(canvas, choices["labels"], choices["probabilities"], tick, body)
    elif choices["kind"] == "positions":
        draw_positions(canvas, choices, tick, body)
    else:
        label = view.record["labels_by_tick"][tick - 1] or "(nothing yet)"
        for row, line in enumerate(break_lines(label, body.width, LABEL_SIZE, MAX_LABEL_LINES)):
            canvas.draw_text(line, body.left, body.top + 20 + 1.5 * LABEL_SIZE * row, LABEL_SIZE)


def draw_bars(canvas: Canvas, labels: list[str], probabilities: list[list[float]], tick: int, box: Box) -> None:
    """Draw the probabilities of a tick: of all classes, or of those that are likeliest at the last tick."""
    last = np.array(probabilities[-1])
    shown = sorted(np.argsort(-last, kind="stable")[:MAX_BARS].tolist())
    values = np.array(probabilities[tick - 1])
    height = min(BAR_HEIGHT, box.height / len(shown))
    name_width, number_width = min(110.0, box.width / 3), 50
    left = box.left + name_width
    room = box.width - name_width - number_width
    for row, index in enumerate(shown):
        y = box.top + (row + 0.5) * height
        is_best = index == int(values.argmax())
        canvas.draw_text(shorten(labels[index], name_width - 8, 14), left - 8, y, 14, align="right", is_bold=is_best)
        canvas.fill(Box(left, y - 7, room, 14), LINE)
        canvas.fill(Box(left, y - 7, max(1, room * float(values[index])), 14), CERTAINTY if is_best else MUTED)
        canvas.draw_text(f"{values[index]:.0%}", box.right, y, 13, align="right", is_bold=is_best)


def draw_positions(canvas: Canvas, choices: dict, tick: int, box: Box) -> None:
    """Draw the chosen class of every position, and below it all positions (rows) at all ticks so far (columns)."""
    chosen = np.array(choices["chosen"])
    probability = np.array(choices["probability"])
    labels = choices["labels"]
    count = chosen.shape[1]
    longest = max(len(label) for label in labels)
    width = min(max(MIN_CELL_WIDTH, 10 * longest + 12), box.width)
    columns = max(1, min(count, int(box.width // width)))
    rows = -(-count // columns)
    height = min(CELL_HEIGHT, (box.height - STRIP_HEIGHT - GAP) / rows)
    for index in range(count):
        row, column = divmod(index, columns)
        cell = Box(box.left + column * width, box.top + row * height, width - 3, height - 4)
        choice = int(chosen[tick - 1, index])
        colour = blend(get_class_colour(choice), 0.75 * float(probability[tick - 1, index]))
        canvas.fill(cell, colour)
        size = min(16, 0.5 * height)
        canvas.draw_text(labels[choice], cell.left + cell.width / 2, cell.top + cell.height / 2, size, align="center")
    strip = Box(box.left, box.top + rows * height + GAP, box.width, STRIP_HEIGHT)
    draw_strip(canvas, chosen[:tick], probability[:tick], len(chosen), strip)


def draw_strip(canvas: Canvas, chosen: np.ndarray, probability: np.ndarray, ticks: int, box: Box) -> None:
    """Draw the answers of the ticks so far, one column a tick."""
    pixels = np.full((chosen.shape[1], ticks, 3), parse_colour(BACKGROUND), np.uint8)
    for at, (row, values) in enumerate(zip(chosen, probability, strict=True)):
        for position, (choice, value) in enumerate(zip(row, values, strict=True)):
            pixels[position, at] = parse_colour(blend(get_class_colour(int(choice)), 0.75 * float(value)))
    canvas.draw_text("by tick", box.left, box.top - 8, 11, MUTED)
    canvas.draw_pixels(pixels, box)
    x = box.left + box.width * len(chosen) / ticks
    canvas.draw_line([(x, box.top), (x, box.bottom)], TEXT, 1.5)
    canvas.draw_line([(box.left, box.bottom), (box.right, box.bottom)], ACCENT, 1)


# --- colours ---


def get_class_colour(index: int) -> str:
    """Return the colour of a class."""
    if index < len(CLASS_COLOURS):
        return CLASS_COLOURS[index]
    red, green, blue = colorsys.hls_to_rgb(index * 0.618 % 1, 0.5, 0.6)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def blend(colour: str, strength: Number) -> str:
    """Return a colour mixed with the background.

    Args:
        colour: The colour.
        strength: 0 for the background, 1 for the colour.
    """
    front, back = np.array(parse_colour(colour)), np.array(parse_colour(BACKGROUND))
    mixed = np.rint(back + (front - back) * strength).astype(int)
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def parse_colour(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of a hexadecimal colour."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue
