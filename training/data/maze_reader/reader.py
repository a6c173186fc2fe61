"""Read a maze from an image: its grid of walls and paths, its start and its goal.

The image may be enlarged by any factor, have margins, cut edges, smoothing, noise and JPEG artefacts, any two colours for walls
and paths, and walls of any thickness. `lattice` finds the lattice of the walls,
`markers` the start and the goal. Which of the two colours is that of the walls follows from the structure:
walls surround a maze, paths connect, and markers lie on paths.
"""

from dataclasses import replace

import numpy as np

from training.data.maze import GOAL, MAX_SIDE, MIN_SIDE, PATH, START, WALL, Maze, Position
from training.data.maze_reader.colours import TwoColours, split_colours
from training.data.maze_reader.exact import read_exact
from training.data.maze_reader.lattice import Lattice, find_lattice
from training.data.maze_reader.layout import Layout, build_layout, cut_margin_outside_openings, find_openings
from training.data.maze_reader.markers import Markers, find_markers
from training.data.maze_reader.position_means import compute_means, integrate
from training.data.maze_reader.reading import MazeReading, complete_maze

MEAN_READ_SIDE = 800  # pixels, to about which a larger image is reduced by a whole number
MIN_PURITY = 0.88  # share of the crossings that are as in a maze
MIN_EDGE_SHARE = 0.4  # of the edges of an image that lie within the maze
MIN_CONNECTED_SHARE = 0.6  # of the paths that are connected
CLEAR_PURITY = 0.97
MIN_READ_SIDE = 5  # pixels
MAX_RATIO = 20  # of the sides of an image
MIN_PLAIN_SHARE = 0.9  # of the pixels of a cell that show its path, for it to count for the colour of paths
MIN_PLAIN_CELLS = 4
MAX_MARKER_PLAUSIBILITY = 4.0
OPENINGS_NOTE = "The two openings of the outer wall are read as start and goal."
NO_MAZE = (
    "No maze is recognised in this picture. A maze has walls and paths of two colours on a regular grid, a red start and a "
    "green goal."
)


def parse_maze(pixels: np.ndarray, start: Position | None = None, goal: Position | None = None) -> Maze:
    """Return the maze in an image.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1].
        start: Position of the start if it is set by hand.
        goal: Position of the goal if it is set by hand.

    Raises:
        IncompleteMazeError: The start or the goal is missing; the error holds the recognised positions.
        ValueError: The image is not a solvable maze; one sentence says why.
    """
    return complete_maze(read_maze(pixels), start, goal)


def read_maze(pixels: np.ndarray) -> MazeReading:
    """Return what is recognised in an image.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1].

    Raises:
        ValueError: There is no maze; one sentence says why.
    """
    pixels, factor = prepare_pixels(pixels)
    reading = read_prepared(pixels)
    height, width = reading.grid.shape
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ValueError(f"A maze has {MIN_SIDE} to {MAX_SIDE} positions per side, got {width} x {height}.")
    return replace(reading, row_strips=reading.row_strips * factor, column_strips=reading.column_strips * factor)


def read_prepared(pixels: np.ndarray) -> MazeReading:
    """Return what is recognised in an image of valid values and limited size."""
    exact = read_exact(pixels)
    if exact is not None and exact.confidence == 1:
        return exact
    colours = split_colours(pixels)
    if colours is None:
        raise ValueError("The picture has one colour only. A maze has walls and paths of two colours.")
    lattice = find_lattice(colours.brightness, colours.is_two_coloured)
    is_maze = (
        lattice is not None
        and lattice.purity >= MIN_PURITY
        and compute_edge_share(colours.brightness, lattice) >= MIN_EDGE_SHARE
    )
    if exact is not None and exact.start and exact.goal and not is_maze:
        return exact
    if lattice is None or not is_maze:
        raise ValueError(NO_MAZE)
    return read_lattice(pixels, colours, lattice)


