"""Mazes (paper section 4.2): a picture goes in, the way from the red start to the green goal comes out, move by move.

As published: walls are black, paths white, the start is pure red and the goal pure green, one pixel a place, from 0 to 1
without further normalising. A move goes one pixel up, down, left or right, or waits; past the goal the answer waits, and
waiting counts, so an answer is right when the whole route is. Published sides: 15 (small), 19, 39 (large), 99. A solution
drawn in blue, as in the published picture files, is read as path.

Mazes are made as they are drawn, by the recursive backtracker, so there is one way. Its law is the same in every mirror, so
nothing need be turned to train on; a maze and all its mirror images belong to one split.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, field_validator

from ctm.settings import Settings
from training.tables import pictures_in, read_table
from training.tasks.base import TEST, Answer, Batch, Given, Task, TaskShape, generator_for, sees_pictures, split_of

EXAMPLES = Path(__file__).parents[2] / "data" / "examples"
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))  # in the published order
NAMES = ("up", "down", "left", "right", "wait")
WAIT = 4
WALL, PATH, START, GOAL, SOLUTION = range(5)
COLOURS = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
LEAST_SIDE, MOST_SIDE = 5, 199
MOST_PIXELS = 2_000  # a side of a picture of a maze
INVENTED = 4  # mazes to choose one from
SHOWN_PIXELS = 400  # about the side of an invented picture
TRIES = 32  # pairs of start and goal that are tried in one layout
LAYOUTS = 1_000  # that are tried before there seem to be too few

Place = tuple[int, int]


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


@dataclass(frozen=True)
class Maze:
    """Which of WALL, PATH, START and GOAL is where."""

    grid: np.ndarray  # (h, w)

    @cached_property
    def start(self) -> Place:
        return self._place(START)

    @cached_property
    def goal(self) -> Place:
        return self._place(GOAL)

    @cached_property
    def steps_to_goal(self) -> dict[Place, int]:
        """Every place from which the goal can be reached, and in how many steps."""
        found, waiting = {self.goal: 0}, deque([self.goal])
        while waiting:
            place = waiting.popleft()
            for move in MOVES[:WAIT]:
                there = moved(place, move)
                if there not in found and self.is_open(there):
                    found[there] = found[place] + 1
                    waiting.append(there)
        return found

    def is_open(self, place: Place) -> bool:
        height, width = self.grid.shape
        return 0 <= place[0] < height and 0 <= place[1] < width and bool(self.grid[place] != WALL)

    def walk(self, choices: list[int]) -> tuple[list[Place], bool]:
        """Where these moves lead from the start: until the goal, a wall, or their end; and whether it was a wall."""
        route = [self.start]
        for choice in choices:
            there = moved(route[-1], MOVES[choice])
            if route[-1] == self.goal:
                break
            if not self.is_open(there):
                return route, True
            if choice != WAIT:
                route.append(there)
        return route, False

    def way(self) -> list[int]:
        """The moves of a shortest way to the goal."""
        choices, place, steps = [], self.start, self.steps_to_goal
        while place != self.goal:
            choice = min(range(WAIT), key=lambda move: steps.get(moved(place, MOVES[move]), len(steps)))
            choices.append(choice)
            place = moved(place, MOVES[choice])
        return choices

    def _place(self, kind: int) -> Place:
        row, column = np.argwhere(self.grid == kind)[0].tolist()
        return row, column


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

    def _seen(self, maze: Maze) -> torch.Tensor:
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
        for path in sorted(EXAMPLES.glob("maze-*.png")):
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


# --- making mazes ----------------------------------------------------------------------------------------------------


def carve(cells: int, draws: Iterator[float]) -> dict[Place, Place]:
    """The recursive backtracker on cells x cells: every cell's neighbour on the way to the first one, its own parent."""
    first = (int(next(draws) * cells), int(next(draws) * cells))
    parents, trail = {first: first}, [first]
    while trail:
        row, column = trail[-1]
        around = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        free = [(r, c) for r, c in around if 0 <= r < cells and 0 <= c < cells and (r, c) not in parents]
        if free:
            chosen = free[int(next(draws) * len(free))]
            parents[chosen] = trail[-1]
            trail.append(chosen)
        else:
            trail.pop()
    return parents


