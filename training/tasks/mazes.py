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
    MAX_SIDE,
    MOVES,
    START,
    WAIT,
    Maze,
    build_grid,
    carve_maze,
    cell_to_pixel,
    compute_canonical_bytes,
    find_path,
    parse_maze,
    path_to_moves,
)
from training.data.parquet import iterate_image_column, read_table
from training.paths import EXAMPLES_DIR
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec, has_image_backbone
from training.tasks.splits import TEST, assign_split, make_generator

MOVE_NAMES = ("up", "down", "left", "right", "wait")  # in the order of MOVES
NUM_CANDIDATES = 4  # mazes to choose one from
DISPLAY_SIZE_PX = 400  # about the side of an invented picture
MAX_ENDPOINT_TRIES = 32  # pairs of start and goal that are tried in one layout
MAX_LAYOUTS = 1_000  # that are tried before there seem to be too few


class MazesSettings(Settings):
    side: int = Field(15, ge=7, le=MAX_SIDE, description="pixels a side, 2k + 1 for k cells; published: 15, 39, 99")
    route: int = Field(50, ge=2, le=1_000, description="moves an answer has room for; longer ways are not drawn")
    expand_range: bool = Field(False, description="show colours from -1 to 1 instead of 0 to 1; not so as published")

    @field_validator("side")
    @classmethod
    def _check_odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError("must be odd: 2k + 1 for k cells a side")
        return side


