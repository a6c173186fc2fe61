"""Stream data sets that do not fit into memory, in a reproducible order.

Batches are assigned to `NUM_SHARDS` shards in turn. A shard reads segments of `SHARD_SEGMENT_BATCHES` batches, each from one
shuffled pass, whose order `datasets` derives from a seed; here the seed of the run, the shard and the segment. A batch
therefore depends on the seed and its number alone, and eight processes read one shard each instead of everything. A segment
begins at a random row group, so over many segments images come as if sampled with replacement, as published for ImageNet.

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

from training.data.image_dataset import (
    DataSettings,
    ImageBuffer,
    LabeledImages,
    check_class_index,
    iterate_rows,
    open_split,
    read_image_bytes,
    translate_dataset_errors,
)
from training.data.parquet import decode_image
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


def iterate_shuffled(settings: DataSettings, split: str, *seed: Any) -> Iterator[tuple[bytes, Any]]:
    """Yield the encoded images of a split and their labels, once each, in an order that depends on the seed alone."""
    order = reshard_by_row_group(settings, split).shuffle(
        seed=zlib.crc32(repr(seed).encode()),
        buffer_size=SHUFFLE_BUFFER_SIZE,
        max_buffer_input_shards=1,  # with more, reader threads start, and closing waits 5 s for them
    )
    for row in iterate_rows(settings, order):
        yield read_image_bytes(row[settings.image_column], settings.display_name), row[settings.label_column]


@lru_cache(maxsize=4)
def reshard_by_row_group(settings: DataSettings, split: str) -> Any:
    """Open a split with one shard per row group, so that row groups can be shuffled.

    Raises:
        ValueError: The split has fewer than `MIN_ROW_GROUPS` row groups.
    """
    rows = open_split(settings, split)
    with translate_dataset_errors(settings):
        rows = rows.reshard()
    if rows.num_shards < MIN_ROW_GROUPS and split == settings.train_split:
        raise ValueError(
            f"{settings.display_name} has {rows.num_shards} row groups, too few to be streamed: set task.streaming=false, or "
            "write it with row groups of a few hundred pictures."
        )
    return rows


@lru_cache(maxsize=2)
def load_held_out_images(settings: DataSettings, num_classes: int) -> HeldOutImages:
    """Load the first `MAX_HELD_OUT_IMAGES` images of each held-out split, in a fixed order.

    Raises:
        ValueError: A split has no images, or an image cannot be read.
    """
    wanted = {split: ImageBuffer() for split in (VALIDATION, CALIBRATION, TEST)}
    tested, seen = set[bytes](), set[bytes]()
    shares = TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST

    def keep(place: str, content: bytes, label: Any) -> None:
        pixels = settings.preprocess(decode_image(content, settings.display_name))
        if (key := digest(pixels)) not in seen:
            seen.add(key)
            wanted[place].add(pixels, check_class_index(label, num_classes, settings.display_name))

    if settings.test_split:
        for content, label in islice(iterate_shuffled(settings, settings.test_split, TEST), MAX_HELD_OUT_IMAGES):
            tested.add(digest(content))
            keep(TEST, content, label)
    for content, label in iterate_shuffled(settings, settings.train_split, VALIDATION):
        key = digest(content)
        (place,) = assign_splits_by_hash([key], shares)
        if place != TRAIN and key not in tested and len(wanted[place].labels) < MAX_HELD_OUT_IMAGES:
            keep(place, content, label)
        if all(
            len(part.labels) >= MAX_HELD_OUT_IMAGES
            for name, part in wanted.items()
            if name != TEST or not settings.test_split
        ):
            break
    for name, part in wanted.items():
        if not part.labels:
            raise ValueError(f"{settings.display_name} holds no picture for {name}: it is too small.")
    parts = {name: part.to_labeled_images(settings.crop, settings.channels) for name, part in wanted.items()}
    return HeldOutImages(parts, frozenset(tested), frozenset(seen))


def iterate_training_batches(
    settings: DataSettings,
    num_classes: int,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    start: int = 0,
) -> Iterator[tuple[int, list[tuple[Image.Image, int]]]]:
    """Yield the training batches of process `rank`, after its first `start` batches.

    Yields:
        The number of the batch, and its images with their classes.
    """
    held = load_held_out_images(settings, num_classes)
    legs: dict[int, tuple[int, Iterator]] = {}  # shard -> number of its segment, and the rest of it
    for number in count(start * world_size + rank, world_size):
        lane, place = number % NUM_SHARDS, number // NUM_SHARDS
        if legs.get(lane, (-1, None))[0] != place // SHARD_SEGMENT_BATCHES:
            pictures = iterate_segment(settings, held, seed, lane, place // SHARD_SEGMENT_BATCHES)
            legs[lane] = (
                place // SHARD_SEGMENT_BATCHES,
                islice(pictures, place % SHARD_SEGMENT_BATCHES * batch_size, None),
            )
        encoded = list(islice(legs[lane][1], batch_size))
        yield number, decode_training_images(settings, num_classes, held, encoded)


def iterate_segment(
    settings: DataSettings, held_out_images: HeldOutImages, seed: int, shard: int, segment: int
) -> Iterator[tuple[bytes, Any]]:
    """Yield the encoded images of a segment, from further passes if the data set is small."""
    shares = TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST
    for turn in count():
        found = False
        for content, label in iterate_shuffled(settings, settings.train_split, seed, shard, segment, turn):
            key = digest(content)
            if key not in held_out_images.test_digests and assign_splits_by_hash([key], shares) == [TRAIN]:
                found = True
                yield content, label
        if not found:
            raise ValueError(f"{settings.display_name} holds no picture to train on: it is too small.")


def decode_training_images(
    settings: DataSettings, num_classes: int, held_out_images: HeldOutImages, encoded: list[tuple[bytes, Any]]
) -> list[tuple[Image.Image, int]]:
    """Decode images and replace those that are held out under another encoding by others of the batch."""
    pictures = [
        (decode_image(content, settings.display_name), check_class_index(label, num_classes, settings.display_name))
        for content, label in encoded
    ]
    kept = [pair for pair in pictures if digest(settings.preprocess(pair[0])) not in held_out_images.pixel_digests]
    if not kept:
        raise ValueError(
            f"{settings.display_name} repeats what it tests on; there is nothing to train on in a whole batch."
        )
    return [kept[place % len(kept)] for place in range(len(pictures))]
