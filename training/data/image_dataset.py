"""Image data sets in memory: every image is decoded once and stored as bytes.

Larger data sets are streamed: see `training.data.streaming`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from ctm.messages import truncate_repr
from training.data.dataset_source import DataSettings, iterate_rows, open_split, read_image_bytes
from training.data.parquet import decode_image
from training.data.preprocessing import resize_center_crop
from training.tasks.splits import (
    CALIBRATION,
    TEST,
    TRAIN,
    TRAIN_FILE_SPLITS,
    TRAIN_FILE_SPLITS_WITH_TEST,
    VALIDATION,
    assign_splits_by_hash,
    digest,
)

MAX_DATASET_BYTES = 8 * 2**30  # decoded images of a data set in memory
ROWS_PER_READ = 100


@dataclass(frozen=True)
class LabeledImages:
    """Decoded images with their classes.

    Attributes:
        pixels: The images.
        labels: Class of each image.
    """

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]


class ImageBuffer:
    """Growing buffer of decoded images of one size and their classes.

    Attributes:
        content: Pixels of all images, one after the other.
        labels: Class of each image.
    """

    def __init__(self) -> None:
        """Create an empty buffer."""
        self.content = bytearray()
        self.labels: list[int] = []

    def add(self, pixels: UInt8[np.ndarray, "h w c"], label: int) -> None:
        """Append an image and its class."""
        self.content += pixels.tobytes()
        self.labels.append(label)

    def to_labeled_images(self, side: int, channels: int) -> LabeledImages:
        """Return the images, each of `side` x `side` pixels; they share the memory of the buffer."""
        pixels = np.frombuffer(self.content, np.uint8).reshape(-1, side, side, channels)
        return LabeledImages(pixels, np.array(self.labels, np.int64))


def check_not_empty(buffers: Mapping[str, ImageBuffer], name: str) -> None:
    """Check that every split has an image.

    Args:
        buffers: Images by split.
        name: Name of the data set for the message.

    Raises:
        ValueError: A split is empty.
    """
    for split, buffer in buffers.items():
        if not buffer.labels:
            raise ValueError(f"{name} is too small: it has no image for the split {split}.")


@lru_cache(maxsize=2)
def load_in_memory(settings: DataSettings, num_classes: int, train_side: int) -> dict[str, LabeledImages]:
    """Decode all images of a data set, by split.

    The published test split is `test`. The train split is divided by a hash of the pixels, without images of the test split.

    Args:
        settings: Source and size of the images.
        num_classes: Number of classes.
        train_side: Side of the training images in pixels; at least `settings.crop`, to leave room for augmentation.

    Raises:
        ValueError: The images do not fit into memory, or one cannot be read.
    """
    buffers = {split: ImageBuffer() for split in (TRAIN, VALIDATION, CALIBRATION, TEST)}
    test_digests = set()
    if settings.test_split:
        for image, label in iterate_images(settings, settings.test_split, num_classes):
            pixels = settings.preprocess(image)
            test_digests.add(digest(pixels))
            buffers[TEST].add(pixels, label)
    cumulative_percent = TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST
    for image, label in iterate_images(settings, settings.train_split, num_classes):
        pixels = settings.preprocess(image)
        if (pixel_digest := digest(pixels)) in test_digests:
            continue
        (split,) = assign_splits_by_hash([pixel_digest], cumulative_percent)
        if split == TRAIN and train_side != settings.crop:
            pixels = settings.to_array(resize_center_crop(settings.convert_mode(image), settings.resize, train_side))
        buffers[split].add(pixels, label)
        if sum(len(buffer.content) for buffer in buffers.values()) > MAX_DATASET_BYTES:
            raise ValueError(f"{settings.display_name} does not fit into memory; set task.streaming=true.")
    check_not_empty(buffers, settings.display_name)
    return {
        split: buffer.to_labeled_images(train_side if split == TRAIN else settings.crop, settings.channels)
        for split, buffer in buffers.items()
    }


def iterate_images(settings: DataSettings, split: str, num_classes: int) -> Iterator[tuple[Image.Image, int]]:
    """Yield every image of a split and its class, in file order.

    Raises:
        ValueError: A row is not an image with a class index.
    """
    row = 0
    for rows in iterate_rows(settings, open_split(settings, split).iter(batch_size=ROWS_PER_READ)):
        for cell, label in zip(rows[settings.image_column], rows[settings.label_column], strict=True):
            location = f"{settings.display_name}, {split}, row {row}"
            image = decode_image(read_image_bytes(cell, location), location)
            yield image, check_class_index(label, num_classes, location)
            row += 1


def check_class_index(label: Any, num_classes: int, location: str) -> int:
    """Check that a label is a class index, and return it.

    Args:
        label: Value of the label column.
        num_classes: Number of classes.
        location: Data set, split and row for error messages.

    Raises:
        ValueError: The label is not an integer from 0 to `num_classes` - 1.
    """
    if type(label) is not int or not 0 <= label < num_classes:
        raise ValueError(
            f"{location}: the class must be a whole number from 0 to {num_classes - 1}, got {truncate_repr(label)}. "
            "See task.label_column and task.names; a split without classes cannot be used for training or testing."
        )
    return label
