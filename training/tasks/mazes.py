"""Mazes (paper section 4.2): a picture goes in, the way from the red start to the green goal comes out, move by move.

As published: the picture goes from 0 to 1 without further normalising. Past the goal the answer waits, and waiting counts, so
an answer is right when the whole route is. Published sides: 15 (small), 19, 39 (large), 99.

`training.data.maze` defines the grid, the generator and the image parser. Every mirror image of a generated maze is as likely
as the maze itself, so training needs no flips; all of them belong to one split.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field, field_validator
from torch import Tensor

from ctm.settings import Settings
from training.data.maze import (
    COLOURS,
    GOAL,
    MOST_SIDE,
    MOVES,
    START,
    WAIT,
    Maze,
    carve,
    content_of,
    grid_of,
    maze_of,
    moves_along,
    pixel_of,
    way_between,
)
from training.data.parquet import pictures_in, read_table
from training.paths import EXAMPLES_DIR
from training.tasks.base import TEST, Answer, Batch, Given, Task, TaskShape, generator_for, sees_pictures, split_of

NAMES = ("up", "down", "left", "right", "wait")  # in the order of MOVES
INVENTED = 4  # mazes to choose one from
SHOWN_PIXELS = 400  # about the side of an invented picture
TRIES = 32  # pairs of start and goal that are tried in one layout
LAYOUTS = 1_000  # that are tried before there seem to be too few


class MazesSettings(Settings):
    side: int = Field(15, ge=7, le=MOST_SIDE, description="pixels a side, 2k + 1 for k cells; published: 15, 39, 99")
    route: int = Field(50, ge=2, le=1_000, description="moves an answer has room for; longer ways are not drawn")
    expand_range: bool = Field(False, description="show colours from -1 to 1 instead of 0 to 1; not so as published")

    @field_validator("side")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError("must be odd: 2k + 1 for k cells a side")
        return side


class Mazes(Task):
    name = "mazes"
    title = "Mazes"
    takes = "image"
    invents = True
    Settings = MazesSettings

    @property
    def hint(self) -> str:
        side = self.settings.side
        return (
            f"a maze of black walls and white paths, one pixel a place or enlarged, with one red start and one green goal; "
            f"any size is read, {side} x {side} is what this machine knows"
        )

    @property
    def pad(self) -> dict[str, Any]:
        return {"kind": "maze", "side": self.settings.side}

    def shape(self) -> TaskShape:
        return TaskShape("resnet18-1", classes=len(MOVES), positions=self.settings.route, in_features=3)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        drawn = [self._draw_one(split, generator) for _ in range(count)]
        return self._batch([maze for maze, _ in drawn], [moves for _, moves in drawn])

    def _draw_one(self, split: str, generator: torch.Generator) -> tuple[Maze, list[int]]:
        """A maze of a split and its moves; start and goal lie evenly among the cells."""
        cells = self.settings.side // 2
        for _ in range(LAYOUTS):
            parents = carve(cells, iter(torch.rand(cells * cells + 1, generator=generator).tolist()))
            layout = grid_of(parents, cells)
            for start, goal in torch.randint(cells * cells, (TRIES, 2), generator=generator).tolist():
                way = way_between(parents, divmod(start, cells), divmod(goal, cells))
                if not 0 < 2 * (len(way) - 1) <= self.settings.route:
                    continue
                grid = layout.copy()
                grid[pixel_of(way[0])], grid[pixel_of(way[-1])] = START, GOAL
                if split_of(content_of(grid)) == split:
                    return Maze(grid), moves_along(way)
        raise ValueError(
            f"Mazes of side {self.settings.side} with a way of at most {self.settings.route} moves are too few for a "
            f"{split} split; raise task.side or task.route."
        )

    def _batch(self, mazes: list[Maze], ways: list[list[int]]) -> Batch:
        """Inputs, and moves filled up with waiting; a way that is too long is cut off."""
        room = self.settings.route
        targets = [(way + [WAIT] * room)[:room] for way in ways]
        inputs = torch.stack([self._seen(maze) for maze in mazes])
        return Batch(inputs, torch.tensor(targets), torch.tensor([len(way) for way in ways]))

    def figures(self, chosen: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How many routes lead to the goal when they are walked, and how many of their steps are right, waiting left out.

        There is one way through our mazes, and walking ends at the goal: a route leads there if its steps are right.
        """
        walking = targets != WAIT
        right = chosen == targets
        return {
            "solved": (right | ~walking).all(1).float().mean().item(),
            "steps": right[walking].float().mean().item(),
        }

    def _seen(self, maze: Maze) -> Tensor:
        picture = torch.from_numpy(COLOURS[maze.grid].transpose(2, 0, 1).copy())
        return picture * 2 - 1 if self.settings.expand_range else picture

    def from_file(self, path: str | Path) -> Batch:
        """Every maze of a parquet file with an `image` column, such as the published ones; each is solved anew."""
        path = Path(path)
        pictures = pictures_in(read_table(path, ["image"]), path.name)
        mazes = [maze_of(np.asarray(picture.convert("RGB"), np.float32) / 255) for picture in pictures]
        if len({maze.grid.shape for maze in mazes}) != 1:
            raise ValueError(f"{path.name} must hold mazes of one size.")
        return self._batch(mazes, [maze.way() for maze in mazes])

    def read(self, given: Any) -> Given:
        maze = maze_of(np.asarray(given, dtype=np.float32))
        ends = {"start": list(maze.start), "goal": list(maze.goal)}
        shown = {"kind": "picture", "pixels": COLOURS[maze.grid], **ends}
        return Given(self._seen(maze)[None], shown, self.settings.route, maze)

    def present(self, given: Given, choices: list[int]) -> Answer:
        maze: Maze = given.content
        route, stopped_by_wall = maze.walk(choices)
        steps, left, whole = len(route) - 1, maze.steps_to_goal[route[-1]], maze.steps_to_goal[maze.start]
        if left == 0:
            label, said = "reaches the goal", f"It reaches the goal in {counted(steps)}"
            said += f", {whole} would do" if steps > whole else ""
        elif stopped_by_wall:
            label, said = "into a wall", f"It walks {counted(steps)}, then into a wall, {counted(left)} from the goal"
        elif steps + left == whole and steps == len(choices):
            label = "on the way"
            said = (
                f"It walks {counted(steps)}, all right and all it has room for; the goal is {counted(left)} further on"
            )
        else:
            label, said = "stops on the way", f"It walks {counted(steps)} and stops {counted(left)} from the goal"
        value = {
            "reaches_goal": left == 0,
            "steps": steps,
            "steps_left": left,
            "route": [list(place) for place in route],
        }
        return Answer(value, label, said, route)

    def labels(self) -> list[str]:
        return list(NAMES)

    def examples(self) -> list[Path]:
        """What `invent` gave for the first seeds, at the nearest side that is bundled."""
        by_side: dict[int, list[Path]] = {}
        for path in sorted(EXAMPLES_DIR.glob("maze-*.png")):
            by_side.setdefault(int(path.stem.split("-")[1]), []).append(path)
        return by_side[min(by_side, key=lambda side: abs(side - self.settings.side))] if by_side else []

    def invent(self, seed: int) -> np.ndarray:
        """A maze that was never trained on, enlarged: of a few, the one with the longest way."""
        generator = generator_for("invent", seed)
        drawn = [self._draw_one(TEST, generator) for _ in range(INVENTED)]
        maze, _ = max(drawn, key=lambda one: len(one[1]))
        scale = max(1, SHOWN_PIXELS // self.settings.side)
        return (COLOURS[maze.grid] * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)

    @classmethod
    def infer(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """A backbone for pictures and five moves a position. The published large machine has room for 100 moves."""
        shape = list(config.get("prediction_reshaper") or [])
        if not sees_pictures(config) or len(shape) != 2 or shape[1] != len(MOVES):
            return None
        route = config.get("out_dims", 0) // len(MOVES) if shape[0] == -1 else shape[0]
        return {"route": route, "side": 39 if route >= 100 else 15}

    def describe(self) -> dict[str, Any]:
        low = -1 if self.settings.expand_range else 0
        colours = {"walls": "black", "paths": "white", "start": "red", "goal": "green"}
        return super().describe() | {"preprocessing": {"channels": 3, "range": [low, 1], "colours": colours}}


def counted(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"
