"""Frames of a film: which there are, and what each one shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from training.film.canvas import ACCENT, ENERGY, LINE, MUTED, RIGHT, Box, Canvas, break_lines, shorten
from training.film.chart import draw_chart
from training.film.record_view import RecordView
from training.film.stage import draw_stage

WIDTH, HEIGHT = 1080, 608
STAGE = Box(24, 64, 600, 504)
SIDE = Box(652, 64, 404, 504)
CHART = Box(SIDE.left, 306, SIDE.width, 258)
LINE_HEIGHT = 22
END_MS = 2500  # how long the answer stays
VERDICTS = {"correct": "Correct", "wrong": "Wrong", "gave up": "Gave up", "out of ticks": "Out of ticks"}


@dataclass(frozen=True)
class Frame:
    """One picture of a film.

    Attributes:
        image: The picture, `WIDTH` by `HEIGHT` pixels.
        duration_ms: How long it is shown.
    """

    image: Image.Image
    duration_ms: int


def iterate_frames(record: dict[str, Any], title: str) -> Iterator[Frame]:
    """Yield one frame a tick, and at the end the answer.

    Args:
        record: Record of the unroll, see `training.thought_record.build_thought_record`.
        title: Title above the stage.
    """
    view = RecordView(record)
    duration_ms = compute_tick_duration_ms(view.ticks)
    if view.ticks > 1:
        for tick in range(1, view.ticks + 1):
            yield Frame(draw_frame(view, title, tick, is_final=False), duration_ms)
    yield Frame(draw_frame(view, title, record["answer_tick"], is_final=True), END_MS)


def compute_tick_duration_ms(ticks: int) -> int:
    """Return how long a tick is shown, as the page plays it: long where there are few, and at least 1.5 s for all of them.

    A multiple of 10, because a GIF counts in hundredths of a second.
    """
    slow, normal = min(350, 2800 / ticks), min(1000 / 6, 5000 / ticks)
    return 10 * round(max(slow, normal, 1500 / ticks) / 10)


def draw_frame(view: RecordView, title: str, tick: int, is_final: bool) -> Image.Image:
    """Draw one frame.

    Args:
        view: The record.
        title: Title above the stage.
        tick: The tick, from 1.
        is_final: Whether the answer counts: verdict and sentence are shown.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.draw_text(shorten(title, 640, 20), STAGE.left, 32, 20, is_bold=True)
    canvas.draw_text("Continuous Thought Machine", WIDTH - 24, 32, 13, MUTED, "right")
    draw_stage(canvas, view, tick, STAGE)
    draw_texts(canvas, view.record, tick, is_final)
    if view.record["iterations"] > 1:
        draw_chart(canvas, view.record, tick, is_final, CHART)
    canvas.fill(Box(24, HEIGHT - 18, WIDTH - 48, 4), LINE)
    canvas.fill(Box(24, HEIGHT - 18, (WIDTH - 48) * tick / view.ticks, 4), ACCENT)
    return canvas.to_image()


def draw_texts(canvas: Canvas, record: dict[str, Any], tick: int, is_final: bool) -> None:
    """Draw the counter of ticks, the verdict, and the answer in words."""
    top = SIDE.top
    if record["iterations"] > 1:
        canvas.draw_text(f"Tick {tick}", SIDE.left, top + 16, 34, is_bold=True)
        canvas.draw_text(f"of at most {record['iterations']}", SIDE.right, top + 22, 15, MUTED, "right")
    verdict = VERDICTS.get(record["verdict"], "") if is_final else ""
    if verdict:
        canvas.draw_text(verdict, SIDE.left, top + 58, 17, RIGHT if verdict == "Correct" else ENERGY, is_bold=True)
    text = record["sentence"] if is_final else f"{record['labels_by_tick'][tick - 1]}?"
    first = top + (88 if verdict else 62)
    for index, line in enumerate(break_lines(text, SIDE.width, 16, 6)):
        canvas.draw_text(line, SIDE.left, first + LINE_HEIGHT * index, 16)
