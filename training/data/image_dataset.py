"""Data sets of pictures, read through `datasets`: of the Hub, or of parquet files in its schema.

What fits is decoded once and held in memory as bytes. What does not is read while training: see `training.data.streaming`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx
from jaxtyping import Int64, UInt8
from PIL import Image
from pydantic import Field, field_validator, model_validator

from ctm.settings import Settings, summarize_error, truncate_repr
from ctm.stores import HubRef, StoreUnavailable
from training.data.augmentation import middle_of
from training.data.parquet import decoded
from training.tasks.base import CALIBRATION, TEST, TRAIN, VALIDATION, places_of

MOST_HELD = 8 * 2**30  # bytes of decoded pictures
SECONDS = 10.0  # that the Hub has to answer
LOOSE = ((83, TRAIN), (90, VALIDATION), (100, CALIBRATION))  # percent of the train split, added up
NO_TEST = ((75, TRAIN), (80, VALIDATION), (90, CALIBRATION), (100, TEST))  # where there is no other


class DataSettings(Settings):
    """Where pictures come from, and as what they are kept."""

    data: str = Field("", description="data set of the Hub, namespace/name; empty: none, so nothing to train on")
    config: str = Field("", description="configuration of the data set, where it has several")
    revision: str = Field("", description="commit, tag or branch of the data set; empty: as it is today")
    files: str = Field(
        "", description="folder or parquet file of this machine to read instead; never named in a checkpoint"
    )
    train: str = Field("train", min_length=1, description="split to learn from; a part of it is held out")
    test: str = Field("test", description="split to test on; empty: a tenth of the other")
    image: str = Field("image", min_length=1, description="column of the pictures")
    label: str = Field("label", min_length=1, description="column of the classes, whole numbers from 0 on")
    streaming: bool = Field(False, description="read while training instead of holding all in memory")
    channels: int = Field(3, description="3: colours; 1: grey")
    size: int = Field(256, ge=8, le=2_048, description="shorter side that a picture is resized to, pixels")
    crop: int = Field(224, ge=8, le=2_048, description="side of the middle that is cut out and seen")

    @field_validator("channels")
    @classmethod
    def _grey_or_colours(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("must be 1 (grey) or 3 (colours)")
        return value

    @field_validator("data")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and str(HubRef.parse(value)) != HubRef.parse(value).repo:
            raise ValueError("names a data set alone, namespace/name; its commit goes into task.revision")
        return HubRef.parse(value).repo if value else value

    @model_validator(mode="after")
    def _fits(self) -> "DataSettings":
        if self.crop > self.size:
            raise ValueError(f"task.crop may be task.size at most: got {self.crop} > {self.size}.")
        return self

    @property
    def source(self) -> str:
        """What to call it in a message."""
        return Path(self.files).name if self.files else self.data

    def seen(self, picture: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """The middle of a picture, as the machine sees it."""
        return self.pixels(middle_of(self.coloured(picture), self.size, self.crop))

    def coloured(self, picture: Image.Image) -> Image.Image:
        return picture.convert("RGB" if self.channels == 3 else "L")

    def pixels(self, picture: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, self.channels)


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures and their classes."""

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]


@lru_cache(maxsize=4)
def opened(settings: DataSettings, split: str) -> Any:
    """A split as a `datasets` iterable of rows whose pictures are not yet decoded.

    Raises:
        ValueError: what is missing or may not be read, and what to do; `StoreUnavailable` where waiting may help.
    """
    import datasets  # noqa: PLC0415 -- takes a second, which those who train on something else are spared

    begins, arguments = arguments_of(settings)
    with telling(settings):
        rows = datasets.load_dataset(begins, split=split, **arguments)
    missing = {settings.image, settings.label} - set(rows.column_names or ())
    if missing:
        columns = ", ".join(sorted(rows.column_names or ()))
        raise ValueError(
            f"{settings.source} has no column {min(missing)!r}; it has {columns}. See task.image and task.label."
        )
    if not isinstance(rows.features[settings.image], datasets.Image):
        raise ValueError(f"{settings.source}: column {settings.image!r} holds no pictures. See task.image.")
    rows = rows.select_columns([settings.image, settings.label])
    return rows.cast_column(settings.image, datasets.Image(decode=False))


def arguments_of(settings: DataSettings) -> tuple[str, dict[str, Any]]:
    """What `load_dataset` is called with. Files of this machine are read where they lie, without a copy in the cache."""
    if settings.files:
        path = Path(settings.files)
        if not path.exists():
            raise ValueError(f"There is no folder or file {truncate_repr(settings.files, 200)}: see task.files.")
        if path.is_dir():
            return str(path), {"name": settings.config or None, "streaming": True}
        return "parquet", {"data_files": {settings.train: str(path)}, "streaming": True}
    if not settings.data:
        raise ValueError(
            "The task images has no pictures of its own: set task.data or task.files, or measure with --data FILE.parquet, "
            "a file with `image` and `label` columns."
        )
    revision = commit_of(settings.data, settings.revision)
    return settings.data, {"name": settings.config or None, "revision": revision, "streaming": settings.streaming}


