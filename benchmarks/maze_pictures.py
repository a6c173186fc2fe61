"""Generate pictures of mazes of many kinds, and measure how many of them `training.data.maze_reader` reads correctly.

    python -m benchmarks.maze_pictures [--split validation] [--count 5] [--kinds lines ...]

Each picture shows a maze of a held-out split of the mazes task. It depends on the kind, the split and the seed alone. A reading
is correct if the grid equals the generated grid, with start and goal. The reader is tuned on the validation split and measured on
the test split: `python -m benchmarks.maze_pictures --split test --count 20 --first-seed 200 --write`.
"""

import argparse
import io
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.paths import ROOT, write_figures
from training.data.maze import GOAL, START, WALL, Maze
from training.data.maze_reader.reader import parse_maze
from training.model_card import compute_wilson_interval
from training.tasks import make_task
from training.tasks.mazes import Mazes
from training.tasks.splits import TEST, VALIDATION, make_generator

RESULT_FILE = ROOT / "benchmarks" / "maze_pictures.json"
SIDES = (11, 13, 15, 19, 25, 31, 39)
MAX_PICTURE_SIDE = 900  # pixels
RED, GREEN = (255, 0, 0), (0, 255, 0)
COLOUR_PAIRS = {  # dark and light; both ways round are drawn
    "black, white": ((0, 0, 0), (255, 255, 255)),
    "blue, white": ((0, 0, 255), (255, 255, 255)),
    "navy, white": ((0, 0, 128), (255, 255, 255)),
    "brown, cream": ((101, 67, 33), (255, 253, 208)),
    "grey, white": ((128, 128, 128), (255, 255, 255)),
    "charcoal, light grey": ((54, 54, 54), (220, 220, 220)),
    "dark green, beige": ((0, 80, 30), (245, 235, 210)),
    "purple, lavender": ((80, 20, 110), (230, 220, 250)),
    "teal, white": ((0, 110, 120), (250, 250, 250)),
    "black, yellow": ((10, 10, 10), (255, 230, 90)),
    "maroon, pink": ((110, 10, 40), (255, 215, 220)),
    "slate, sky": ((60, 70, 95), (190, 220, 245)),
}
MARKER_PAIRS = {  # colours of start and goal that the reader tells apart without red or green
    "red, blue": (RED, (0, 60, 255)),
    "orange, green": ((255, 140, 0), (0, 170, 60)),
    "magenta, lime": ((230, 0, 200), (120, 230, 0)),
    "dark red, dark green": ((190, 20, 30), (10, 140, 40)),
}

Picture = tuple[np.ndarray, np.ndarray]


def make_picture(kind: str, seed: int, split: str = TEST) -> Picture:
    """Return a picture of a kind and the grid that it shows.

    Args:
        kind: Key of `KINDS`.
        seed: Number of the picture.
        split: Split of the mazes task from which the maze is drawn.

    Returns:
        Pixels of shape (h, w, 3), uint8, and the grid of shape (n, n), uint8.
    """
    rng = np.random.default_rng([seed, *split.encode(), *kind.encode()])
    return KINDS[kind](rng, split)


# --- parts of a picture ----------------------------------------------------------------------------------------------


@cache
def make_mazes_task(side: int) -> Mazes:
    """Return the mazes task of a side, with room for long routes."""
    return make_task({"kind": "mazes", "side": side, "route": 1_000})


def draw_maze(rng: np.random.Generator, split: str, sides: tuple[int, ...] = SIDES) -> Maze:
    """Draw a maze of a split."""
    side = int(rng.choice(sides))
    seed = int(rng.integers(2**31))
    batch = make_mazes_task(side).sample(split, 1, make_generator("maze_pictures", seed))
    return parse_maze(batch.inputs[0].permute(1, 2, 0).numpy())


def draw_scale(rng: np.random.Generator, side: int, low: float = 3.3, high: float = 30.0) -> float:
    """Draw the pixels per place, small and large ones equally often."""
    high = max(low, min(high, MAX_PICTURE_SIDE / side))
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def paint(
    grid: np.ndarray, wall: tuple = (0, 0, 0), path: tuple = (255,) * 3, ends: tuple = (RED, GREEN)
) -> np.ndarray:
    """Return a picture of one pixel a place."""
    return np.array([wall, path, *ends], np.uint8)[grid]


