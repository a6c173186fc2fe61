"""Any sequence model without a known task: symbols as numbers in, classes as numbers out.

Checkpoints from elsewhere may state neither their symbols nor the meaning of their classes. This task makes them usable as they
are. It has no samples, so it cannot be trained or evaluated, and it is not listed among the tasks.
"""

import re
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ctm.config import GRID_PATTERN, TOKENS_PATTERN, get_backbone_type
from ctm.modules.backbones import NUM_GRID_WORDS
from ctm.settings import Settings
from training.tasks.base import Task
from training.tasks.samples import Batch, TaskAnswer, TaskInput, TaskSpec

MAX_PARITY_LENGTH = 1_024
PARITY_BACKBONE = "parity_backbone"


class RawSequenceSettings(Settings):
    """Settings of the task `raw`."""

    backbone: str = Field(title="Input encoder", description="backbone of the model", max_length=40)
    classes: int = Field(ge=1, title="Classes", description="classes per position")
    positions: int = Field(1, ge=1, title="Positions of an answer", description="positions of an answer")


class RawSequence(Task):
    """Sequences of numbers, whose meaning only the author of a checkpoint knows."""

    name = "raw"
    title = "Raw symbols"
    input_type = "text"
    Settings = RawSequenceSettings
    settings: RawSequenceSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        if self.settings.backbone == PARITY_BACKBONE:
            return f"up to {MAX_PARITY_LENGTH} numbers, each 1 or -1, such as 1 -1 1"
        symbols, length = self._get_limits()
        return f"up to {length} whole numbers from 0 to {symbols - 1}, such as 0 1 1 0"

    def _get_limits(self) -> tuple[int, int]:
        """Return the number of symbols and the largest length of a sequence."""
        if tokens := TOKENS_PATTERN.fullmatch(self.settings.backbone):
            return int(tokens[1]), int(tokens[2])
        grid = GRID_PATTERN.fullmatch(self.settings.backbone)
        assert grid is not None, "settings_from_config accepts other backbones"
        return int(grid[1]) ** 2 + NUM_GRID_WORDS, int(grid[2])

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model, which are its own inputs and outputs."""
        settings = self.settings
        return TaskSpec(settings.backbone, settings.classes, settings.positions)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Raise an error: the samples of the model are unknown.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "The task raw has no samples: name the task of the model in task.json to train or evaluate it."
        )

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of numbers.

        Raises:
            ValueError: A word is no symbol of the model, or there are none or too many.
        """
        words = [word for word in re.split(r"[\s,;]+", str(raw_input or "").strip()) if word]
        if not words:
            raise ValueError(f"Type {self.input_hint}.")
        is_parity = self.settings.backbone == PARITY_BACKBONE
        symbols, length = (2, MAX_PARITY_LENGTH) if is_parity else self._get_limits()
        if len(words) > length:
            raise ValueError(f"This checkpoint reads at most {length} numbers, got {len(words)}.")
        numbers = []
        for word in words:
            number = int(word) if re.fullmatch(r"[+-]?\d{1,9}", word, re.ASCII) else None
            if number is None or not (number in (1, -1) if is_parity else 0 <= number < symbols):
                raise ValueError(f"{word[:20]!r} is not a symbol of this checkpoint. Type {self.input_hint}.")
            numbers.append(number)
        inputs: Tensor = torch.tensor([numbers])
        display = {"kind": "sequence", "items": [str(number) for number in numbers]}
        return TaskInput(inputs.float() if is_parity else inputs, display, self.settings.positions)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the numbers of the classes."""
        text = " ".join(map(str, choices))
        classes = "class" if len(choices) == 1 else "classes"
        return TaskAnswer(choices, text, f"It answers {classes} {text}")

    def get_labels(self) -> list[str]:
        """Return the numbers of the classes."""
        return [str(index) for index in range(self.settings.classes)]

    def get_examples(self) -> list[str]:
        """Return a short sequence of the first two symbols."""
        return (
            ["1 -1 1 1"] if self.settings.backbone == PARITY_BACKBONE else [" ".join("0110"[: self._get_limits()[1]])]
        )

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Return the settings for a model of sequences; None for other inputs."""
        backbone = str(get_backbone_type(config))
        if backbone != PARITY_BACKBONE and not (TOKENS_PATTERN.fullmatch(backbone) or GRID_PATTERN.fullmatch(backbone)):
            return None
        shape = list(config.get("prediction_reshaper") or [-1])
        out_dims = config.get("out_dims", 0)
        if len(shape) == 1:
            return {"backbone": backbone, "classes": out_dims}
        classes = shape[1] if shape[1] > 0 else out_dims // shape[0]
        return {"backbone": backbone, "classes": classes, "positions": out_dims // classes}
