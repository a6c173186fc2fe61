"""Assign samples to splits by a hash of their content.

The split of a sample depends on its content alone, so no validation, calibration or test sample is ever trained on,
whatever the seed.
"""

import hashlib
import itertools
import zlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

TRAIN, VALIDATION, CALIBRATION, TEST = "train", "validation", "calibration", "test"
LONGER = "longer"  # a split of things that are longer than any trained on, where a task has it
CUMULATIVE_SPLIT_PERCENT = ((80, TRAIN), (85, VALIDATION), (90, CALIBRATION), (100, TEST))
SPLIT_PERCENT = {
    split: end - begin for (begin, _), (end, split) in itertools.pairwise(((0, ""), *CUMULATIVE_SPLIT_PERCENT))
}


def make_generator(*parts: Any) -> torch.Generator:
    """A source of randomness that depends on these parts only."""
    return torch.Generator().manual_seed(zlib.crc32(repr(parts).encode()))


def assign_split(content: bytes) -> str:
    """The split that a sample with this content belongs to: 80 % train, 5 % validation, 5 % calibration, 10 % test."""
    return assign_splits([content])[0]


def assign_splits(contents: Iterable[bytes]) -> list[str]:
    """The splits of many samples."""
    return assign_splits_by_hash(
        (hashlib.blake2b(content, digest_size=8).digest() for content in contents), CUMULATIVE_SPLIT_PERCENT
    )


def assign_splits_by_hash(keys: Iterable[bytes], cumulative_percent: tuple[tuple[int, str], ...]) -> list[str]:
    """Which splits samples with these hashes belong to, by shares in percent that are added up."""
    names = build_percent_table(cumulative_percent)
    return [names[int.from_bytes(key[:8], "big") % 100] for key in keys]


@cache
def build_percent_table(cumulative_percent: tuple[tuple[int, str], ...]) -> list[str]:
    return [next(name for bound, name in cumulative_percent if number < bound) for number in range(100)]


def is_in_split(split: str, kind: str, rows: Tensor) -> Bool[Tensor, " B"]:
    """Which rows of samples of a kind belong to a split."""
    return torch.tensor(
        [place == split for place in assign_splits(kind.encode() + row.tobytes() for row in rows.numpy())]
    )


TRAIN_FILE_SPLITS = ((83, TRAIN), (90, VALIDATION), (100, CALIBRATION))  # percent of the train split, added up
TRAIN_FILE_SPLITS_WITH_TEST = ((75, TRAIN), (80, VALIDATION), (90, CALIBRATION), (100, TEST))  # where there is no other


def digest(content: bytes | np.ndarray) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
