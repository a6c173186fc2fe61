"""A dot moves evenly over a field of cells and bounces off its walls. Some frames of it are shown: where will it be later?

Each frame is one symbol, the cell that the dot is in, or nothing where the frame was missed; the last symbol asks how many
frames ahead to look. The answer is the row and the column, or only the quarter of the field. Whatever is shown fixes the path,
so every question has one answer.
"""

import re
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, is_in_split, make_generator

FURTHER = "further"
QUARTERS = ("upper left", "upper right", "lower left", "lower right")
MISSING_FRAME = "-"


class TrackingSettings(Settings):
    target: Literal["position", "quadrant"] = Field("position", description="for the cell, or for the quarter it is in")
    side: int = Field(16, ge=4, le=64, description="cells a side of the field")
    frames: int = Field(6, ge=2, le=16, description="frames that are shown")
    max_speed: int = Field(2, ge=1, le=8, description="cells a frame that the dot moves at most, each way")
    max_horizon: int = Field(8, ge=0, le=24, description="frames ahead of the last one that are asked for in training")
    ood_horizon: int = Field(
        12, ge=1, le=24, description="frames ahead in the split `further`, which is never trained on"
    )
    missing_rate: float = Field(0.2, ge=0, le=0.5, description="share of frames that are not seen")

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
    name = "tracking"
    title = "A moving dot"
    input_type = "text"
    supports_generation = True
    splits = (*Task.splits, FURTHER)
    Settings = TrackingSettings

    @property
    def input_hint(self) -> str:
        frames, further = self.settings.frames, self.settings.ood_horizon
        return (
            f"the cells of {frames} frames as row,column with {MISSING_FRAME} for a missed one, then how many frames ahead, up to "
            f"{further}: 3,4 4,5 {MISSING_FRAME} 6,7 7,8 8,9 +4"
        )

    @property
    def input_editor(self) -> dict[str, Any]:
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
        """The symbol of a missed frame; those after it ask for 0, 1, 2 ... frames ahead."""
        return self.settings.side**2

    def get_spec(self) -> TaskSpec:
        backbone = f"grid-{self.settings.side}x{self.settings.frames + 1}"
        quadrant = self.settings.target == "quadrant"
        return TaskSpec(backbone, classes=4) if quadrant else TaskSpec(backbone, self.settings.side, positions=2)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Starts, velocities and questions are drawn evenly; a path is kept if what is seen of it fixes it."""
        settings = self.settings
        least, most = (
            (settings.max_horizon + 1, settings.ood_horizon) if split == FURTHER else (0, settings.max_horizon)
        )
        kept: list[tuple[Tensor, ...]] = []
        while sum(len(part[0]) for part in kept) < count:
            size = 4 * count + 64
            start = torch.randint(settings.side, (size, 2), generator=generator)
            velocity = torch.randint(-settings.max_speed, settings.max_speed + 1, (size, 2), generator=generator)
            ahead = torch.randint(least, most + 1, (size,), generator=generator)
            seen = torch.rand(size, settings.frames, generator=generator) >= settings.missing_rate
            moves = velocity.any(1) & self._is_path_unique(start, velocity, seen)
            start, velocity, ahead, seen = start[moves], velocity[moves], ahead[moves], seen[moves]
            ours = self._is_in_split(split, self._compute_paths(start, velocity), ahead)
            kept.append((start[ours], velocity[ours], ahead[ours], seen[ours]))
        return self._build_batch(*(torch.cat(parts)[:count] for parts in zip(*kept, strict=True)))

    def _compute_paths(self, start: Int[Tensor, "B 2"], velocity: Int[Tensor, "B 2"]) -> Int[Tensor, "B F 2"]:
        steps = torch.arange(self.settings.frames + self.settings.ood_horizon)
        return reflect_at_walls(start.unsqueeze(1) + velocity.unsqueeze(1) * steps[:, None], self.settings.side)

    def _is_path_unique(
        self, start: Int[Tensor, "B 2"], velocity: Int[Tensor, "B 2"], is_visible: Bool[Tensor, "B F"]
    ) -> Bool[Tensor, " B"]:
        """Whether every path through the cells that are seen is this one, row and column each for itself."""
        every = enumerate_lines(
            self.settings.side, self.settings.max_speed, self.settings.frames + self.settings.ood_horizon
        )
        paths = self._compute_paths(start, velocity).transpose(1, 2).unsqueeze(2)  # (B, 2, 1, F)
        frames = self.settings.frames
        fits = ((paths[..., :frames] == every[:, :frames]) | ~is_visible[:, None, None]).all(3)
        same = (paths == every).all(3)
        return (same | ~fits).all(2).all(1)

    def _is_in_split(self, split: str, paths: Int[Tensor, "B F 2"], ahead: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """By the path, missed frames included, and the question."""
        wanted = TEST if split == FURTHER else split
        shown = torch.cat((paths[:, : self.settings.frames].flatten(1), ahead.unsqueeze(1)), 1)
        return is_in_split(wanted, "tracking", shown)

    def _build_batch(
        self,
        start: Int[Tensor, "B 2"],
        velocity: Int[Tensor, "B 2"],
        ahead: Int[Tensor, " B"],
        is_visible: Bool[Tensor, "B F"],
    ) -> Batch:
        """Difficulty is the frames to look ahead, and one more for every wall that is met."""
        side, frames = self.settings.side, self.settings.frames
        paths = self._compute_paths(start, velocity)
        cells = (paths[:, :frames] @ torch.tensor([side, 1])).where(is_visible, self._missing_token)
        place = paths[torch.arange(len(paths)), frames - 1 + ahead]
        straight = start + velocity * (frames - 1 + ahead).unsqueeze(1)
        bounces = (straight.div(side - 1, rounding_mode="floor").abs()).sum(1)
        inputs = torch.cat((cells, self._missing_token + 1 + ahead.unsqueeze(1)), 1)
        return Batch(inputs, self._build_targets(place), ahead + bounces)

    def _build_targets(self, position: Int[Tensor, "B 2"]) -> Int[Tensor, "B P"]:
        if self.settings.target == "position":
            return position
        return ((position >= self.settings.side // 2).long() @ torch.tensor([2, 1])).unsqueeze(1)

    def parse_input(self, raw_input: Any) -> TaskInput:
        frames, further = self.settings.frames, self.settings.ood_horizon
        words = str(raw_input or "").split()
        if not words:
            raise ValueError(f"Draw a path, or type {self.input_hint}.")
        if len(words) != frames + 1:
            raise ValueError(
                f"This checkpoint reads {frames} frames and a question, {frames + 1} words, got {len(words)}."
            )
        cells = [None if word == MISSING_FRAME else self._parse_cell(word) for word in words[:-1]]
        if sum(cell is not None for cell in cells) < 2:
            raise ValueError("A movement shows in two frames at least; give the cells of two or more.")
        asked = re.fullmatch(r"\+(\d{1,3})", words[-1], re.ASCII)
        if not asked or int(asked[1]) > further:
            raise ValueError(f"The last word asks how many frames ahead, +0 to +{further}: got {words[-1][:20]!r}.")
        ahead = int(asked[1])
        symbols = [self._missing_token if cell is None else cell[0] * self.settings.side + cell[1] for cell in cells]
        items = [MISSING_FRAME if cell is None else f"{cell[0]},{cell[1]}" for cell in cells] + [f"+{ahead}"]
        settings = self.settings
        path = {
            "side": settings.side,
            "fastest": settings.max_speed,
            "frames": cells,
            "ahead": ahead,
            "asked": settings.target,
        }
        places = ["row", "column"] if settings.target == "position" else ["quarter"]
        inputs = torch.tensor([[*symbols, self._missing_token + 1 + ahead]])
        return TaskInput(
            inputs,
            {"kind": "sequence", "items": items, "places": places, "path": path},
            self.get_spec().positions,
            ahead,
        )

    def _parse_cell(self, word: str) -> tuple[int, int]:
        side = self.settings.side
        match = re.fullmatch(r"(\d{1,3}),(\d{1,3})", word, re.ASCII)
        if not match or max(map(int, match.groups())) >= side:
            raise ValueError(
                f"A cell is row,column with numbers from 0 to {side - 1}, or {MISSING_FRAME}: got {word[:20]!r}."
            )
        return int(match[1]), int(match[2])

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        when = (
            f"{task_input.context} frame{'' if task_input.context == 1 else 's'} later"
            if task_input.context
            else "In the last frame"
        )
        if self.settings.target == "quadrant":
            label = QUARTERS[choices[0]]
            return TaskAnswer(label, label, f"{when} it is in the {label} quarter")
        row, column = choices
        return TaskAnswer([row, column], f"row {row}, column {column}", f"{when} it is at row {row}, column {column}")

    def get_labels(self) -> list[str]:
        return list(QUARTERS) if self.settings.target == "quadrant" else [str(at) for at in range(self.settings.side)]

    def get_examples(self) -> list[str]:
        return [self.generate_input(seed) for seed in range(3)]

    def generate_input(self, seed: int) -> str:
        """A path that was never trained on."""
        *cells, asked = self.sample(TEST, 1, make_generator("invent", seed)).inputs[0].tolist()
        words = [
            MISSING_FRAME if cell == self._missing_token else "{},{}".format(*divmod(cell, self.settings.side))
            for cell in cells
        ]
        return " ".join([*words, f"+{asked - self._missing_token - 1}"])


def reflect_at_walls(straight: Int[Tensor, "*B"], side: int) -> Int[Tensor, "*B"]:
    """Where a dot is that would be there if it went on through the walls: outer cells are where it turns."""
    period = 2 * (side - 1)
    place = straight.remainder(period)
    return torch.minimum(place, period - place)


@cache
def enumerate_lines(side: int, max_speed: int, num_frames: int) -> Int[Tensor, "n F"]:
    """Every way to move along one axis."""
    start, speed = torch.arange(side), torch.arange(-max_speed, max_speed + 1)
    straight = start[:, None, None] + speed[None, :, None] * torch.arange(num_frames)
    return reflect_at_walls(straight.flatten(0, 1), side)
