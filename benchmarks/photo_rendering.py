"""Render photos of handwritten digits on paper: light, ink, desk, noise, and what else is on a sheet."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

Rgb = Float[np.ndarray, "h w 3"]
Level = float | tuple[float, float, float]  # grey level or colour, from 0 to 255
WHITE_PAPER = (236.0, 234.0, 228.0)
PENCIL = (72.0, 72.0, 76.0)


@dataclass(frozen=True)
class Photo:
    """Describe a photo of one digit.

    Attributes:
        size: Width and height, pixels.
        paper: Colour of the sheet.
        ink: Colour of the strokes.
        falloff: Share of the light that is lost from the brightest to the darkest side.
        vignette: Share of the light that is lost from the centre to the corners.
        noise: Standard deviation of the noise, grey levels.
        length: Smallest and largest height of the digit as a share of the shorter side.
        thickness: Change of the stroke width, pixels of a 28 x 28 image; negative is thinner.
        shadow: Share of the light that a shadow with a straight hard edge takes; 0 for none.
        desk: Colour of the desk that is visible around the sheet; None for none.
        desk_share: Width of the visible desk as a share of each side.
        rotation: Largest rotation of the sheet on the desk, degrees.
        decorate: Function that draws more on the sheet, such as lines.
    """

    size: tuple[int, int] = (320, 240)
    paper: Level = WHITE_PAPER
    ink: Level = PENCIL
    falloff: float = 0.0
    vignette: float = 0.0
    noise: float = 4.0
    length: tuple[float, float] = (0.12, 0.30)
    thickness: float = 0.0
    shadow: float = 0.0
    desk: Level | None = None
    desk_share: float = 0.07
    rotation: float = 0.0
    decorate: Callable[[Rgb, np.random.Generator, tuple[int, int, int]], None] | None = None


def to_colour(level: Level) -> Float[np.ndarray, "3"]:
    """Return a grey level or a colour as three numbers."""
    return np.broadcast_to(np.asarray(level, np.float32), (3,))


def change_thickness(digit: Float[np.ndarray, "28 28"], change: float) -> Float[np.ndarray, "n n"]:
    """Make the strokes of a digit wider or thinner by `change` pixels, at four times the resolution."""
    large = Image.fromarray(digit).resize((112, 112), Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(large), 0, 1)
    select = np.maximum if change > 0 else np.minimum
    for _ in range(round(abs(change) * 2)):
        padded = np.pad(values, 1)
        for step in ((0, 1), (2, 1), (1, 0), (1, 2)):
            values = select(values, padded[step[0] : step[0] + 112, step[1] : step[1] + 112])
    return values


def render_strokes(digit: Float[np.ndarray, "28 28"], length: int, thickness: float = 0.0) -> Float[np.ndarray, "h w"]:
    """Return the coverage of the strokes, cropped, with a height of `length` pixels."""
    values = change_thickness(digit, thickness)
    if values.max() < 0.4:
        values = change_thickness(digit, 0)
    rows, columns = (np.flatnonzero((values > 0.1).any(axis)) for axis in (1, 0))
    cut = values[max(rows[0] - 2, 0) : rows[-1] + 3, max(columns[0] - 2, 0) : columns[-1] + 3]
    size = (max(3, round(length * cut.shape[1] / cut.shape[0])), length)
    resized = np.asarray(Image.fromarray(np.ascontiguousarray(cut)).resize(size, Image.Resampling.BICUBIC))
    return np.clip(resized, 0, 1)


def paint(image: Rgb, coverage: Float[np.ndarray, "h w"], ink: Level, top: int, left: int) -> None:
    """Blend ink into an image where the strokes cover it."""
    height, width = coverage.shape
    window = image[top : top + height, left : left + width]
    window += coverage[..., None] * (to_colour(ink) - window)


def draw_light(photo: Photo, generator: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Return the light that falls on every pixel, at most 1."""
    width, height = photo.size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = generator.uniform(0, 2 * math.pi)
    ramp = math.cos(angle) * x + math.sin(angle) * y
    light = 1 - photo.falloff * (ramp - ramp.min()) / np.ptp(ramp)
    light = light * (1 - photo.vignette * (x**2 + y**2) / 2)
    if photo.shadow:
        angle, offset = generator.uniform(0, 2 * math.pi), generator.uniform(-0.5, 0.5)
        light = light * np.where(math.cos(angle) * x + math.sin(angle) * y > offset, 1 - photo.shadow, 1)
    return light


