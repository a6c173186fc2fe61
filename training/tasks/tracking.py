"""Tracking: a dot moves with constant velocity over a grid of cells and bounces off its walls. Where will it be later?

Each visible frame is one token, the cell of the dot; a hidden frame has a token of its own. The last token asks for the
position a number of frames later. The answer is the row and the column, or only the quarter of the grid. The visible frames
determine the path, so every question has exactly one answer.
"""

import re
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import Batch, DistributionShift, Task, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, is_in_split, sample_until

FURTHER = "further"  # out-of-distribution split: more frames ahead than in training
QUARTERS = ("upper left", "upper right", "lower left", "lower right")
MISSING_FRAME = "-"


class TrackingSettings(Settings):
    """Settings of the task `tracking`."""

    target: Literal["position", "quadrant"] = Field(
        "position", title="Question", description="answer: the cell (position), or the quarter of the grid (quadrant)"
    )
    side: int = Field(16, ge=4, le=64, title="Grid side", description="cells per side of the grid")
    frames: int = Field(6, ge=2, le=16, title="Frames shown", description="frames shown to the model")
    max_speed: int = Field(
        2, ge=1, le=8, title="Largest speed", description="largest speed along each axis, cells per frame"
    )
    max_horizon: int = Field(
        8,
        ge=0,
        le=24,
        title="Frames to predict ahead",
        description="largest number of frames to predict ahead in training",
    )
    ood_horizon: int = Field(
        12,
        ge=1,
        le=24,
        title="Frames ahead in the harder test",
        description="largest number of frames ahead in the split `further`, not used in training",
    )
    missing_rate: float = Field(
        0.2, ge=0, le=0.5, title="Share of hidden frames", description="probability that a frame is hidden"
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "TrackingSettings":
        if self.ood_horizon <= self.max_horizon:
            raise ValueError(
                f"task.ood_horizon must be above task.max_horizon: got {self.ood_horizon}, {self.max_horizon}."
            )
        if self.max_speed >= self.side:
            raise ValueError(f"task.max_speed must be below task.side: got {self.max_speed}, {self.side}.")
        return self


class Tracking(Task):
    """Position of a moving dot. Difficulty is the number of frames ahead, plus one for every bounce.

    Axes of the tensors: B samples, F frames, 2 row and column.
    """

    name = "tracking"
    title = "A moving dot"
    input_type = "text"
    supports_generation = True
    difficulty_name = "frames ahead plus bounces"
    position_noun = "coordinates"
    splits = (*Task.splits, FURTHER)
    Settings = TrackingSettings
    settings: TrackingSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        settings = self.settings
        example = " ".join(("3,4", "4,5", MISSING_FRAME, "6,7", "7,8", "8,9", "+4"))
        return (
            f"{settings.frames} positions as row,column (use {MISSING_FRAME} for a hidden frame), then how many frames to "
            f"predict ahead, up to {settings.max_horizon}; for example {example}"
        )

    @property
    def reported_splits(self) -> tuple[str, ...]:
        """The test split alone: each number of frames ahead is a token, and the tokens of longer ones are not trained."""
        return (TEST,)

    @property
    def input_editor(self) -> dict[str, Any]:
        """Editor that fits a drawn line to a motion with constant velocity."""
        settings = self.settings
        return {
            "kind": "path",
            "side": settings.side,
            "frames": settings.frames,
            "steps": settings.max_speed,
            "ahead": settings.max_horizon,
        }

    @property
    def _missing_token(self) -> int:
        """Token of a hidden frame; the tokens after it ask for 0, 1, 2 ... frames ahead."""
        return self.settings.side**2

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: row and column as two positions, or one of four quarters."""
        backbone = f"grid-{self.settings.side}x{self.settings.frames + 1}"
        is_quadrant = self.settings.target == "quadrant"
        return TaskSpec(backbone, classes=4) if is_quadrant else TaskSpec(backbone, self.settings.side, positions=2)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample starts, velocities and questions uniformly; a path that its visible frames do not determine is dropped.

        Args:
            split: One of `splits`; `further` asks for more frames ahead than training and consists of test samples.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, F + 1), int64 tokens; targets of shape (B, 2), or (B, 1) for quarters.
        """
        settings = self.settings
        low, high = (settings.max_horizon + 1, settings.ood_horizon) if split == FURTHER else (0, settings.max_horizon)

        def draw() -> tuple[Tensor, ...]:
            size = 4 * count + 64
            start = torch.randint(settings.side, (size, 2), generator=generator)
            velocity = torch.randint(-settings.max_speed, settings.max_speed + 1, (size, 2), generator=generator)
            ahead = torch.randint(low, high + 1, (size,), generator=generator)
            is_visible = torch.rand(size, settings.frames, generator=generator) >= settings.missing_rate
            is_valid = velocity.any(1) & self._is_path_unique(start, velocity, is_visible)
            candidates = tuple(values[is_valid] for values in (start, velocity, ahead, is_visible))
            paths = self._compute_paths(candidates[0], candidates[1])
            mask = self._is_in_split(split, paths, candidates[2])
            return tuple(values[mask] for values in candidates)

        return self._build_batch(*sample_until(count, draw))

    def _compute_paths(self, start: Int[Tensor, "B 2"], velocity: Int[Tensor, "B 2"]) -> Int[Tensor, "B F 2"]:
        """Return the cell in every frame, up to the furthest frame that a question asks for."""
        steps = torch.arange(self.settings.frames + self.settings.ood_horizon)
        return reflect_at_walls(start.unsqueeze(1) + velocity.unsqueeze(1) * steps[:, None], self.settings.side)

    def _is_path_unique(
        self, start: Int[Tensor, "B 2"], velocity: Int[Tensor, "B 2"], is_visible: Bool[Tensor, "B F"]
    ) -> Bool[Tensor, " B"]:
        """Return whether every motion through the visible cells is this path, for rows and columns separately."""
        settings = self.settings
        lines = enumerate_lines(settings.side, settings.max_speed, settings.frames + settings.ood_horizon)
        paths = self._compute_paths(start, velocity).transpose(1, 2).unsqueeze(2)  # (B, 2, 1, F)
        is_match = paths[..., : settings.frames] == lines[:, : settings.frames]
        fits = (is_match | ~is_visible[:, None, None]).all(3)
        is_same = (paths == lines).all(3)
        return (is_same | ~fits).all(2).all(1)

    def _is_in_split(self, split: str, paths: Int[Tensor, "B F 2"], ahead: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Return which samples belong to a split, by the path (hidden frames included) and the question."""
        contents = torch.cat((paths[:, : self.settings.frames].flatten(1), ahead.unsqueeze(1)), 1)
        return is_in_split(self.get_source_split(split), "tracking", contents)

    def _build_batch(
        self,
        start: Int[Tensor, "B 2"],
        velocity: Int[Tensor, "B 2"],
        ahead: Int[Tensor, " B"],
        is_visible: Bool[Tensor, "B F"],
    ) -> Batch:
        """Build the tokens, targets and difficulty of samples."""
        side = self.settings.side
        frames = self.settings.frames
        paths = self._compute_paths(start, velocity)
        cells = (paths[:, :frames] @ torch.tensor([side, 1])).where(is_visible, self._missing_token)
        position = paths[torch.arange(len(paths)), frames - 1 + ahead]
        without_walls = start + velocity * (frames - 1 + ahead).unsqueeze(1)
        bounces = (without_walls.div(side - 1, rounding_mode="floor").abs()).sum(1)
        inputs = torch.cat((cells, self._missing_token + 1 + ahead.unsqueeze(1)), 1)
        return Batch(inputs, self._build_targets(position), ahead + bounces)

    def _build_targets(self, position: Int[Tensor, "B 2"]) -> Int[Tensor, "B P"]:
        if self.settings.target == "position":
            return position
        return ((position >= self.settings.side // 2).long() @ torch.tensor([2, 1])).unsqueeze(1)

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of cells `row,column`, hidden frames `-`, and a question `+N`.

        Any cells are accepted, also those of a motion that is impossible.

        Raises:
            ValueError: The number of words, a cell or the question is invalid, or fewer than two frames are visible.
        """
        settings = self.settings
        words = str(raw_input or "").split()
        if not words:
            raise ValueError(f"Draw a path, or type {self.input_hint}.")
        if len(words) != settings.frames + 1:
            raise ValueError(
                f"This checkpoint reads {settings.frames} positions and one question, {settings.frames + 1} words: "
                f"got {len(words)}."
            )
        cells = [None if word == MISSING_FRAME else self._parse_cell(word) for word in words[:-1]]
        if sum(cell is not None for cell in cells) < 2:
            raise ValueError("Show the dot in at least two frames.")
        ahead = self._parse_horizon(words[-1])
        tokens = [self._missing_token if cell is None else cell[0] * settings.side + cell[1] for cell in cells]
        inputs = torch.tensor([[*tokens, self._missing_token + 1 + ahead]])
        true_choices, shift = self._solve(cells, ahead)
        display = self._build_display(cells, ahead)
        return TaskInput(inputs, display, self.get_spec().positions, ahead, true_choices, shift)

    def _solve(
        self, cells: list[tuple[int, int] | None], ahead: int
    ) -> tuple[tuple[int, ...] | None, DistributionShift | None]:
        """Return the correct answer if the visible cells determine it, and else how the input differs from training."""
        settings = self.settings
        lines = enumerate_lines(settings.side, settings.max_speed, settings.frames + settings.ood_horizon)
        frames = torch.tensor([frame for frame, cell in enumerate(cells) if cell is not None])
        visible = torch.tensor([cell for cell in cells if cell is not None])
        # Rows and columns move independently of each other.
        ends = [
            lines[(lines[:, frames] == visible[:, axis]).all(1), settings.frames - 1 + ahead].unique()
            for axis in (0, 1)
        ]
        if not all(map(len, ends)):
            return None, DistributionShift("No dot of constant speed moves through these cells.")
        answers = {
            tuple(self._build_targets(torch.tensor([[row, column]]))[0].tolist())
            for row in ends[0].tolist()
            for column in ends[1].tolist()
        }
        if len(answers) == 1:
            return answers.pop(), None
        return None, DistributionShift("The visible cells fit several motions, with different answers.")

    def _parse_cell(self, word: str) -> tuple[int, int]:
        """Parse a cell `row,column`.

        Raises:
            ValueError: The word is no cell of the grid.
        """
        side = self.settings.side
        match = re.fullmatch(r"(\d{1,3}),(\d{1,3})", word, re.ASCII)
        if not match or max(map(int, match.groups())) >= side:
            raise ValueError(
                f"A position is row,column with numbers from 0 to {side - 1}, or {MISSING_FRAME}: got {word[:20]!r}."
            )
        return int(match[1]), int(match[2])

    def _parse_horizon(self, word: str) -> int:
        """Parse a question `+N`: the number of frames ahead.

        Raises:
            ValueError: The word is no question, or asks for too many frames.
        """
        max_ahead = self.settings.max_horizon
        match = re.fullmatch(r"\+(\d{1,3})", word, re.ASCII)
        if not match or int(match[1]) > max_ahead:
            raise ValueError(
                f"The last word says how many frames to predict ahead, +0 to +{max_ahead}: got {word[:20]!r}."
            )
        return int(match[1])

    def _build_display(self, cells: list[tuple[int, int] | None], ahead: int) -> dict[str, Any]:
        """Build the data that the page draws: the words of the input, and the path on the grid."""
        settings = self.settings
        items = [MISSING_FRAME if cell is None else f"{cell[0]},{cell[1]}" for cell in cells] + [f"+{ahead}"]
        path = {
            "side": settings.side,
            "fastest": settings.max_speed,
            "frames": cells,
            "ahead": ahead,
            "asked": settings.target,
        }
        places = ["row", "column"] if settings.target == "position" else ["quarter"]
        return {"kind": "sequence", "items": items, "places": places, "path": path}

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the predicted cell or quarter."""
        ahead: int = task_input.context
        when = f"{ahead} frame{'' if ahead == 1 else 's'} later" if ahead else "In the last frame"
        if self.settings.target == "quadrant":
            label = QUARTERS[choices[0]]
            return TaskAnswer(label, label, f"{when} it is in the {label} quarter")
        row, column = choices
        return TaskAnswer([row, column], f"row {row}, column {column}", f"{when} it is at row {row}, column {column}")

    def get_labels(self) -> list[str]:
        """Return the names of the classes: quarters, or the numbers of rows and columns."""
        if self.settings.target == "quadrant":
            return list(QUARTERS)
        return [str(index) for index in range(self.settings.side)]

    def get_examples(self) -> list[str]:
        """Return three generated paths."""
        return [self.generate_input(seed) for seed in range(3)]

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate a path and a question from the test split."""
        return self.format_sample(self.draw_test_sample(seed, difficulty))

    def format_sample(self, sample: Batch) -> str:
        """Return the cells and the question of a sample."""
        *cells, question = sample.inputs[0].tolist()
        words = [
            MISSING_FRAME if cell == self._missing_token else "{},{}".format(*divmod(cell, self.settings.side))
            for cell in cells
        ]
        return " ".join([*words, f"+{question - self._missing_token - 1}"])


def reflect_at_walls(positions: Int[Tensor, "*B"], side: int) -> Int[Tensor, "*B"]:
    """Return positions of a dot that bounces off the walls, from those of one that passes through; it turns in the outer cells."""
    period = 2 * (side - 1)
    phase = positions.remainder(period)
    return torch.minimum(phase, period - phase)


@cache
def enumerate_lines(side: int, max_speed: int, num_frames: int) -> Int[Tensor, "n F"]:
    """Return the positions of every motion along one axis, one per start and speed."""
    start = torch.arange(side)
    speed = torch.arange(-max_speed, max_speed + 1)
    positions = start[:, None, None] + speed[None, :, None] * torch.arange(num_frames)
    return reflect_at_walls(positions.flatten(0, 1), side)
