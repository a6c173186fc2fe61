"""Shuffle the images of a data set that are files of their own, which have no row groups to be shuffled by."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from training.data.dataset_settings import DataSettings
from training.data.dataset_source import ROWS_PER_READ, iterate_rows, open_split

MAX_LISTED_FILES = 5_000_000  # paths that are held in memory


@lru_cache(maxsize=4)
def list_loose_images(settings: DataSettings, split: str) -> list[tuple[Any, Any]] | None:
    """Return the cells and labels of a split whose images are files of their own; None for another split.

    Args:
        settings: Source of the images.
        split: Name of the split in the data set.

    Raises:
        ValueError: There are more than `MAX_LISTED_FILES`.
    """
    images = []
    for batch in iterate_rows(settings, open_split(settings, split).iter(batch_size=ROWS_PER_READ)):
        for cell, label in zip(batch[settings.image_column], batch[settings.label_column], strict=True):
            if not isinstance(cell, dict) or cell.get("bytes") is not None or not cell.get("path"):
                return None
            images.append((cell, label))
        if len(images) > MAX_LISTED_FILES:
            raise ValueError(
                f"{settings.display_name} has more than {MAX_LISTED_FILES:,} files; store it as parquet files."
            )
    return images


def shuffle_loose_images(images: list[tuple[Any, Any]], seed: int) -> Iterator[tuple[Any, Any]]:
    """Yield cells and labels once each, in an order that depends on the seed alone."""
    for index in np.random.default_rng(seed).permutation(len(images)).tolist():
        yield images[index]
