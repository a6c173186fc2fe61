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
    LOOSE,
    NO_TEST,
    DataSettings,
    Growing,
    Pictures,
    class_of,
    content_of,
    digest,
    opened,
    read,
    telling,
)
from training.data.parquet import decoded
from training.tasks.base import CALIBRATION, TEST, TRAIN, VALIDATION, places_of

LANES = 8
LEG = 64  # batches
BUFFER = 256  # encoded pictures of a lane that the next one is chosen from
PARTS = 8  # row groups; in fewer, the same beginnings would be seen again and again
HELD = 1_024  # pictures of each held-out split, decoded once


@dataclass(frozen=True)
class Held:
    """What is held out of a stream: its pictures by split, and the contents that are not to be trained on."""

    parts: dict[str, Pictures]
    tested: frozenset[bytes]  # digests of encoded pictures
    seen: frozenset[bytes]  # digests of pixels


def shuffled(settings: DataSettings, split: str, *seed: Any) -> Iterator[tuple[bytes, Any]]:
    """The encoded pictures of a split and their labels, once each, in an order that depends on the seed alone."""
    order = in_parts(settings, split).shuffle(
        seed=zlib.crc32(repr(seed).encode()),
        buffer_size=BUFFER,
        max_buffer_input_shards=1,  # with more, threads read ahead, and closing waits five seconds for them
    )
    for row in read(settings, order):
        yield content_of(row[settings.image], settings.source), row[settings.label]


@lru_cache(maxsize=4)
def in_parts(settings: DataSettings, split: str) -> Any:
    """A split whose row groups can be read in any order.

    Raises:
        ValueError: there are too few of them.
    """
    rows = opened(settings, split)
    with telling(settings):
        rows = rows.reshard()
    if rows.num_shards < PARTS and split == settings.train:
        raise ValueError(
            f"{settings.source} has {rows.num_shards} row groups, too few to be streamed: set task.streaming=false, or "
            "write it with row groups of a few hundred pictures."
        )
    return rows


@lru_cache(maxsize=2)
def held_out(settings: DataSettings, classes: int) -> Held:
    """The first HELD pictures of each held-out split, in a fixed order.

    Raises:
        ValueError: a split has none, or one cannot be read.
    """
    wanted = {split: Growing() for split in (VALIDATION, CALIBRATION, TEST)}
    tested, seen = set[bytes](), set[bytes]()
    shares = LOOSE if settings.test else NO_TEST

    def keep(place: str, content: bytes, label: Any) -> None:
        pixels = settings.seen(decoded(content, settings.source))
        if (key := digest(pixels)) not in seen:
            seen.add(key)
            wanted[place].add(pixels, class_of(label, classes, settings.source))

    if settings.test:
        for content, label in islice(shuffled(settings, settings.test, TEST), HELD):
            tested.add(digest(content))
            keep(TEST, content, label)
    for content, label in shuffled(settings, settings.train, VALIDATION):
        key = digest(content)
        (place,) = places_of([key], shares)
        if place != TRAIN and key not in tested and len(wanted[place].labels) < HELD:
            keep(place, content, label)
        if all(len(part.labels) >= HELD for name, part in wanted.items() if name != TEST or not settings.test):
            break
    for name, part in wanted.items():
        if not part.labels:
            raise ValueError(f"{settings.source} holds no picture for {name}: it is too small.")
    parts = {name: part.whole(settings.crop, settings.channels) for name, part in wanted.items()}
    return Held(parts, frozenset(tested), frozenset(seen))


def batches_to_train_on(
    settings: DataSettings, classes: int, batch_size: int, seed: int, rank: int = 0, ranks: int = 1, start: int = 0
) -> Iterator[tuple[int, list[tuple[Image.Image, int]]]]:
    """Numbers of batches, and their pictures and classes, for process `rank` of `ranks` from its turn `start` on."""
    held = held_out(settings, classes)
    legs: dict[int, tuple[int, Iterator]] = {}  # lane -> number of its leg, and what is left of that
    for number in count(start * ranks + rank, ranks):
        lane, place = number % LANES, number // LANES
        if legs.get(lane, (-1, None))[0] != place // LEG:
            pictures = left_to_train_on(settings, held, seed, lane, place // LEG)
            legs[lane] = place // LEG, islice(pictures, place % LEG * batch_size, None)
        encoded = list(islice(legs[lane][1], batch_size))
        yield number, sound(settings, classes, held, encoded)


def left_to_train_on(settings: DataSettings, held: Held, seed: int, lane: int, leg: int) -> Iterator[tuple[bytes, Any]]:
    """The encoded pictures of a leg: of one pass, then of another where the data set is small."""
    shares = LOOSE if settings.test else NO_TEST
    for turn in count():
        found = False
        for content, label in shuffled(settings, settings.train, seed, lane, leg, turn):
            key = digest(content)
            if key not in held.tested and places_of([key], shares) == [TRAIN]:
                found = True
                yield content, label
        if not found:
            raise ValueError(f"{settings.source} holds no picture to train on: it is too small.")


def sound(
    settings: DataSettings, classes: int, held: Held, encoded: list[tuple[bytes, Any]]
) -> list[tuple[Image.Image, int]]:
    """Decoded pictures and their classes. One that is held out under another encoding gives way to its neighbours."""
    pictures = [
        (decoded(content, settings.source), class_of(label, classes, settings.source)) for content, label in encoded
    ]
    kept = [pair for pair in pictures if digest(settings.seen(pair[0])) not in held.seen]
    if not kept:
        raise ValueError(f"{settings.source} repeats what it tests on; there is nothing to train on in a whole batch.")
    return [kept[place % len(kept)] for place in range(len(pictures))]
