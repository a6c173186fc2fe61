"""Mazes (paper section 4.2): from an image, predict the route from the red start to the green goal, move by move.

As published, pixels are in [0, 1] without further normalisation. After the goal the target is to wait, and these positions
count, so an answer is correct only if the whole route is. Published sides: 15 (small), 19, 39 (large), 99.

`training.data.maze` defines the grid and the generator, `training.data.maze_reader` reads images. A generated maze and each of its rotations and
reflections have the same probability, so training needs no such augmentation. All of them belong to the same split.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
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
    Position,
    build_grid,
    carve_maze,
    cell_to_pixel,
    compute_canonical_bytes,
    find_path,
    path_to_moves,
)
from training.data.maze_reader.reader import parse_maze, read_maze
from training.data.maze_reader.reading import IncompleteMazeError, complete_maze
from training.data.parquet import iterate_image_column, read_table
from training.paths import EXAMPLES_DIR
from training.tasks.base import (
    Batch,
    DistributionShift,
    IncompleteInputError,
    Task,
    TaskAnswer,
    TaskInput,
    TaskSpec,
    has_image_backbone,
)
from training.tasks.splits import TEST, assign_split, make_generator

MOVE_NAMES = ("up", "down", "left", "right", "wait")  # in the order of MOVES
MAX_CANDIDATES = 20  # generated mazes until one has a route of medium length
DISPLAY_SIZE_PX = 400  # approximate side of a generated image
MAX_ENDPOINT_ATTEMPTS = 32  # pairs of start and goal per layout
MAX_LAYOUTS = 1_000  # attempts before a split counts as too small


class MazesSettings(Settings):
    """Settings of the task `mazes`."""

    side: int = Field(
        15, ge=7, le=MAX_SIDE, description="pixels per side, 2k + 1 for k cells; published: 15, 19, 39, 99"
    )
    route: int = Field(
        50, ge=2, le=1_000, description="moves of an answer; mazes with a longer route are not generated"
    )
    expand_range: bool = Field(False, description="pixels in [-1, 1] instead of [0, 1]; published: false")

    @field_validator("side")
    @classmethod
    def _check_odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError("must be odd: 2k + 1 for k cells a side")
        return side


class Mazes(Task):
    """Routes through mazes (paper section 4.2). Difficulty is the number of steps of the route."""

    name = "mazes"
    title = "Mazes"
    input_type = "image"
    supports_generation = True
    states_result = True
    Settings = MazesSettings
    settings: MazesSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        side = self.settings.side
        return (
            "a picture of a maze with a red start and a green goal; walls and paths have any two colours; "
            f"any size works, the model was trained on {side} x {side}"
        )

    @property
    def input_editor(self) -> dict[str, Any]:
        """Editor of a maze with the side of the training mazes."""
        return {"kind": "maze", "side": self.settings.side}

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: five classes at each position of the route."""
        return TaskSpec("resnet18-1", classes=len(MOVES), positions=self.settings.route, in_features=3)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Generate mazes of a split.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, 3, side, side), float32; targets of shape (B, route).

        Raises:
            ValueError: The split has too few mazes of these settings.
        """
        samples = [self._sample_maze(split, generator) for _ in range(count)]
        return self._build_batch([maze for maze, _ in samples], [moves for _, moves in samples])

    def _sample_maze(self, split: str, generator: torch.Generator) -> tuple[Maze, list[int]]:
        """Sample a maze of a split by rejection, with start and goal uniform over the cells; return it and its route.

        Raises:
            ValueError: No maze of the split was found in `MAX_LAYOUTS` layouts.
        """
        settings = self.settings
        num_cells = settings.side // 2
        for _ in range(MAX_LAYOUTS):
            random_numbers = torch.rand(num_cells * num_cells + 1, generator=generator).tolist()
            parents = carve_maze(num_cells, iter(random_numbers))
            layout = build_grid(parents, num_cells)
            endpoints = torch.randint(num_cells * num_cells, (MAX_ENDPOINT_ATTEMPTS, 2), generator=generator)
            for start, goal in endpoints.tolist():
                path = find_path(parents, divmod(start, num_cells), divmod(goal, num_cells))
                if not 0 < 2 * (len(path) - 1) <= settings.route:
                    continue
                grid = layout.copy()
                grid[cell_to_pixel(path[0])] = START
                grid[cell_to_pixel(path[-1])] = GOAL
                if assign_split(compute_canonical_bytes(grid)) == split:
                    return Maze(grid), path_to_moves(path)
        raise ValueError(
            f"Mazes of side {settings.side} with a route of at most {settings.route} moves are too few for a {split} "
            "split; raise task.side or task.route."
        )

    def _build_batch(self, mazes: list[Maze], solutions: list[list[int]]) -> Batch:
        """Build inputs and targets; routes are padded with waiting, or truncated to the length of an answer."""
        length = self.settings.route
        targets = [(moves + [WAIT] * length)[:length] for moves in solutions]
        inputs = torch.stack([self._encode_maze(maze) for maze in mazes])
        return Batch(inputs, torch.tensor(targets), torch.tensor([len(moves) for moves in solutions]))

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Return the share of routes that reach the goal (`solved`) and of correct moves (`steps`), without waiting.

        A generated maze has exactly one route and a walk ends at the goal, so a route reaches the goal if all its moves are
        correct.
        """
        is_move = targets != WAIT
        is_correct = choices == targets
        return {
            "solved": (is_correct | ~is_move).all(1).float().mean().item(),
            "steps": is_correct[is_move].float().mean().item(),
        }

    def _encode_maze(self, maze: Maze) -> Float[Tensor, "3 h w"]:
        """Return the image of a maze as a model input."""
        image = torch.from_numpy(COLOURS[maze.grid].transpose(2, 0, 1).copy())
        return image * 2 - 1 if self.settings.expand_range else image

    def load_file(self, path: str | Path) -> Batch:
        """Return every maze of a parquet file with an `image` column, such as the published files; a search solves each.

        Raises:
            ValueError: The file or the column is missing, an image is not a maze, or the sizes differ.
        """
        path = Path(path)
        images = iterate_image_column(read_table(path, ["image"]), path.name)
        mazes = [parse_maze(np.asarray(image.convert("RGB"), np.float32) / 255) for image in images]
        if len({maze.grid.shape for maze in mazes}) != 1:
            raise ValueError(f"{path.name} must contain mazes of one size.")
        return self._build_batch(mazes, [maze.find_shortest_moves() for maze in mazes])

    def parse_input(self, raw_input: Any, start: Position | None = None, goal: Position | None = None) -> TaskInput:
        """Parse the maze in an image; see `training.data.maze_reader`.

        Args:
            raw_input: An image of shape (h, w, 3) in [0, 1].
            start: Position of a start that is placed by hand, (row, column).
            goal: Position of a goal that is placed by hand.

        Raises:
            IncompleteInputError: The start or the goal is not recognised; the error holds the display of the rest.
            ValueError: The image is not a solvable maze.
        """
        reading = read_maze(np.asarray(raw_input, dtype=np.float32))
        try:
            maze = complete_maze(reading, start, goal)
        except IncompleteMazeError as error:
            raise IncompleteInputError(str(error), build_display(reading.grid, reading.notes)) from error
        endpoints = {"start": list(maze.start), "goal": list(maze.goal)}
        display = build_display(maze.grid, reading.notes) | endpoints
        moves = maze.find_shortest_moves()
        true_choices = tuple((moves + [WAIT] * self.settings.route)[: self.settings.route])
        shift = self._find_shift(maze, len(moves))
        return TaskInput(self._encode_maze(maze)[None], display, self.settings.route, maze, true_choices, shift)

    def _find_shift(self, maze: Maze, steps: int) -> DistributionShift | None:
        """Return the difference between a maze and the training mazes."""
        side, max_steps = self.settings.side, self.settings.route
        height, width = maze.grid.shape
        if (height, width) != (side, side):
            return DistributionShift(
                f"The maze has {width} x {height} places; the model was trained on {side} x {side}."
            )
        if steps > max_steps:
            return DistributionShift(f"The shortest path has {steps} steps; an answer has at most {max_steps}.")
        return None

    def is_correct(self, task_input: TaskInput, choices: list[int]) -> bool:
        """Return whether the predicted route reaches the goal; it need not be the shortest one."""
        maze: Maze = task_input.context
        route, _ = maze.walk(choices)
        return maze.steps_to_goal[route[-1]] == 0

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return where the predicted route leads."""
        maze: Maze = task_input.context
        route, stopped_by_wall = maze.walk(choices)
        steps = len(route) - 1
        steps_left = maze.steps_to_goal[route[-1]]
        label, sentence = describe_route(maze, steps, steps_left, stopped_by_wall, max_steps=len(choices))
        value = {
            "reaches_goal": steps_left == 0,
            "steps": steps,
            "steps_left": steps_left,
            "route": [list(position) for position in route],
        }
        return TaskAnswer(value, label, sentence, route)

    def get_labels(self) -> list[str]:
        """Return the names of the classes, the moves."""
        return list(MOVE_NAMES)

    def get_examples(self) -> list[Path]:
        """Return the paths of the bundled mazes of the nearest side; `generate_input` made them with the first seeds."""
        by_side: dict[int, list[Path]] = {}
        for path in sorted(EXAMPLES_DIR.glob("maze-*.png")):
            by_side.setdefault(int(path.stem.split("-")[1]), []).append(path)
        return by_side[min(by_side, key=lambda side: abs(side - self.settings.side))] if by_side else []

    def generate_input(self, seed: int) -> np.ndarray:
        """Generate mazes of the test split, and return the image of one whose route is neither short nor long, enlarged.

        Routes of one to two times the side are the middle half of the test split.
        """
        generator = make_generator("invent", seed)
        for _ in range(MAX_CANDIDATES):
            maze, moves = self._sample_maze(TEST, generator)
            if self.settings.side <= len(moves) <= 2 * self.settings.side:
                break
        scale = max(1, DISPLAY_SIZE_PX // self.settings.side)
        return (COLOURS[maze.grid] * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Infer the settings from a published config with an image backbone and five classes per position.

        The config does not state the side. The published model for a side of 39 has 100 positions, so models with at least
        100 positions get that side.
        """
        shape = list(config.get("prediction_reshaper") or [])
        if not has_image_backbone(config) or len(shape) != 2 or shape[1] != len(MOVES):
            return None
        route = config.get("out_dims", 0) // len(MOVES) if shape[0] == -1 else shape[0]
        return {"route": route, "side": 39 if route >= 100 else 15}

    def describe(self) -> dict[str, Any]:
        """Return the contents of `task.json`, with the colours of the images."""
        low = -1 if self.settings.expand_range else 0
        colours = {"walls": "black", "paths": "white", "start": "red", "goal": "green"}
        return super().describe() | {"preprocessing": {"channels": 3, "range": [low, 1], "colours": colours}}


