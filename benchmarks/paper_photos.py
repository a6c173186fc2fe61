"""Generate photos and drawings of held-out digits, and measure how many of them are read correctly.

    python -m benchmarks.paper_photos [--split test] [--count 200] [--seed 0] [--kinds KIND ...] [--save]

Every kind of picture has a name in `KINDS`. A picture depends on the digit, the kind and the seed alone. Kinds that imitate
a photo have noise, an uneven light and a digit at a random place. `--save` writes benchmarks/paper_photos.json, from which
docs/results.md is rendered. Development uses the validation split; the figures are of the test split.
"""

import argparse
import contextlib
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from benchmarks.paths import ROOT, write_figures
from benchmarks.photo_rendering import (
    Level,
    Photo,
    draw_date,
    draw_holes,
    draw_neighbour,
    draw_ruling,
    draw_specks,
    draw_squares,
    draw_tilted_ruling,
    draw_underline,
    paint,
    render_strokes,
    take_photo,
    to_colour,
)
from ctm.checkpoint import load
from inference import Engine
from training.finalize import get_default_policy
from training.model_card import compute_wilson_interval
from training.tasks import Task, make_task
from training.tasks.digits import load_images

RESULT_FILE = ROOT / "benchmarks" / "paper_photos.json"
BATCH_SIZE = 25


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


def photograph(photo: Photo) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Return a function that takes this photo of a digit."""
    return lambda digit, generator: take_photo(digit, generator, photo)


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "28 x 28": lambda digit, _: np.repeat(np.rint(digit * 255).astype(np.uint8)[..., None], 3, -1),
    "drawing": draw_clean,
    "paper, light -10 %": photograph(Photo(falloff=0.10)),
    "paper, light -20 %": photograph(Photo(falloff=0.20)),
    "paper, light -30 %": photograph(Photo(falloff=0.30)),
    "paper, light -35 %": photograph(Photo(falloff=0.35)),
    "paper, light -40 %": photograph(Photo(falloff=0.40)),
    "paper, light -50 %": photograph(Photo(falloff=0.50)),
    "vignette": photograph(Photo(vignette=0.5)),
    "hard shadow": photograph(Photo(falloff=0.15, shadow=0.45)),
    "dim room": photograph(Photo(paper=120, ink=30, falloff=0.35)),
    "large digit": photograph(Photo(falloff=0.35, length=(0.6, 0.85))),
    "3 megapixels": photograph(Photo(falloff=0.35, size=(2000, 1500), noise=8)),
    "black pen": photograph(Photo(falloff=0.35, ink=15)),
    "marker": photograph(Photo(falloff=0.35, ink=15, thickness=1.0)),
    "red pen": photograph(Photo(falloff=0.35, ink=(196, 40, 44))),
    "blue pen": photograph(Photo(falloff=0.35, ink=(40, 60, 150))),
    "green pen": photograph(Photo(falloff=0.35, ink=(60, 150, 80))),
    "orange pen": photograph(Photo(falloff=0.35, ink=(240, 150, 40))),
    "light pencil": photograph(Photo(falloff=0.35, ink=140)),
    "thin pencil": photograph(Photo(falloff=0.35, ink=90, thickness=-0.5)),
    "ruled": photograph(Photo(falloff=0.10, decorate=draw_ruling)),
    "ruled, tilted": photograph(Photo(falloff=0.20, decorate=draw_tilted_ruling)),
    "squared": photograph(Photo(falloff=0.10, decorate=draw_squares)),
    "dark desk": photograph(Photo(falloff=0.10, desk=(62, 40, 28))),
    "light desk": photograph(Photo(falloff=0.10, desk=(214, 196, 168))),
    "tilted sheet": photograph(Photo(falloff=0.25, desk=(62, 40, 28), desk_share=0.18, rotation=20)),
    "small sheet": photograph(Photo(falloff=0.2, desk=(90, 70, 60), desk_share=0.3, length=(0.4, 0.7), rotation=10)),
    "date": photograph(Photo(falloff=0.35, decorate=draw_date)),
    "underline": photograph(Photo(falloff=0.35, decorate=draw_underline)),
    "holes": photograph(Photo(falloff=0.35, decorate=draw_holes)),
    "specks on paper": photograph(Photo(falloff=0.35, decorate=draw_specks)),
    "small figure": photograph(Photo(falloff=0.35, decorate=draw_neighbour)),
    "chalk": photograph(Photo(paper=(48, 62, 52), ink=(222, 222, 214), falloff=0.4, noise=5)),
    "equal brightness": photograph(Photo(paper=(90, 160, 90), ink=(215, 98, 90), falloff=0.2)),
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
        n = right = rejected = 0
        photos = generate_photos(kind, count, split=split, seed=seed)
        while samples := list(itertools.islice(photos, BATCH_SIZE)):  # large photos would fill the memory
            answers = answer(task, engine, samples)
            n += len(samples)
            right += sum(choice == sample.label for choice, sample in zip(answers, samples, strict=True))
            rejected += answers.count(None)
        low, high = compute_wilson_interval(right / n, n)
        rows.append({"kind": kind, "n": n, "right": right, "rejected": rejected, "low": low, "high": high})
    return rows


def render_table(figures: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, and a line that tells how they were measured."""
    lines = ["| image | n | recognized | 95% interval | rejected |", "|---|---|---|---|---|"]
    for row in figures["rows"]:
        lines.append(
            f"| {row['kind']} | {row['n']} | **{row['right'] / row['n']:.1%}** | {row['low']:.1%} to {row['high']:.1%} "
            f"| {row['rejected']} |"
        )
    return "\n".join([*lines, "", f"`{figures['command']}`. Measured {figures['date']}."])


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
        write_figures(RESULT_FILE, figures)


if __name__ == "__main__":
    main()