def lay_on_desk(sheet: Rgb, photo: Photo, generator: np.random.Generator) -> Rgb:
    """Return the sheet on a desk that is visible on all sides."""
    width, height = photo.size
    edge = photo.desk_share
    inner = Image.fromarray(sheet.clip(0, 255).astype(np.uint8)).resize(
        (round(width * (1 - 2 * edge)), round(height * (1 - 2 * edge))), Image.Resampling.BICUBIC
    )
    desk = Image.new("RGB", photo.size, tuple(int(v) for v in to_colour(photo.desk)))
    mask = Image.new("L", inner.size, 255)
    if photo.rotation:
        angle = generator.uniform(-photo.rotation, photo.rotation)
        inner, mask = (part.rotate(angle, Image.Resampling.BICUBIC, expand=True) for part in (inner, mask))
    desk.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2), mask)
    return np.asarray(desk, np.float32)


def take_photo(
    digit: Float[np.ndarray, "28 28"], generator: np.random.Generator, photo: Photo
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo of a digit."""
    width, height = photo.size
    image = np.empty((height, width, 3), np.float32)
    image[:] = to_colour(photo.paper)
    length = round(min(photo.size) * generator.uniform(*photo.length))
    strokes = render_strokes(digit, length, photo.thickness)
    strokes = strokes[:, : width - 8]
    margin = round(0.05 * min(photo.size))
    top = int(
        generator.integers(
            min(margin, (height - strokes.shape[0]) // 2),
            max(height - strokes.shape[0] - margin, (height - strokes.shape[0]) // 2) + 1,
        )
    )
    left = int(
        generator.integers(
            min(margin, (width - strokes.shape[1]) // 2),
            max(width - strokes.shape[1] - margin, (width - strokes.shape[1]) // 2) + 1,
        )
    )
    if photo.decorate:
        photo.decorate(image, generator, (top, left, length))
    paint(image, strokes, photo.ink, top, left)
    if photo.desk is not None:
        image = lay_on_desk(image, photo, generator)
    image = image * draw_light(photo, generator)[..., None] + generator.normal(0, photo.noise, image.shape)
    return np.rint(image.clip(0, 255)).astype(np.uint8)


def draw_ruling(
    image: Rgb,
    generator: np.random.Generator,
    place: tuple[int, int, int],
    *,
    columns: bool = False,
    slope: float = 0.0,
) -> None:
    """Draw the lines of ruled or squared paper, in blue or grey, and a red margin on ruled paper."""
    height, width = image.shape[:2]
    spacing = generator.uniform(0.06, 0.09) * height
    colour = [(150, 180, 222), (176, 176, 182), (160, 190, 200)][generator.integers(3)]
    y, x = np.mgrid[:height, :width]
    tilt = math.tan(math.radians(generator.uniform(-slope, slope)))
    start = generator.uniform(0, spacing)
    line_width = max(1.0, height / 240)
    lines = (y + tilt * x - start) % spacing < line_width
    if columns:
        lines |= (x - tilt * y - start) % spacing < line_width
    else:
        image[np.abs(x - tilt * y - 0.11 * width) < line_width / 2] = (230, 130, 130)
    image[lines] = colour


def draw_squares(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw the lines of squared paper."""
    draw_ruling(image, generator, place, columns=True)


def draw_tilted_ruling(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw the lines of ruled paper that is rotated by at most 8 degrees."""
    draw_ruling(image, generator, place, slope=8)


def draw_specks(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw ten specks of 1 to 4 pixels."""
    for _ in range(10):
        side = int(generator.integers(1, 5))
        row, column = (int(generator.integers(2, length - 6)) for length in image.shape[:2])
        image[row : row + side, column : column + side] = generator.uniform(20, 110)


def draw_underline(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw a line below the digit."""
    top, left, length = place
    row = min(top + length + max(4, length // 5), image.shape[0] - 4)
    image[row : row + 2, max(left - length, 3) : left + 2 * length] = PENCIL


def draw_date(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw a date in small figures in a corner away from the digit."""
    stamp = Image.new("L", (60, 11))
    drawing = ImageDraw.Draw(stamp)
    drawing.text((0, 0), "2026-11-29", fill=255, font=ImageFont.load_default(10))
    coverage = np.asarray(stamp, np.float32) / 255
    height, width = image.shape[:2]
    top = height - 16 if place[0] < height / 2 else 5
    paint(image, coverage, (60, 60, 60), top, width - 66 if place[1] < width / 2 else 6)


def draw_holes(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw two punched holes at the side that is farther from the digit."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    centre = width - 14 if place[1] < width / 2 else 14
    for share in (0.3, 0.7):
        image[(x - centre) ** 2 + (y - share * height) ** 2 < (0.02 * height) ** 2] = (62, 48, 40)


def draw_neighbour(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw a small "1" far from the digit."""
    height, width = image.shape[:2]
    row = height - 30 if place[0] < height / 2 else 12
    column = width - 20 if place[1] < width / 2 else 20
    image[row : row + 14, column : column + 3] = PENCIL
