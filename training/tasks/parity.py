"""Cumulative parity (paper section 4.3): for every bit, whether the ones so far are odd or even, at any length up to L.

Shorter rows are padded; past their end the last answer is held, so that every position of the answer means something.
Published machines see rows of one length, with every 1 as -1 and every 0 as +1: that is the encoding `signs`.
"""

from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import (
    TEST,
    TRAIN,
    Answer,
    Batch,
    Given,
    Task,
    TaskShape,
    generator_for,
    refuse_other_signs,
    split_of,
    splits_of,
)

PAD = 2
LISTED = 16  # rows of up to so many bits are few enough to list them all
ON_A_PAD = 64  # bits that are clicked one by one; longer rows are typed


class ParitySettings(Settings):
    length: int = Field(16, ge=1, le=512, description="longest row of bits; with signs, the length of every row")
    encoding: Literal["tokens", "signs"] = Field(
        "tokens", description="how bits are shown: 0, 1 and padding, or as published machines see them, +1 and -1"
    )


class Parity(Task):
    name = "parity"
    title = "Parity"
    takes = "text"
    invents = True
    Settings = ParitySettings

    @property
    def hint(self) -> str:
        length = self.settings.length
        return f"{length} bits of 0 and 1" if self._signs else f"1 to {length} bits, such as 1011001"

    @property
    def pad(self) -> dict[str, Any] | None:
        length = self.settings.length
        return {"kind": "bits", "length": length, "fixed": self._signs} if length <= ON_A_PAD else None

    @property
    def _signs(self) -> bool:
        return self.settings.encoding == "signs"

    def shape(self) -> TaskShape:
        length = self.settings.length
        return TaskShape("parity_backbone" if self._signs else f"tokens-3x{length}", classes=2, positions=length)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Lengths are drawn evenly among those that the split has rows of, then rows of that length evenly.

        To train on, the longer of two drawn lengths is taken: short rows are learned soon, long ones are what takes time.
        """
        longest = self.settings.length
        fewest = longest if self._signs else 1
        lengths = range(fewest, longest + 1)
        there = torch.tensor([length for length in lengths if length > LISTED or len(rows_of(split, length))])
        if not len(there):
            raise ValueError(
                f"Rows of at most {longest} bits are too few for a {split} split; set task.length to 8 or more."
            )
        draws = torch.randint(len(there), (2 if split == TRAIN else 1, count), generator=generator)
        lengths = there[draws.amax(0)]
        picks = torch.rand(count, generator=generator)
        bits = torch.full((count, longest), PAD)
        for row, length, pick in zip(bits, lengths.tolist(), picks.tolist(), strict=True):
            row[:length] = listed_row(split, length, pick) if length <= LISTED else drawn_row(split, length, generator)
        return self._batch(bits, lengths)

    def _batch(self, bits: Int[Tensor, "B L"], lengths: Int[Tensor, " B"]) -> Batch:
        return Batch(self._encoded(bits), (bits == 1).cumsum(1) % 2, lengths)

    def figures(self, chosen: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How many places are right; an answer is right when all of its places are."""
        return {"places": (chosen == targets).float().mean().item()}

    def _encoded(self, bits: Int[Tensor, "B L"]) -> Tensor:
        return 1.0 - 2.0 * bits if self._signs else bits

    def read(self, given: Any) -> Given:
        text = "".join(str(given or "").replace(",", " ").split())
        longest = self.settings.length
        if not text:
            raise ValueError(f"Type some bits: {self.hint}.")
        refuse_other_signs(text, "01", "Bits are 0 and 1 only", self.hint)
        if len(text) > longest or (self._signs and len(text) < longest):
            most = "exactly" if self._signs else "at most"
            raise ValueError(f"This checkpoint reads {most} {longest} bits, got {len(text)}.")
        bits = [int(bit) for bit in text]
        inputs = self._encoded(torch.tensor([bits + [PAD] * (longest - len(bits))]))
        return Given(inputs, {"kind": "sequence", "items": [str(bit) for bit in bits]}, len(bits))

    def present(self, given: Given, choices: list[int]) -> Answer:
        label = self.labels()[choices[-1]]
        return Answer(choices, label, f"The number of ones is {label}")

    def labels(self) -> list[str]:
        return ["even", "odd"]

    def examples(self) -> list[str]:
        length = self.settings.length
        mixed = ("0110100110010110" * (length // 16 + 1))[:length]
        return [*([] if self._signs else ["1011"]), mixed, "1" * length]

    def invent(self, seed: int) -> str:
        """A row that was never trained on."""
        batch = self.draw(TEST, 1, generator_for("invent", seed))
        bits = (batch.inputs[0] < 0).long() if self._signs else batch.inputs[0]
        return "".join(map(str, bits[: int(batch.difficulty[0])].tolist()))

    @classmethod
    def infer(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """A published backbone for signs, and two classes a position."""
        shape = list(config.get("prediction_reshaper") or [])
        if config.get("backbone_type") != "parity_backbone" or len(shape) != 2 or shape[1] != 2:
            return None
        length = config.get("out_dims", 0) // 2 if shape[0] == -1 else shape[0]
        return {"length": length, "encoding": "signs"}


def listed_row(split: str, length: int, pick: float) -> Int[Tensor, " L"]:
    """The row of a split that lies at `pick`, from 0 to 1, in the list of all."""
    codes = rows_of(split, length)
    return torch.from_numpy((int(codes[int(pick * len(codes))]) >> np.arange(length)) & 1)


@cache
def rows_of(split: str, length: int) -> np.ndarray:
    """All rows of `length` bits that belong to a split, as numbers."""
    codes = np.arange(2**length)
    return codes[np.array(splits_of_codes(length)) == split]


@cache
def splits_of_codes(length: int) -> list[str]:
    return splits_of(f"parity {length} {code}".encode() for code in range(2**length))


def drawn_row(split: str, length: int, generator: torch.Generator) -> Int[Tensor, " L"]:
    """A row of a split that has too many to list them."""
    while True:
        row = torch.randint(2, (length,), generator=generator)
        if split_of(b"parity" + bytes(row.tolist())) == split:
            return row