def enlarge(pixels: np.ndarray, scale: float, method: Image.Resampling = Image.Resampling.NEAREST) -> np.ndarray:
    """Enlarge a picture by any factor."""
    size = [max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0])]
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def add_margins(rng: np.random.Generator, pixels: np.ndarray, colours: list[tuple], largest: int = 40) -> np.ndarray:
    """Add a margin of one of the colours, of another width on each side."""
    colour = colours[int(rng.integers(len(colours)))]
    widths = rng.integers(0, largest + 1, 4) * (rng.random(4) < 0.8)
    top, bottom, left, right = widths.tolist()
    height, width = pixels.shape[:2]
    out = np.empty((height + top + bottom, width + left + right, 3), np.uint8)
    out[:] = colour
    out[top : top + height, left : left + width] = pixels
    return out


def crop_edges(rng: np.random.Generator, pixels: np.ndarray, low: int, high: int) -> np.ndarray:
    """Cut a few pixels off some sides, at least off one."""
    widths = rng.integers(low, high + 1, 4) * (rng.random(4) < 0.6)
    widths[int(rng.integers(4))] = high
    top, bottom, left, right = widths.tolist()
    return pixels[top : len(pixels) - bottom, left : pixels.shape[1] - right]


def compress(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return a picture after JPEG compression."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def blur(pixels: np.ndarray, radius: float, *, box: bool = False) -> np.ndarray:
    """Blur a picture."""
    kernel = ImageFilter.BoxBlur(radius) if box else ImageFilter.GaussianBlur(radius)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).filter(kernel))


def add_noise(rng: np.random.Generator, pixels: np.ndarray, strength: float) -> np.ndarray:
    """Add normal noise of a standard deviation in grey levels."""
    return np.clip(pixels + rng.normal(0, strength, pixels.shape), 0, 255).astype(np.uint8)


def draw_colours(rng: np.random.Generator) -> tuple[tuple, tuple]:
    """Draw the colours of walls and paths."""
    pair = list(COLOUR_PAIRS.values())[int(rng.integers(len(COLOUR_PAIRS)))]
    return pair if rng.random() < 0.5 else pair[::-1]


