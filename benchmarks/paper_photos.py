"""Generate photos and drawings of held-out digits, and measure how many of them are read correctly.

    python -m benchmarks.paper_photos [--split test] [--count 200] [--seed 0] [--kinds KIND ...] [--save]

Every kind of picture has a name in `KINDS`. A picture depends on the digit, the kind and the seed alone. Kinds that imitate
a photo have noise, an uneven light and a digit at a random place. `--save` writes benchmarks/paper_photos.json, from which
docs/results.md is rendered. Development uses the validation split; the figures are of the test split.
"""

import argparse
import contextlib
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from benchmarks.paths import ROOT
from ctm.checkpoint import load
from inference import Engine
from training.finalize import get_default_policy
from training.tasks import Task, make_task
from training.tasks.digits import load_images

RESULT_FILE = ROOT / "benchmarks" / "paper_photos.json"
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


# --- what else is on a sheet ------------------------------------------------------------------------------------------


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


def draw_far_pixel(image: Rgb, generator: np.random.Generator, place: tuple[int, int, int]) -> None:
    """Draw one dark pixel in the corner that is farthest from the digit."""
    height, width = image.shape[:2]
    row = height - 12 if place[0] < height / 2 else 11
    image[row, width - 12 if place[1] < width / 2 else 11] = 20


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


# --- kinds of pictures ------------------------------------------------------------------------------------------------


def draw_clean(
    digit: Float[np.ndarray, "28 28"],
    generator: np.random.Generator,
    *,
    side: int = 266,
    ground: Level = 255,
    ink: Level = 0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a digit that is enlarged, in flat colours and without noise."""
    coverage = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    return np.rint(to_colour(ground) * (1 - coverage) + to_colour(ink) * coverage).astype(np.uint8)


def draw_border(
    digit: Float[np.ndarray, "28 28"], generator: np.random.Generator, width: int, level: Level
) -> np.ndarray:
    """Return an enlarged digit in a frame."""
    image = draw_clean(digit, generator).copy()
    inner = image[width:-width, width:-width].copy()
    image[:] = to_colour(level).astype(np.uint8)
    image[width:-width, width:-width] = inner
    return image


def draw_any_border(digit: Float[np.ndarray, "28 28"], generator: np.random.Generator) -> np.ndarray:
    """Return an enlarged digit in a frame of any width and colour."""
    return draw_border(digit, generator, int(generator.integers(1, 26)), tuple(generator.uniform(0, 200, 3)))


def draw_on_grey(digit: Float[np.ndarray, "28 28"], generator: np.random.Generator, dark: bool) -> np.ndarray:
    """Return an enlarged digit on a grey ground from 30 to 220, darker or lighter by at least 60 levels (or up to the end)."""
    ground = generator.uniform(90 if dark else 30, 220 if dark else 165)
    ink = generator.uniform(0, ground - 60) if dark else generator.uniform(ground + 60, 255)
    return draw_clean(digit, generator, ground=ground, ink=ink)


def draw_small_with_pixel(digit: Float[np.ndarray, "28 28"], generator: np.random.Generator) -> np.ndarray:
    """Return a digit of 15 % of the frame, and one dark pixel far away."""
    image = np.full((240, 320, 3), 255, np.float32)
    strokes = render_strokes(digit, 36)
    paint(image, strokes, 0, 30, 40)
    image[225, 300] = 0
    return np.rint(image).astype(np.uint8)


def draw_large_with_specks(digit: Float[np.ndarray, "28 28"], generator: np.random.Generator) -> np.ndarray:
    """Return a large digit and three specks of 3 x 3 pixels."""
    image = draw_clean(digit, generator).copy()
    for _ in range(3):
        row, column = generator.integers(3, 260, 2)
        image[row : row + 3, column : column + 3] = 0
    return image


def photograph(**changes: Any) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Return a function that takes a photo with these values of `Photo`."""
    photo = Photo(**changes)
    return lambda digit, generator: take_photo(digit, generator, photo)


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "28 x 28": lambda digit, _: np.repeat(np.rint(digit * 255).astype(np.uint8)[..., None], 3, -1),
    "drawing": draw_clean,
    "paper, light -10 %": photograph(falloff=0.10),
    "paper, light -20 %": photograph(falloff=0.20),
    "paper, light -30 %": photograph(falloff=0.30),
    "paper, light -35 %": photograph(falloff=0.35),
    "paper, light -40 %": photograph(falloff=0.40),
    "paper, light -50 %": photograph(falloff=0.50),
    "vignette": photograph(vignette=0.5),
    "hard shadow": photograph(falloff=0.15, shadow=0.45),
    "dim room": photograph(paper=120, ink=30, falloff=0.35),
    "large digit": photograph(falloff=0.35, length=(0.6, 0.85)),
    "3 megapixels": photograph(falloff=0.35, size=(2000, 1500), noise=8),
    "black pen": photograph(falloff=0.35, ink=15),
    "marker": photograph(falloff=0.35, ink=15, thickness=1.0),
    "red pen": photograph(falloff=0.35, ink=(196, 40, 44)),
    "blue pen": photograph(falloff=0.35, ink=(40, 60, 150)),
    "green pen": photograph(falloff=0.35, ink=(60, 150, 80)),
    "orange pen": photograph(falloff=0.35, ink=(240, 150, 40)),
    "light pencil": photograph(falloff=0.35, ink=140),
    "thin pencil": photograph(falloff=0.35, ink=90, thickness=-0.5),
    "ruled": photograph(falloff=0.10, decorate=draw_ruling),
    "ruled, tilted": photograph(falloff=0.20, decorate=draw_tilted_ruling),
    "squared": photograph(falloff=0.10, decorate=draw_squares),
    "dark desk": photograph(falloff=0.10, desk=(62, 40, 28)),
    "light desk": photograph(falloff=0.10, desk=(214, 196, 168)),
    "tilted sheet": photograph(falloff=0.25, desk=(62, 40, 28), desk_share=0.18, rotation=20),
    "small sheet": photograph(falloff=0.2, desk=(90, 70, 60), desk_share=0.3, length=(0.4, 0.7), rotation=10),
    "date": photograph(falloff=0.35, decorate=draw_date),
    "underline": photograph(falloff=0.35, decorate=draw_underline),
    "holes": photograph(falloff=0.35, decorate=draw_holes),
    "specks on paper": photograph(falloff=0.35, decorate=draw_specks),
    "small figure": photograph(falloff=0.35, decorate=draw_neighbour),
    "chalk": photograph(paper=(48, 62, 52), ink=(222, 222, 214), falloff=0.4, noise=5),
    "equal brightness": photograph(paper=(90, 160, 90), ink=(215, 98, 90), falloff=0.2),
    "dark on grey": lambda digit, generator: draw_on_grey(digit, generator, dark=True),
    "light on grey": lambda digit, generator: draw_on_grey(digit, generator, dark=False),
    "border 1": lambda digit, generator: draw_border(digit, generator, 1, 0),
    "border 6 grey": lambda digit, generator: draw_border(digit, generator, 6, 150),
    "border 20": lambda digit, generator: draw_border(digit, generator, 20, 40),
    "any border": draw_any_border,
    "far pixel": draw_small_with_pixel,
    "specks": draw_large_with_specks,
}


