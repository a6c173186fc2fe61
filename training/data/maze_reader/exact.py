"""Read mazes in the published colours that are enlarged by a whole number and have no margins."""

import numpy as np

from training.data.maze import COLOURS, GOAL, MAX_SIDE, MIN_SIDE, PATH, SOLUTION, START, WALL, Maze, Position
from training.data.maze_reader.colours import compute_lengths
from training.data.maze_reader.reading import MazeReading

MAX_COLOUR_DISTANCE = 0.45  # Euclidean distance in RGB up to which a pixel has a colour of a maze
MAX_OFF_COLOUR_FRACTION = 0.1  # of the pixels of a maze, such as those blurred by JPEG
MIN_UNIFORM_FRACTION = 0.9  # of the pixels that have the kind of the centre of their block
MAX_PURE_DISTANCE = 0.02  # of each pixel from its colour in an image that an editor wrote
NUM_SAMPLED = 64  # rows and columns of pixels that are looked at first


def read_exact(pixels: np.ndarray) -> MazeReading | None:
    """Return the maze of an image that has one pixel, or a block of n x n pixels, per position, or None.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1] with approximate colours.

    Returns:
        The reading, without start or goal if their number is not one. Its confidence is 1 if a wall surrounds the maze or if
        the image has one pixel of a pure colour per position.
    """
    rows, columns = (max(1, side // NUM_SAMPLED) for side in pixels.shape[:2])
    if not has_maze_colours(find_nearest_colours(pixels[::rows, ::columns])[1]):
        return None
    kinds, distances = find_nearest_colours(pixels)
    if not has_maze_colours(distances):
        return None
    scale = detect_scale(kinds)
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        return None
    margin = scale // 4  # of each position, where the colours of neighbours may blur
    inner = slice(margin, scale - margin)
    blocks = pixels.reshape(height, scale, width, scale, 3)[:, inner, :, inner]
    grid = find_nearest_colours(blocks.mean((1, 3)))[0]
    grid[grid == SOLUTION] = PATH
    start, goal = find_single(grid, START), find_single(grid, GOAL)
    is_pure = scale == 1 and bool((distances < MAX_PURE_DISTANCE).all())
    has_endpoints = start is not None and goal is not None
    is_solvable = has_endpoints and start in Maze(grid).steps_to_goal
    rows_px, columns_px = (scale * np.arange(side)[:, None] + np.array([0.0, scale]) for side in (height, width))
    # An editor writes pure pixels; there the sentence about an unsolvable maze is right.
    confidence = 1.0 if has_endpoints and (is_pure or (is_solvable and is_enclosed(grid))) else 0.5
    return MazeReading(grid, rows_px, columns_px, start, goal, confidence)


def has_maze_colours(distances: np.ndarray) -> bool:
    """Return whether most pixels are near the colours of a maze."""
    return bool(np.mean(distances > MAX_COLOUR_DISTANCE) <= MAX_OFF_COLOUR_FRACTION)


def find_single(grid: np.ndarray, kind: int) -> Position | None:
    """Return the only position of a kind, or None if there is none or several."""
    positions = np.argwhere(grid == kind).tolist()
    return (positions[0][0], positions[0][1]) if len(positions) == 1 else None


def is_enclosed(grid: np.ndarray) -> bool:
    """Return whether one row of walls surrounds a grid, and paths lie beside it on all sides."""
    outer = (grid[0], grid[-1], grid[:, 0], grid[:, -1])
    inner = (grid[1], grid[-2], grid[:, 1], grid[:, -2])
    return all((line == WALL).all() for line in outer) and all((line != WALL).any() for line in inner)


def find_nearest_colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest colour of `COLOURS` of every pixel.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1].

    Returns:
        The index of the nearest colour, uint8, and the Euclidean distance to it, each of shape (h, w).
    """
    distances = np.stack([compute_lengths(pixels - colour) for colour in COLOURS])
    return distances.argmin(0).astype(np.uint8), distances.min(0)


def detect_scale(kinds: np.ndarray) -> int:
    """Return the enlargement of a maze in pixels per position.

    Args:
        kinds: Kind of every pixel, shape (h, w).

    Returns:
        The largest integer that divides the image into blocks of one kind each, up to 10 % of the pixels; 1 if there is none.
    """
    height, width = kinds.shape
    for scale in range(min(height, width) // MIN_SIDE, 1, -1):
        if height % scale == width % scale == 0:
            blocks = kinds.reshape(height // scale, scale, width // scale, scale)
            centers = blocks[:, scale // 2, :, scale // 2]
            if np.mean(blocks == centers[:, None, :, None]) > MIN_UNIFORM_FRACTION:
                return scale
    return 1
