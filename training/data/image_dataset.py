"""Image data sets in memory: every image is decoded once and stored as bytes.

Larger data sets are streamed: see `training.data.streaming`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from training.data.dataset_settings import DataSettings
from training.data.dataset_source import (
    ROWS_PER_READ,
    build_class_labels,
    get_image_content,
    iterate_rows,
    open_split,
)
from training.data.image_errors import UnreadableImage
from training.data.parquet import read_dataset_image
from training.data.preprocessing import resize_center_crop
from training.data.small_splits import MIN_SPLIT_IMAGES, assign_image_splits
from training.data.unreadable_images import UnreadableImages
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
MAX_ROWS_BEFORE_REFUSAL = 20_000  # a data set whose images are all damaged is not read to its end


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


def check_split_sizes(buffers: Mapping[str, ImageBuffer], name: str) -> None:
    """Check that every split has as many images as are needed before a training begins.

    Args:
        buffers: Images by split.
        name: Name of the data set for the message.

    Raises:
        ValueError: A split has fewer.
    """
    for split, buffer in buffers.items():
        count, needed = len(buffer.labels), MIN_SPLIT_IMAGES[split]
        if count < needed:
            raise ValueError(f"{name} is too small: the split {split} has {count} of at least {needed} images.")


@lru_cache(maxsize=2)
def load_in_memory(settings: DataSettings, names: tuple[str, ...], train_side: int) -> dict[str, LabeledImages]:
    """Decode all images of a data set, by split.

    The published test split is `test`. The train split is divided by a hash of the pixels, without images of the test split;
    see `training.data.small_splits` for small data sets.

    Args:
        settings: Source and size of the images.
        names: Names of the classes.
        train_side: Side of the training images in pixels; at least `settings.crop`, to leave room for augmentation.

    Raises:
        ValueError: The images do not fit into memory, there are too few, or too many cannot be read.
    """
    loader = _Loader(settings, names, train_side)
    loader.add_test_split()
    digests = loader.add_train_split({})
    try:
        splits = assign_image_splits(digests, loader.cumulative_percent)
    except ValueError as error:
        raise ValueError(f"{settings.display_name} is too small. {error}") from None
    by_hash = assign_splits_by_hash(digests, loader.cumulative_percent)
    if splits != by_hash:
        loader.remove_train_split()
        loader.add_train_split(dict(zip(digests, splits, strict=True)))
    check_split_sizes(loader.buffers, settings.display_name)
    return {
        split: buffer.to_labeled_images(train_side if split == TRAIN else settings.crop, settings.channels)
        for split, buffer in loader.buffers.items()
    }


class _Loader:
    """Images of a data set while they are loaded into memory; the arguments are those of `load_in_memory`."""

    def __init__(self, settings: DataSettings, names: tuple[str, ...], train_side: int) -> None:
        self.settings = settings
        self.names = names
        self.train_side = train_side
        self.buffers = {split: ImageBuffer() for split in (TRAIN, VALIDATION, CALIBRATION, TEST)}
        self.test_digests: set[bytes] = set()
        self.cumulative_percent = TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST

    def add_test_split(self) -> None:
        """Add the published test split, if there is one."""
        if not self.settings.test_split:
            return
        for image, label in iterate_images(self.settings, self.settings.test_split, self.names):
            pixels = self.settings.preprocess(image)
            self.test_digests.add(digest(pixels))
            self.buffers[TEST].add(pixels, label)

    def add_train_split(self, split_by_digest: Mapping[bytes, str]) -> list[bytes]:
        """Add the images of the published train split that are not in the test split.

        Args:
            split_by_digest: Split of each image by the digest of its pixels; the hash decides for others.

        Returns:
            The digest of each image.

        Raises:
            ValueError: The images do not fit into memory.
        """
        settings = self.settings
        digests = []
        for image, label in iterate_images(settings, settings.train_split, self.names):
            pixels = settings.preprocess(image)
            if (pixel_digest := digest(pixels)) in self.test_digests:
                continue
            digests.append(pixel_digest)
            split = (
                split_by_digest.get(pixel_digest) or assign_splits_by_hash([pixel_digest], self.cumulative_percent)[0]
            )
            if split == TRAIN and self.train_side != settings.crop:
                resized = resize_center_crop(settings.convert_mode(image), settings.resize, self.train_side)
                pixels = settings.to_array(resized)
            self.buffers[split].add(pixels, label)
            if sum(len(buffer.content) for buffer in self.buffers.values()) > MAX_DATASET_BYTES:
                raise ValueError(f"{settings.display_name} does not fit into memory; set task.streaming=true.")
        return digests

    def remove_train_split(self) -> None:
        """Remove the images of the published train split."""
        kept = {TEST} if self.settings.test_split else set()
        self.buffers = {split: buffer if split in kept else ImageBuffer() for split, buffer in self.buffers.items()}


def iterate_images(settings: DataSettings, split: str, names: tuple[str, ...]) -> Iterator[tuple[Image.Image, int]]:
    """Yield every image of a split and its class, in file order. Images that cannot be read are skipped.

    Args:
        settings: Source of the images.
        split: Name of the split in the data set.
        names: Names of the classes.

    Raises:
        ValueError: A label is not a class, or more images cannot be read than `max_unreadable_rate` allows.
    """
    rows = open_split(settings, split)
    labels = build_class_labels(settings, split, names)
    unreadable = UnreadableImages(f"{settings.display_name}, {split}", settings.max_unreadable_rate)
    for batch in iterate_rows(settings, rows.iter(batch_size=ROWS_PER_READ)):
        for cell, label in zip(batch[settings.image_column], batch[settings.label_column], strict=True):
            row = unreadable.total
            try:
                image = read_dataset_image(get_image_content(settings, cell))
            except UnreadableImage as error:
                unreadable.add(f"row {row}", error)
                unreadable.check(MAX_ROWS_BEFORE_REFUSAL)
                continue
            unreadable.add_readable()
            yield image.to_8_bit(), labels.get_index(label, f"{settings.display_name}, {split}, row {row}")
    unreadable.check()
    unreadable.log()
