"""Tell the walls of a maze from its paths on a lattice, and complete its outer wall."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from training.data.maze import Position
from training.data.maze_reader.colours import find_threshold
from training.data.maze_reader.lattice import MIN_COVERAGE, MIN_STRIPS, Lattice

MAX_STAIN = 0.15  # of a wall's colour towards that of paths, up to which a position of a third colour is wall
MIN_VALUES = 12  # for a threshold of their own
MIN_SEPARATION = 0.4  # of the brightness of walls and paths between crossings, in contrasts of the crossings


@dataclass(frozen=True)
class Layout:
    """The walls of a maze under one assumption on which colour they have.

    Attributes:
        is_wall: Whether each position is wall, shape (n, m).
        is_cell: Whether each position is a crossing of two paths, shape (n, m).
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        closed_sides: Number of sides on which the outer wall is visible and without a gap.
        connected_share: Share of the path positions in the largest connected part.
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


def build_layout(lattice: Lattice, *, walls_are_dark: bool) -> Layout:
    """Return the walls of a lattice if they have the darker or the brighter colour."""
    rows_are_walls = lattice.row_is_dark == walls_are_dark
    columns_are_walls = lattice.column_is_dark == walls_are_dark
    is_wall = classify_walls(lattice, rows_are_walls, columns_are_walls, walls_are_dark=walls_are_dark)
    row_bounds, column_bounds = find_inner_bounds(is_wall, rows_are_walls, columns_are_walls)
    is_wall = is_wall[slice(*row_bounds), slice(*column_bounds)]
    rows_are_walls, columns_are_walls = rows_are_walls[slice(*row_bounds)], columns_are_walls[slice(*column_bounds)]
    closed_sides = count_closed_sides(is_wall, rows_are_walls, columns_are_walls)
    row_strips, column_strips = lattice.row_strips[slice(*row_bounds)], lattice.column_strips[slice(*column_bounds)]
    is_wall, row_strips, rows_are_walls = add_outer_walls(is_wall, row_strips, rows_are_walls)
    turned, column_strips, columns_are_walls = add_outer_walls(is_wall.T, column_strips, columns_are_walls)
    columns = lattice.columns
    return Layout(
        is_wall=turned.T,
        is_cell=~rows_are_walls[:, None] & ~columns_are_walls,
        row_strips=row_strips,
        column_strips=column_strips,
        closed_sides=closed_sides,
        connected_share=compute_connected_share(~turned.T),
        wall_share=float(
            (columns.dark_width if walls_are_dark else columns.period - columns.dark_width) / columns.period
        ),
        walls_are_dark=walls_are_dark,
    )


def classify_walls(
    lattice: Lattice, rows_are_walls: np.ndarray, columns_are_walls: np.ndarray, *, walls_are_dark: bool
) -> np.ndarray:
    """Return whether each position is wall, shape (n, m): as the lattice prescribes, otherwise by its brightness."""
    is_wall = (lattice.values < find_wall_threshold(lattice)) == walls_are_dark
    is_other = lattice.coverage < MIN_COVERAGE  # a route that is drawn in, or the colour of a marker beside it
    stain = lattice.plain_values if walls_are_dark else 1 - lattice.plain_values
    is_wall[is_other] = (stain < MAX_STAIN)[is_other]
    is_wall[rows_are_walls[:, None] & columns_are_walls] = True
    is_wall[~rows_are_walls[:, None] & ~columns_are_walls] = False
    return is_wall


def count_closed_sides(is_wall: np.ndarray, rows_are_walls: np.ndarray, columns_are_walls: np.ndarray) -> int:
    """Return the number of sides with an outer wall without a gap."""
    return sum(
        bool(are_walls[side] and lines[side].all())
        for are_walls, lines in ((rows_are_walls, is_wall), (columns_are_walls, is_wall.T))
        for side in (0, -1)
    )


