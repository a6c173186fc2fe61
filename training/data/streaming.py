"""Data sets too large to hold: read while training, in an order that any batch can be found again in.

Batches are dealt to LANES lanes in turn, and a lane reads its batches leg by leg: LEG batches from one shuffled pass, whose
order `datasets` derives from a seed, here that of the run, the lane and the leg. So a batch depends on the seed and its number
alone, and eight processes read a lane each instead of everything. A leg begins at a random part of the data set, a row group,
so over many legs pictures come as if drawn with replacement, as published for ImageNet.

To resume costs what lies before the next batch in its leg, at most LEG batches of encoded pictures a lane, which are fetched
and passed over, but not decoded. For that reason it is the encoded bytes that say which split a picture belongs to; of what is
held out, the pixels count, too.
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
SHARD_SEGMENT_BATCHES = 64  # batches
SHUFFLE_BUFFER_SIZE = 256  # encoded pictures of a lane that the next one is chosen from
MIN_ROW_GROUPS = 8  # row groups; in fewer, the same beginnings would be seen again and again
MAX_HELD_OUT_IMAGES = 1_024  # pictures of each held-out split, decoded once


@dataclass(frozen=True)
class HeldOutImages:
    """What is held out of a stream: its pictures by split, and the contents that are not to be trained on."""

    splits: dict[str, LabeledImages]
    test_digests: frozenset[bytes]  # digests of encoded pictures
    pixel_digests: frozenset[bytes]  # digests of pixels


def iterate_shuffled(settings: DataSettings, split: str, *seed: Any) -> Iterator[tuple[bytes, Any]]:
    """The encoded pictures of a split and their labels, once each, in an order that depends on the seed alone."""
    order = reshard_by_row_group(settings, split).shuffle(
        seed=zlib.crc32(repr(seed).encode()),
        buffer_size=SHUFFLE_BUFFER_SIZE,
        max_buffer_input_shards=1,  # with more, threads read ahead, and closing waits five seconds for them
    )
    for row in iterate_rows(settings, order):
        yield read_image_bytes(row[settings.image], settings.display_name), row[settings.label]


@lru_cache(maxsize=4)
def reshard_by_row_group(settings: DataSettings, split: str) -> Any:
    """A split whose row groups can be read in any order.

    Raises:
        ValueError: there are too few of them.
    """
    rows = open_split(settings, split)
    with translate_dataset_errors(settings):
        rows = rows.reshard()
    if rows.num_shards < MIN_ROW_GROUPS and split == settings.train:
        raise ValueError(
            f"{settings.display_name} has {rows.num_shards} row groups, too few to be streamed: set task.streaming=false, or "
            "write it with row groups of a few hundred pictures."
        )
    return rows


@lru_cache(maxsize=2)
def load_held_out_images(settings: DataSettings, num_classes: int) -> HeldOutImages:
    """The first HELD pictures of each held-out split, in a fixed order.

    Raises:
        ValueError: a split has none, or one cannot be read.
    """
    wanted = {split: ImageBuffer() for split in (VALIDATION, CALIBRATION, TEST)}
    tested, seen = set[bytes](), set[bytes]()
    shares = TRAIN_FILE_SPLITS if settings.test else TRAIN_FILE_SPLITS_WITH_TEST

    def keep(place: str, content: bytes, label: Any) -> None:
        pixels = settings.preprocess(decode_image(content, settings.display_name))
        if (key := digest(pixels)) not in seen:
            seen.add(key)
            wanted[place].add(pixels, check_class_index(label, num_classes, settings.display_name))

    if settings.test:
        for content, label in islice(iterate_shuffled(settings, settings.test, TEST), MAX_HELD_OUT_IMAGES):
            tested.add(digest(content))
            keep(TEST, content, label)
    for content, label in iterate_shuffled(settings, settings.train, VALIDATION):
        key = digest(content)
        (place,) = assign_splits_by_hash([key], shares)
        if place != TRAIN and key not in tested and len(wanted[place].labels) < MAX_HELD_OUT_IMAGES:
            keep(place, content, label)
        if all(
            len(part.labels) >= MAX_HELD_OUT_IMAGES
            for name, part in wanted.items()
            if name != TEST or not settings.test
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
    """Numbers of batches, and their pictures and classes, for process `rank` of `ranks` from its turn `start` on."""
    held = load_held_out_images(settings, num_classes)
    legs: dict[int, tuple[int, Iterator]] = {}  # lane -> number of its leg, and what is left of that
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
    """The encoded pictures of a leg: of one pass, then of another where the data set is small."""
    shares = TRAIN_FILE_SPLITS if settings.test else TRAIN_FILE_SPLITS_WITH_TEST
    for turn in count():
        found = False
        for content, label in iterate_shuffled(settings, settings.train, seed, shard, segment, turn):
            key = digest(content)
            if key not in held_out_images.test_digests and assign_splits_by_hash([key], shares) == [TRAIN]:
                found = True
                yield content, label
        if not found:
            raise ValueError(f"{settings.display_name} holds no picture to train on: it is too small.")


def decode_training_images(
    settings: DataSettings, num_classes: int, held_out_images: HeldOutImages, encoded: list[tuple[bytes, Any]]
) -> list[tuple[Image.Image, int]]:
    """Decoded pictures and their classes. One that is held out under another encoding gives way to its neighbours."""
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
