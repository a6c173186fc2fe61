"""Canvas of a frame: shapes and texts in pixels of the film, drawn at a multiple of its size for smooth edges."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SCALE = 2  # drawn pixels by pixel of the film
TEXT, MUTED, LINE, BACKGROUND = "#1f2937", "#5b6472", "#e5e7eb", "#ffffff"
ENERGY, CERTAINTY, RIGHT, ACCENT, ROUTE = "#D55E00", "#0072B2", "#009E73", "#f97316", "#0072B2"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
Number: TypeAlias = float | int
Align = Literal["left", "center", "right"]
ANCHORS = {"left": "lm", "center": "mm", "right": "rm"}


@dataclass(frozen=True)
class Box:
    """Rectangle in pixels of the film.

    Attributes:
        left: Left edge.
        top: Upper edge.
        width: Its width.
        height: Its height.
    """

    left: Number
    top: Number
    width: Number
    height: Number

    @property
    def right(self) -> Number:
        """Return the right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> Number:
        """Return the lower edge."""
        return self.top + self.height


class Canvas:
    """A frame that is being drawn.

    Args:
        width: Width of the film in pixels.
        height: Height of the film in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), BACKGROUND)
        self._draw = ImageDraw.Draw(self.image)

    def to_image(self) -> Image.Image:
        """Return the frame at the size of the film."""
        return self.image.resize(self.size, Image.Resampling.BOX)

    def draw_text(
        self,
        text: str,
        x: Number,
        y: Number,
        size: Number = 14,
        colour: str = TEXT,
        align: Align = "left",
        is_bold: bool = False,
    ) -> None:
        """Draw a text whose middle is at a height."""
        font = load_font(round(size * SCALE), is_bold)
        self._draw.text((x * SCALE, y * SCALE), text, colour, font, ANCHORS[align])

    def draw_line(self, points: Sequence[tuple[Number, Number]], colour: str, width: Number = 1) -> None:
        """Draw a line through points."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.line(scaled, colour, round(width * SCALE), joint="curve")

    def draw_dashes(self, start: Number, end: Number, y: Number, colour: str) -> None:
        """Draw a dashed horizontal line."""
        for left in np.arange(start, end, 9):
            self.draw_line([(left, y), (min(left + 5, end), y)], colour, 1.5)

    def fill(self, box: Box, colour: str) -> None:
        """Fill a rectangle."""
        self._draw.rectangle([box.left * SCALE, box.top * SCALE, box.right * SCALE - 1, box.bottom * SCALE - 1], colour)

    def draw_disc(self, x: Number, y: Number, radius: Number, colour: str, outline: str | None = None) -> None:
        """Draw a disc."""
        edges = [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE]
        self._draw.ellipse(edges, colour, outline, SCALE * 2)

    def draw_pixels(self, pixels: np.ndarray, box: Box, is_smooth: bool = False) -> None:
        """Draw an image of shape (h, w, 3), uint8, scaled to a rectangle; an image of shape (h, w, 4) covers in part."""
        image = Image.fromarray(pixels, "RGBA" if pixels.shape[2] == 4 else "RGB")
        method = Image.Resampling.BILINEAR if is_smooth else Image.Resampling.NEAREST
        scaled = image.resize((max(1, round(box.width * SCALE)), max(1, round(box.height * SCALE))), method)
        mask = scaled if scaled.mode == "RGBA" else None
        self.image.paste(scaled.convert("RGB"), (round(box.left * SCALE), round(box.top * SCALE)), mask)


@functools.cache
def load_font(size: int, is_bold: bool) -> ImageFont.FreeTypeFont:
    """Load the font of matplotlib, which has the signs of all labels."""
    import matplotlib  # noqa: PLC0415  only films need it

    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def measure_text(text: str, size: Number, is_bold: bool = False) -> Number:
    """Return the width of a text in pixels of the film."""
    return load_font(round(size * SCALE), is_bold).getlength(text) / SCALE


def break_lines(text: str, width: Number, size: Number, max_lines: int) -> list[str]:
    """Break a text into lines; the last one ends with an ellipsis if there are too many.

    Args:
        text: The text.
        width: Width of a line in pixels of the film.
        size: Font size.
        max_lines: Lines at most.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure_text(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= max_lines else [*lines[: max_lines - 1], lines[max_lines - 1] + ELLIPSIS]


def shorten(text: str, width: Number, size: Number) -> str:
    """Return a text that fits, with an ellipsis if it was cut."""
    if measure_text(text, size) <= width:
        return text
    while text and measure_text(text + ELLIPSIS, size) > width:
        text = text[:-1]
    return text + ELLIPSIS
