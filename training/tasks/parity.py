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
from jaxtyping import Float, Int, UInt8
from pydantic import Field, model_validator
from torch import Tensor

from ctm.settings import Settings
from training.auxiliary_losses import AuxiliaryTargets
from training.losses import IGNORE_INDEX
from training.tasks.base import Task, check_alphabet, check_curriculum
from training.tasks.samples import Batch, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import SPLIT_PERCENT, TEST, TRAIN, assign_split, assign_splits

LONGEST = "longest"  # test sequences of the full length
PAD_TOKEN = 2
MAX_ENUMERATION_LENGTH = 16  # bits; all sequences up to this length are enumerated
MAX_EDITOR_LENGTH = 64  # bits that the page shows as buttons; longer sequences are typed


class ParitySettings(Settings):
    """Settings of the task `parity`."""

    length: int = Field(
        16,
        ge=1,
        le=512,
        title="Bits",
        description="bits of the longest sequence; with encoding=signs, of every sequence",
    )
    encoding: Literal["tokens", "signs"] = Field(
        "tokens",
        title="Encoding of bits",
        description="encoding of bits: 0, 1 and padding (tokens), or +1 and -1 as in published models (signs)",
    )
    curriculum_length: int | None = Field(
        None,
        ge=8,
        le=512,
        title="Bits in this stage",
        description="bits of the longest sequence in a stage of a curriculum; positions after it do not count. None: length",
    )
    share_full: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share of longest sequences",
        description="share of training sequences that have the full length, besides those drawn so",
    )

    @model_validator(mode="after")
    def _check_curriculum(self) -> "ParitySettings":
        check_curriculum("curriculum_length", self.curriculum_length, "length", self.length)
        if self.curriculum_length is not None and self.encoding == "signs":
            raise ValueError("task.curriculum_length needs task.encoding=tokens: the encoding signs has no padding.")
        return self


class Parity(Task):
    """Parity of all bits up to each position (paper section 4.3). Difficulty is the number of bits."""

    name = "parity"
    title = "Parity"
    input_type = "text"
    supports_generation = True
    difficulty_name = "bits"
    position_noun = "bits"
    sentence_positions = 1
    num_states = 2
    splits = (*Task.splits, LONGEST)
    test_subsets = (LONGEST,)
    Settings = ParitySettings
    settings: ParitySettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        length = self.settings.length
        return f"{length} bits of 0 and 1" if self._uses_signs else f"1 to {length} bits, such as 1011001"

    @property
    def reported_splits(self) -> tuple[str, ...]:
        """The test split, and its longest sequences: a mean over lengths does not say how a model reads those."""
        return (TEST,) if self._uses_signs else (TEST, LONGEST)

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

        For training the length is the larger of two uniform draws, because long sequences take longest to learn, and
        `share_full` of the sequences have the full length: L, or `curriculum_length`.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, L), int64 tokens or float32 signs; targets of shape (B, L).

        Raises:
            ValueError: The split contains no sequence.
        """
        max_length = self.settings.curriculum_length or self.settings.length
        has_one_length = self._uses_signs or split == LONGEST
        split = self.get_source_split(split)
        available_lengths = list_lengths(split, max_length if has_one_length else 1, max_length)
        draws = torch.randint(len(available_lengths), (2 if split == TRAIN else 1, count), generator=generator)
        lengths = available_lengths[draws.amax(0)]
        fractions = torch.rand(count, generator=generator)
        if split == TRAIN and self.settings.share_full:
            is_full = torch.rand(count, generator=generator) < self.settings.share_full
            lengths = lengths.masked_fill(is_full, max_length)
        bits = np.full((count, self.settings.length), PAD_TOKEN)
        is_bit = np.arange(self.settings.length) < lengths.numpy()[:, None]
        is_long = lengths.numpy() > MAX_ENUMERATION_LENGTH
        short = select_enumerated_sequences(split, lengths.numpy()[~is_long], fractions.double().numpy()[~is_long])
        width = min(max_length, MAX_ENUMERATION_LENGTH)
        bits[~is_long, :width] = np.where(is_bit[~is_long, :width], short[:, :width], PAD_TOKEN)
        if is_long.any():
            bits[is_bit & is_long[:, None]] = sample_long_sequences(split, lengths[is_long].tolist(), generator)
        return self._build_batch(torch.from_numpy(bits), lengths)

    def _build_batch(self, bits: Int[Tensor, "B L"], lengths: Int[Tensor, " B"]) -> Batch:
        targets = (bits == 1).cumsum(1) % 2
        if self.settings.curriculum_length is not None:
            targets[:, self.settings.curriculum_length :] = IGNORE_INDEX
        return Batch(self._encode(bits), targets, lengths)

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Return the share of correct positions as `places`; an answer is correct if all of its positions are."""
        return {"places": (choices == targets).float().mean().item()}

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets:
        """Return the place of every bit, and the parity of the bits up to it; nothing after the end of a sequence."""
        positions = torch.arange(self.settings.length).expand_as(batch.targets)
        return AuxiliaryTargets.before_padding(positions, batch.targets, batch.difficulty)

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

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate bits from the test split."""
        return self.format_sample(self.draw_test_sample(seed, difficulty))

    def format_sample(self, sample: Batch) -> str:
        """Return the bits of a sample."""
        bits = (sample.inputs[0] < 0).long() if self._uses_signs else sample.inputs[0]
        return "".join(map(str, bits[: int(sample.difficulty[0])].tolist()))

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Infer the length from a published config with the backbone for signs and two classes per position."""
        shape = list(config.get("prediction_reshaper") or [])
        if config.get("backbone_type") != "parity_backbone" or len(shape) != 2 or shape[1] != 2:
            return None
        length = config.get("out_dims", 0) // 2 if shape[0] == -1 else shape[0]
        return {"length": length, "encoding": "signs"}


