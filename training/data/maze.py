"""Maze grid; `training.data.maze_generator` generates mazes, `training.data.maze_reader` reads them from images.

As published: walls are black, paths white, the start is pure red and the goal pure green, one pixel per position. A move goes
one pixel up, down, left or right, or waits.
"""

from collections import deque
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))  # in the published order: up, down, left, right, wait
WAIT = 4
WALL, PATH, START, GOAL, SOLUTION = range(5)
COLOURS = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
MIN_SIDE, MAX_SIDE = 5, 199

Position = tuple[int, int]


@dataclass(frozen=True)
class Maze:
    """A maze with one start and one goal. A position is (row, column).

    Attributes:
        grid: WALL, PATH, START or GOAL at each position, shape (h, w), uint8.
    """

    grid: np.ndarray

    @cached_property
    def start(self) -> Position:
        """Position of the start."""
        return self._find_position(START)

    @cached_property
    def goal(self) -> Position:
        """Position of the goal."""
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
        """Return whether a position lies inside the maze and is no wall."""
        height, width = self.grid.shape
        return 0 <= position[0] < height and 0 <= position[1] < width and bool(self.grid[position] != WALL)

    def walk(self, choices: list[int]) -> tuple[list[Position], bool]:
        """Follow moves from the start until the goal, a wall or the last move.

        Args:
            choices: Indices of `MOVES`.

        Returns:
            The positions on the route, and whether a wall stopped it.
        """
        route = [self.start]
        for choice in choices:
            position = apply_move(route[-1], MOVES[choice])
            if route[-1] == self.goal:
                break
            if not self.is_open(position):
                return route, True
            if choice != WAIT:
                route.append(position)
        return route, False

    def find_shortest_moves(self) -> list[int]:
        """Return the moves of a shortest route to the goal."""
        choices: list[int] = []
        position = self.start
        distances = self.steps_to_goal
        while position != self.goal:
            neighbours = [apply_move(position, move) for move in MOVES[:WAIT]]
            choice = min(range(WAIT), key=lambda move: distances.get(neighbours[move], len(distances)))
            choices.append(choice)
            position = neighbours[choice]
        return choices

    def _find_position(self, kind: int) -> Position:
        row, column = np.argwhere(self.grid == kind)[0].tolist()
        return row, column


def compute_canonical_bytes(grid: np.ndarray) -> bytes:
    """Return bytes that are equal for a maze and all its rotations and reflections."""
    return compute_all_canonical_bytes(grid[None])[0]


def compute_all_canonical_bytes(grids: UInt8[np.ndarray, "B h w"]) -> list[bytes]:
    """Return the canonical bytes of each maze; see `compute_canonical_bytes`."""
    count, height, width = grids.shape
    row_type = np.dtype((np.void, height * width))
    steps = (1, -1)
    views = (
        view[:, ::vertical, ::horizontal]
        for view in (grids, grids.swapaxes(1, 2))
        for vertical in steps
        for horizontal in steps
    )
    rows = (np.ascontiguousarray(view).reshape(count, height * width).view(row_type)[:, 0].tolist() for view in views)
    return list(map(min, *rows))


def apply_move(position: Position, move: Position) -> Position:
    """Return the position after a move."""
    return position[0] + move[0], position[1] + move[1]