def prepare_pixels(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return an image without invalid values and of limited size, and the factor by which it is reduced."""
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError("A maze needs colours: one red position for the start and one green position for the goal.")
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_READ_SIDE or max(height, width) > MAX_RATIO * min(height, width):
        raise ValueError(
            f"A maze has {MIN_SIDE} to {MAX_SIDE} positions per side; this picture has {width} x {height} pixels."
        )
    factor = max(1, round(max(height, width) / MEAN_READ_SIDE))
    if factor > 1:
        height, width = height // factor, width // factor
        pixels = pixels[: height * factor, : width * factor]
        pixels = sum(pixels[row::factor, column::factor] for row, column in np.ndindex(factor, factor)) / factor**2
    return np.clip(np.nan_to_num(pixels.astype(np.float32), nan=1.0), 0, 1), factor


def compute_edge_share(brightness: np.ndarray, lattice: Lattice) -> float:
    """Return the share of the edges of an image that lie within a lattice."""
    height, width = brightness.shape
    top, bottom = np.clip(
        np.round(lattice.row_strips[[0, -1], [0, 1]]).astype(int) + np.array([-1, 1]), 0, height
    ).tolist()
    left, right = np.clip(
        np.round(lattice.column_strips[[0, -1], [0, 1]]).astype(int) + np.array([-1, 1]), 0, width
    ).tolist()
    inside = total = 0.0
    for slopes in (np.abs(np.diff(brightness, axis=0)), np.abs(np.diff(brightness, axis=1))):
        inside += float(slopes[top:bottom, left:right].sum())
        total += float(slopes.sum())
    return inside / max(total, 1e-9)


def read_lattice(pixels: np.ndarray, colours: TwoColours, lattice: Lattice) -> MazeReading:
    """Return the maze on a lattice, with walls of the colour for which more speaks."""
    layouts = [build_layout(lattice, walls_are_dark=walls_are_dark) for walls_are_dark in (True, False)]
    best = max(layout.plausibility for layout in layouts)
    found = []
    for layout in layouts:
        if layout.plausibility + MAX_MARKER_PLAUSIBILITY >= best:
            markers = find_markers(pixels, layout, estimate_colours(pixels, layout, colours))
            found.append((layout.plausibility + compute_marker_plausibility(layout, markers), layout, markers))
    _, layout, markers = max(found, key=lambda entry: entry[0])
    is_marked = bool(markers.start and markers.goal)
    is_clear = layout.connected_share >= MIN_CONNECTED_SHARE and lattice.purity >= CLEAR_PURITY
    if min(layout.is_wall.shape) < MIN_SIDE or not (is_marked or is_clear):
        raise ValueError(NO_MAZE)
    if not (markers.start or markers.goal or markers.problems) and (opened := cut_margin_outside_openings(layout)):
        layout = opened
        start, goal = find_openings(layout.is_wall)
        markers = Markers(start, goal, (OPENINGS_NOTE,))
    grid = np.where(layout.is_wall, np.uint8(WALL), np.uint8(PATH))
    for kind, position in ((START, markers.start), (GOAL, markers.goal)):
        if position is not None:
            grid[position] = kind
    notes = markers.notes if lattice.purity >= CLEAR_PURITY else (*markers.notes, "Some walls are unclear; check them.")
    return MazeReading(
        grid=grid,
        row_strips=layout.row_strips,
        column_strips=layout.column_strips,
        start=markers.start,
        goal=markers.goal,
        confidence=lattice.purity,
        notes=notes,
        problems=markers.problems,
    )


def compute_marker_plausibility(layout: Layout, markers: Markers) -> float:
    """Return how much the markers speak for a layout: both lie on crossings of paths."""
    positions = [position for position in (markers.start, markers.goal) if position is not None]
    return MAX_MARKER_PLAUSIBILITY / 2 * sum(bool(layout.is_cell[position]) for position in positions)


def estimate_colours(pixels: np.ndarray, layout: Layout, colours: TwoColours) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of walls and paths."""
    sums = integrate(np.concatenate([pixels, colours.is_two_coloured[..., None]], 2))
    means = compute_means(sums, layout.row_strips, layout.column_strips)
    wall, path = (colours.dark, colours.bright) if layout.walls_are_dark else (colours.bright, colours.dark)
    is_plain = layout.is_cell & (means[..., 3] > MIN_PLAIN_SHARE)
    return wall, np.median(means[is_plain][:, :3], 0) if is_plain.sum() >= MIN_PLAIN_CELLS else path
