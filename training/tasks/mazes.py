"""Mazes (paper section 4.2): from an image, predict the route from the red start to the green goal, move by move.

As published, pixels are in [0, 1] without further normalisation. After the goal the target is to wait, and these positions
count, so an answer is correct only if the whole route is. Published sides: 15 (small), 19, 39 (large), 99.

`training.data.maze` defines the grid, `training.data.maze_sampler` samples mazes of a split, `training.data.maze_reader` reads
images. A generated maze and each of its rotations and reflections have the same probability, so training needs no such
augmentation. All of them belong to the same split.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from ctm.settings import Settings
from training.auxiliary_losses import AuxiliaryTargets
from training.data.maze import (
    COLOURS,
    MAX_SIDE,
    MOVES,
    WAIT,
    Maze,
    Position,
)
from training.data.maze_answers import describe_route, is_on_shortest_route
from training.data.maze_reader.reader import parse_maze, read_maze
from training.data.maze_reader.reading import IncompleteMazeError, complete_maze
from training.data.maze_sampler import SampledMaze, TooFewMazesError, sample_mazes, sample_mazes_of_even_lengths
from training.data.parquet import iterate_image_column, read_table
from training.losses import IGNORE_INDEX
from training.paths import EXAMPLES_DIR
from training.tasks.base import MAX_DRAWN_SAMPLES, SAMPLES_PER_DRAW, Task, check_curriculum, has_image_backbone
from training.tasks.samples import Batch, DistributionShift, IncompleteInputError, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, assign_split, make_generator

MOVE_NAMES = ("up", "down", "left", "right", "wait")  # in the order of MOVES
MAX_ROUTE = 1_000  # moves of the longest answer that can be set
MAX_CANDIDATES = 20  # generated mazes until one has a route of medium length
DISPLAY_SIZE_PX = 400  # approximate side of a generated image
MAX_GROUP_MAZES = 1_024  # mazes of a few training batches that are generated together


class MazesSettings(Settings):
    """Settings of the task `mazes`."""

    side: int = Field(
        15,
        ge=7,
        le=MAX_SIDE,
        title="Maze side",
        description="pixels per side, 2k + 1 for k cells; published: 15, 19, 39, 99",
    )
    route: int = Field(
        50,
        ge=2,
        le=MAX_ROUTE,
        title="Longest route",
        description="moves of an answer; mazes with a longer route are not generated, unless longest_route is set",
    )
    longest_route: int | None = Field(
        None,
        ge=2,
        le=MAX_ROUTE,
        title="Longest route of a maze",
        description="moves of the longest route of a generated maze; an answer has its first `route` moves. None: route",
    )
    curriculum_route: int | None = Field(
        None,
        ge=2,
        le=MAX_ROUTE,
        title="Longest route in this stage",
        description="moves of the longest route in a stage of a curriculum; the model keeps answers of `route` moves. None: route",
    )
    even_lengths: bool = Field(
        False,
        title="Uniform route lengths",
        description="route lengths of training mazes are uniform, as far as mazes have them",
    )
    length_draws: int = Field(
        1,
        ge=1,
        le=8,
        title="Draws of a route length",
        description="uniform draws of the route length of a training maze, of which the largest one counts: 2 or more prefer long "
        "routes; needs even_lengths",
    )
    expand_range: bool = Field(
        False, title="Pixels from -1 to 1", description="pixels in [-1, 1] instead of [0, 1]; published: false"
    )

    @model_validator(mode="after")
    def _check_curriculum(self) -> "MazesSettings":
        check_curriculum("curriculum_route", self.curriculum_route, "route", self.route)
        if self.longest_route is not None and self.longest_route < self.route:
            raise ValueError(
                f"task.longest_route must not be below task.route: got {self.longest_route}, {self.route}."
            )
        if self.length_draws > 1 and not self.even_lengths:
            raise ValueError(f"task.length_draws needs task.even_lengths=true: got {self.length_draws} and false.")
        return self

    @property
    def max_maze_route(self) -> int:
        """Moves of the longest route of a maze."""
        return self.longest_route or self.route

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
    difficulty_name = "steps to the goal"
    position_noun = "moves"
    input_noun = "mazes"
    states_result = True
    num_place_classes = WAIT
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
    def success_phrase(self) -> str:  # type: ignore[override]
        """What a correct answer means: the goal is reached, or all moves of the answer lead there."""
        settings = self.settings
        return "solved" if settings.longest_route is None else f"solved or walked correctly for {settings.route} steps"

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
        return self._sample_batches(split, count, [generator])[0]

    def iterate_batches(
        self, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, *, start: int = 0
    ) -> Iterator[Batch]:
        """Yield training batches; several are generated together, which is faster and gives the same batches.

        See `Task.iterate_batches`.
        """
        group_size = max(1, MAX_GROUP_MAZES // batch_size)
        for first in itertools.count(start, group_size):
            generators = [
                make_generator(TRAIN, seed, 0, index * world_size + rank) for index in range(first, first + group_size)
            ]
            yield from self._sample_batches(TRAIN, batch_size, generators)

    def _sample_batches(self, split: str, count: int, generators: Sequence[torch.Generator]) -> list[Batch]:
        """Generate a batch of mazes with each generator; see `generate_mazes`."""
        return [
            self._build_batch([maze for maze, _ in mazes], [moves for _, moves in mazes])
            for mazes in self.generate_mazes(split, count, generators)
        ]

    def generate_mazes(self, split: str, count: int, generators: Sequence[torch.Generator]) -> list[list[SampledMaze]]:
        """Generate mazes of a split with their routes.

        Args:
            split: One of `splits`.
            count: Number of mazes per generator.
            generators: Sources of all randomness.

        Raises:
            ValueError: The split has too few mazes of these settings.
        """
        settings = self.settings
        longest_route = settings.curriculum_route or settings.max_maze_route
        sample: Callable[..., list[list[SampledMaze]]] = sample_mazes
        if settings.even_lengths and split == TRAIN:
            sample = partial(sample_mazes_of_even_lengths, length_draws=settings.length_draws)
        try:
            return sample(
                settings.side // 2,
                longest_route,
                lambda content: assign_split(content) == split,
                count,
                generators,
            )
        except TooFewMazesError:
            raise ValueError(
                f"Mazes of side {settings.side} with a route of at most {longest_route} moves are too few for a {split} "
                "split; raise task.side or task.route."
            ) from None

    def _build_batch(self, mazes: list[Maze], solutions: list[list[int]]) -> Batch:
        """Build inputs and targets; routes are padded with waiting, or truncated to the length of an answer."""
        length = self.settings.route
        targets = [(moves + [WAIT] * length)[:length] for moves in solutions]
        inputs = torch.stack([self.encode_maze(maze) for maze in mazes])
        return Batch(inputs, torch.tensor(targets), torch.tensor([len(moves) for moves in solutions]))

    @property
    def num_states(self) -> int:  # type: ignore[override]
        """Number of pixels: the intermediate result after a move is the cell that was reached last."""
        return self.settings.side**2

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets:
        """Return the cell that every pair of moves starts from, and the cell reached last; nothing after the goal.

        Two moves lead from a cell to the next one, the first of them into the opening between them.
        """
        side = batch.inputs.size(-1)
        red, green, blue = batch.inputs.unbind(1)
        start = ((red > green) & (red > blue)).flatten(1).int().argmax(1)
        offsets = torch.tensor([row * side + column for row, column in MOVES])[batch.targets]
        after = start.unsqueeze(1) + offsets.cumsum(1)
        before = after - offsets
        move = torch.arange(after.size(1))
        cell_before = before[:, move - move % 2]
        cell_reached = torch.where(move % 2 == 1, after, before)
        return AuxiliaryTargets.before_padding(cell_before, cell_reached, batch.difficulty, (side, side))

    def compute_place_classes(self, batch: Batch) -> Int[Tensor, "B L"]:
        """Return the first move from every cell to the goal; `IGNORE_INDEX` at the goal and at pixels that are no cells."""
        red, green, blue = batch.inputs.unbind(1)
        is_open = batch.inputs.amax(1) > (0.0 if self.settings.expand_range else 0.5)
        front = (green > red) & (green > blue)
        is_reached = front.clone()
        first_moves = torch.full_like(front, IGNORE_INDEX, dtype=torch.long)
        while front.any():
            next_front = torch.zeros_like(front)
            for move, (row, column) in enumerate(MOVES[:WAIT]):
                # the walls around the maze keep the shifted front inside
                is_new = front.roll((-row, -column), (1, 2)) & is_open & ~is_reached
                first_moves[is_new] = move
                next_front |= is_new
            is_reached |= next_front
            front = next_front
        first_moves[:, ::2] = IGNORE_INDEX
        first_moves[:, :, ::2] = IGNORE_INDEX
        return first_moves.flatten(1)

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Return the share of routes that reach the goal (`solved`) and of correct moves (`steps`), without waiting.

        A generated maze has exactly one route and a walk ends at the goal, so a route reaches the goal if all its moves are
        correct. With `longest_route`, a longer route counts as solved if all moves of the answer are correct.
        """
        is_move = targets != WAIT
        is_correct = choices == targets
        return {
            "solved": (is_correct | ~is_move).all(1).float().mean().item(),
            "steps": is_correct[is_move].float().mean().item(),
        }

    def encode_maze(self, maze: Maze) -> Float[Tensor, "3 h w"]:
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
        return self._build_maze_input(maze, reading.notes)

    def build_task_input(self, sample: Batch) -> TaskInput:
        """Return the maze of a sample as a parsed input."""
        pixels = sample.inputs[0].permute(1, 2, 0).numpy()
        return self._build_maze_input(parse_maze((pixels + 1) / 2 if self.settings.expand_range else pixels))

    def _build_maze_input(self, maze: Maze, notes: Sequence[str] = ()) -> TaskInput:
        endpoints = {"start": list(maze.start), "goal": list(maze.goal)}
        display = build_display(maze.grid, notes) | endpoints
        moves = maze.find_shortest_moves()
        true_choices = tuple((moves + [WAIT] * self.settings.route)[: self.settings.route])
        shift = self._find_shift(maze, len(moves))
        return TaskInput(self.encode_maze(maze)[None], display, self.settings.route, maze, true_choices, shift)

    def _find_shift(self, maze: Maze, steps: int) -> DistributionShift | None:
        """Return the difference between a maze and the training mazes."""
        side, max_steps = self.settings.side, self.settings.max_maze_route
        height, width = maze.grid.shape
        if (height, width) != (side, side):
            return DistributionShift(
                f"The maze has {width} x {height} places; the model was trained on {side} x {side}."
            )
        if steps > max_steps:
            return DistributionShift(
                f"The shortest path has {steps} steps; the model was trained on paths of at most {max_steps}."
            )
        return None

    def is_correct(self, task_input: TaskInput, choices: list[int]) -> bool:
        """Return whether the predicted route reaches the goal; it need not be the shortest one.

        If the goal is further away than an answer has moves, all moves must be on a shortest route.
        """
        maze: Maze = task_input.context
        route, _ = maze.walk(choices)
        steps, steps_left = len(route) - 1, maze.steps_to_goal[route[-1]]
        return steps_left == 0 or is_on_shortest_route(maze, steps, steps_left, len(choices))

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
        """Return the paths of the bundled mazes of the nearest side; `generate_input` made them."""
        by_side: dict[int, list[Path]] = {}
        for path in sorted(EXAMPLES_DIR.glob("maze-*.png")):
            by_side.setdefault(int(path.stem.split("-")[1]), []).append(path)
        return by_side[min(by_side, key=lambda side: abs(side - self.settings.side))] if by_side else []

    def generate_input(self, seed: int, difficulty: int | None = None) -> np.ndarray:
        """Generate mazes of the test split, and return the image of one, enlarged.

        Without a difficulty, the route is neither short nor long: routes of one to two times the side are the middle half of
        the test split.
        """
        generator = make_generator("invent", seed)
        maze = self._draw_medium_maze(generator) if difficulty is None else self._draw_maze(generator, difficulty)
        scale = max(1, DISPLAY_SIZE_PX // self.settings.side)
        return (COLOURS[maze.grid] * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)

    def _draw_medium_maze(self, generator: torch.Generator) -> Maze:
        """Draw a maze with a route of one to two times the side; another one if `MAX_CANDIDATES` are not."""
        for _ in range(MAX_CANDIDATES):
            ((maze, moves),) = self.generate_mazes(TEST, 1, [generator])[0]
            if self.settings.side <= len(moves) <= 2 * self.settings.side:
                break
        return maze

    def _draw_maze(self, generator: torch.Generator, steps: int) -> Maze:
        """Draw a maze with a route of this many steps."""
        for _ in range(MAX_DRAWN_SAMPLES // SAMPLES_PER_DRAW):
            for maze, moves in self.generate_mazes(TEST, SAMPLES_PER_DRAW, [generator])[0]:
                if len(moves) == steps:
                    return maze
        raise self.build_difficulty_error(steps)

    def measure_difficulty(self, task_input: TaskInput) -> int:
        """Return the number of steps of the shortest route."""
        maze: Maze = task_input.context
        return maze.steps_to_goal[maze.start]

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
