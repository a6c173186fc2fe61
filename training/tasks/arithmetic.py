"""Arithmetic sequences: four numbers with a constant difference are shown, digit by digit; the fifth is asked for.

Three held-out splits, none inside the training set: *random* (hash of the sequence; validation, calibration and test),
*compositional* (every difference has one unit digit of the start with which it was never seen, though each is known on its
own) and *extrapolation* (absolute differences larger than any trained on). Only the last two show a rule, not a table.
"""

import re
from functools import cache
from typing import Any

import torch
from pydantic import Field

from ctm.settings import Settings
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, assign_splits, make_generator

COMPOSITIONAL, EXTRAPOLATION = "compositional", "extrapolation"
NUM_INPUT_TERMS = 4


class ArithmeticSettings(Settings):
    digits: int = Field(3, ge=1, le=4, description="decimal digits of a number")
    trained_difference: int = Field(20, ge=1, le=1_000, description="largest absolute difference trained on")
    largest_difference: int = Field(25, ge=1, le=1_000, description="largest absolute difference of extrapolation")


class Arithmetic(Task):
    name = "arithmetic"
    title = "Arithmetic sequences"
    input_type = "text"
    supports_generation = True
    splits = (*Task.splits, COMPOSITIONAL, EXTRAPOLATION)
    Settings = ArithmeticSettings

    @property
    def input_hint(self) -> str:
        return f"{NUM_INPUT_TERMS} whole numbers from 0 to {10**self.settings.digits - 1} with equal steps, such as 3 7 11 15"

    def get_spec(self) -> TaskSpec:
        digits = self.settings.digits
        return TaskSpec(f"tokens-10x{NUM_INPUT_TERMS * digits}", classes=10, positions=digits)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        sequences = get_sequences(split, self.settings)
        picked = sequences[torch.randint(len(sequences), (count,), generator=generator)]
        return self._build_batch(picked[:, 0], picked[:, 1])

    def load_full_split(self, split: str) -> Batch:
        """Every sequence of a split, once."""
        sequences = get_sequences(split, self.settings)
        return self._build_batch(sequences[:, 0], sequences[:, 1])

    def _build_batch(self, start: torch.Tensor, difference: torch.Tensor) -> Batch:
        terms = start[:, None] + difference[:, None] * torch.arange(NUM_INPUT_TERMS + 1)
        digits = extract_digits(terms, self.settings.digits)
        return Batch(digits[:, :NUM_INPUT_TERMS].flatten(1), digits[:, NUM_INPUT_TERMS], difference.abs())

    def parse_input(self, raw_input: Any) -> TaskInput:
        limit = 10**self.settings.digits
        words = [word for word in re.split(r"[\s,;]+", str(raw_input or "").strip()) if word]
        if not words:
            raise ValueError(f"Type {self.input_hint}.")
        for word in words:
            if not re.fullmatch(r"[+-]?\d{1,12}", word, re.ASCII):
                raise ValueError(f"{word[:20]!r} is not a whole number. Type {self.input_hint}.")
        numbers = [int(word) for word in words]
        if len(numbers) != NUM_INPUT_TERMS:
            raise ValueError(f"This checkpoint reads exactly {NUM_INPUT_TERMS} numbers, got {len(numbers)}.")
        if outside := [number for number in numbers if not 0 <= number < limit]:
            raise ValueError(f"Numbers go from 0 to {limit - 1} here, got {outside[0]}.")
        inputs = extract_digits(torch.tensor([numbers]), self.settings.digits).flatten(1)
        items = [digit for number in numbers for digit in str(number).zfill(self.settings.digits)]
        return TaskInput(
            inputs, {"kind": "sequence", "items": items, "group": self.settings.digits}, self.settings.digits
        )

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        number = int("".join(map(str, choices)))
        return TaskAnswer(number, str(number), f"Next comes {number}")

    def get_labels(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def get_examples(self) -> list[str]:
        return ["3 7 11 15", "90 80 70 60", "128 141 154 167"]

    def generate_input(self, seed: int) -> str:
        """Numbers that were never trained on."""
        digits = self.sample(TEST, 1, make_generator("invent", seed)).inputs[0].tolist()
        size = self.settings.digits
        return " ".join(str(int("".join(map(str, digits[at : at + size])))) for at in range(0, len(digits), size))


def extract_digits(numbers: torch.Tensor, num_digits: int) -> torch.Tensor:
    """Decimal digits, most significant first, in a new last axis."""
    return torch.stack([numbers // 10**place % 10 for place in reversed(range(num_digits))], -1)


@cache
def get_sequences(split: str, settings: ArithmeticSettings) -> torch.Tensor:
    """(start, difference) of every sequence of a split whose five terms fit the digits."""
    return torch.tensor([pair for pair, place in assign_sequence_splits(settings).items() if place == split]).reshape(
        -1, 2
    )


@cache
def assign_sequence_splits(settings: ArithmeticSettings) -> dict[tuple[int, int], str]:
    """The one split that each sequence belongs to."""
    limit, largest = 10**settings.digits, settings.largest_difference
    pairs = [
        (start, difference)
        for difference in range(-largest, largest + 1)
        for start in range(limit)
        if 0 <= start + NUM_INPUT_TERMS * difference < limit
    ]
    found = dict(zip(pairs, assign_splits(f"arithmetic {start} {step}".encode() for start, step in pairs), strict=True))
    for start, difference in pairs:
        if abs(difference) > settings.trained_difference:
            found[start, difference] = EXTRAPOLATION
        elif (start + 7 * difference) % 10 == 0:  # 7: so no place of any shown number ever lacks a digit in training
            found[start, difference] = COMPOSITIONAL
    return found