@dataclass(frozen=True)
class Sample:
    """One picture.

    Attributes:
        pixels: Values from 0 to 255, shape (h, w, 3).
        label: Digit.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    label: int


def generate_photos(kind: str, count: int, *, split: str = "test", seed: int = 0) -> Iterator[Sample]:
    """Yield pictures of one kind.

    Args:
        kind: Key of `KINDS`.
        count: Number of pictures, each of another digit.
        split: Split of the digits task.
        seed: Seed of the choice of digits and of the pictures.
    """
    digits, labels = load_images(split)
    rows = np.random.default_rng([seed, 1]).permutation(len(labels))[:count]
    for row in rows:
        generator = np.random.default_rng([seed, int(row), zlib.crc32(kind.encode())])
        yield Sample(KINDS[kind](digits[row, 0].numpy(), generator), int(labels[row]))


# --- measurement ------------------------------------------------------------------------------------------------------


def load_engine() -> tuple[Task, Engine]:
    """Return the digits task, and an engine with the bundled model and its default halting policy."""
    checkpoint = load(ROOT / "checkpoints" / "digits")
    return make_task({"kind": "digits"}), Engine(checkpoint.model, get_default_policy(checkpoint.halting))


def answer(task: Task, engine: Engine, samples: list[Sample]) -> list[int | None]:
    """Return the digit that is read in every picture; None where the picture is rejected."""
    inputs: dict[int, torch.Tensor] = {}
    for index, sample in enumerate(samples):
        with contextlib.suppress(ValueError):
            inputs[index] = task.parse_input(sample.pixels.astype(np.float32) / 255).inputs
    answers: list[int | None] = [None] * len(samples)
    if inputs:
        logits = engine.run(torch.cat(list(inputs.values()))).answer
        for index, choice in zip(inputs, logits.argmax(1).tolist(), strict=True):
            answers[index] = choice
    return answers


def measure(kinds: list[str], count: int, split: str, seed: int) -> list[dict[str, Any]]:
    """Return for every kind how many pictures are right, wrong and rejected."""
    task, engine = load_engine()
    rows = []
    for kind in kinds:
        samples = list(generate_photos(kind, count, split=split, seed=seed))
        answers = answer(task, engine, samples)
        right = sum(a == sample.label for a, sample in zip(answers, samples, strict=True))
        low, high = wilson_interval(right, len(samples))
        rows.append(
            {"kind": kind, "n": len(samples), "right": right, "rejected": answers.count(None), "low": low, "high": high}
        )
    return rows


def wilson_interval(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share, by default at 95 %."""
    share = successes / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def render_table(figures: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| picture | n | right | 95 % interval | rejected |", "|---|---|---|---|---|"]
    for row in figures["rows"]:
        lines.append(
            f"| {row['kind']} | {row['n']} | **{row['right'] / row['n']:.1%}** | {row['low']:.1%} to {row['high']:.1%} "
            f"| {row['rejected']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_photos", description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument("--count", type=int, default=200, help="pictures of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.name}")
    args = parser.parse_args()
    figures = {
        "command": f"python -m benchmarks.paper_photos --split {args.split} --count {args.count} --seed {args.seed}",
        "date": date.today().isoformat(),
        "rows": measure(args.kinds, args.count, args.split, args.seed),
    }
    print(render_table(figures))
    if args.save:
        RESULT_FILE.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
