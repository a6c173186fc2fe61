"""What a task is: where its samples come from, what the machine must look like, how a person meets it.

Splits are disjoint by content: which split a sample belongs to is a hash of what it shows, so nothing that is tested on,
calibrated on or validated on is ever trained on, whatever the seed.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from ctm.config import get_backbone_type
from ctm.settings import Settings
from training.decoding import AnswerDecoder, CTCDecoder, PerTickDecoder
from training.tasks.splits import CALIBRATION, TEST, TRAIN, VALIDATION, make_generator


@dataclass(frozen=True)
class TaskSpec:
    """What the task asks of the machine."""

    backbone: str
    classes: int
    positions: int = 1
    scored_positions: int | None = None  # how many of the last positions make an answer right; all where it is not said
    in_features: int | None = None
    ctc_length: int | None = None  # length of an answer that is said one class a tick, the last class being silence
    config_overrides: dict[str, Any] = field(default_factory=dict)  # constructor keys that follow from the task besides

    @property
    def prediction_reshaper(self) -> list[int]:
        return [-1] if self.positions == 1 else [self.positions, self.classes]


@dataclass(frozen=True)
class Batch:
    """Samples: inputs as the backbone takes them, targets with -100 where a position does not count.

    Targets have a class for every position, or for every part of a spoken answer.
    """

    inputs: Tensor
    targets: Int[Tensor, "B P"]
    difficulty: Int[Tensor, " B"]


@dataclass(frozen=True)
class TaskInput:
    """What a person gave, read: the machine's input, and what of it is shown beside the thought."""

    inputs: Tensor  # one row
    display: dict[str, Any]  # "kind": "picture" and "pixels" (h, w) or (h, w, 3), 0 to 1; or "sequence" and "items"
    positions: int  # how many positions of the answer count
    context: Any = None  # what the task must know of it to speak of an answer, such as the maze


@dataclass(frozen=True)
class TaskAnswer:
    """An answer, for programs and for people."""

    value: Any  # plain data
    label: str  # in a word
    sentence: str  # without its full stop
    route: list[tuple[int, int]] | None = None  # where it leads in the shown picture: (row, column) after every step


class Task(ABC):
    """One file of this folder holds one subclass; nothing else needs to know of it."""

    name: ClassVar[str]
    title: ClassVar[str]  # for people
    input_type: ClassVar[str]  # "image" or "text": what a person gives
    input_hint: ClassVar[str]  # one line on what to give
    supports_drawing: ClassVar[bool] = False  # whether a drawing by hand is something to give
    supports_generation: ClassVar[bool] = False  # whether it can make up a new input
    splits: ClassVar[tuple[str, ...]] = (TRAIN, VALIDATION, CALIBRATION, TEST)
    machine_local_settings: ClassVar[
        tuple[str, ...]
    ] = ()  # settings that belong to one machine and go into no checkpoint
    Settings: ClassVar[type[Settings]]

    def __init__(self, settings: Settings):
        self.settings = settings

    @property
    def input_editor(self) -> dict[str, Any] | None:
        """What helps a person to make an input by hand: `kind` and sizes, as `ui/assets/pad-<kind>.js` reads them; or None.

        With pictures, `read` must show what it read at the size that the pad edits.
        """
        return None

    @abstractmethod
    def get_spec(self) -> TaskSpec:
        """Backbone, positions and classes."""

    @property
    def decoder(self) -> AnswerDecoder:
        """How the machine's logits are read as answers."""
        shape = self.get_spec()
        return (
            CTCDecoder(shape.ctc_length)
            if shape.ctc_length
            else PerTickDecoder(shape.positions, shape.scored_positions)
        )

    @abstractmethod
    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Samples of a split. For the training split repeated calls give fresh samples where the task can."""

    @abstractmethod
    def parse_input(self, raw_input: Any) -> TaskInput:
        """Read what a person gave: a text, or a picture as (h, w, 3) values from 0 to 1.

        Raises:
            ValueError: one sentence: what, got, what to do.
        """

    @abstractmethod
    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """What an answer to a given input means, from the class of every position that counts."""

    @abstractmethod
    def get_labels(self) -> list[str]:
        """Names of the classes."""

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """What else is to be told of answers, beside how many are right as a whole: name -> share."""
        return {}

    def get_examples(self) -> list[Any]:
        """Inputs to try, one click away: texts, or pictures as arrays."""
        return []

    def generate_input(self, seed: int) -> Any:
        """A new input to try, where `invents` says so: a text, or a picture as (h, w, 3) bytes."""
        raise ValueError(f"The task {self.name} makes up no inputs; give it one.")

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """The settings under which a machine of this published config most likely does this task; None if it does not."""
        return None

    def load_full_split(self, split: str) -> Batch | None:
        """Return all samples of a finite split without augmentation, or None if samples are generated."""
        return None

    def load_file(self, path: str | Path) -> Batch:
        """Return all samples of a data file.

        Args:
            path: Data file in a format of the task, for example a parquet file of images.

        Raises:
            NotImplementedError: The task reads no files.
            ValueError: The file is missing or has another content than the task needs.
        """
        raise NotImplementedError(f"The task {self.name} reads no data files; evaluate one of its splits instead.")

    def with_resolved_settings(self) -> "Task":
        """The task with all in its settings that its data decides, so that a checkpoint of it needs no data."""
        return self

    def describe(self) -> dict[str, Any]:
        """The contents of `task.json`."""
        settings = self.settings.model_dump(mode="json", exclude=set(self.machine_local_settings))
        judged = {} if self.get_spec().scored_positions is None else {"judged": self.get_spec().scored_positions}
        return {"task": self.name, "settings": settings, "labels": self.get_labels(), **judged}

    def iterate_batches(
        self, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, *, start: int = 0
    ) -> Iterator[Batch]:
        """Training batches for process `rank` of `ranks`, which take turns, from their turn `start` on.

        A batch depends on the seed and its number alone: a run can resume, and two processes see what one sees that
        accumulates two batches a step.
        """
        for turn in itertools.count(start):
            yield self.sample(TRAIN, batch_size, make_generator(TRAIN, seed, 0, turn * world_size + rank))


def has_image_backbone(config: dict[str, Any]) -> bool:
    """Whether a machine of this published config has a backbone for pictures."""
    return str(get_backbone_type(config)).startswith(("resnet", "shallow-wide"))


def check_alphabet(text: str, alphabet: Iterable[str], message: str, input_hint: str) -> None:
    """Raises `ValueError` where a text has other signs than the known ones; `rule` says which those are."""
    if strange := [sign for sign in text if sign not in alphabet]:
        raise ValueError(f"{message}, got {strange[0]!r}. Type {input_hint}.")
