"""Apply a maze model repeatedly, each time from where its route ends (paper section 4.2).

An answer has a fixed number of moves, so a longer route, or one that stops too early, needs several applications. The model
also runs on mazes that are larger than those of training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from inference.engine import Engine
from training.data.maze import PATH, START, Maze, Position
from training.model_card import compute_wilson_interval
from training.tasks.mazes import MAX_ROUTE, Mazes, MazesSettings
from training.tasks.splits import TEST, make_generator

BATCH_SIZE = 64


@dataclass
class Walk:
    """The way of a model through one maze.

    Attributes:
        maze: The maze.
        position: Where the last route ended; the start before the first application.
        starts: Starts of all applications so far.
        steps: Steps taken.
        ticks: Ticks run, over all applications.
    """

    maze: Maze
    position: Position
    starts: set[Position] = field(default_factory=set)
    steps: int = 0
    ticks: int = 0

    @property
    def is_solved(self) -> bool:
        """Whether the goal has been reached."""
        return self.position == self.maze.goal

    @property
    def is_stuck(self) -> bool:
        """Whether the model would repeat a route: its answers are deterministic."""
        return self.position in self.starts

    @property
    def remaining_maze(self) -> Maze:
        """The maze with its start at the current position."""
        grid = self.maze.grid.copy()
        grid[self.maze.start] = PATH
        grid[self.position] = START
        return Maze(grid)

    def follow(self, choices: list[int], ticks: int) -> None:
        """Follow the moves of one application, which took some ticks."""
        route, _ = self.remaining_maze.walk(choices)
        self.starts.add(self.position)
        self.position = route[-1]
        self.steps += len(route) - 1
        self.ticks += ticks


def generate_test_mazes(task: Mazes, side: int, count: int) -> list[Maze]:
    """Generate mazes of the test split, of the side of the task or of another one.

    Routes have any length, except that they fit into an answer if the training mazes are of this side and have no longer ones.

    Args:
        task: The task of the model.
        side: Pixels per side, odd.
        count: Number of mazes.

    Raises:
        ValueError: The side is not valid.
    """
    settings = task.settings
    is_complete = side == settings.side and settings.longest_route is None  # an answer has the whole route
    route = settings.route if is_complete else MAX_ROUTE
    generator = make_generator("reapplication", side)
    (mazes,) = Mazes(MazesSettings(side=side, route=route)).generate_mazes(TEST, count, [generator])
    return [maze for maze, _ in mazes]


def walk_mazes(engine: Engine, task: Mazes, mazes: Sequence[Maze], max_applications: int) -> Iterator[list[Walk]]:
    """Apply a model until every maze is solved or the model is stuck.

    Args:
        engine: The model with its halting policy.
        task: The task of the model.
        mazes: Mazes of one size.
        max_applications: Largest number of applications per maze.

    Yields:
        The walks of all mazes after each application of the model.
    """
    walks = [Walk(maze, maze.start) for maze in mazes]
    for _ in range(max_applications):
        unfinished = [walk for walk in walks if not walk.is_solved and not walk.is_stuck]
        if not unfinished:
            return
        for start in range(0, len(unfinished), BATCH_SIZE):
            apply_once(engine, task, unfinished[start : start + BATCH_SIZE])
        yield walks


def apply_once(engine: Engine, task: Mazes, walks: Sequence[Walk]) -> None:
    """Apply the model once to each maze, and follow its routes."""
    result = engine.run(torch.stack([task.encode_maze(walk.remaining_maze) for walk in walks]))
    choices = task.decoder.choices(result.answer.unsqueeze(-1)).squeeze(-1)
    for walk, moves, ticks in zip(walks, choices.tolist(), result.ticks.tolist(), strict=True):
        walk.follow(moves, ticks)


def evaluate_reapplication(engine: Engine, task: Mazes, mazes: Sequence[Maze], max_applications: int) -> dict[str, Any]:
    """Measure the share of mazes that a model solves with 1, 2, ... applications.

    Args:
        engine: The model with its halting policy.
        task: The task of the model.
        mazes: Mazes of one size.
        max_applications: Largest number of applications per maze.

    Returns:
        The number of mazes, the mean length of their shortest routes, and for each number of applications the share that is
        solved, its 95% Wilson interval, and the mean ticks and steps of all mazes so far.
    """
    by_application: list[dict[str, Any]] = []
    shortest = float(np.mean([maze.steps_to_goal[maze.start] for maze in mazes]))
    for walks in walk_mazes(engine, task, mazes, max_applications):
        solved = sum(walk.is_solved for walk in walks) / len(walks)
        by_application.append(
            {
                "applications": len(by_application) + 1,
                "solved": solved,
                "interval": list(compute_wilson_interval(solved, len(walks))),
                "mean_ticks": sum(walk.ticks for walk in walks) / len(walks),
                "mean_steps": sum(walk.steps for walk in walks) / len(walks),
            }
        )
    return {"n": len(mazes), "mean_shortest": shortest, "by_application": by_application}
