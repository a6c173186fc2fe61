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
from training.tasks.base import (
    TEST,
    Answer,
    Batch,
    Given,
    Task,
    TaskShape,
    generator_for,
    splits_of,
)

COMPOSITIONAL, EXTRAPOLATION = "compositional", "extrapolation"
SHOWN = 4


class ArithmeticSettings(Settings):
    digits: int = Field(3, ge=1, le=4, description="decimal digits of a number")
    trained_difference: int = Field(20, ge=1, le=1_000, description="largest absolute difference trained on")
    largest_difference: int = Field(25, ge=1, le=1_000, description="largest absolute difference of extrapolation")


class Arithmetic(Task):
    name = "arithmetic"
    title = "Arithmetic sequences"
    takes = "text"
    invents = True
    splits = (*Task.splits, COMPOSITIONAL, EXTRAPOLATION)
    Settings = ArithmeticSettings

    @property
    def hint(self) -> str:
        return f"{SHOWN} whole numbers from 0 to {10**self.settings.digits - 1} with equal steps, such as 3 7 11 15"

    def shape(self) -> TaskShape:
        digits = self.settings.digits
        return TaskShape(f"tokens-10x{SHOWN * digits}", classes=10, positions=digits)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        sequences = sequences_of(split, self.settings)
        picked = sequences[torch.randint(len(sequences), (count,), generator=generator)]
        return self._batch(picked[:, 0], picked[:, 1])

    def all_of(self, split: str) -> Batch:
        """Every sequence of a split, once."""
        sequences = sequences_of(split, self.settings)
        return self._batch(sequences[:, 0], sequences[:, 1])

    def _batch(self, start: torch.Tensor, difference: torch.Tensor) -> Batch:
        terms = start[:, None] + difference[:, None] * torch.arange(SHOWN + 1)
        digits = digits_of(terms, self.settings.digits)
        return Batch(digits[:, :SHOWN].flatten(1), digits[:, SHOWN], difference.abs())

    def read(self, given: Any) -> Given:
        limit = 10**self.settings.digits
        words = [word for word in re.split(r"[\s,;]+", str(given or "").strip()) if word]
        if not words:
            raise ValueError(f"Type {self.hint}.")
        for word in words:
            if not re.fullmatch(r"[+-]?\d{1,12}", word, re.ASCII):
                raise ValueError(f"{word[:20]!r} is not a whole number. Type {self.hint}.")
        numbers = [int(word) for word in words]
        if len(numbers) != SHOWN:
            raise ValueError(f"This checkpoint reads exactly {SHOWN} numbers, got {len(numbers)}.")
        if outside := [number for number in numbers if not 0 <= number < limit]:
            raise ValueError(f"Numbers go from 0 to {limit - 1} here, got {outside[0]}.")
        inputs = digits_of(torch.tensor([numbers]), self.settings.digits).flatten(1)
        items = [digit for number in numbers for digit in str(number).zfill(self.settings.digits)]
        return Given(inputs, {"kind": "sequence", "items": items, "group": self.settings.digits}, self.settings.digits)

    def present(self, given: Given, choices: list[int]) -> Answer:
        number = int("".join(map(str, choices)))
        return Answer(number, str(number), f"Next comes {number}")

    def labels(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def examples(self) -> list[str]:
        return ["3 7 11 15", "90 80 70 60", "128 141 154 167"]

    def invent(self, seed: int) -> str:
        """Numbers that were never trained on."""
        digits = self.draw(TEST, 1, generator_for("invent", seed)).inputs[0].tolist()
        size = self.settings.digits
        return " ".join(str(int("".join(map(str, digits[at : at + size])))) for at in range(0, len(digits), size))


def digits_of(numbers: torch.Tensor, digits: int) -> torch.Tensor:
    """Decimal digits, most significant first, in a new last axis."""
    return torch.stack([numbers // 10**place % 10 for place in reversed(range(digits))], -1)


@cache
def sequences_of(split: str, settings: ArithmeticSettings) -> torch.Tensor:
    """(start, difference) of every sequence of a split whose five terms fit the digits."""
    return torch.tensor([pair for pair, place in places(settings).items() if place == split]).reshape(-1, 2)


@cache
def places(settings: ArithmeticSettings) -> dict[tuple[int, int], str]:
    """The one split that each sequence belongs to."""
    limit, largest = 10**settings.digits, settings.largest_difference
    pairs = [
        (start, difference)
        for difference in range(-largest, largest + 1)
        for start in range(limit)
        if 0 <= start + SHOWN * difference < limit
    ]
    found = dict(zip(pairs, splits_of(f"arithmetic {start} {step}".encode() for start, step in pairs), strict=True))
    for start, difference in pairs:
        if abs(difference) > settings.trained_difference:
            found[start, difference] = EXTRAPOLATION
        elif (start + 7 * difference) % 10 == 0:  # 7: so no place of any shown number ever lacks a digit in training
            found[start, difference] = COMPOSITIONAL
    return found