def find_wall_threshold(lattice: Lattice) -> float:
    """Return the brightness between walls and paths where the lattice leaves both possible."""
    is_open = lattice.row_is_dark[:, None] != lattice.column_is_dark
    values = lattice.values[is_open & (lattice.coverage > 0.5)]
    if len(values) < MIN_VALUES:
        return lattice.threshold
    threshold = find_threshold(values)
    below, above = values[values < threshold], values[values >= threshold]
    if not len(below) or not len(above) or above.mean() - below.mean() < MIN_SEPARATION * lattice.contrast:
        return lattice.threshold
    return threshold


def find_inner_bounds(
    is_wall: np.ndarray, rows_are_walls: np.ndarray, columns_are_walls: np.ndarray
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the bounds of a maze without the lines of its margin that look like paths.

    A line of paths lies outside the maze if the wall beside it has no gap. Without an outer wall, each wall has one.

    Args:
        is_wall: Whether each position is wall, shape (n, m).
        rows_are_walls: Whether each row belongs to walls.
        columns_are_walls: Whether each column belongs to walls.
    """
    height, width = is_wall.shape
    kinds = (rows_are_walls[0], rows_are_walls[-1], columns_are_walls[0], columns_are_walls[-1])
    best, most = ((0, height), (0, width)), 0
    for cuts in itertools.product(*[(0,) if kind else (0, 1) for kind in kinds]):
        top, bottom, left, right = cuts
        if sum(cuts) <= most or height - top - bottom < MIN_STRIPS or width - left - right < MIN_STRIPS:
            continue
        inner = is_wall[top : height - bottom, left : width - right]
        lines = (inner[0], inner[-1], inner[:, 0], inner[:, -1])
        if all(line.all() for line, cut in zip(lines, cuts, strict=True) if cut):
            best, most = ((top, height - bottom), (left, width - right)), sum(cuts)
    return best


def cut_margin_outside_openings(layout: Layout) -> Layout | None:
    """Return a layout without the lines of its margin if its outer wall has exactly two openings, otherwise None.

    `find_inner_bounds` takes such a margin for paths, because paths without an outer wall may look the same. This function is
    for mazes without markers, where the openings are the start and the goal.
    """
    best, most = None, -1
    for cuts in itertools.product((0, 2), repeat=4):  # the lines of an added wall and of the margin
        top, bottom, left, right = cuts
        height, width = layout.is_wall.shape
        if sum(cuts) <= most or height - top - bottom < MIN_STRIPS or width - left - right < MIN_STRIPS:
            continue
        rows, columns = slice(top, height - bottom), slice(left, width - right)
        beside = (
            layout.is_wall[1, columns],
            layout.is_wall[-2, columns],
            layout.is_wall[rows, 1],
            layout.is_wall[rows, -2],
        )
        is_outside = all(not line.any() for line, cut in zip(beside, cuts, strict=True) if cut)
        if is_outside and len(find_openings(layout.is_wall[rows, columns])) == 2:
            best, most = (rows, columns), sum(cuts)
    if best is None:
        return None
    rows, columns = best
    return replace(
        layout,
        is_wall=layout.is_wall[rows, columns],
        is_cell=layout.is_cell[rows, columns],
        row_strips=layout.row_strips[rows],
        column_strips=layout.column_strips[columns],
    )


def find_openings(is_wall: np.ndarray) -> list[Position]:
    """Return the positions of paths in the outer wall."""
    is_border = np.ones(is_wall.shape, bool)
    is_border[1:-1, 1:-1] = False
    return [(row, column) for row, column in np.argwhere(is_border & ~is_wall).tolist()]


def add_outer_walls(
    is_wall: np.ndarray, strips: np.ndarray, are_walls: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lines with a wall before the first and after the last one where it is cut off.

    Args:
        is_wall: Whether each position is wall, lines first.
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
    """Return the share of the path positions that lie in the largest connected part."""
    unseen = set(map(tuple, np.argwhere(is_path).tolist()))
    total, largest = len(unseen), 0
    while unseen and largest < len(unseen):
        queue = [unseen.pop()]
        for row, column in queue:
            for position in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if position in unseen:
                    unseen.remove(position)
                    queue.append(position)
        largest = max(largest, len(queue))
    return largest / total if total else 0.0
