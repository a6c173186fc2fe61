"""Cumulative parity (paper section 4.3): for every bit, whether the number of ones up to it is odd or even.

Sequences have any length up to L. Shorter ones are padded, and the positions after their end repeat the last parity, so that
every position of the answer has a target. Published models read sequences of one length, with every 1 encoded as -1 and
every 0 as +1: the encoding `signs`.
"""

import itertools
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
MAX_ENUMERATION_LENGTH = 16  # bits; all sequences up to this length are enumerated
MAX_EDITOR_LENGTH = 64  # bits that the page shows as buttons; longer sequences are typed


class ParitySettings(Settings):
    """Settings of the task `parity`."""

    length: int = Field(
        16, ge=1, le=512, description="bits of the longest sequence; with encoding=signs, of every sequence"
    )
    encoding: Literal["tokens", "signs"] = Field(
        "tokens", description="encoding of bits: 0, 1 and padding (tokens), or +1 and -1 as in published models (signs)"
    )


class Parity(Task):
    """Parity of all bits up to each position (paper section 4.3). Difficulty is the number of bits."""

    name = "parity"
    title = "Parity"
    input_type = "text"
    supports_generation = True
    sentence_positions = 1
    Settings = ParitySettings
    settings: ParitySettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        length = self.settings.length
        return f"{length} bits of 0 and 1" if self._uses_signs else f"1 to {length} bits, such as 1011001"

    @property
    def input_editor(self) -> dict[str, Any] | None:
        """Editor of up to `MAX_EDITOR_LENGTH` bits; None for longer sequences."""
        length = self.settings.length
        return {"kind": "bits", "length": length, "fixed": self._uses_signs} if length <= MAX_EDITOR_LENGTH else None

    @property
    def _uses_signs(self) -> bool:
        return self.settings.encoding == "signs"

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: two classes at each of `length` positions."""
        length = self.settings.length
        return TaskSpec("parity_backbone" if self._uses_signs else f"tokens-3x{length}", classes=2, positions=length)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample sequences: uniform over the lengths that the split contains, then uniform over sequences of that length.

        For training the length is the larger of two uniform draws, because long sequences take longest to learn.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, L), int64 tokens or float32 signs; targets of shape (B, L).

        Raises:
            ValueError: The split contains no sequence.
        """
        max_length = self.settings.length
        available_lengths = self._list_lengths(split)
        draws = torch.randint(len(available_lengths), (2 if split == TRAIN else 1, count), generator=generator)
        lengths = available_lengths[draws.amax(0)]
        fractions = torch.rand(count, generator=generator)
        bits = torch.full((count, max_length), PAD_TOKEN)
        for sequence, length, fraction in zip(bits, lengths.tolist(), fractions.tolist(), strict=True):
            sequence[:length] = (
                select_enumerated_sequence(split, length, fraction)
                if length <= MAX_ENUMERATION_LENGTH
                else sample_long_sequence(split, length, generator)
            )
        return self._build_batch(bits, lengths)

    def _list_lengths(self, split: str) -> Int[Tensor, " n"]:
        """Return the lengths of which a split contains sequences.

        Raises:
            ValueError: There is none.
        """
        max_length = self.settings.length
        min_length = max_length if self._uses_signs else 1
        lengths = [
            length
            for length in range(min_length, max_length + 1)
            if length > MAX_ENUMERATION_LENGTH or len(enumerate_sequences(split, length))
        ]
        if not lengths:
            raise ValueError(
                f"The split {split} has no sequence of at most {max_length} bits: set task.length to 8 or more."
            )
        return torch.tensor(lengths)

    def _build_batch(self, bits: Int[Tensor, "B L"], lengths: Int[Tensor, " B"]) -> Batch:
        return Batch(self._encode(bits), (bits == 1).cumsum(1) % 2, lengths)

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Return the share of correct positions as `places`; an answer is correct if all of its positions are."""
        return {"places": (choices == targets).float().mean().item()}

    def _encode(self, bits: Int[Tensor, "B L"]) -> Tensor:
        return 1.0 - 2.0 * bits if self._uses_signs else bits

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of bits; spaces and commas are ignored.

        Raises:
            ValueError: The text is empty, has another character, or has a wrong number of bits.
        """
        text = "".join(str(raw_input or "").replace(",", " ").split())
        max_length = self.settings.length
        if not text:
            raise ValueError(f"Type some bits: {self.input_hint}.")
        check_alphabet(text, "01", "Bits are 0 and 1 only", self.input_hint)
        if len(text) > max_length or (self._uses_signs and len(text) < max_length):
            limit = "exactly" if self._uses_signs else "at most"
            raise ValueError(f"This checkpoint reads {limit} {max_length} bits, got {len(text)}.")
        bits = [int(bit) for bit in text]
        inputs = self._encode(torch.tensor([bits + [PAD_TOKEN] * (max_length - len(bits))]))
        display = {"kind": "sequence", "items": [str(bit) for bit in bits]}
        true_choices = tuple(count % 2 for count in itertools.accumulate(bits))
        return TaskInput(inputs, display, len(bits), true_choices=true_choices)

    def get_last_positions(self, batch: Batch) -> Int[Tensor, " B"]:
        """Return the index of the last bit of every sample."""
        return batch.difficulty - 1

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the parity of all bits, which is the class of the last position."""
        label = self.get_labels()[choices[-1]]
        return TaskAnswer(choices, label, f"The number of ones is {label}")

    def get_labels(self) -> list[str]:
        """Return the names of the classes."""
        return ["even", "odd"]

    def get_examples(self) -> list[str]:
        """Return a short sequence, one of the full length, and one of ones only."""
        length = self.settings.length
        mixed = ("0110100110010110" * (length // 16 + 1))[:length]
        return [*([] if self._uses_signs else ["1011"]), mixed, "1" * length]

    def generate_input(self, seed: int) -> str:
        """Generate bits from the test split."""
        batch = self.sample(TEST, 1, make_generator("invent", seed))
        bits = (batch.inputs[0] < 0).long() if self._uses_signs else batch.inputs[0]
        return "".join(map(str, bits[: int(batch.difficulty[0])].tolist()))

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Infer the length from a published config with the backbone for signs and two classes per position."""
        shape = list(config.get("prediction_reshaper") or [])
        if config.get("backbone_type") != "parity_backbone" or len(shape) != 2 or shape[1] != 2:
            return None
        length = config.get("out_dims", 0) // 2 if shape[0] == -1 else shape[0]
        return {"length": length, "encoding": "signs"}


def select_enumerated_sequence(split: str, length: int, fraction: float) -> Int[Tensor, " L"]:
    """Return the sequence at a fraction in [0, 1) of the list of all sequences of a split and length."""
    codes = enumerate_sequences(split, length)
    return torch.from_numpy((int(codes[int(fraction * len(codes))]) >> np.arange(length)) & 1)


@cache
def enumerate_sequences(split: str, length: int) -> np.ndarray:
    """Return all sequences of `length` bits of a split, each as an integer whose lowest bit is the first one."""
    codes = np.arange(2**length)
    return codes[np.array(assign_code_splits(length)) == split]


@cache
def assign_code_splits(length: int) -> list[str]:
    """Return the split of each of the 2**length sequences, in the order of their integers."""
    return assign_splits(f"parity {length} {code}".encode() for code in range(2**length))


def sample_long_sequence(split: str, length: int, generator: torch.Generator) -> Int[Tensor, " L"]:
    """Sample a sequence of a split by rejection, for lengths with too many sequences to enumerate."""
    while True:
        sequence = torch.randint(2, (length,), generator=generator)
        if assign_split(b"parity" + bytes(sequence.tolist())) == split:
            return sequence