def grid_of(parents: dict[Place, Place], cells: int) -> np.ndarray:
    """Cells and the openings between them as PATH, all else as WALL."""
    grid = np.full((2 * cells + 1, 2 * cells + 1), WALL, np.uint8)
    for (row, column), (above, before) in parents.items():
        grid[2 * row + 1, 2 * column + 1] = grid[row + above + 1, column + before + 1] = PATH
    return grid


def way_between(parents: dict[Place, Place], start: Place, goal: Place) -> list[Place]:
    """The cells from start to goal: up from both to where they meet."""
    up, down = [start], [goal]
    for line in (up, down):
        while parents[line[-1]] != line[-1]:
            line.append(parents[line[-1]])
    while len(up) > 1 and len(down) > 1 and up[-2] == down[-2]:
        up.pop()
        down.pop()
    return [*up, *reversed(down[:-1])]


def moves_along(way: list[Place]) -> list[int]:
    """Two moves from a cell to the next: through the opening, and on."""
    steps = ((there[0] - here[0], there[1] - here[1]) for here, there in pairwise(way))
    return [move for step in steps for move in [MOVES.index(step)] * 2]


def content_of(grid: np.ndarray) -> bytes:
    """What a maze is, however it is turned or mirrored."""
    views = (side[::down, ::right] for side in (grid, grid.T) for down in (1, -1) for right in (1, -1))
    return min(view.tobytes() for view in views)


def pixel_of(cell: Place) -> Place:
    return 2 * cell[0] + 1, 2 * cell[1] + 1


def moved(place: Place, move: Place) -> Place:
    return place[0] + move[0], place[1] + move[1]


def counted(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"


# --- reading pictures ------------------------------------------------------------------------------------------------


def maze_of(pixels: np.ndarray) -> Maze:
    """The maze in a picture (h, w, 3), enlarged by any whole number, with colours that may be somewhat off.

    Raises:
        ValueError: it is no maze that can be walked; one sentence says why.
    """
    if pixels.ndim != 3:
        raise ValueError("A maze needs colours: one red pixel to start from and one green pixel to go to.")
    height, width = pixels.shape[:2]
    if max(height, width) > MOST_PIXELS:
        raise ValueError(
            f"The picture is {width} x {height} pixels; a maze may have {MOST_PIXELS} a side. Make it smaller."
        )
    kinds, off = nearest_colours(pixels)
    if np.mean(off > 0.45) > 0.1:
        raise ValueError(
            "This is no maze: its colours must be black (walls), white (paths), red (start), green (goal)."
        )
    scale = scale_of(kinds)
    if min(height, width) // scale < LEAST_SIDE or max(height, width) // scale > MOST_SIDE:
        raise ValueError(
            f"A maze has {LEAST_SIDE} to {MOST_SIDE} places a side, got {width // scale} x {height // scale}; "
            "enlarge it by a whole number of pixels a place, or not at all."
        )
    edge = scale // 4  # where a place's colour may have run into the next one's
    blocks = pixels.reshape(height // scale, scale, width // scale, scale, 3)[
        :, edge : scale - edge, :, edge : scale - edge
    ]
    grid = nearest_colours(blocks.mean((1, 3)))[0]
    grid[grid == SOLUTION] = PATH
    for kind, name, colour in ((START, "start", "red"), (GOAL, "goal", "green")):
        count = int((grid == kind).sum())
        if count != 1:
            raise ValueError(f"A maze has one {colour} pixel, the {name}; this picture has {count or 'none'}.")
    maze = Maze(grid)
    if maze.start not in maze.steps_to_goal:
        raise ValueError("No way leads from the red start to the green goal; open a wall between them.")
    return maze


def nearest_colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel the nearest of the COLOURS, and how far off it is."""
    off = np.stack([np.linalg.norm(pixels - colour, axis=-1) for colour in COLOURS])
    return off.argmin(0).astype(np.uint8), off.min(0)


def scale_of(kinds: np.ndarray) -> int:
    """By how much a maze was enlarged: the largest whole number whose blocks are of one kind each, but for a few pixels."""
    height, width = kinds.shape
    for scale in range(min(height, width) // LEAST_SIDE, 1, -1):
        if height % scale == width % scale == 0:
            blocks = kinds.reshape(height // scale, scale, width // scale, scale)
            middle = blocks[:, scale // 2, :, scale // 2]
            if np.mean(blocks == middle[:, None, :, None]) > 0.9:
                return scale
    return 1