@lru_cache(maxsize=16)
def commit_of(data: str, revision: str) -> str | None:
    """The commit to read: it stays the same for as long as this process lives. Fails at once where the Hub is silent."""
    if constants.HF_HUB_OFFLINE:
        return revision or None
    try:
        return HfApi().dataset_info(data, revision=revision or None, timeout=SECONDS).sha
    except GatedRepoError as error:
        raise refused_name(data, gated=True) from error
    except RevisionNotFoundError:
        raise ValueError(f"{data} has no revision {revision!r}: see task.revision.") from None
    except RepositoryNotFoundError:
        raise refused_name(data, gated=False) from None
    except (OSError, httpx.HTTPError) as error:
        raise StoreUnavailable(
            f"The Hub cannot be reached just now ({summarize_error(error)}); with HF_HUB_OFFLINE=1 what was fetched "
            f"before is read, and task.files names a copy of {data}."
        ) from None


@contextmanager
def telling(settings: DataSettings) -> Iterator[None]:
    """One sentence for what goes wrong while a data set is opened or read."""
    try:
        yield
    except (
        GatedRepoError,
        RepositoryNotFoundError,
        FileNotFoundError,
    ) as error:  # `datasets` finds nothing, or may not
        raise refused_name(settings.source, gated="gated" in str(error).lower()) from error
    except ValueError as error:
        raise ValueError(
            f"{settings.source}: {summarize_error(error)}. See task.config, task.train and task.test."
        ) from error
    except (OSError, httpx.HTTPError) as error:
        raise StoreUnavailable(
            f"{settings.source} cannot be read just now ({summarize_error(error)}); the last saved step is kept."
        ) from error


def refused_name(name: str, gated: bool) -> ValueError:
    if gated:
        return ValueError(
            f"{name} is gated: accept its terms on the Hub's page, and set HF_TOKEN to that account's token."
        )
    return ValueError(f"There is no data set {name} on the Hub, or it is private and HF_TOKEN may not see it.")


@lru_cache(maxsize=16)
def class_names(settings: DataSettings) -> tuple[str, ...]:
    """The names of the classes, as the data set states them.

    Raises:
        ValueError: it states none.
    """
    names = getattr(opened(settings, settings.train).features[settings.label], "names", None)
    if not names or len(names) < 2:
        raise ValueError(f"{settings.source}: column {settings.label!r} names no classes; give them in task.names.")
    return tuple(names)


def rows_of(settings: DataSettings, split: str, classes: int) -> Iterator[tuple[Image.Image, int]]:
    """Every picture of a split and its class, in the order of the files."""
    number = 0
    for rows in read(settings, opened(settings, split).iter(batch_size=100)):
        for cell, label in zip(rows[settings.image], rows[settings.label], strict=True):
            where = f"{settings.source}, {split}, row {number}"
            yield decoded(content_of(cell, where), where), class_of(label, classes, where)
            number += 1


def read(settings: DataSettings, rows: Iterable[Any]) -> Iterator[Any]:
    """Rows as they come; what goes wrong on the way is told in one sentence."""
    coming = iter(rows)
    while True:
        with telling(settings):
            row = next(coming, None)
        if row is None:
            return
        yield row


def content_of(cell: Any, where: str) -> bytes:
    """The encoded picture of a cell: it holds its bytes, or where they lie."""
    try:
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{where} is not a picture: {summarize_error(error)}.") from None


def class_of(label: Any, classes: int, where: str) -> int:
    if type(label) is not int or not 0 <= label < classes:
        raise ValueError(
            f"{where}: the class must be a whole number from 0 to {classes - 1}, got {truncate_repr(label)}. "
            "See task.label and task.names; a split without classes is none to learn from or to test on."
        )
    return label


def digest(content: bytes | np.ndarray) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


@lru_cache(maxsize=2)
def held(settings: DataSettings, classes: int, side: int) -> dict[str, Pictures]:
    """All pictures of a data set by split, decoded once.

    The published test split is `test`; the other is parted by a hash of the pixels, and what is tested on is left out.

    Args:
        side: of the pictures to train on, which may show more than what is seen of them; the others are cut as seen.

    Raises:
        ValueError: they do not fit memory, or one cannot be read.
    """
    parts = {split: Growing() for split in (TRAIN, VALIDATION, CALIBRATION, TEST)}
    tested = set()
    if settings.test:
        for picture, label in rows_of(settings, settings.test, classes):
            seen = settings.seen(picture)
            tested.add(digest(seen))
            parts[TEST].add(seen, label)
    for picture, label in rows_of(settings, settings.train, classes):
        seen = settings.seen(picture)
        if (key := digest(seen)) in tested:
            continue
        (place,) = places_of([key], LOOSE if settings.test else NO_TEST)
        if place == TRAIN and side != settings.crop:
            seen = settings.pixels(middle_of(settings.coloured(picture), settings.size, side))
        parts[place].add(seen, label)
        if sum(len(part.content) for part in parts.values()) > MOST_HELD:
            raise ValueError(f"{settings.source} does not fit memory as bytes; set task.streaming=true.")
    for name, part in parts.items():
        if not part.labels:
            raise ValueError(f"{settings.source} holds no picture for {name}: it is too small.")
    cut = settings.crop
    return {name: part.whole(side if name == TRAIN else cut, settings.channels) for name, part in parts.items()}


class Growing:
    """Pictures as they come in."""

    def __init__(self) -> None:
        self.content, self.labels = bytearray(), list[int]()

    def add(self, pixels: np.ndarray, label: int) -> None:
        self.content += pixels.tobytes()
        self.labels.append(label)

    def whole(self, side: int, channels: int) -> Pictures:
        pixels = np.frombuffer(self.content, np.uint8).reshape(-1, side, side, channels)
        return Pictures(pixels, np.array(self.labels, np.int64))