@cache
def list_lengths(split: str, min_length: int, max_length: int) -> Int[Tensor, " n"]:
    """Return the lengths of which a split contains sequences.

    Raises:
        ValueError: There is none.
    """
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


def select_enumerated_sequences(
    split: str, lengths: Int[np.ndarray, " n"], fractions: Float[np.ndarray, " n"]
) -> Int[np.ndarray, "n 16"]:
    """Select sequences of lengths up to `MAX_ENUMERATION_LENGTH`.

    Args:
        split: One of `splits`.
        lengths: Bits of each sequence.
        fractions: Place of each sequence in the list of all sequences of its split and length, in [0, 1).

    Returns:
        The bits of each sequence, and zeros.
    """
    codes, first, counts = build_code_table(split, int(lengths.max(initial=0)))
    chosen = codes[first[lengths] + (fractions * counts[lengths]).astype(np.int64)]
    return (chosen[:, None] >> np.arange(MAX_ENUMERATION_LENGTH)) & 1


@cache
def build_code_table(split: str, max_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the codes of `enumerate_sequences` of all lengths up to a maximum, and where those of a length start.

    Returns:
        All codes, the index of the first code of each length from 0 on, and the number of codes of each length.
    """
    codes = [np.zeros(0, np.int64), *(enumerate_sequences(split, length) for length in range(1, max_length + 1))]
    counts = np.array([len(part) for part in codes])
    return np.concatenate(codes), counts.cumsum() - counts, counts


@cache
def enumerate_sequences(split: str, length: int) -> np.ndarray:
    """Return all sequences of `length` bits of a split, each as an integer whose lowest bit is the first one."""
    codes = np.arange(2**length)
    return codes[np.array(assign_code_splits(length)) == split]


@cache
def assign_code_splits(length: int) -> list[str]:
    """Return the split of each of the 2**length sequences, in the order of their integers."""
    return assign_splits(f"parity {length} {code}".encode() for code in range(2**length))


def sample_long_sequences(split: str, lengths: list[int], generator: torch.Generator) -> UInt8[np.ndarray, " n"]:
    """Sample sequences of a split by rejection, for lengths with too many sequences to enumerate.

    The bits of all candidates come from one stream of random bits, which is drawn in blocks. Blocks of any size give the same
    sequences and leave the generator in the same state: after the last bit that was used.

    Args:
        split: One of `splits`.
        lengths: Bits of each sequence.
        generator: Source of all randomness.

    Returns:
        The bits of all sequences, one sequence after the other.
    """
    state = generator.get_state()
    block_size = sum(lengths) * 100 // SPLIT_PERCENT[split] + max(lengths)
    stream = b""
    start = 0
    accepted: list[bytes] = []
    for length in lengths:
        while True:
            if start + length > len(stream):
                stream += torch.randint(2, (block_size,), generator=generator).to(torch.uint8).numpy().tobytes()
            sequence = stream[start : start + length]
            start += length
            if assign_split(b"parity" + sequence) == split:
                break
        accepted.append(sequence)
    generator.set_state(state)
    torch.randint(2, (start,), generator=generator)
    return np.frombuffer(b"".join(accepted), np.uint8)
