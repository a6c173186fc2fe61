"""Tracking: a dot moves with constant velocity over a grid of cells and bounces off its walls. Where will it be later?

Each visible frame is one token, the cell of the dot; a hidden frame has a token of its own. The answer is the row and the column,
or only the quarter of the grid. The visible frames determine the path, so every question has exactly one answer.

How many frames ahead the question asks is one token of its own, or as many hidden frames, up to the asked one
(`horizon_encoding`). In the second case training paths begin anywhere in the input, so that every place of an input that asks
further ahead than all of them has been trained.
"""

import re
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ctm.settings import Settings
from training.auxiliary_losses import AuxiliaryTargets
from training.data.motion import enumerate_lines, reflect_at_walls
from training.losses import IGNORE_INDEX
from training.tasks.base import Task
from training.tasks.offsets import count_places_to_end, shift_right
from training.tasks.samples import Batch, DistributionShift, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, is_in_split, sample_until

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

    horizon_encoding: Literal["symbol", "frames"] = Field(
        "symbol",
        title="Question encoding",
        description="how the input states the frames ahead: a symbol of its own for every number, or that many hidden frames, "
        "with which the model also answers further ahead than in training (frames)",
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

    Axes of the tensors: B samples, F frames shown, L frames up to the furthest one, N tokens, 2 row and column.
    """

    name = "tracking"
    title = "A moving dot"
    input_type = "text"
    supports_generation = True
    difficulty_name = "frames ahead plus bounces"
    position_noun = "coordinates"
    splits = (*Task.splits, FURTHER)
    states_have_positions = False
    Settings = TrackingSettings
    settings: TrackingSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        settings = self.settings
        example = " ".join(("3,4", "4,5", MISSING_FRAME, "6,7", "7,8", "8,9", "+4"))
        return (
            f"{settings.frames} positions as row,column (use {MISSING_FRAME} for a hidden frame), then how many frames to "
            f"predict ahead, up to {self._max_input_horizon}; for example {example}"
        )

    @property
    def _has_frame_encoding(self) -> bool:
        return self.settings.horizon_encoding == "frames"

    @property
    def _max_input_horizon(self) -> int:
        """Largest number of frames ahead that the model has been prepared for."""
        return self.settings.ood_horizon if self._has_frame_encoding else self.settings.max_horizon

    @property
    def shift_splits(self) -> tuple[str, ...]:  # type: ignore[override]
        """More frames ahead, if their places are trained; the symbols of more frames are not."""
        return (FURTHER,) if self._has_frame_encoding else ()

    @property
    def reported_splits(self) -> tuple[str, ...]:
        """The test split, and more frames ahead if the model can read them."""
        return (TEST, *self.shift_splits)

    @property
    def num_states(self) -> int | None:  # type: ignore[override]
        """Cells of the grid, if every frame up to the asked one is a place of the input."""
        return self.settings.side**2 if self._has_frame_encoding else None

    @property
    def input_editor(self) -> dict[str, Any]:
        """Editor that fits a drawn line to a motion with constant velocity."""
        settings = self.settings
        return {
            "kind": "path",
            "side": settings.side,
            "frames": settings.frames,
            "steps": settings.max_speed,
            "ahead": self._max_input_horizon,
        }

    @property
    def _missing_token(self) -> int:
        """Token of a hidden frame; the tokens after it ask for 0, 1, 2 ... frames ahead, or the first of them is padding."""
        return self.settings.side**2

    @property
    def _pad_token(self) -> int:
        """Token before the first frame and after the asked one, with the frame encoding."""
        return self._missing_token + 1

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: row and column as two positions, or one of four quarters."""
        num_question_tokens = self.settings.ood_horizon if self._has_frame_encoding else 1
        backbone = f"grid-{self.settings.side}x{self.settings.frames + num_question_tokens}"
        is_quadrant = self.settings.target == "quadrant"
        return TaskSpec(backbone, classes=4) if is_quadrant else TaskSpec(backbone, self.settings.side, positions=2)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample starts, velocities and questions uniformly; a path that its visible frames do not determine is dropped.

        Args:
            split: One of `splits`; `further` asks for more frames ahead than training and consists of test samples.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, N), int64 tokens; targets of shape (B, 2), or (B, 1) for quarters; states of shape (B, L) with the
            frame encoding, where N = L.
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

        batch = self._build_batch(*sample_until(count, draw))
        return self._shift_frames(batch, generator) if split == TRAIN and self._has_frame_encoding else batch

    def _compute_paths(self, start: Int[Tensor, "B 2"], velocity: Int[Tensor, "B 2"]) -> Int[Tensor, "B L 2"]:
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

    def _is_in_split(self, split: str, paths: Int[Tensor, "B L 2"], ahead: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
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
        frames, side = self.settings.frames, self.settings.side
        paths = self._compute_paths(start, velocity)
        cells = paths @ torch.tensor([side, 1])
        position = paths[torch.arange(len(paths)), frames - 1 + ahead]
        without_walls = start + velocity * (frames - 1 + ahead).unsqueeze(1)
        bounces = (without_walls.div(side - 1, rounding_mode="floor").abs()).sum(1)
        inputs = self._encode(cells[:, :frames].where(is_visible, self._missing_token), ahead)
        states = self._build_states(inputs, cells, is_visible) if self._has_frame_encoding else None
        return Batch(inputs, self._build_targets(position), ahead + bounces, states)

    def _encode(self, cells: Int[Tensor, "B F"], ahead: Int[Tensor, " B"]) -> Int[Tensor, "B N"]:
        """Return the tokens of a question, from those of the shown frames."""
        horizon = ahead.unsqueeze(1)
        if not self._has_frame_encoding:
            return torch.cat((cells, self._missing_token + 1 + horizon), 1)
        is_padding = torch.arange(self.settings.ood_horizon) >= horizon
        return torch.cat((cells, torch.where(is_padding, self._pad_token, self._missing_token)), 1)

    def _build_states(
        self, inputs: Int[Tensor, "B L"], cells: Int[Tensor, "B L"], is_visible: Bool[Tensor, "B F"]
    ) -> Int[Tensor, "B L"]:
        """Return the cell of every frame up to the asked one; none of a hidden frame before the second visible one."""
        num_visible = F.pad(is_visible, (0, self.settings.ood_horizon)).cumsum(1)
        is_known = (inputs != self._missing_token) | (num_visible >= 2)
        return cells.masked_fill(~is_known | (inputs == self._pad_token), IGNORE_INDEX)

    def _shift_frames(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Move the frames of each sample to a random place of the input where they fit."""
        assert batch.states is not None, "`_build_batch` states them"
        room = (batch.inputs == self._pad_token).sum(1)
        offsets = (torch.rand(len(room), generator=generator) * (room + 1)).long()
        inputs = shift_right(batch.inputs, offsets, self._pad_token)
        return replace(batch, inputs=inputs, states=shift_right(batch.states, offsets, IGNORE_INDEX))

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets | None:
        """Return the cell of every frame, and its place; nothing after the asked frame. None without the frame encoding."""
        if batch.states is None:
            return None
        num_places = count_places_to_end(batch.inputs != self._pad_token)
        places = torch.arange(batch.inputs.size(1)).expand_as(batch.inputs)
        return AuxiliaryTargets.before_padding(places, batch.states, num_places)

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
        inputs = self._encode(torch.tensor([tokens]), torch.tensor([ahead]))
        true_choices, shift = self._solve(cells, ahead)
        if shift is None and ahead > settings.max_horizon:
            shift = DistributionShift(
                f"The question asks {ahead} frames ahead; the model was trained up to {settings.max_horizon}.", FURTHER
            )
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
        max_ahead = self._max_input_horizon
        match = re.fullmatch(r"\+(\d{1,3})", word, re.ASCII)
        if not match or int(match[1]) > max_ahead:
            raise ValueError(
                f"The last word says how many frames to predict ahead, +0 to +{max_ahead}: got {word[:20]!r}."
            )
        return int(match[1])

    def _build_display(self, cells: list[tuple[int, int] | None], ahead: int) -> dict[str, Any]:
        """Build the data that the page draws: the words of the input, and the path on the grid."""
        settings = self.settings
        items = [MISSING_FRAME if cell is None else f"{cell[0]},{cell[1]}" for cell in cells]
        items += [f"+{frame}" for frame in (range(1, ahead + 1) if self._has_frame_encoding else [ahead])]
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
        tokens = sample.inputs[0].tolist()
        if self._has_frame_encoding:
            tokens = [token for token in tokens if token != self._pad_token]
            ahead = len(tokens) - self.settings.frames
        else:
            ahead = tokens[-1] - self._missing_token - 1
        words = [
            MISSING_FRAME if token == self._missing_token else "{},{}".format(*divmod(token, self.settings.side))
            for token in tokens[: self.settings.frames]
        ]
        return " ".join([*words, f"+{ahead}"])
