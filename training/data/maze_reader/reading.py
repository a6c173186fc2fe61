"""What is recognised of a maze in an image, and the maze that it becomes with a start and a goal."""

from dataclasses import dataclass

import numpy as np

from training.data.maze import GOAL, PATH, START, WALL, Maze, Position


@dataclass(frozen=True)
class MazeReading:
    """What is recognised in an image.

    Attributes:
        grid: WALL, PATH, START or GOAL at each position, shape (n, m), uint8.
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        start: Position of the start, or None.
        goal: Position of the goal, or None.
        confidence: 0 to 1: the share of positions that are as they must be in a maze.
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


def complete_maze(reading: MazeReading, start: Position | None = None, goal: Position | None = None) -> Maze:
    """Return the maze of a reading, with start and goal set by hand where they are given.

    Raises:
        IncompleteMazeError: The start or the goal is missing.
        ValueError: A position is no path, or no way leads from the start to the goal.
    """
    start, goal = start or reading.start, goal or reading.goal
    if start is None or goal is None:
        raise IncompleteMazeError(describe_missing(reading, start, goal), reading)
    grid = np.where(reading.grid == WALL, np.uint8(WALL), np.uint8(PATH))
    height, width = grid.shape
    for name, (row, column) in (("start", start), ("goal", goal)):
        if not (0 <= row < height and 0 <= column < width) or grid[row, column] == WALL:
            raise ValueError(
                f"The {name} must be a path of the maze of {width} x {height} positions, got {row}, {column}."
            )
    if start == goal:
        raise ValueError("The start and the goal must be two positions of the maze.")
    grid[start], grid[goal] = START, GOAL
    maze = Maze(grid)
    if maze.start not in maze.steps_to_goal:
        raise ValueError(
            f"The goal cannot be reached from the start of this maze of {width} x {height} positions. "
            "Remove a wall between them."
        )
    return maze


def describe_missing(reading: MazeReading, start: Position | None, goal: Position | None) -> str:
    """Return a sentence that says what is recognised and what is missing."""
    height, width = reading.grid.shape
    missing = [name for name, position in (("red start", start), ("green goal", goal)) if position is None]
    problem = " and ".join(reading.problems) or f"has no {' and no '.join(missing)}"
    return f"The maze of {width} x {height} positions {problem}. Mark them, or place them in the editor."
