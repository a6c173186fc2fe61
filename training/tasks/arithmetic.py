"""Arithmetic sequences: the model reads four numbers with a constant difference, digit by digit, and predicts the fifth.

No held-out split overlaps with the training split. `validation`, `calibration` and `test` are assigned by a hash of the
sequence. In `compositional`, the difference and the last digit of the start occur in training, but never in this combination.
In `extrapolation`, the absolute difference is larger than any in training. Only the last two splits distinguish a rule from a
memorised table.
"""

import itertools
import re
from functools import cache
from typing import Any

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from ctm.settings import Settings
from training.auxiliary_losses import AuxiliaryTargets
from training.tasks.base import Task
from training.tasks.samples import Batch, DistributionShift, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, assign_splits

COMPOSITIONAL = "compositional"
EXTRAPOLATION = "extrapolation"
TYPED = "typed"  # held-out sequences of small numbers and steps, which people type most
NUM_INPUT_TERMS = 4
BASE = 10
BLANK_TOKEN = BASE  # a place after a moved number
NUM_CARRIES = 3  # -1, 0 and 1
NUM_STATES = 2 * BASE * NUM_CARRIES  # classes of intermediate results, see `add_by_places`
MIN_TYPED_TERMS = 3
MAX_TYPED_TERMS = 6
MAX_TYPED_START = 100
MAX_TYPED_STEP = 10


class ArithmeticSettings(Settings):
    """Settings of the task `arithmetic`."""

    digits: int = Field(3, ge=1, le=4, title="Digits of a number", description="decimal digits of a number")
    trained_difference: int = Field(
        20, ge=1, le=1_000, title="Largest trained difference", description="largest absolute difference in training"
    )
    largest_difference: int = Field(
        25,
        ge=1,
        le=1_000,
        title="Largest tested difference",
        description="largest absolute difference of the split `extrapolation`",
    )
    random_offset: bool = Field(
        False,
        title="Random start",
        description="training sequences of short numbers are also moved to the left, with blank places behind their numbers, so "
        "that every place shows all pairs of digits",
    )