def draw_lines(
    rng: np.random.Generator,
    grid: np.ndarray,
    wall_px: int,
    corridor_px: int,
    *,
    wall: tuple = (0, 0, 0),
    path: tuple = (255,) * 3,
    shape: str = "disc",
    ends: tuple = (RED, GREEN),
) -> np.ndarray:
    """Draw a maze of thin walls between wide corridors, with discs or squares as start and goal."""
    widths = np.where(np.arange(len(grid)) % 2 == 0, wall_px, corridor_px)
    blank = np.where(grid == WALL, np.uint8(WALL), np.uint8(1))
    image = Image.fromarray(paint(blank, wall, path).repeat(widths, 0).repeat(widths, 1))
    draw = ImageDraw.Draw(image)
    pitch = wall_px + corridor_px
    inset = 0.0 if shape == "square" else corridor_px * float(rng.uniform(0.1, 0.25))
    for kind, colour in zip((START, GOAL), ends, strict=True):
        row, column = np.argwhere(grid == kind)[0].tolist()
        top, left = (row // 2) * pitch + wall_px, (column // 2) * pitch + wall_px
        box = (left + inset, top + inset, left + corridor_px - 1 - inset, top + corridor_px - 1 - inset)
        (draw.rectangle if shape == "square" else draw.ellipse)(box, fill=colour)
    return np.asarray(image)


def draw_line_widths(rng: np.random.Generator, grid: np.ndarray) -> tuple[int, int]:
    """Draw the widths of walls and corridors."""
    limit = max(8, min(30, MAX_PICTURE_SIDE // (len(grid) // 2) - 4))
    return int(rng.integers(1, 5)), int(rng.integers(8, limit + 1))


# --- kinds -----------------------------------------------------------------------------------------------------------


def make_whole(rng: np.random.Generator, split: str) -> Picture:
    """Draw a maze with a whole number of pixels per position."""
    grid = draw_maze(rng, split).grid
    return enlarge(paint(grid), int(rng.integers(1, 17))), grid


def make_fractional(rng: np.random.Generator, split: str) -> Picture:
    """Draw a maze with a fraction of a pixel per position."""
    grid = draw_maze(rng, split).grid
    return enlarge(paint(grid), draw_scale(rng, len(grid))), grid


def make_400_px(rng: np.random.Generator, split: str) -> Picture:
    """Draw a maze of 15 x 15 positions on 400 x 400 pixels."""
    grid = draw_maze(rng, split, (15,)).grid
    return np.asarray(Image.fromarray(paint(grid)).resize((400, 400), Image.Resampling.NEAREST)), grid


def make_margin(rng: np.random.Generator, split: str) -> Picture:
    """Draw a maze with margins of any width and colour."""
    grid = draw_maze(rng, split).grid
    pixels = enlarge(paint(grid), draw_scale(rng, len(grid)))
    other = tuple(rng.integers(0, 256, 3).tolist())
    return add_margins(rng, pixels, [(255,) * 3, (0,) * 3, (128,) * 3, other]), grid


def make_cropped(rng: np.random.Generator, split: str) -> Picture:
    """Cut 1 to 3 pixels off some sides."""
    grid = draw_maze(rng, split).grid
    return crop_edges(rng, enlarge(paint(grid), draw_scale(rng, len(grid))), 1, 3), grid


def make_without_outer_wall(rng: np.random.Generator, split: str) -> Picture:
    """Cut the outer wall off some sides."""
    grid = draw_maze(rng, split).grid
    scale = draw_scale(rng, len(grid))
    pixels = crop_edges(rng, enlarge(paint(grid), scale), round(scale), round(scale))
    return pixels, grid


def make_coloured(rng: np.random.Generator, split: str) -> Picture:
    """Draw walls and paths in other colours, with slight noise."""
    grid = draw_maze(rng, split).grid
    pixels = enlarge(paint(grid, *draw_colours(rng)), draw_scale(rng, len(grid)))
    return add_noise(rng, pixels, float(rng.uniform(0, 12))), grid


def make_inverted(rng: np.random.Generator, split: str) -> Picture:
    """Draw white walls and black paths."""
    grid = draw_maze(rng, split).grid
    pixels = enlarge(paint(grid, (255,) * 3, (0,) * 3), draw_scale(rng, len(grid)))
    return (pixels if rng.random() < 0.5 else add_margins(rng, pixels, [(0,) * 3, (255,) * 3])), grid


def make_lines(rng: np.random.Generator, split: str) -> Picture:
    """Draw thin walls and wide corridors."""
    grid = draw_maze(rng, split).grid
    shape = "disc" if rng.random() < 0.7 else "square"
    pixels = draw_lines(rng, grid, *draw_line_widths(rng, grid), shape=shape)
    return add_margins(rng, pixels, [(255,) * 3, (255,) * 3, (200,) * 3, (0,) * 3], 20), grid


def make_coloured_lines(rng: np.random.Generator, split: str) -> Picture:
    """Draw thin walls and wide corridors in other colours."""
    grid = draw_maze(rng, split).grid
    wall, path = draw_colours(rng)
    pixels = draw_lines(rng, grid, *draw_line_widths(rng, grid), wall=wall, path=path)
    return add_margins(rng, pixels, [path, wall, (128,) * 3], 20), grid


def make_cropped_lines(rng: np.random.Generator, split: str) -> Picture:
    """Cut 1 to 3 pixels off some sides of a maze of thin walls."""
    grid = draw_maze(rng, split).grid
    return crop_edges(rng, draw_lines(rng, grid, *draw_line_widths(rng, grid)), 1, 3), grid


def make_compressed_lines(rng: np.random.Generator, split: str) -> Picture:
    """Scale and compress a maze of thin walls."""
    grid = draw_maze(rng, split).grid
    pixels = draw_lines(rng, grid, *draw_line_widths(rng, grid))
    pixels = add_margins(rng, pixels, [(255,) * 3], 20)
    pixels = enlarge(pixels, float(rng.uniform(0.8, 1.6)), Image.Resampling.BICUBIC)
    return compress(pixels, int(rng.integers(20, 96))), grid


def make_smooth(rng: np.random.Generator, split: str) -> Picture:
    """Enlarge a maze with interpolation."""
    grid = draw_maze(rng, split).grid
    methods = [Image.Resampling[name] for name in ("BILINEAR", "BICUBIC", "LANCZOS", "BOX", "HAMMING")]
    return enlarge(paint(grid), draw_scale(rng, len(grid)), methods[int(rng.integers(len(methods)))]), grid


def make_blurred(rng: np.random.Generator, split: str) -> Picture:
    """Blur a maze by up to a third of a position."""
    grid = draw_maze(rng, split).grid
    scale = draw_scale(rng, len(grid))
    radius = scale * float(rng.uniform(0.1, 1 / 3))
    return blur(enlarge(paint(grid), scale), radius, box=rng.random() < 0.3), grid


def make_compressed(rng: np.random.Generator, split: str) -> Picture:
    """Compress a maze as JPEG of quality 20 to 95."""
    grid = draw_maze(rng, split).grid
    return compress(enlarge(paint(grid), draw_scale(rng, len(grid))), int(rng.integers(20, 96))), grid


def make_compressed_small(rng: np.random.Generator, split: str) -> Picture:
    """Compress a maze of 1 to 3 pixels per position as JPEG."""
    grid = draw_maze(rng, split).grid
    return compress(enlarge(paint(grid), int(rng.integers(1, 4))), int(rng.integers(75, 96))), grid


def make_noisy(rng: np.random.Generator, split: str) -> Picture:
    """Draw a maze with noise."""
    grid = draw_maze(rng, split).grid
    return add_noise(rng, enlarge(paint(grid), draw_scale(rng, len(grid))), float(rng.uniform(5, 35))), grid


def make_marked(rng: np.random.Generator, split: str) -> Picture:
    """Draw start and goal in other colours."""
    grid = draw_maze(rng, split).grid
    ends = list(MARKER_PAIRS.values())[int(rng.integers(len(MARKER_PAIRS)))]
    if rng.random() < 0.5:
        return draw_lines(rng, grid, *draw_line_widths(rng, grid), ends=ends), grid
    return enlarge(paint(grid, ends=ends), draw_scale(rng, len(grid))), grid


def make_lettered(rng: np.random.Generator, split: str) -> Picture:
    """Draw S and E, or S and G, or S and F, in the colour of the walls, without other markers."""
    grid = draw_maze(rng, split).grid
    blank = np.where(grid == WALL, np.uint8(WALL), np.uint8(1))
    scale = round(draw_scale(rng, len(grid), 12))
    image = Image.fromarray(enlarge(paint(blank), scale))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(scale * float(rng.uniform(0.75, 1.0)))
    for kind, letter in ((START, "S"), (GOAL, str(rng.choice(["E", "G", "F"])))):
        row, column = np.argwhere(grid == kind)[0].tolist()
        centre = ((column + 0.5) * scale, (row + 0.5) * scale)
        draw.text(centre, letter, fill=(0, 0, 0), font=font, anchor="mm")
    return np.asarray(image), grid


def make_solved(rng: np.random.Generator, split: str) -> Picture:
    """Draw the route in blue, as wide as the path or as a thin line."""
    maze = draw_maze(rng, split)
    scale = draw_scale(rng, len(maze.grid), 6)
    route = maze.walk(maze.find_shortest_moves())[0]
    if rng.random() < 0.5:
        grid = maze.grid.copy()
        pixels = paint(grid)
        pixels[tuple(np.array(route[1:-1]).reshape(-1, 2).T)] = (0, 0, 255)
        return enlarge(pixels, scale), grid
    image = Image.fromarray(enlarge(paint(maze.grid), scale))
    points = [((column + 0.5) * scale, (row + 0.5) * scale) for row, column in route]
    ImageDraw.Draw(image).line(points[1:-1] or points, fill=(0, 0, 255), width=max(1, round(scale / 5)))
    return np.asarray(image), maze.grid


def make_mixed(rng: np.random.Generator, split: str) -> Picture:
    """Combine colours, margins, blur, noise and JPEG."""
    grid = draw_maze(rng, split).grid
    wall, path = draw_colours(rng)
    scale = draw_scale(rng, len(grid), 5)
    if rng.random() < 0.5:
        pixels = enlarge(paint(grid, wall, path), scale)
    else:
        pixels = draw_lines(rng, grid, int(rng.integers(2, 5)), draw_line_widths(rng, grid)[1], wall=wall, path=path)
    pixels = add_margins(rng, pixels, [path, wall, (255,) * 3, tuple(rng.integers(0, 256, 3).tolist())])
    pixels = blur(pixels, float(rng.uniform(0, 1.2)))
    return compress(add_noise(rng, pixels, float(rng.uniform(0, 10))), int(rng.integers(40, 96))), grid


KINDS: dict[str, Callable[[np.random.Generator, str], Picture]] = {
    "whole": make_whole,
    "fractional": make_fractional,
    "400 px": make_400_px,
    "margin": make_margin,
    "cropped": make_cropped,
    "no outer wall": make_without_outer_wall,
    "coloured": make_coloured,
    "inverted": make_inverted,
    "lines": make_lines,
    "coloured lines": make_coloured_lines,
    "cropped lines": make_cropped_lines,
    "compressed lines": make_compressed_lines,
    "smooth": make_smooth,
    "blurred": make_blurred,
    "compressed": make_compressed,
    "compressed small": make_compressed_small,
    "noisy": make_noisy,
    "marked": make_marked,
    "lettered": make_lettered,
    "solved": make_solved,
    "mixed": make_mixed,
}


# --- measurement -----------------------------------------------------------------------------------------------------


def is_read_correctly(pixels: np.ndarray, grid: np.ndarray) -> bool:
    """Return whether the reader finds the grid of a picture, with start and goal."""
    try:
        maze = parse_maze(pixels.astype(np.float32) / 255)
    except ValueError:
        return False
    return np.array_equal(maze.grid, grid)


def measure(kinds: list[str], split: str, count: int, first_seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return the number of pictures, of correct readings and the longest time, by kind."""
    figures = {}
    for kind in kinds:
        correct, longest_s = 0, 0.0
        for seed in range(first_seed, first_seed + count):
            pixels, grid = make_picture(kind, seed, split)
            began = time.perf_counter()
            correct += is_read_correctly(pixels, grid)
            longest_s = max(longest_s, time.perf_counter() - began)
        figures[kind] = {"n": count, "correct": correct, "max_ms": round(longest_s * 1_000, 1)}
    return figures


def build_table(figures: dict[str, dict[str, Any]]) -> str:
    """Build a Markdown row for every kind of picture."""
    lines = ["| kind of picture | correct | 95% interval |", "|---|---|---|"]
    for kind, figure in figures.items():
        low, high = compute_wilson_interval(figure["correct"] / figure["n"], figure["n"])
        lines.append(f"| {kind} | {figure['correct']} of {figure['n']} | {low:.0%} to {high:.0%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure the reader and print the table; write the figures of whole measurements on the test split."""
    parser = argparse.ArgumentParser(description="Measure how many pictures of mazes are read correctly.")
    parser.add_argument("--split", choices=(VALIDATION, TEST), default=VALIDATION)
    parser.add_argument("--count", type=int, default=5, help="pictures per kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--write", action="store_true", help=f"write {RESULT_FILE.name}")
    args = parser.parse_args()
    figures = measure(args.kinds, args.split, args.count, args.first_seed)
    print(build_table(figures))
    if args.write:
        result = {"split": args.split, "first_seed": args.first_seed, "kinds": figures}
        write_figures(RESULT_FILE, result)


if __name__ == "__main__":
    main()
