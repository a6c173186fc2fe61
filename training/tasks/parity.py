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
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec, check_alphabet
from training.tasks.splits import TEST, TRAIN, assign_split, assign_splits, make_generator

PAD_TOKEN = 2
MAX_ENUMERATION_LENGTH = 16  # rows of up to so many bits are few enough to list them all
MAX_EDITOR_LENGTH = 64  # bits that are clicked one by one; longer rows are typed


class ParitySettings(Settings):
    length: int = Field(16, ge=1, le=512, description="longest row of bits; with signs, the length of every row")
    encoding: Literal["tokens", "signs"] = Field(
        "tokens", description="encoding of bits: 0, 1 and padding, or +1 and -1 as in published models"
    )


class Parity(Task):
    name = "parity"
    title = "Parity"
    input_type = "text"
    supports_generation = True
    Settings = ParitySettings

    @property
    def input_hint(self) -> str:
        length = self.settings.length
        return f"{length} bits of 0 and 1" if self._uses_signs else f"1 to {length} bits, such as 1011001"

    @property
    def input_editor(self) -> dict[str, Any] | None:
        length = self.settings.length
        return {"kind": "bits", "length": length, "fixed": self._uses_signs} if length <= MAX_EDITOR_LENGTH else None

    @property
    def _uses_signs(self) -> bool:
        return self.settings.encoding == "signs"

    def get_spec(self) -> TaskSpec:
        length = self.settings.length
        return TaskSpec("parity_backbone" if self._uses_signs else f"tokens-3x{length}", classes=2, positions=length)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Lengths are drawn evenly among those that the split has rows of, then rows of that length evenly.

        To train on, the longer of two drawn lengths is taken: short rows are learned soon, long ones are what takes time.
        """
        longest = self.settings.length
        fewest = longest if self._uses_signs else 1
        lengths = range(fewest, longest + 1)
        there = torch.tensor(
            [length for length in lengths if length > MAX_ENUMERATION_LENGTH or len(enumerate_rows(split, length))]
        )
        if not len(there):
            raise ValueError(
                f"Rows of at most {longest} bits are too few for a {split} split; set task.length to 8 or more."
            )
        draws = torch.randint(len(there), (2 if split == TRAIN else 1, count), generator=generator)
        lengths = there[draws.amax(0)]
        picks = torch.rand(count, generator=generator)
        bits = torch.full((count, longest), PAD_TOKEN)
        for row, length, pick in zip(bits, lengths.tolist(), picks.tolist(), strict=True):
            row[:length] = (
                select_enumerated_row(split, length, pick)
                if length <= MAX_ENUMERATION_LENGTH
                else sample_row(split, length, generator)
            )
        return self._build_batch(bits, lengths)

    def _build_batch(self, bits: Int[Tensor, "B L"], lengths: Int[Tensor, " B"]) -> Batch:
        return Batch(self._encode(bits), (bits == 1).cumsum(1) % 2, lengths)

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How many places are right; an answer is right when all of its places are."""
        return {"places": (choices == targets).float().mean().item()}

    def _encode(self, bits: Int[Tensor, "B L"]) -> Tensor:
        return 1.0 - 2.0 * bits if self._uses_signs else bits

    def parse_input(self, raw_input: Any) -> TaskInput:
        text = "".join(str(raw_input or "").replace(",", " ").split())
        longest = self.settings.length
        if not text:
            raise ValueError(f"Type some bits: {self.input_hint}.")
        check_alphabet(text, "01", "Bits are 0 and 1 only", self.input_hint)
        if len(text) > longest or (self._uses_signs and len(text) < longest):
            most = "exactly" if self._uses_signs else "at most"
            raise ValueError(f"This checkpoint reads {most} {longest} bits, got {len(text)}.")
        bits = [int(bit) for bit in text]
        inputs = self._encode(torch.tensor([bits + [PAD_TOKEN] * (longest - len(bits))]))
        return TaskInput(inputs, {"kind": "sequence", "items": [str(bit) for bit in bits]}, len(bits))

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        label = self.get_labels()[choices[-1]]
        return TaskAnswer(choices, label, f"The number of ones is {label}")

    def get_labels(self) -> list[str]:
        return ["even", "odd"]

    def get_examples(self) -> list[str]:
        length = self.settings.length
        mixed = ("0110100110010110" * (length // 16 + 1))[:length]
        return [*([] if self._uses_signs else ["1011"]), mixed, "1" * length]

    def generate_input(self, seed: int) -> str:
        """A row that was never trained on."""
        batch = self.sample(TEST, 1, make_generator("invent", seed))
        bits = (batch.inputs[0] < 0).long() if self._uses_signs else batch.inputs[0]
        return "".join(map(str, bits[: int(batch.difficulty[0])].tolist()))

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """A published backbone for signs, and two classes a position."""
        shape = list(config.get("prediction_reshaper") or [])
        if config.get("backbone_type") != "parity_backbone" or len(shape) != 2 or shape[1] != 2:
            return None
        length = config.get("out_dims", 0) // 2 if shape[0] == -1 else shape[0]
        return {"length": length, "encoding": "signs"}


def select_enumerated_row(split: str, length: int, pick: float) -> Int[Tensor, " L"]:
    """The row of a split that lies at `pick`, from 0 to 1, in the list of all."""
    codes = enumerate_rows(split, length)
    return torch.from_numpy((int(codes[int(pick * len(codes))]) >> np.arange(length)) & 1)


@cache
def enumerate_rows(split: str, length: int) -> np.ndarray:
    """All rows of `length` bits that belong to a split, as numbers."""
    codes = np.arange(2**length)
    return codes[np.array(assign_code_splits(length)) == split]


@cache
def assign_code_splits(length: int) -> list[str]:
    return assign_splits(f"parity {length} {code}".encode() for code in range(2**length))


def sample_row(split: str, length: int, generator: torch.Generator) -> Int[Tensor, " L"]:
    """A row of a split that has too many to list them."""
    while True:
        row = torch.randint(2, (length,), generator=generator)
        if assign_split(b"parity" + bytes(row.tolist())) == split:
            return row
