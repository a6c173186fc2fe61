"""Samples, inputs and answers of the tasks, as data."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class TaskSpec:
    """Requirements of a task on the model.

    Attributes:
        backbone: Backbone type of the input encoder.
        classes: Classes per answer position.
        positions: Answer positions.
        scored_positions: Number of last positions that decide whether an answer is correct; None for all.
        in_features: Input channels or features, where the backbone does not fix them.
        ctc_length: Length of a CTC answer, whose last class is the blank; None for a per-tick answer.
        config_overrides: Further constructor keys that follow from the task.
    """

    backbone: str
    classes: int
    positions: int = 1
    scored_positions: int | None = None
    in_features: int | None = None
    ctc_length: int | None = None
    config_overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def prediction_reshaper(self) -> list[int]:
        """Published constructor key of the answer's shape: [-1], or [positions, classes]."""
        return [-1] if self.positions == 1 else [self.positions, self.classes]


@dataclass(frozen=True)
class Batch:
    """Samples of a task.

    Attributes:
        inputs: Inputs of the backbone, first axis B.
        targets: Class per position or per CTC label, shape (B, P); -100 where a position does not count.
        difficulty: Difficulty of each sample in units of the task, shape (B).
        states: Class of each intermediate result, shape (B, S); None where the inputs and targets determine them.
    """

    inputs: Tensor
    targets: Int[Tensor, "B P"]
    difficulty: Int[Tensor, " B"]
    states: Int[Tensor, "B S"] | None = None


def concatenate_batches(batches: Iterable[Batch]) -> Batch:
    """Concatenate batches of the same task; intermediate results are left out."""
    return Batch(
        *(torch.cat(values) for values in zip(*((b.inputs, b.targets, b.difficulty) for b in batches), strict=True))
    )


@dataclass(frozen=True)
class DistributionShift:
    """A way in which an input differs from all training samples.

    Attributes:
        sentence: The difference, as a sentence for the user.
        split: Held-out split whose samples differ in the same way, so that the accuracy on such inputs is measured; None
            if there is no such split.
    """

    sentence: str
    split: str | None = None


@dataclass(frozen=True)
class TaskInput:
    """User input, parsed.

    Attributes:
        inputs: Model input with one row.
        display: Input as the page shows it: "kind": "picture" with "pixels", shape (h, w) or (h, w, 3), in [0, 1]; or
            "kind": "sequence" with "items".
        positions: Number of answer positions that count.
        context: Data of the input that `Task.format_answer` needs, such as the maze.
        true_choices: Correct class of every position that counts, or the labels of a CTC answer in order; None if the
            correct answer cannot be computed from the input.
        shift: How the input differs from the training samples; None if it does not, as far as the task can tell.
    """

    inputs: Tensor
    display: dict[str, Any]
    positions: int
    context: Any = None
    true_choices: tuple[int, ...] | None = None
    shift: DistributionShift | None = None


@dataclass(frozen=True)
class TaskAnswer:
    """An answer of the model, as data and as text.

    Attributes:
        value: JSON-serializable answer.
        label: Short text.
        sentence: Sentence without the final period.
        route: Path in the displayed image: (row, column) after every step; None if the answer is no path.
    """

    value: Any
    label: str
    sentence: str
    route: list[tuple[int, int]] | None = None


class IncompleteInputError(ValueError):
    """An input of which a part is missing that a user can add by hand.

    Attributes:
        display: What the page shows of the rest, see `TaskInput`.
    """

    def __init__(self, message: str, display: dict[str, Any]):
        super().__init__(message)
        self.display = display