class Arithmetic(Task):
    """Arithmetic sequences. Difficulty is the absolute difference between two terms."""

    name = "arithmetic"
    title = "Arithmetic sequences"
    input_type = "text"
    supports_generation = True
    difficulty_name = "step between two numbers"
    position_noun = "digits"
    num_states = NUM_STATES
    states_have_positions = False
    splits = (*Task.splits, TYPED, COMPOSITIONAL, EXTRAPOLATION)
    shift_splits = (COMPOSITIONAL, EXTRAPOLATION)
    Settings = ArithmeticSettings
    settings: ArithmeticSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        limit = 10**self.settings.digits
        return f"{MIN_TYPED_TERMS} to {MAX_TYPED_TERMS} whole numbers from 0 to {limit - 1} with equal steps, such as 3 7 11 15"

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: ten classes per digit of the fifth number."""
        digits = self.settings.digits
        num_tokens = BASE + self.settings.random_offset
        return TaskSpec(f"tokens-{num_tokens}x{NUM_INPUT_TERMS * digits}", classes=BASE, positions=digits)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample sequences of a split uniformly, with replacement.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, 4 D), int64 digits, most significant first; targets of shape (B, D).
        """
        sequences = get_sequences(split, self.settings)
        if split == TRAIN and self.settings.random_offset:
            return self._sample_with_offsets(sequences, count, generator)
        rows = sequences[torch.randint(len(sequences), (count,), generator=generator)]
        return self._build_batch(rows[:, 0], rows[:, 1])

    def _sample_with_offsets(self, sequences: Int[Tensor, "n 2"], count: int, generator: torch.Generator) -> Batch:
        """Sample sequences with replacement, and move those of short numbers to the left.

        The number of places is the smaller one of two uniform draws, because few sequences have short numbers.
        """
        digits = self.settings.digits
        offsets = torch.randint(digits, (2, count), generator=generator).amin(0)
        draws = torch.rand(count, generator=generator)
        largest = torch.maximum(sequences[:, 0], sequences[:, 0] + NUM_INPUT_TERMS * sequences[:, 1])
        rows = torch.empty(count, 2, dtype=torch.long)
        for offset in offsets.unique().tolist():
            fitting = sequences[largest < BASE ** (digits - offset)]
            is_row = offsets == offset
            rows[is_row] = fitting[(draws[is_row] * len(fitting)).long()]
        scale = BASE**offsets
        batch = self._build_batch(rows[:, 0] * scale, rows[:, 1] * scale)
        places = torch.arange(digits - 1, -1, -1).repeat(NUM_INPUT_TERMS)
        inputs = batch.inputs.masked_fill(places < offsets.unsqueeze(1), BLANK_TOKEN)
        return Batch(inputs, batch.targets, rows[:, 1].abs())

    def load_full_split(self, split: str) -> Batch:
        """Return every sequence of a split once."""
        sequences = get_sequences(split, self.settings)
        return self._build_batch(sequences[:, 0], sequences[:, 1])

    def _build_batch(self, start: Int[Tensor, " B"], difference: Int[Tensor, " B"]) -> Batch:
        terms = start[:, None] + difference[:, None] * torch.arange(NUM_INPUT_TERMS + 1)
        digits = extract_digits(terms, self.settings.digits)
        return Batch(digits[:, :NUM_INPUT_TERMS].flatten(1), digits[:, NUM_INPUT_TERMS], difference.abs())

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets:
        """Return the digits of the last two numbers in turn, ones first, and the intermediate result after each of them."""
        digits = self.settings.digits
        inputs = batch.inputs.masked_fill(batch.inputs == BLANK_TOKEN, 0)
        before, last = inputs.unflatten(1, (NUM_INPUT_TERMS, digits))[:, -2:].unbind(1)
        places = [
            term * digits + place
            for place in reversed(range(digits))
            for term in range(NUM_INPUT_TERMS - 2, NUM_INPUT_TERMS)
        ]
        return AuxiliaryTargets(add_by_places(before, last), torch.tensor(places).expand(len(last), -1))

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of three to six whole numbers.

        The model reads four numbers: of more it reads the last four, and three are completed by the number before them.

        Raises:
            ValueError: A word is no whole number, a number or the answer has too many digits or is negative, or there are
                too few or too many numbers.
        """
        num_digits = self.settings.digits
        numbers = self._parse_numbers(str(raw_input or ""))
        terms, notes = self._select_terms(numbers)
        steps = {after - before for before, after in itertools.pairwise(numbers)}
        next_number = numbers[-1] + (numbers[-1] - numbers[-2])
        if len(steps) == 1:
            self._check_range(next_number, "the next number would be")
        inputs = extract_digits(torch.tensor([terms]), num_digits).flatten(1)
        items = [digit for number in terms for digit in str(number).zfill(num_digits)]
        display = {"kind": "sequence", "items": items, "group": num_digits, "notes": notes}
        true_choices = tuple(map(int, str(next_number).zfill(num_digits))) if len(steps) == 1 else None
        return TaskInput(inputs, display, num_digits, None, true_choices, self._find_shift(terms, steps))

    def _parse_numbers(self, text: str) -> list[int]:
        """Return the numbers of a text.

        Raises:
            ValueError: See `parse_input`.
        """
        words = [word for word in re.split(r"[\s,;]+", text.strip()) if word]
        if not words:
            raise ValueError(f"Type {self.input_hint}.")
        for word in words:
            if not re.fullmatch(r"[+-]?\d{1,12}", word, re.ASCII):
                raise ValueError(f"{word[:20]!r} is not a whole number. Type {self.input_hint}.")
        numbers = [int(word) for word in words]
        if not MIN_TYPED_TERMS <= len(numbers) <= MAX_TYPED_TERMS:
            raise ValueError(
                f"This checkpoint reads {MIN_TYPED_TERMS} to {MAX_TYPED_TERMS} numbers, got {len(numbers)}. "
                f"Type {self.input_hint}."
            )
        for number in numbers:
            self._check_range(number, "got")
        return numbers

    def _check_range(self, number: int, what: str) -> None:
        """Check that a number has at most `settings.digits` digits.

        Raises:
            ValueError: It has more, or it is negative.
        """
        limit = 10**self.settings.digits
        if not 0 <= number < limit:
            raise ValueError(f"This checkpoint reads and predicts numbers from 0 to {limit - 1}; {what} {number}.")

    def _select_terms(self, numbers: list[int]) -> tuple[list[int], list[str]]:
        """Return the four numbers that the model reads, and notes about them.

        Raises:
            ValueError: There are three numbers, and the one before them is negative or has too many digits.
        """
        if len(numbers) > NUM_INPUT_TERMS:
            return numbers[-NUM_INPUT_TERMS:], [f"The model reads the last {NUM_INPUT_TERMS} numbers."]
        if len(numbers) == NUM_INPUT_TERMS:
            return numbers, []
        previous = 2 * numbers[0] - numbers[1]
        if not 0 <= previous < 10**self.settings.digits:
            raise ValueError(
                f"The model reads {NUM_INPUT_TERMS} numbers, and the one before {numbers[0]} would be {previous}, which it "
                "cannot read: type one more number at the end."
            )
        return [previous, *numbers], [
            f"The model reads {NUM_INPUT_TERMS} numbers, so it is given {previous} before yours."
        ]

    def _find_shift(self, terms: list[int], steps: set[int]) -> DistributionShift | None:
        """Return the difference between a sequence and the training sequences."""
        if len(steps) > 1:
            return DistributionShift("The steps between the numbers are not equal; in training they are.")
        split = assign_sequence_splits(self.settings).get((terms[0], terms[1] - terms[0]))
        trained = self.settings.trained_difference
        if split == COMPOSITIONAL:
            return DistributionShift("Sequences with this first digit and this step were left out of training.", split)
        if split != EXTRAPOLATION and split is not None:
            return None
        return DistributionShift(f"The step is larger than {trained}, the largest one in training.", EXTRAPOLATION)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the predicted number."""
        number = int("".join(map(str, choices)))
        return TaskAnswer(number, str(number), f"Next comes {number}")

    def get_labels(self) -> list[str]:
        """Return the names of the classes, the digits."""
        return [str(digit) for digit in range(10)]

    def get_examples(self) -> list[str]:
        """Return three sequences."""
        return ["3 7 11 15", "90 80 70 60", "128 141 154 167"]

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate a sequence from the test split."""
        return self.format_sample(self.draw_test_sample(seed, difficulty))

    def format_sample(self, sample: Batch) -> str:
        """Return the four numbers of a sample."""
        digits = sample.inputs[0].tolist()
        size = self.settings.digits
        return " ".join(
            str(int("".join(map(str, digits[start : start + size])))) for start in range(0, len(digits), size)
        )


def extract_digits(numbers: Int[Tensor, "*B"], num_digits: int) -> Int[Tensor, "*B D"]:
    """Return the decimal digits of each number, most significant first, in a new last axis."""
    return torch.stack([numbers // 10**power % 10 for power in reversed(range(num_digits))], -1)


def add_by_places(before: Int[Tensor, "B D"], last: Int[Tensor, "B D"]) -> Int[Tensor, "B S"]:
    """Return the intermediate results of computing the next number, 2 * last - before, from the ones to the highest place.

    There are two for each place, S = 2 D: its digit of `before` and the carry so far, and its digit of the result and the new carry.
    A pair of digit and carry is one class.

    Args:
        before: Digits of the last but one number, most significant first.
        last: Digits of the last number.
    """
    carry = torch.zeros_like(last[:, 0])
    states = []
    for minuend, digit in zip(last.flip(1).T, before.flip(1).T, strict=True):
        states.append(digit * NUM_CARRIES + carry + 1)
        total = 2 * minuend - digit + carry
        carry = total.div(BASE, rounding_mode="floor")
        states.append(BASE * NUM_CARRIES + total % BASE * NUM_CARRIES + carry + 1)
    return torch.stack(states, 1)


@cache
def get_sequences(split: str, settings: ArithmeticSettings) -> Int[Tensor, "n 2"]:
    """Return (start, difference) of every sequence of a split; all five terms have at most `settings.digits` digits."""
    pairs = [pair for pair, pair_split in assign_sequence_splits(settings).items() if pair_split == split]
    return torch.tensor(pairs).reshape(-1, 2)


@cache
def assign_sequence_splits(settings: ArithmeticSettings) -> dict[tuple[int, int], str]:
    """Return the split of every sequence, by (start, difference)."""
    limit = 10**settings.digits
    max_difference = settings.largest_difference
    pairs = [
        (start, difference)
        for difference in range(-max_difference, max_difference + 1)
        for start in range(limit)
        if 0 <= start + NUM_INPUT_TERMS * difference < limit
    ]
    contents = (f"arithmetic {start} {difference}".encode() for start, difference in pairs)
    splits = dict(zip(pairs, assign_splits(contents), strict=True))
    for start, difference in pairs:
        if abs(difference) > settings.trained_difference:
            splits[start, difference] = EXTRAPOLATION
        # With the factor 7, every digit still occurs at every position of the training inputs.
        elif (start + 7 * difference) % 10 == 0:
            splits[start, difference] = COMPOSITIONAL
        elif splits[start, difference] == TEST and start <= MAX_TYPED_START and 1 <= abs(difference) <= MAX_TYPED_STEP:
            splits[start, difference] = TYPED
    return splits