class Mazes(Task):
    name = "mazes"
    title = "Mazes"
    input_type = "image"
    supports_generation = True
    Settings = MazesSettings

    @property
    def input_hint(self) -> str:
        side = self.settings.side
        return (
            f"a maze of black walls and white paths, one pixel a place or enlarged, with one red start and one green goal; "
            f"any size is read, {side} x {side} is what this machine knows"
        )

    @property
    def input_editor(self) -> dict[str, Any]:
        return {"kind": "maze", "side": self.settings.side}

    def get_spec(self) -> TaskSpec:
        return TaskSpec("resnet18-1", classes=len(MOVES), positions=self.settings.route, in_features=3)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        drawn = [self._sample_maze(split, generator) for _ in range(count)]
        return self._build_batch([maze for maze, _ in drawn], [moves for _, moves in drawn])

    def _sample_maze(self, split: str, generator: torch.Generator) -> tuple[Maze, list[int]]:
        """A maze of a split and its moves; start and goal lie evenly among the cells."""
        cells = self.settings.side // 2
        for _ in range(MAX_LAYOUTS):
            parents = carve_maze(cells, iter(torch.rand(cells * cells + 1, generator=generator).tolist()))
            layout = build_grid(parents, cells)
            for start, goal in torch.randint(cells * cells, (MAX_ENDPOINT_TRIES, 2), generator=generator).tolist():
                way = find_path(parents, divmod(start, cells), divmod(goal, cells))
                if not 0 < 2 * (len(way) - 1) <= self.settings.route:
                    continue
                grid = layout.copy()
                grid[cell_to_pixel(way[0])], grid[cell_to_pixel(way[-1])] = START, GOAL
                if assign_split(compute_canonical_bytes(grid)) == split:
                    return Maze(grid), path_to_moves(way)
        raise ValueError(
            f"Mazes of side {self.settings.side} with a way of at most {self.settings.route} moves are too few for a "
            f"{split} split; raise task.side or task.route."
        )

    def _build_batch(self, mazes: list[Maze], solutions: list[list[int]]) -> Batch:
        """Inputs, and moves filled up with waiting; a way that is too long is cut off."""
        room = self.settings.route
        targets = [(way + [WAIT] * room)[:room] for way in solutions]
        inputs = torch.stack([self._encode_maze(maze) for maze in mazes])
        return Batch(inputs, torch.tensor(targets), torch.tensor([len(way) for way in solutions]))

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How many routes lead to the goal when they are walked, and how many of their steps are right, waiting left out.

        There is one way through our mazes, and walking ends at the goal: a route leads there if its steps are right.
        """
        walking = targets != WAIT
        right = choices == targets
        return {
            "solved": (right | ~walking).all(1).float().mean().item(),
            "steps": right[walking].float().mean().item(),
        }

    def _encode_maze(self, maze: Maze) -> Tensor:
        picture = torch.from_numpy(COLOURS[maze.grid].transpose(2, 0, 1).copy())
        return picture * 2 - 1 if self.settings.expand_range else picture

    def load_file(self, path: str | Path) -> Batch:
        """Every maze of a parquet file with an `image` column, such as the published ones; each is solved anew."""
        path = Path(path)
        pictures = iterate_image_column(read_table(path, ["image"]), path.name)
        mazes = [parse_maze(np.asarray(picture.convert("RGB"), np.float32) / 255) for picture in pictures]
        if len({maze.grid.shape for maze in mazes}) != 1:
            raise ValueError(f"{path.name} must hold mazes of one size.")
        return self._build_batch(mazes, [maze.find_shortest_moves() for maze in mazes])

    def parse_input(self, raw_input: Any) -> TaskInput:
        maze = parse_maze(np.asarray(raw_input, dtype=np.float32))
        ends = {"start": list(maze.start), "goal": list(maze.goal)}
        shown = {"kind": "picture", "pixels": COLOURS[maze.grid], **ends}
        return TaskInput(self._encode_maze(maze)[None], shown, self.settings.route, maze)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        maze: Maze = task_input.context
        route, stopped_by_wall = maze.walk(choices)
        steps, left, whole = len(route) - 1, maze.steps_to_goal[route[-1]], maze.steps_to_goal[maze.start]
        if left == 0:
            label, said = "reaches the goal", f"It reaches the goal in {format_steps(steps)}"
            said += f", {whole} would do" if steps > whole else ""
        elif stopped_by_wall:
            label, said = (
                "into a wall",
                f"It walks {format_steps(steps)}, then into a wall, {format_steps(left)} from the goal",
            )
        elif steps + left == whole and steps == len(choices):
            label = "on the way"
            said = f"It walks {format_steps(steps)}, all right and all it has room for; the goal is {format_steps(left)} further on"
        else:
            label, said = (
                "stops on the way",
                f"It walks {format_steps(steps)} and stops {format_steps(left)} from the goal",
            )
        value = {
            "reaches_goal": left == 0,
            "steps": steps,
            "steps_left": left,
            "route": [list(place) for place in route],
        }
        return TaskAnswer(value, label, said, route)

    def get_labels(self) -> list[str]:
        return list(MOVE_NAMES)

    def get_examples(self) -> list[Path]:
        """What `invent` gave for the first seeds, at the nearest side that is bundled."""
        by_side: dict[int, list[Path]] = {}
        for path in sorted(EXAMPLES_DIR.glob("maze-*.png")):
            by_side.setdefault(int(path.stem.split("-")[1]), []).append(path)
        return by_side[min(by_side, key=lambda side: abs(side - self.settings.side))] if by_side else []

    def generate_input(self, seed: int) -> np.ndarray:
        """A maze that was never trained on, enlarged: of a few, the one with the longest way."""
        generator = make_generator("invent", seed)
        drawn = [self._sample_maze(TEST, generator) for _ in range(NUM_CANDIDATES)]
        maze, _ = max(drawn, key=lambda one: len(one[1]))
        scale = max(1, DISPLAY_SIZE_PX // self.settings.side)
        return (COLOURS[maze.grid] * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """A backbone for pictures and five moves a position. The published large machine has room for 100 moves."""
        shape = list(config.get("prediction_reshaper") or [])
        if not has_image_backbone(config) or len(shape) != 2 or shape[1] != len(MOVES):
            return None
        route = config.get("out_dims", 0) // len(MOVES) if shape[0] == -1 else shape[0]
        return {"route": route, "side": 39 if route >= 100 else 15}

    def describe(self) -> dict[str, Any]:
        low = -1 if self.settings.expand_range else 0
        colours = {"walls": "black", "paths": "white", "start": "red", "goal": "green"}
        return super().describe() | {"preprocessing": {"channels": 3, "range": [low, 1], "colours": colours}}


def format_steps(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"
