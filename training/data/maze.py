"""Maze grid and maze generator; `training.data.maze_reader` reads mazes from images.

As published: walls are black, paths white, the start is pure red and the goal pure green, one pixel per position. A move goes
one pixel up, down, left or right, or waits.

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


# --- generator -------------------------------------------------------------------------------------------------------


def carve_maze(num_cells: int, random_numbers: Iterator[float]) -> dict[Position, Position]:
    """Generate a spanning tree of `num_cells` x `num_cells` cells with the recursive backtracker.

    Args:
        num_cells: Cells per side.
        random_numbers: At least `num_cells`**2 + 1 numbers in [0, 1).

    Returns:
        The parent of every cell; the root is its own parent.
    """
    root = (int(next(random_numbers) * num_cells), int(next(random_numbers) * num_cells))
    parents = {root: root}
    stack = [root]
    while stack:
        row, column = stack[-1]
        neighbours = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        candidates = [
            cell for cell in neighbours if 0 <= cell[0] < num_cells and 0 <= cell[1] < num_cells and cell not in parents
        ]
        if candidates:
            cell = candidates[int(next(random_numbers) * len(candidates))]
            parents[cell] = stack[-1]
            stack.append(cell)
        else:
            stack.pop()
    return parents


def build_grid(parents: dict[Position, Position], num_cells: int) -> np.ndarray:
    """Return the grid with cells and the openings between them as PATH and the rest as WALL."""
    grid = np.full((2 * num_cells + 1, 2 * num_cells + 1), WALL, np.uint8)
    for (row, column), (parent_row, parent_column) in parents.items():
        grid[2 * row + 1, 2 * column + 1] = PATH
        grid[row + parent_row + 1, column + parent_column + 1] = PATH  # the opening between the two cells
    return grid


def find_path(parents: dict[Position, Position], start: Position, goal: Position) -> list[Position]:
    """Return the cells from start to goal, through their lowest common ancestor."""
    from_start = [start]
    from_goal = [goal]
    for cells in (from_start, from_goal):
        while parents[cells[-1]] != cells[-1]:
            cells.append(parents[cells[-1]])
    while len(from_start) > 1 and len(from_goal) > 1 and from_start[-2] == from_goal[-2]:
        from_start.pop()
        from_goal.pop()
    return [*from_start, *reversed(from_goal[:-1])]


def path_to_moves(path: list[Position]) -> list[int]:
    """Return the moves along a path of cells, two per cell: into the opening and out of it."""
    steps = ((after[0] - before[0], after[1] - before[1]) for before, after in pairwise(path))
    return [move for step in steps for move in [MOVES.index(step)] * 2]


def compute_canonical_bytes(grid: np.ndarray) -> bytes:
    """Return bytes that are equal for a maze and all its rotations and reflections."""
    steps = (1, -1)
    views = (view[::vertical, ::horizontal] for view in (grid, grid.T) for vertical in steps for horizontal in steps)
    return min(view.tobytes() for view in views)


def cell_to_pixel(cell: Position) -> Position:
    """Return the grid position of a cell."""
    return 2 * cell[0] + 1, 2 * cell[1] + 1


def apply_move(position: Position, move: Position) -> Position:
    """Return the position after a move."""
    return position[0] + move[0], position[1] + move[1]
