"""Cumulative parity (paper section 4.3): for every bit, whether the ones so far are odd or even, at any length up to L.

Shorter rows are padded; past their end the last answer is held, so that every position of the answer means something.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from pydantic import Field

from ctm.settings import Settings
from training.tasks.base import TRAIN, Batch, Given, Task, TaskShape, split_of

PAD = 2


class ParitySettings(Settings):
    length: int = Field(16, ge=1, le=20, description="longest row of bits")


class Parity(Task):
    name = "parity"
    title = "Parity"
    takes = "text"
    Settings = ParitySettings

    @property
    def hint(self) -> str:
        return f"1 to {self.settings.length} bits, such as 1011001"

    def shape(self) -> TaskShape:
        length = self.settings.length
        return TaskShape(f"tokens-3x{length}", classes=2, positions=length)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Lengths are drawn evenly among those that the split has rows of, then rows of that length evenly.

        To train on, the longer of two drawn lengths is taken: short rows are learned soon, long ones are what takes time.
        """
        longest = self.settings.length
        there = torch.tensor([length for length in range(1, longest + 1) if len(rows_of(split, length))])
        if not len(there):
            raise ValueError(
                f"Rows of at most {longest} bits are too few for a {split} split; set task.length to 8 or more."
            )
        draws = torch.randint(len(there), (2 if split == TRAIN else 1, count), generator=generator)
        lengths = there[draws.amax(0)]
        picks = torch.rand(count, generator=generator)
        inputs = torch.full((count, longest), PAD)
        for row, (length, pick) in enumerate(zip(lengths.tolist(), picks.tolist(), strict=True)):
            codes = rows_of(split, length)
            inputs[row, :length] = torch.from_numpy(bits_of(codes[int(pick * len(codes))], length))
        return Batch(inputs, (inputs == 1).cumsum(1) % 2, lengths)

    def read(self, given: Any) -> Given:
        text = "".join(str(given or "").replace(",", " ").split())
        longest = self.settings.length
        if not text:
            raise ValueError(f"Type some bits: {self.hint}.")
        if strange := sorted(set(text) - {"0", "1"}):
            raise ValueError(f"Bits are 0 and 1 only, got {strange[0]!r}. Type {self.hint}.")
        if len(text) > longest:
            raise ValueError(f"This checkpoint reads at most {longest} bits, got {len(text)}.")
        bits = [int(bit) for bit in text]
        inputs = torch.tensor([bits + [PAD] * (longest - len(bits))])
        return Given(inputs, {"kind": "sequence", "items": [str(bit) for bit in bits]}, len(bits))

    def answer(self, choices: list[int]) -> list[int]:
        return choices

    def label(self, choices: list[int]) -> str:
        return self.labels()[choices[-1]]

    def say(self, choices: list[int]) -> str:
        return f"The number of ones is {self.label(choices)}"

    def labels(self) -> list[str]:
        return ["even", "odd"]

    def examples(self) -> list[str]:
        return ["1011", "0110100110010110"[: self.settings.length], "1" * self.settings.length]


def bits_of(code: int | np.integer, length: int) -> np.ndarray:
    return (int(code) >> np.arange(length)) & 1


@cache
def rows_of(split: str, length: int) -> np.ndarray:
    """All rows of `length` bits that belong to a split, as numbers."""
    codes = np.arange(2**length)
    ours = [split_of(f"parity {length} {code}".encode()) == split for code in codes.tolist()]
    return codes[np.array(ours)]
