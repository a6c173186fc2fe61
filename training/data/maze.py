"""Maze grid, maze generator and image parser.

As published: walls are black, paths white, the start is pure red and the goal pure green, one pixel per position. A move goes
one pixel up, down, left or right, or waits. A solution drawn in blue, as in the published image files, is read as path.

The generator is the recursive backtracker. Its mazes have exactly one route between two cells, and a maze is as likely as each
of its mirror images.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))  # in the published order: up, down, left, right, wait
WAIT = 4
WALL, PATH, START, GOAL, SOLUTION = range(5)
COLOURS = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
MIN_SIDE, MAX_SIDE = 5, 199
MAX_IMAGE_SIDE = 2_000  # pixels

Position = tuple[int, int]


@dataclass(frozen=True)
class Maze:
    """A maze.

    Attributes:
        grid: WALL, PATH, START or GOAL at each position, shape (h, w), uint8.
    """

    grid: np.ndarray

    @cached_property
    def start(self) -> Position:
        return self._find_position(START)

    @cached_property
    def goal(self) -> Position:
        return self._find_position(GOAL)

    @cached_property
    def steps_to_goal(self) -> dict[Position, int]:
        """Number of steps to the goal from every position that can reach it."""
        distances = {self.goal: 0}
        queue = deque([self.goal])
        while queue:
            position = queue.popleft()
            for move in MOVES[:WAIT]:
                neighbour = apply_move(position, move)
                if neighbour not in distances and self.is_open(neighbour):
                    distances[neighbour] = distances[position] + 1
                    queue.append(neighbour)
        return distances

    def is_open(self, position: Position) -> bool:
        height, width = self.grid.shape
        return 0 <= position[0] < height and 0 <= position[1] < width and bool(self.grid[position] != WALL)

    def walk(self, choices: list[int]) -> tuple[list[Position], bool]:
        """Follow moves from the start until the goal, a wall or the last move.

        Returns:
            The positions on the route, and whether a wall stopped it.
        """
        route = [self.start]
        for choice in choices:
            there = apply_move(route[-1], MOVES[choice])
            if route[-1] == self.goal:
                break
            if not self.is_open(there):
                return route, True
            if choice != WAIT:
                route.append(there)
        return route, False

    def find_shortest_moves(self) -> list[int]:
        """Return the moves of a shortest route to the goal."""
        choices, place, steps = [], self.start, self.steps_to_goal
        while place != self.goal:
            choice = min(range(WAIT), key=lambda move: steps.get(apply_move(place, MOVES[move]), len(steps)))
            choices.append(choice)
            place = apply_move(place, MOVES[choice])
        return choices

    def _find_position(self, kind: int) -> Position:
        row, column = np.argwhere(self.grid == kind)[0].tolist()
        return row, column


# --- generator -------------------------------------------------------------------------------------------------------


def carve_maze(num_cells: int, random_numbers: Iterator[float]) -> dict[Position, Position]:
    """Generate a spanning tree of `num_cells` x `num_cells` cells with the recursive backtracker.

    Returns:
        The parent of every cell; the root is its own parent.
    """
    first = (int(next(random_numbers) * num_cells), int(next(random_numbers) * num_cells))
    parents, trail = {first: first}, [first]
    while trail:
        row, column = trail[-1]
        around = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        free = [(r, c) for r, c in around if 0 <= r < num_cells and 0 <= c < num_cells and (r, c) not in parents]
        if free:
            chosen = free[int(next(random_numbers) * len(free))]
            parents[chosen] = trail[-1]
            trail.append(chosen)
        else:
            trail.pop()
    return parents


def build_grid(parents: dict[Position, Position], num_cells: int) -> np.ndarray:
    """Return the grid with cells and the openings between them as PATH and the rest as WALL."""
    grid = np.full((2 * num_cells + 1, 2 * num_cells + 1), WALL, np.uint8)
    for (row, column), (above, before) in parents.items():
        grid[2 * row + 1, 2 * column + 1] = grid[row + above + 1, column + before + 1] = PATH
    return grid


def find_path(parents: dict[Position, Position], start: Position, goal: Position) -> list[Position]:
    """Return the cells from start to goal, through their lowest common ancestor."""
    up, down = [start], [goal]
    for line in (up, down):
        while parents[line[-1]] != line[-1]:
            line.append(parents[line[-1]])
    while len(up) > 1 and len(down) > 1 and up[-2] == down[-2]:
        up.pop()
        down.pop()
    return [*up, *reversed(down[:-1])]


def path_to_moves(path: list[Position]) -> list[int]:
    """Return the moves along a path of cells, two per cell: into the opening and out of it."""
    steps = ((there[0] - here[0], there[1] - here[1]) for here, there in pairwise(path))
    return [move for step in steps for move in [MOVES.index(step)] * 2]


def compute_canonical_bytes(grid: np.ndarray) -> bytes:
    """Return bytes that are equal for a maze and all its rotations and reflections."""
    views = (side[::down, ::right] for side in (grid, grid.T) for down in (1, -1) for right in (1, -1))
    return min(view.tobytes() for view in views)


def cell_to_pixel(cell: Position) -> Position:
    """Return the grid position of a cell."""
    return 2 * cell[0] + 1, 2 * cell[1] + 1


def apply_move(position: Position, move: Position) -> Position:
    """Return the position after a move."""
    return position[0] + move[0], position[1] + move[1]


# --- image parser ----------------------------------------------------------------------------------------------------


def parse_maze(pixels: np.ndarray) -> Maze:
    """Parse the maze in an image.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1], enlarged by any whole number, with approximate colours.

    Raises:
        ValueError: The image is not a solvable maze; one sentence says why.
    """
    if pixels.ndim != 3:
        raise ValueError("A maze needs colours: one red pixel to start from and one green pixel to go to.")
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_IMAGE_SIDE:
        raise ValueError(
            f"The picture is {width} x {height} pixels; a maze may have {MAX_IMAGE_SIDE} a side. Make it smaller."
        )
    kinds, off = find_nearest_colours(pixels)
    if np.mean(off > 0.45) > 0.1:
        raise ValueError(
            "This is no maze: its colours must be black (walls), white (paths), red (start), green (goal)."
        )
    scale = detect_scale(kinds)
    if min(height, width) // scale < MIN_SIDE or max(height, width) // scale > MAX_SIDE:
        raise ValueError(
            f"A maze has {MIN_SIDE} to {MAX_SIDE} places a side, got {width // scale} x {height // scale}; "
            "enlarge it by a whole number of pixels a place, or not at all."
        )
    edge = scale // 4  # margin of a position, where the colours of neighbours may blur
    blocks = pixels.reshape(height // scale, scale, width // scale, scale, 3)[
        :, edge : scale - edge, :, edge : scale - edge
    ]
    grid = find_nearest_colours(blocks.mean((1, 3)))[0]
    grid[grid == SOLUTION] = PATH
    for kind, name, colour in ((START, "start", "red"), (GOAL, "goal", "green")):
        count = int((grid == kind).sum())
        if count != 1:
            raise ValueError(f"A maze has one {colour} pixel, the {name}; this picture has {count or 'none'}.")
    maze = Maze(grid)
    if maze.start not in maze.steps_to_goal:
        raise ValueError("No way leads from the red start to the green goal; open a wall between them.")
    return maze


def find_nearest_colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the nearest colour of `COLOURS` and the distance to it, for every pixel."""
    off = np.stack([np.linalg.norm(pixels - colour, axis=-1) for colour in COLOURS])
    return off.argmin(0).astype(np.uint8), off.min(0)


def detect_scale(kinds: np.ndarray) -> int:
    """Return the enlargement of a maze: the largest integer whose blocks have one kind each, within 10 % of the pixels."""
    height, width = kinds.shape
    for scale in range(min(height, width) // MIN_SIDE, 1, -1):
        if height % scale == width % scale == 0:
            blocks = kinds.reshape(height // scale, scale, width // scale, scale)
            middle = blocks[:, scale // 2, :, scale // 2]
            if np.mean(blocks == middle[:, None, :, None]) > 0.9:
                return scale
    return 1
