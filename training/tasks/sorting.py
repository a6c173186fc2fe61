"""Sorting (paper appendix E): the model receives a list of numbers at every tick and emits their order (CTC).

There is no attention. An answer is the sequence of the positions of the numbers, smallest number first; each position is
emitted once.
"""

import re
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import Task
from training.tasks.samples import Batch, DistributionShift, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import is_in_split, sample_until

OOD_SCALES = {"narrower": 0.5, "wider": 2.0}  # out-of-distribution splits: standard deviation of their numbers
NUMBER_PATTERN = re.compile(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})", re.ASCII)


class SortingSettings(Settings):
    """Settings of the task `sorting`."""

    count: int = Field(10, ge=2, le=256, title="Numbers to sort", description="numbers in a list; published: 30")
    min_gap: float = Field(
        0.01,
        ge=0,
        le=0.1,
        title="Smallest difference",
        description="smallest difference between two numbers of a list; published: 0",
    )


class Sorting(Task):
    """Sorting with CTC answers (paper appendix E).

    Difficulty is -log2 of the smallest gap between two numbers, rounded up.
    """

    name = "sorting"
    title = "Sorting"
    input_type = "text"
    supports_generation = True
    difficulty_name = "closeness of the two closest numbers"
    position_noun = "numbers"
    splits = (*Task.splits, *OOD_SCALES)
    Settings = SortingSettings
    settings: SortingSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        return f"{self.settings.count} different numbers with spaces between them, such as 3 -1.5 40"

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: no attention, one class per number and the blank."""
        count = self.settings.count
        no_attention = {"heads": 0, "n_synch_action": 0}
        return TaskSpec("none", classes=count + 1, in_features=count, ctc_length=count, config_overrides=no_attention)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample lists of independent normal numbers whose smallest gap is at least `min_gap`.

        Args:
            split: One of `splits`; those of `OOD_SCALES` scale the numbers and consist of test samples.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, N), float32; targets of shape (B, N): positions of the numbers in ascending order.
        """
        source_split = self.get_source_split(split)

        def draw() -> tuple[Tensor, ...]:
            lists = torch.randn(2 * count, self.settings.count, generator=generator) * OOD_SCALES.get(split, 1.0)
            lists = lists[compute_min_gap(lists) >= self.settings.min_gap]
            return (lists[is_in_split(source_split, "sorting", lists)],)

        (lists,) = sample_until(count, draw)
        return Batch(lists, lists.argsort(1), -compute_min_gap(lists).log2().floor().long())

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of numbers; the model receives them standardised to mean 0 and standard deviation 1.

        Raises:
            ValueError: A word is no number, there are too many or too few, or two numbers are equal.
        """
        count = self.settings.count
        words = [word for word in re.split(r"[\s,;]+", str(raw_input or "").strip()) if word]
        if not words:
            raise ValueError(f"Type {self.input_hint}.")
        for word in words:
            if not NUMBER_PATTERN.fullmatch(word):
                raise ValueError(f"{word[:20]!r} is not a number that can be read. Type {self.input_hint}.")
        if len(words) != count:
            raise ValueError(f"This checkpoint sorts exactly {count} numbers, got {len(words)}.")
        numbers = torch.tensor([float(word) for word in words], dtype=torch.float64)
        if len(numbers.unique()) < count:
            raise ValueError(f"Two numbers are equal. All {count} numbers must differ.")
        scaled = (numbers - numbers.mean()) / numbers.std()
        return self._build_list_input(scaled.float().unsqueeze(0), words, numbers)

    def build_task_input(self, sample: Batch) -> TaskInput:
        """Return the numbers of a sample as a parsed input; rounded only where they are displayed."""
        numbers = sample.inputs[0]
        return self._build_list_input(sample.inputs, [format_number(number) for number in numbers.tolist()], numbers)

    def _build_list_input(
        self, inputs: Float[Tensor, "1 N"], words: list[str], numbers: Float[Tensor, " N"]
    ) -> TaskInput:
        """Build the input of a list.

        Args:
            inputs: The numbers as the model receives them.
            words: The numbers as they are displayed.
            numbers: The numbers as they were given.
        """
        display = {"kind": "sequence", "items": words, "numbers": numbers.tolist()}
        shift = None
        if compute_min_gap(inputs).item() < self.settings.min_gap:
            shift = DistributionShift("Two of the numbers are closer to each other than any in the training lists.")
        return TaskInput(inputs, display, 1, words, tuple(numbers.argsort().tolist()), shift)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the emitted numbers, as the user typed them."""
        words: list[str] = task_input.context
        emitted = [words[choice] for choice in choices]
        if sorted(choices) == list(range(len(words))):
            return TaskAnswer(emitted, " ".join(emitted), f"In order: {' '.join(emitted)}")
        if not emitted:
            return TaskAnswer(emitted, f"0 of {len(words)} numbers", "It output none of the numbers")
        if len(set(choices)) < len(choices):
            sentence = f"It output some numbers more than once: {' '.join(emitted)}"
            return TaskAnswer(emitted, "some numbers twice", sentence)
        progress = f"{len(emitted)} of {len(words)} numbers"
        sentence = f"It output only {len(emitted)} of the {len(words)} numbers: {' '.join(emitted)}"
        return TaskAnswer(emitted, progress, sentence)

    def get_labels(self) -> list[str]:
        """Return the names of the classes: one per position, and the blank last."""
        return [*(f"number {position}" for position in range(1, self.settings.count + 1)), "(blank)"]

    def get_examples(self) -> list[str]:
        """Return two generated lists."""
        return [self.generate_input(seed) for seed in range(2)]

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate numbers from the test split, rounded to two decimals."""
        numbers = self.draw_test_sample(seed, difficulty).inputs[0]
        return " ".join(map(format_number, numbers.tolist()))


def format_number(number: float) -> str:
    """Format a number with two decimals."""
    return f"{round(number, 2) + 0.0:.2f}"  # + 0.0: there is no -0.00


def compute_min_gap(lists: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """Return the smallest difference between two numbers of each list."""
    return lists.sort(1).values.diff(dim=1).amin(1)