def build_display(grid: np.ndarray, notes: Sequence[str]) -> dict[str, Any]:
    """Return the display of a maze: one pixel per position, as the editor reads it, and what is doubtful."""
    return {"kind": "picture", "pixels": COLOURS[grid], "notes": list(notes)}


def describe_route(maze: Maze, steps: int, steps_left: int, stopped_by_wall: bool, max_steps: int) -> tuple[str, str]:
    """Return a label and a sentence for a route.

    Args:
        maze: The maze.
        steps: Steps of the route.
        steps_left: Shortest distance from its end to the goal, in steps.
        stopped_by_wall: Whether the next move leads into a wall.
        max_steps: Steps that an answer can have.
    """
    shortest = maze.steps_to_goal[maze.start]
    if steps_left == 0:
        detour = f" (the shortest path has {shortest})" if steps > shortest else ""
        return "reaches the goal", f"Solved: it reaches the goal in {format_steps(steps)}{detour}"
    if stopped_by_wall:
        place = f"{format_steps(steps_left)} short of the goal"
        return "hits a wall", f"Not solved: after {format_steps(steps)} the path hits a wall, {place}"
    if steps + steps_left == shortest and steps == max_steps:
        limit = f"all {format_steps(steps)} are correct, but an answer has no more"
        return "too short", f"Not solved: {limit}; the goal is {format_steps(steps_left)} further"
    return (
        "stops early",
        f"Not solved: the path stops after {format_steps(steps)}, {format_steps(steps_left)} short of the goal",
    )


def format_steps(steps: int) -> str:
    """Format a number of steps, such as "1 step"."""
    return f"{steps} step{'' if steps == 1 else 's'}"
