"""Assign samples to splits by a hash of their content.

The split of a sample depends on its content alone. No validation, calibration or test sample is ever trained on, whatever
the seed.
"""

import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

TRAIN = "train"
VALIDATION = "validation"
CALIBRATION = "calibration"
TEST = "test"
LONGER = "longer"  # out-of-distribution split of some tasks: inputs longer than any training input
PART_SEPARATOR = "/"
CUMULATIVE_SPLIT_PERCENT = ((80, TRAIN), (85, VALIDATION), (90, CALIBRATION), (100, TEST))
SPLIT_PERCENT = {
    split: end - begin for (begin, _), (end, split) in itertools.pairwise(((0, ""), *CUMULATIVE_SPLIT_PERCENT))
}
# Cumulative percentages of the train file of a data set, with and without a test file of its own.
TRAIN_FILE_SPLITS = ((83, TRAIN), (90, VALIDATION), (100, CALIBRATION))
TRAIN_FILE_SPLITS_WITH_TEST = ((75, TRAIN), (80, VALIDATION), (90, CALIBRATION), (100, TEST))


def name_part(split: str, source: str) -> str:
    """Return the name of a part of an out-of-distribution split, such as `longer/calibration`.

    Args:
        split: The out-of-distribution split; by itself the name stands for its test samples.
        source: The standard split that the samples belong to.
    """
    return f"{split}{PART_SEPARATOR}{source}"


def make_generator(*parts: object) -> torch.Generator:
    """Create a random generator whose seed is a hash of `repr(parts)`.

    Args:
        parts: Values whose `repr` is the same in every process, such as strings and numbers.
    """
    return torch.Generator().manual_seed(zlib.crc32(repr(parts).encode()))


def digest(content: bytes | np.ndarray) -> bytes:
    """Return the 16-byte BLAKE2b hash of the content."""
    data = content.tobytes() if isinstance(content, np.ndarray) else content
    return hashlib.blake2b(data, digest_size=16).digest()


def assign_split(content: bytes) -> str:
    """Return the split of a sample: 80 % train, 5 % validation, 5 % calibration, 10 % test."""
    names = build_percent_table(CUMULATIVE_SPLIT_PERCENT)
    return names[int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") % 100]


def assign_splits(contents: Iterable[bytes]) -> list[str]:
    """Return the split of each sample; see `assign_split`."""
    return assign_splits_by_hash(
        (hashlib.blake2b(content, digest_size=8).digest() for content in contents), CUMULATIVE_SPLIT_PERCENT
    )


def assign_splits_by_hash(keys: Iterable[bytes], cumulative_percent: tuple[tuple[int, str], ...]) -> list[str]:
    """Return the split of each sample, from a hash of its content.

    Args:
        keys: Hashes of at least 8 bytes.
        cumulative_percent: Pairs of a cumulative percentage and a split, ascending up to 100.
    """
    names = build_percent_table(cumulative_percent)
    return [names[int.from_bytes(key[:8], "big") % 100] for key in keys]


@cache
def build_percent_table(cumulative_percent: tuple[tuple[int, str], ...]) -> list[str]:
    """Return the split of each of the 100 percentiles."""
    return [next(name for bound, name in cumulative_percent if number < bound) for number in range(100)]


def sample_until(count: int, draw: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Draw candidates until there are enough rows, for rejection sampling.

    Args:
        count: Number of rows to return.
        draw: Returns the accepted rows of one draw: tensors of the same length, which may be 0.

    Returns:
        The first `count` rows of each tensor.
    """
    parts: list[tuple[Tensor, ...]] = []
    while sum(len(part[0]) for part in parts) < count:
        parts.append(draw())
    return tuple(torch.cat(values)[:count] for values in zip(*parts, strict=True))


def is_in_split(split: str, kind: str, rows: Tensor) -> Bool[Tensor, " B"]:
    """Return which rows belong to a split.

    Args:
        split: Split to test for.
        kind: Task name, part of the hashed content.
        rows: Samples, shape (B, ...).
    """
    row_splits = assign_splits(kind.encode() + row.tobytes() for row in rows.numpy())
    return torch.tensor([row_split == split for row_split in row_splits], dtype=torch.bool)
