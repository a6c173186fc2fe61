"""Read a maze from an image: its grid of walls and paths, its start and its goal.

The image may be enlarged by any factor, have margins, cut edges, smoothing, noise and JPEG artefacts, any two colours for walls
and paths, and walls of any thickness. `training.data.maze_lattice` finds the lattice of the walls,
`training.data.maze_markers` the start and the goal. Which of the two colours is that of the walls follows from the structure:
walls surround a maze, paths connect, and markers lie on paths.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from training.data.maze import (
    COLOURS,
    GOAL,
    MAX_SIDE,
    MIN_SIDE,
    PATH,
    START,
    WALL,
    Maze,
    Position,
    detect_scale,
    find_nearest_colours,
)
from training.data.maze_colours import TwoColours, find_threshold, split_colours
from training.data.maze_lattice import MIN_COVERAGE, MIN_STRIPS, Lattice, compute_means, find_lattice, integrate
from training.data.maze_markers import Markers, find_markers

MAX_READ_SIDE = 1_200  # pixels; a larger image is reduced
MIN_PURITY = 0.88  # share of the crossings that are as in a maze
MIN_READ_SIDE = 5  # pixels
MAX_RATIO = 20  # of the sides of an image
MIN_PLAIN_SHARE = 0.9  # of the pixels of a cell that show its path, for it to count for the colour of paths
MIN_PLAIN_CELLS = 4
MAX_MARKER_PLAUSIBILITY = 4.0
MAX_STAIN = 0.15  # of a wall's colour towards that of paths, up to which a place of a third colour is wall
NO_MAZE = (
    "No maze is recognised in this picture: it needs walls and paths of two colours on a regular grid, with a red start "
    "and a green goal."
)


@dataclass(frozen=True)
class MazeReading:
    """What is recognised in an image.

    Attributes:
        grid: WALL, PATH, START or GOAL at each place, shape (n, m), uint8.
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        start: Place of the start, or None.
        goal: Place of the goal, or None.
        confidence: 0 to 1: the share of places that are as they must be in a maze.
        notes: What is doubtful, as sentences.
        problems: Why start or goal are missing, as parts of a sentence.
    """

    grid: np.ndarray
    row_strips: np.ndarray
    column_strips: np.ndarray
    start: Position | None
    goal: Position | None
    confidence: float
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class IncompleteMazeError(ValueError):
    """A maze without a start or a goal.

    Attributes:
        reading: What is recognised.
    """

    def __init__(self, message: str, reading: MazeReading):
        super().__init__(message)
        self.reading = reading


@dataclass(frozen=True)
class Layout:
    """The walls of a maze under one assumption on which colour they have.

    Attributes:
        is_wall: Whether each place is wall, shape (n, m).
        is_cell: Whether each place is a crossing of two paths, shape (n, m).
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        closed_sides: Number of sides on which the outer wall is visible and without a gap.
        connected_share: Share of the path places in the largest connected part.
        wall_share: Thickness of the walls, in periods.
        walls_are_dark: Whether the walls have the darker colour.
    """

    is_wall: np.ndarray
    is_cell: np.ndarray
    row_strips: np.ndarray
    column_strips: np.ndarray
    closed_sides: int
    connected_share: float
    wall_share: float
    walls_are_dark: bool

    @property
    def plausibility(self) -> float:
        """Sum of what speaks for the assumption."""
        thin = 2 * (0.5 - self.wall_share) if abs(self.wall_share - 0.5) > 0.1 else 0.0
        return self.closed_sides + 4 * self.connected_share + 2 * thin + 0.2 * self.walls_are_dark


def parse_maze(pixels: np.ndarray, start: Position | None = None, goal: Position | None = None) -> Maze:
    """Return the maze in an image.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1].
        start: Place of the start if it is set by hand.
        goal: Place of the goal if it is set by hand.

    Raises:
        IncompleteMazeError: The start or the goal is missing; the error holds the recognised places.
        ValueError: The image is not a solvable maze; one sentence says why.
    """
    return complete_maze(read_maze(pixels), start, goal)


def complete_maze(reading: MazeReading, start: Position | None = None, goal: Position | None = None) -> Maze:
    """Return the maze of a reading, with start and goal set by hand where they are given.

    Raises:
        IncompleteMazeError: The start or the goal is missing.
        ValueError: A position is no path, or no way leads from the start to the goal.
    """
    start, goal = start or reading.start, goal or reading.goal
    height, width = reading.grid.shape
    if start is None or goal is None:
        raise IncompleteMazeError(describe_missing(reading, start, goal), reading)
    grid = np.where(reading.grid == WALL, np.uint8(WALL), np.uint8(PATH))
    for kind, name, place in ((START, "start", start), (GOAL, "goal", goal)):
        if not (0 <= place[0] < height and 0 <= place[1] < width) or grid[place] == WALL:
            raise ValueError(f"The {name} must lie on a path within {width} x {height} places, got {tuple(place)}.")
        grid[place] = kind
    if start == goal:
        raise ValueError("The start and the goal must be two places.")
    maze = Maze(grid)
    if maze.start not in maze.steps_to_goal:
        raise ValueError(
            f"No way leads from the start to the goal of this maze of {width} x {height} places; open a wall between them."
        )
    return maze


def describe_missing(reading: MazeReading, start: Position | None, goal: Position | None) -> str:
    """Return a sentence that says what is recognised and what is missing."""
    height, width = reading.grid.shape
    missing = [name for name, place in (("red start", start), ("green goal", goal)) if place is None]
    seen = " and ".join(reading.problems) or " and ".join(f"no {name}" for name in missing)
    return f"A maze of {width} x {height} places is recognised, but {seen}; place start and goal by hand, or mark them."


def read_maze(pixels: np.ndarray) -> MazeReading:
    """Return what is recognised in an image.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1].

    Raises:
        ValueError: There is no maze; one sentence says why.
    """
    pixels, factor = prepare_pixels(pixels)
    exact = read_exact(pixels)
    if exact is not None and is_enclosed(exact.grid):
        return scale_strips(exact, factor)
    colours = split_colours(pixels)
    if colours is None:
        raise ValueError("The picture has one colour only; a maze has walls and paths of two colours.")
    lattice = find_lattice(colours.brightness, colours.is_two_coloured)
    if lattice is None or lattice.purity < MIN_PURITY:
        if exact is not None:
            return scale_strips(exact, factor)
        raise ValueError(NO_MAZE)
    reading = read_lattice(pixels, colours, lattice)
    if exact is not None and reading.start is None and reading.goal is None:
        reading = exact
    check_side(*reading.grid.shape)
    return scale_strips(reading, factor)


def prepare_pixels(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return an image without invalid values and of limited size, and the factor by which it is reduced."""
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError("A maze needs colours: a red place to start from and a green place to go to.")
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_READ_SIDE or max(height, width) > MAX_RATIO * min(height, width):
        raise ValueError(
            f"A maze has {MIN_SIDE} to {MAX_SIDE} places a side; this picture has {width} x {height} pixels."
        )
    factor = -(-max(height, width) // MAX_READ_SIDE)
    if factor > 1:
        height, width = height // factor, width // factor
        blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
        pixels = blocks.mean((1, 3), dtype=np.float32)
    return np.clip(np.nan_to_num(pixels.astype(np.float32), nan=1.0), 0, 1), factor


def check_side(height: int, width: int) -> None:
    """Check the number of places.

    Raises:
        ValueError: There are too few or too many.
    """
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ValueError(f"A maze has {MIN_SIDE} to {MAX_SIDE} places a side, got {width} x {height}.")


def scale_strips(reading: MazeReading, factor: int) -> MazeReading:
    """Return a reading of a reduced image in pixels of the whole image."""
    if factor == 1:
        return reading
    return replace(reading, row_strips=reading.row_strips * factor, column_strips=reading.column_strips * factor)


# --- pictures in the published colours -------------------------------------------------------------------------------


def read_exact(pixels: np.ndarray) -> MazeReading | None:
    """Return the maze of an image in the published colours with a whole number of pixels a place, or None."""
    kinds, distance = find_nearest_colours(pixels)
    if np.mean(distance > 0.45) > 0.1:
        return None
    scale = detect_scale(kinds)
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        return None
    edge = scale // 4  # margin of a place, where the colours of neighbours may blur
    blocks = pixels.reshape(height, scale, width, scale, 3)[:, edge : scale - edge, :, edge : scale - edge]
    grid = find_nearest_colours(blocks.mean((1, 3)))[0]
    grid[grid == len(COLOURS) - 1] = PATH  # a solution that is drawn in
    starts, goals = np.argwhere(grid == START).tolist(), np.argwhere(grid == GOAL).tolist()
    if len(starts) != 1 or len(goals) != 1:
        return None
    maze = Maze(grid)
    if maze.start not in maze.steps_to_goal:
        return None
    strips = [scale * np.stack([np.arange(side), np.arange(side) + 1], 1).astype(float) for side in (height, width)]
    return MazeReading(grid, *strips, maze.start, maze.goal, 1.0)


def is_enclosed(grid: np.ndarray) -> bool:
    """Return whether one row of walls surrounds a grid, and paths lie beside it on all sides."""
    ring = (grid[0], grid[-1], grid[:, 0], grid[:, -1])
    inner = (grid[1], grid[-2], grid[:, 1], grid[:, -2])
    return all((line == WALL).all() for line in ring) and all((line != WALL).any() for line in inner)


# --- pictures on a lattice -------------------------------------------------------------------------------------------


def read_lattice(pixels: np.ndarray, colours: TwoColours, lattice: Lattice) -> MazeReading:
    """Return the maze on a lattice."""
    layouts = [build_layout(lattice, walls_are_dark=walls_are_dark) for walls_are_dark in (True, False)]
    layouts = [layout for layout in layouts if min(layout.is_wall.shape) >= MIN_STRIPS]
    best = max((layout.plausibility for layout in layouts), default=0.0)
    found = []
    for layout in layouts:
        if layout.plausibility + MAX_MARKER_PLAUSIBILITY < best:
            continue
        strips = layout.row_strips, layout.column_strips
        layout_colours = estimate_colours(pixels, layout, colours)
        markers = find_markers(pixels, strips, layout.is_wall, layout.is_cell, layout_colours)
        found.append((layout.plausibility + compute_marker_plausibility(layout, markers), layout, markers))
    if not found:
        raise ValueError(NO_MAZE)
    _, layout, markers = max(found, key=lambda entry: entry[0])
    grid = np.where(layout.is_wall, np.uint8(WALL), np.uint8(PATH))
    if markers.start is None and markers.goal is None and not markers.problems:
        markers = find_openings(grid) or markers
    for kind, place in ((START, markers.start), (GOAL, markers.goal)):
        if place is not None:
            grid[place] = kind
    return MazeReading(
        grid,
        layout.row_strips,
        layout.column_strips,
        markers.start,
        markers.goal,
        lattice.purity,
        markers.notes,
        markers.problems,
    )


def compute_marker_plausibility(layout: Layout, markers: Markers) -> float:
    """Return how much the markers speak for a layout: both lie on crossings of paths."""
    places = [place for place in (markers.start, markers.goal) if place is not None]
    return MAX_MARKER_PLAUSIBILITY / 2 * sum(bool(layout.is_cell[place]) for place in places)


def find_openings(grid: np.ndarray) -> Markers | None:
    """Return two openings of the outer wall as start and goal, or None if there are not two."""
    is_border = np.ones(grid.shape, bool)
    is_border[1:-1, 1:-1] = False
    openings = np.argwhere(is_border & (grid != WALL)).tolist()
    if len(openings) != 2:
        return None
    first, second = ((row, column) for row, column in openings)
    return Markers(first, second, ("The two openings of the outer wall are read as start and goal.",))


def estimate_colours(pixels: np.ndarray, layout: Layout, colours: TwoColours) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of walls and paths."""
    sums = integrate(np.concatenate([pixels, colours.is_two_coloured[..., None]], 2))
    means = compute_means(sums, layout.row_strips, layout.column_strips)
    wall, path = (colours.dark, colours.bright) if layout.walls_are_dark else (colours.bright, colours.dark)
    is_plain = layout.is_cell & (means[..., 3] > MIN_PLAIN_SHARE)
    return wall, np.median(means[is_plain][:, :3], 0) if is_plain.sum() >= MIN_PLAIN_CELLS else path


def build_layout(lattice: Lattice, *, walls_are_dark: bool) -> Layout:
    """Return the walls of a lattice if they have the darker or the brighter colour."""
    rows_are_walls = lattice.row_is_dark == walls_are_dark
    columns_are_walls = lattice.column_is_dark == walls_are_dark
    threshold = find_wall_threshold(lattice)
    is_wall = (lattice.values < threshold) == walls_are_dark
    is_other = lattice.coverage < MIN_COVERAGE  # a route that is drawn in, or the colour of a marker beside it
    stain = lattice.plain_values if walls_are_dark else 1 - lattice.plain_values
    is_wall[is_other] = (stain < MAX_STAIN)[is_other]
    is_wall[rows_are_walls[:, None] & columns_are_walls] = True
    is_wall[~rows_are_walls[:, None] & ~columns_are_walls] = False
    bounds = find_inner_bounds(is_wall, rows_are_walls, columns_are_walls)
    inside = slice(*bounds[0]), slice(*bounds[1])
    is_wall, row_strips, column_strips = (
        is_wall[inside],
        lattice.row_strips[inside[0]],
        lattice.column_strips[inside[1]],
    )
    rows_are_walls, columns_are_walls = rows_are_walls[inside[0]], columns_are_walls[inside[1]]
    wall_width = lattice.columns.dark_width if walls_are_dark else lattice.columns.period - lattice.columns.dark_width
    closed = sum(
        bool(kinds[side] and line.all())
        for kinds, lines in ((rows_are_walls, is_wall), (columns_are_walls, is_wall.T))
        for side, line in ((0, lines[0]), (-1, lines[-1]))
    )
    is_wall, row_strips, rows_are_walls = add_outer_walls(is_wall, row_strips, rows_are_walls)
    turned, column_strips, columns_are_walls = add_outer_walls(is_wall.T, column_strips, columns_are_walls)
    is_wall = turned.T
    return Layout(
        is_wall=is_wall,
        is_cell=~rows_are_walls[:, None] & ~columns_are_walls,
        row_strips=row_strips,
        column_strips=column_strips,
        closed_sides=closed,
        connected_share=compute_connected_share(~is_wall),
        wall_share=float(wall_width / lattice.columns.period),
        walls_are_dark=walls_are_dark,
    )


def find_wall_threshold(lattice: Lattice) -> float:
    """Return the brightness between walls and paths where the lattice leaves both possible."""
    is_open = lattice.row_is_dark[:, None] != lattice.column_is_dark
    values = lattice.values[is_open & (lattice.coverage > 0.5)]
    if len(values) < 12:
        return lattice.threshold
    threshold = find_threshold(values)
    below, above = values[values < threshold], values[values >= threshold]
    if not len(below) or not len(above) or above.mean() - below.mean() < 0.4 * lattice.contrast:
        return lattice.threshold
    return threshold


def find_inner_bounds(
    is_wall: np.ndarray, rows_are_walls: np.ndarray, columns_are_walls: np.ndarray
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the bounds of a maze without the lines of its margin that look like paths.

    A line of paths lies outside the maze if the wall beside it has no gap. Without an outer wall, each wall has one.

    Args:
        is_wall: Whether each place is wall, shape (n, m).
        rows_are_walls: Whether each row belongs to walls.
        columns_are_walls: Whether each column belongs to walls.
    """
    height, width = is_wall.shape
    kinds = (rows_are_walls[0], rows_are_walls[-1], columns_are_walls[0], columns_are_walls[-1])
    best, most = ((0, height), (0, width)), 0
    for cuts in itertools.product(*[(0,) if kind else (0, 1) for kind in kinds]):
        top, bottom, left, right = cuts
        if sum(cuts) <= most or height - top - bottom < 3 or width - left - right < 3:
            continue
        inner = is_wall[top : height - bottom, left : width - right]
        lines = (inner[0], inner[-1], inner[:, 0], inner[:, -1])
        if all(line.all() for line, cut in zip(lines, cuts, strict=True) if cut):
            best, most = ((top, height - bottom), (left, width - right)), sum(cuts)
    return best


def add_outer_walls(
    is_wall: np.ndarray, strips: np.ndarray, are_walls: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lines with a wall before the first and after the last one where it is cut off.

    Args:
        is_wall: Whether each place is wall, lines first.
        strips: Start and end of each line in pixels.
        are_walls: Whether each line belongs to walls.
    """
    width = float(np.mean((strips[:, 1] - strips[:, 0])[are_walls])) if are_walls.any() else 1.0
    wall = np.ones((1, is_wall.shape[1]), bool)
    if not are_walls[0]:
        is_wall, are_walls = np.concatenate([wall, is_wall]), np.concatenate([[True], are_walls])
        strips = np.concatenate([[[strips[0, 0] - width, strips[0, 0]]], strips])
    if not are_walls[-1]:
        is_wall, are_walls = np.concatenate([is_wall, wall]), np.concatenate([are_walls, [True]])
        strips = np.concatenate([strips, [[strips[-1, 1], strips[-1, 1] + width]]])
    return is_wall, strips, are_walls


def compute_connected_share(is_path: np.ndarray) -> float:
    """Return the share of the path places that lie in the largest connected part."""
    unseen = set(map(tuple, np.argwhere(is_path).tolist()))
    total, largest = len(unseen), 0
    while unseen and largest < len(unseen):
        queue = [unseen.pop()]
        for row, column in queue:
            for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if place in unseen:
                    unseen.remove(place)
                    queue.append(place)
        largest = max(largest, len(queue))
    return largest / total if total else 0.0
