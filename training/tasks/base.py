"""Base class of tasks: samples, requirements on the model, and conversion of user input and answers.

Splits are disjoint by content (see `training.tasks.splits`): no validation, calibration or test sample is ever trained on,
whatever the seed.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

import ctm.settings
from ctm.config import get_backbone_type
from training.auxiliary_losses import AuxiliaryTargets
from training.decoding import AnswerDecoder, CTCDecoder, PerTickDecoder
from training.tasks.samples import Batch, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import CALIBRATION, PART_SEPARATOR, TEST, TRAIN, VALIDATION, make_generator

MAX_DRAWN_SAMPLES = 20_000  # until one has the wanted difficulty
SAMPLES_PER_DRAW = 64


class Task(ABC):
    """Base class of tasks; each module of this package defines one subclass, which the registry finds.

    Attributes:
        name: Name in recipes and in `task.json`.
        title: Name on the page.
        input_type: "image" or "text".
        supports_drawing: Whether the page accepts a drawing as input.
        supports_generation: Whether `generate_input` is implemented.
        difficulty_name: What the difficulty of a sample counts, as the page names it, such as "steps to the goal"; None if
            `generate_input` takes no difficulty.
        position_noun: What the positions of an answer are, in the plural, such as "bits".
        input_noun: What the inputs are, in the plural, such as "mazes".
        success_phrase: What a correct answer means for such inputs, such as "solved".
        splits: Names of the splits.
        shift_splits: Splits whose samples differ from the training samples as `DistributionShift` states.
        halting_splits: Shift splits whose kind of input the halting is prepared for: their parts `/validation` and
            `/calibration` help to fit the energy head and to choose thresholds. `sample` must know these parts.
        test_subsets: Splits whose samples are also samples of the test split.
        sentence_positions: Number of last positions that the sentence of an answer is about; None for all.
        has_natural_inputs: Whether users give photos or drawings, whose familiarity only the model's features can tell.
        num_states: Number of classes of the intermediate results in `compute_auxiliary_targets`; None without any.
        states_have_places: Whether each intermediate result belongs to a place of the input that the model can attend to.
        states_have_positions: Whether each intermediate result belongs to a position of the answer.
        num_place_classes: Number of classes of a place of the input in `compute_place_classes`; None without any.
        states_result: Whether the sentence of an answer says whether the answer is correct.
        machine_local_settings: Settings that hold paths of this computer and are not written into checkpoints.
        Settings: Class of the settings.
        settings: Settings of this task; a subclass annotates its own class.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    input_type: ClassVar[str]
    supports_drawing: ClassVar[bool] = False
    supports_generation: ClassVar[bool] = False
    difficulty_name: ClassVar[str | None] = None
    position_noun: ClassVar[str] = "positions"
    input_noun: ClassVar[str] = "inputs"
    success_phrase: str = "answered correctly"
    splits: ClassVar[tuple[str, ...]] = (TRAIN, VALIDATION, CALIBRATION, TEST)
    machine_local_settings: ClassVar[tuple[str, ...]] = ()
    shift_splits: ClassVar[tuple[str, ...]] = ()
    halting_splits: ClassVar[tuple[str, ...]] = ()
    test_subsets: ClassVar[tuple[str, ...]] = ()
    sentence_positions: ClassVar[int | None] = None
    has_natural_inputs: ClassVar[bool] = False
    states_result: ClassVar[bool] = False
    num_states: ClassVar[int | None] = None
    states_have_places: ClassVar[bool] = True
    states_have_positions: ClassVar[bool] = True
    num_place_classes: ClassVar[int | None] = None
    Settings: ClassVar[type[ctm.settings.Settings]]
    settings: ctm.settings.Settings

    def __init__(self, settings: ctm.settings.Settings) -> None:
        """Create the task.

        Args:
            settings: Instance of `Settings` of the subclass.
        """
        self.settings = settings

    @property
    @abstractmethod
    def input_hint(self) -> str:
        """One line that describes a valid input; a subclass may set a string."""

    @property
    def input_editor(self) -> dict[str, Any] | None:
        """Kind and sizes of the editor that the page shows for the input, or None.

        For images, `parse_input` must display its input at the size that the editor edits.
        """
        return None

    @abstractmethod
    def get_spec(self) -> TaskSpec:
        """Return the requirements of the task on the model."""

    @property
    def decoder(self) -> AnswerDecoder:
        """Decoder of the logits of the model into answers."""
        spec = self.get_spec()
        return CTCDecoder(spec.ctc_length) if spec.ctc_length else PerTickDecoder(spec.positions, spec.scored_positions)

    @property
    def reported_splits(self) -> tuple[str, ...]:
        """Held-out splits that a final checkpoint is measured on."""
        return tuple(split for split in self.splits if split not in (TRAIN, VALIDATION, CALIBRATION))

    @abstractmethod
    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample from a split.

        Repeated calls for the training split return new samples where the task generates or augments them.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            The samples; fewer than `count` only if a held-out split is finite and smaller.
        """

    def get_base_split(self, split: str) -> str:
        """Return the split that a part belongs to: `longer` for `longer/calibration`; a split without parts is its own."""
        base = split.partition(PART_SEPARATOR)[0]
        assert base in self.splits, f"the task {self.name} has no split {base!r}"
        return base

    def get_source_split(self, split: str) -> str:
        """Return the standard split whose samples a split holds.

        An out-of-distribution split holds test samples, and its parts those that their names state.
        """
        if self.get_base_split(split) in Task.splits:
            return split
        return split.partition(PART_SEPARATOR)[2] or TEST

    @abstractmethod
    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse user input.

        Args:
            raw_input: A text, or an image of shape (h, w, 3) in [0, 1].

        Returns:
            The model input with one row, and the data that the page displays.

        Raises:
            ValueError: The input is invalid; one sentence says what is wrong, what was received and what to do.
        """

    @abstractmethod
    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Convert the classes that the model chose into an answer.

        Args:
            task_input: The parsed input.
            choices: Class of every position that counts.

        Returns:
            The answer, as data and as text.
        """

    def is_correct(self, task_input: TaskInput, choices: list[int]) -> bool | None:
        """Return whether what the sentence of an answer says is correct; None if the correct answer is not known.

        Args:
            task_input: The parsed input.
            choices: Class of every position that counts, or the labels of a CTC answer in order.
        """
        if task_input.true_choices is None:
            return None
        first = 0 if self.sentence_positions is None else -self.sentence_positions
        return choices[first:] == list(task_input.true_choices[first:])

    def get_last_positions(self, batch: Batch) -> Int[Tensor, " B"]:
        """Return the index of the last position that counts, for every sample."""
        return torch.full((len(batch.inputs),), self.get_spec().positions - 1)

    @abstractmethod
    def get_labels(self) -> list[str]:
        """Return the names of the classes, in class order."""

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets | None:
        """Return the intermediate steps of the solutions, for the losses of `training.auxiliary_losses`.

        None if `num_states` is None.
        """
        return None

    def compute_place_classes(self, batch: Batch) -> Int[Tensor, "B L"] | None:
        """Return the class of every place of the input, for the feature loss; None if `num_place_classes` is None."""
        return None

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Compute further metrics of the answers; accuracy is computed elsewhere.

        Args:
            choices: Chosen class of every position.
            targets: Correct class of every position.

        Returns:
            Metrics in [0, 1] by name.
        """
        return {}

    def get_examples(self) -> list[Any]:
        """Return example inputs for the page: texts, image arrays or paths."""
        return []

    def load_example_images(self, count: int) -> list[np.ndarray]:
        """Return held-out images of the data set as example inputs, each of shape (h, w, c), uint8.

        Only tasks without other examples need it. [] if the task reads no data set of images.

        Raises:
            ValueError: The data set cannot be read.
        """
        return []

    def generate_input(self, seed: int, difficulty: int | None = None) -> Any:
        """Generate a new input: a text, or an image of shape (h, w, 3), uint8.

        Args:
            seed: Seed.
            difficulty: Wanted difficulty in units of `Batch.difficulty`; None for any. Only tasks with a `difficulty_name`
                accept one.

        Raises:
            ValueError: The task does not support generation, or the test split has hardly any sample of this difficulty.
        """
        raise ValueError(f"The task {self.name} generates no inputs: enter one.")

    def format_sample(self, sample: Batch) -> str | None:
        """Return a sample as the text that a user would type; None if its inputs are no text, or cannot be typed exactly.

        Args:
            sample: A batch of one row.
        """
        return None

    def build_task_input(self, sample: Batch) -> TaskInput | None:
        """Return a sample as a parsed input, with its correct answer.

        Args:
            sample: A batch of one row.

        Returns:
            The input as `parse_input` returns it; None if the task cannot display its samples.
        """
        text = self.format_sample(sample)
        return None if text is None else self.parse_input(text)

    def draw_test_sample(self, seed: int, difficulty: int | None = None) -> Batch:
        """Draw one sample of the test split.

        Args:
            seed: Seed.
            difficulty: Wanted difficulty; None for any.

        Raises:
            ValueError: None of `MAX_DRAWN_SAMPLES` samples has this difficulty.
        """
        generator = make_generator("invent", seed)
        if difficulty is None:
            return self.sample(TEST, 1, generator)
        for _ in range(MAX_DRAWN_SAMPLES // SAMPLES_PER_DRAW):
            batch = self.sample(TEST, SAMPLES_PER_DRAW, generator)
            if len(rows := (batch.difficulty == difficulty).nonzero().flatten()[:1]):
                return Batch(batch.inputs[rows], batch.targets[rows], batch.difficulty[rows])
        raise self.build_difficulty_error(difficulty)

    def build_difficulty_error(self, difficulty: int) -> ValueError:
        """Return the error for a difficulty that the samples do not have."""
        name = self.difficulty_name or "difficulty"
        return ValueError(f"There is no new input with {difficulty} {name}: choose another number.")

    def measure_difficulty(self, task_input: TaskInput) -> int | None:
        """Return the difficulty of a parsed input, in units of `Batch.difficulty`; None if it is not known."""
        return None

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Infer the settings of the task from a published config.

        Args:
            config: Contents of `config.json`.

        Returns:
            The settings that differ from the defaults, or None if the model belongs to another task.
        """
        return None

    def load_full_split(self, split: str) -> Batch | None:
        """Return all samples of a finite split without augmentation, or None if samples are generated."""
        return None

    def load_file(self, path: str | Path) -> Batch:
        """Return all samples of a data file.

        Args:
            path: Data file in a format of the task, for example a parquet file of images.

        Raises:
            NotImplementedError: The task reads no data files.
            ValueError: The file is missing, or its content does not fit the task.
        """
        raise NotImplementedError(f"The task {self.name} reads no data files; evaluate one of its splits instead.")

    def with_resolved_settings(self) -> "Task":
        """Return the task with the settings that depend on its data filled in.

        A checkpoint stores these settings, so it needs no data set.
        """
        return self

    def describe(self) -> dict[str, Any]:
        """Return the contents of `task.json`: task name, settings, labels and, where needed, the scored positions."""
        settings = self.settings.model_dump(mode="json", exclude=set(self.machine_local_settings))
        scored_positions = self.get_spec().scored_positions
        scoring = {} if scored_positions is None else {"judged": scored_positions}
        return {"task": self.name, "settings": settings, "labels": self.get_labels(), **scoring}

    def iterate_batches(
        self, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, *, start: int = 0
    ) -> Iterator[Batch]:
        """Yield an endless stream of training batches.

        A batch depends on the seed and its number alone. A run can therefore resume, and two processes receive the same
        batches as one process that accumulates two batches per step.

        Args:
            batch_size: Samples per batch.
            seed: Seed of the run.
            rank: Index of this process.
            world_size: Number of processes; process `rank` receives batches rank, rank + world_size, and so on.
            start: Number of batches of this process to skip.

        Yields:
            The batches of process `rank`.
        """
        for index in itertools.count(start):
            yield self.sample(TRAIN, batch_size, make_generator(TRAIN, seed, 0, index * world_size + rank))


def has_image_backbone(config: dict[str, Any]) -> bool:
    """Return whether a model with this published config has an image backbone."""
    return str(get_backbone_type(config)).startswith(("resnet", "shallow-wide", "mnist_backbone"))


def check_curriculum(name: str, value: int | None, limit_name: str, limit: int) -> None:
    """Check that a stage of a curriculum is not harder than the task.

    Args:
        name: Setting of the stage.
        value: Its value; None: the limit.
        limit_name: Setting of the task that limits it.
        limit: Value of that setting.

    Raises:
        ValueError: The value is above the limit.
    """
    if value is not None and value > limit:
        raise ValueError(f"task.{name} must not be above task.{limit_name}: got {value}, {limit}.")


def check_alphabet(text: str, alphabet: Iterable[str], message: str, input_hint: str) -> None:
    """Check that a text has only characters of the alphabet.

    Args:
        text: Text to check.
        alphabet: Accepted characters.
        message: Sentence start that names the accepted characters.
        input_hint: Description of a valid input.

    Raises:
        ValueError: The text has another character.
    """
    if invalid := [character for character in text if character not in alphabet]:
        raise ValueError(f"{message}, got {invalid[0]!r}. Type {input_hint}.")
