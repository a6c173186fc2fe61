"""Stream data sets that do not fit into memory, in a reproducible order.

Batches are assigned to `NUM_SHARDS` shards in turn. A shard reads segments of `SHARD_SEGMENT_BATCHES` batches, each from one
shuffled pass, whose order `datasets` derives from a seed; here the seed of the run, the shard and the segment. A batch
therefore depends on the seed and its number alone, and eight processes read one shard each instead of everything. A segment
begins at a random row group, so over many segments images come as if sampled with replacement, as published for ImageNet.
Images that are files of their own are listed and shuffled as a whole: see `training.data.loose_images`.

Resuming fetches and skips the encoded images before the next batch in its segment, at most one segment per shard, without
decoding them. For that reason the hash of the encoded bytes selects the split of an image. Held-out images are also compared
by their pixels.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from typing import Any

from PIL import Image

from training.data.dataset_errors import translate_dataset_errors
from training.data.dataset_settings import DataSettings
from training.data.dataset_source import build_class_labels, get_image_content, iterate_rows, open_split
from training.data.image_dataset import ImageBuffer, LabeledImages, check_split_sizes
from training.data.image_errors import UnreadableImage
from training.data.loose_images import list_loose_images, shuffle_loose_images
from training.data.parquet import read_dataset_image
from training.data.unreadable_images import MIN_STREAMED_IMAGES, UnreadableImages
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

NUM_SHARDS = 8
SHARD_SEGMENT_BATCHES = 64
SHUFFLE_BUFFER_SIZE = 256  # encoded images
MIN_ROW_GROUPS = 8  # with fewer, segments would begin with the same images too often
MAX_HELD_OUT_IMAGES = 1_024  # per split


@dataclass(frozen=True)
class HeldOutImages:
    """Held-out images of a stream.

    Attributes:
        splits: Images by split.
        test_digests: Digests of the encoded test images, which are excluded from training.
        pixel_digests: Digests of the pixels of all held-out images, which are excluded from training.
    """

    splits: dict[str, LabeledImages]
    test_digests: frozenset[bytes]
    pixel_digests: frozenset[bytes]


def iterate_shuffled(settings: DataSettings, split: str, *seed: object) -> Iterator[tuple[bytes, Any]]:
    """Yield the encoded images of a split and their labels once each, in an order that depends on the seed alone.

    Args:
        settings: Source of the images.
        split: Name of the split in the data set.
        seed: Values whose `repr` is the same in every process.

    Yields:
        Encoded image, empty if it is missing, and its label, which is not checked.
    """
    for cell, label in _shuffle(settings, split, zlib.crc32(repr(seed).encode())):
        try:
            content = get_image_content(settings, cell)
        except UnreadableImage:
            content = b""  # counted where images are decoded
        yield content, label


def _shuffle(settings: DataSettings, split: str, seed: int) -> Iterator[tuple[Any, Any]]:
    """Yield the cells of the image column and the labels in random order."""
    if (images := list_loose_images(settings, split)) is not None:
        yield from shuffle_loose_images(images, seed)
        return
    order = reshard_by_row_group(settings, split).shuffle(
        seed=seed,
        buffer_size=SHUFFLE_BUFFER_SIZE,
        max_buffer_input_shards=1,  # with more, reader threads start, and closing waits 5 s for them
    )
    for row in iterate_rows(settings, order):
        yield row[settings.image_column], row[settings.label_column]


@lru_cache(maxsize=4)
def reshard_by_row_group(settings: DataSettings, split: str) -> Any:
    """Open a split with one shard per row group, so that row groups can be shuffled.

    Args:
        settings: Source of the images.
        split: Name of the split in the data set.

    Returns:
        An `IterableDataset`.

    Raises:
        ValueError: The split has fewer than `MIN_ROW_GROUPS` row groups.
    """
    rows = open_split(settings, split)
    with translate_dataset_errors(settings):
        rows = rows.reshard()
    if rows.num_shards < MIN_ROW_GROUPS and split == settings.train_split:
        raise ValueError(
            f"{settings.display_name} has {rows.num_shards} row groups, too few to be streamed: set task.streaming=false, "
            "or write it with row groups of a few hundred images."
        )
    return rows


class StreamDecoder:
    """Decode the images of a stream and count those that cannot be read.

    Args:
        settings: Source of the images.
        split: Name of the split in the data set.
        names: Names of the classes.
    """

    def __init__(self, settings: DataSettings, split: str, names: tuple[str, ...]) -> None:
        self.name = f"{settings.display_name}, {split}"
        self.labels = build_class_labels(settings, split, names)
        self.unreadable = UnreadableImages(self.name, settings.max_unreadable_rate)

    def decode(self, content: bytes, label: Any) -> tuple[Image.Image, int] | None:
        """Return an image and its class; None if the image cannot be read.

        Raises:
            ValueError: The label is not a class, or too many images cannot be read.
        """
        try:
            image = read_dataset_image(content)
        except UnreadableImage as error:
            self.unreadable.add(
                f"an image of class {self.labels.names[self.labels.get_index(label, self.name)]}", error
            )
            self.unreadable.check(MIN_STREAMED_IMAGES)
            self.unreadable.log_if_doubled()
            return None
        self.unreadable.add_readable()
        return image.to_8_bit(), self.labels.get_index(label, self.name)


@lru_cache(maxsize=2)
def load_held_out_images(settings: DataSettings, names: tuple[str, ...]) -> HeldOutImages:
    """Load the first `MAX_HELD_OUT_IMAGES` images of each held-out split, in a fixed order.

    Args:
        settings: Source and size of the images.
        names: Names of the classes.

    Raises:
        ValueError: A split has no images, or an image cannot be read.
    """
    buffers = {split: ImageBuffer() for split in (VALIDATION, CALIBRATION, TEST)}
    test_digests: set[bytes] = set()
    pixel_digests: set[bytes] = set()
    cumulative_percent = TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST
    splits_to_fill = [split for split in buffers if split != TEST or not settings.test_split]

    decoder = StreamDecoder(settings, settings.train_split, names)

    def add_image(decoder: StreamDecoder, split: str, content: bytes, label: Any) -> None:
        if (pair := decoder.decode(content, label)) is None:
            return
        pixels = settings.preprocess(pair[0])
        if (pixel_digest := digest(pixels)) not in pixel_digests:
            pixel_digests.add(pixel_digest)
            buffers[split].add(pixels, pair[1])

    if settings.test_split:
        test_decoder = StreamDecoder(settings, settings.test_split, names)
        for content, label in islice(iterate_shuffled(settings, settings.test_split, TEST), MAX_HELD_OUT_IMAGES):
            test_digests.add(digest(content))
            add_image(test_decoder, TEST, content, label)
    for content, label in iterate_shuffled(settings, settings.train_split, VALIDATION):
        content_digest = digest(content)
        (split,) = assign_splits_by_hash([content_digest], cumulative_percent)
        if split != TRAIN and content_digest not in test_digests and len(buffers[split].labels) < MAX_HELD_OUT_IMAGES:
            add_image(decoder, split, content, label)
        if all(len(buffers[split].labels) >= MAX_HELD_OUT_IMAGES for split in splits_to_fill):
            break
    check_split_sizes(buffers, settings.display_name)
    images = {split: buffer.to_labeled_images(settings.crop, settings.channels) for split, buffer in buffers.items()}
    return HeldOutImages(images, frozenset(test_digests), frozenset(pixel_digests))


def iterate_training_batches(
    settings: DataSettings,
    names: tuple[str, ...],
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    start: int = 0,
) -> Iterator[tuple[int, list[tuple[Image.Image, int]]]]:
    """Yield the training batches of process `rank`, after its first `start` batches.

    Args:
        settings: Source and size of the images.
        names: Names of the classes.
        batch_size: Images per batch.
        seed: Seed of the run.
        rank: Index of this process.
        world_size: Number of processes.
        start: Number of batches of this process to skip.

    Yields:
        The number of the batch, and its images with their classes.
    """
    held_out_images = load_held_out_images(settings, names)
    decoder = StreamDecoder(settings, settings.train_split, names)
    open_segments: dict[int, tuple[int, Iterator[tuple[bytes, Any]]]] = {}  # shard -> segment, and its remaining images
    for number in count(start * world_size + rank, world_size):
        shard = number % NUM_SHARDS
        segment, batch_in_segment = divmod(number // NUM_SHARDS, SHARD_SEGMENT_BATCHES)
        if shard not in open_segments or open_segments[shard][0] != segment:
            images = iterate_segment(settings, held_out_images, seed, shard, segment)
            open_segments[shard] = (segment, islice(images, batch_in_segment * batch_size, None))
        encoded = list(islice(open_segments[shard][1], batch_size))
        yield number, decode_training_images(settings, decoder, held_out_images, encoded)


def iterate_segment(
    settings: DataSettings, held_out_images: HeldOutImages, seed: int, shard: int, segment: int
) -> Iterator[tuple[bytes, Any]]:
    """Yield the encoded training images of a segment without end, from further passes if the data set is small.

    Args:
        settings: Source of the images.
        held_out_images: Images that are skipped.
        seed: Seed of the run.
        shard: Index of the shard.
        segment: Index of the segment in the shard.

    Yields:
        Encoded image, and its label, which is not checked.

    Raises:
        ValueError: A pass contains no training image.
    """
    cumulative_percent = TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST
    for epoch in count():
        is_empty = True
        for content, label in iterate_shuffled(settings, settings.train_split, seed, shard, segment, epoch):
            content_digest = digest(content)
            if content_digest in held_out_images.test_digests:
                continue
            if assign_splits_by_hash([content_digest], cumulative_percent) == [TRAIN]:
                is_empty = False
                yield content, label
        if is_empty:
            raise ValueError(f"{settings.display_name} is too small: it has no image to train on.")


def decode_training_images(
    settings: DataSettings, decoder: StreamDecoder, held_out_images: HeldOutImages, encoded: list[tuple[bytes, Any]]
) -> list[tuple[Image.Image, int]]:
    """Decode images, and replace unreadable ones and those held out in another encoding by other images of the batch.

    Args:
        settings: Source and size of the images.
        decoder: Decodes the images of the train split.
        held_out_images: Images that must not be used for training.
        encoded: Encoded images with their labels.

    Returns:
        As many images, with their classes.

    Raises:
        ValueError: A label is invalid, too many images cannot be read, or all images are held out.
    """
    images = [pair for content, label in encoded if (pair := decoder.decode(content, label)) is not None]
    usable = [pair for pair in images if digest(settings.preprocess(pair[0])) not in held_out_images.pixel_digests]
    if not usable:
        raise ValueError(
            f"{settings.display_name} repeats its held-out images: a whole batch contains nothing to train on."
        )
    return [usable[index % len(usable)] for index in range(len(encoded))]
