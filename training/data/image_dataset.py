"""Data sets of pictures, read through `datasets`: of the Hub, or of parquet files in its schema.

What fits is decoded once and held in memory as bytes. What does not is read while training: see `training.data.streaming`.
"""

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

from ctm.messages import summarize_error, truncate_repr
from ctm.settings import Settings
from ctm.stores import HubRef, StoreUnavailable
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

MAX_DATASET_BYTES = 8 * 2**30  # bytes of decoded pictures
HUB_TIMEOUT_S = 10.0  # that the Hub has to answer


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
    def _check_channels(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("must be 1 (grey) or 3 (colours)")
        return value

    @field_validator("data")
    @classmethod
    def _check_dataset_name(cls, value: str) -> str:
        if value and str(HubRef.parse(value)) != HubRef.parse(value).repo:
            raise ValueError("names a data set alone, namespace/name; its commit goes into task.revision")
        return HubRef.parse(value).repo if value else value

    @model_validator(mode="after")
    def _check_crop(self) -> "DataSettings":
        if self.crop > self.size:
            raise ValueError(f"task.crop may be task.size at most: got {self.crop} > {self.size}.")
        return self

    @property
    def display_name(self) -> str:
        """What to call it in a message."""
        return Path(self.files).name if self.files else self.data

    def preprocess(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """The middle of a picture, as the machine sees it."""
        return self.to_array(resize_center_crop(self.convert_mode(image), self.size, self.crop))

    def convert_mode(self, image: Image.Image) -> Image.Image:
        return image.convert("RGB" if self.channels == 3 else "L")

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        return np.asarray(image, np.uint8).reshape(image.height, image.width, self.channels)


@dataclass(frozen=True)
class LabeledImages:
    """Decoded pictures and their classes."""

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]


@lru_cache(maxsize=4)
def open_split(settings: DataSettings, split: str) -> Any:
    """A split as a `datasets` iterable of rows whose pictures are not yet decoded.

    Raises:
        ValueError: what is missing or may not be read, and what to do; `StoreUnavailable` where waiting may help.
    """
    import datasets  # noqa: PLC0415 -- takes a second, which those who train on something else are spared

    begins, arguments = build_load_arguments(settings)
    with translate_dataset_errors(settings):
        rows = datasets.load_dataset(begins, split=split, **arguments)
    missing = {settings.image, settings.label} - set(rows.column_names or ())
    if missing:
        columns = ", ".join(sorted(rows.column_names or ()))
        raise ValueError(
            f"{settings.display_name} has no column {min(missing)!r}; it has {columns}. See task.image and task.label."
        )
    if not isinstance(rows.features[settings.image], datasets.Image):
        raise ValueError(f"{settings.display_name}: column {settings.image!r} holds no pictures. See task.image.")
    rows = rows.select_columns([settings.image, settings.label])
    return rows.cast_column(settings.image, datasets.Image(decode=False))


def build_load_arguments(settings: DataSettings) -> tuple[str, dict[str, Any]]:
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
    revision = resolve_commit(settings.data, settings.revision)
    return settings.data, {"name": settings.config or None, "revision": revision, "streaming": settings.streaming}


@lru_cache(maxsize=16)
def resolve_commit(dataset: str, revision: str) -> str | None:
    """The commit to read: it stays the same for as long as this process lives. Fails at once where the Hub is silent."""
    if constants.HF_HUB_OFFLINE:
        return revision or None
    try:
        return HfApi().dataset_info(dataset, revision=revision or None, timeout=HUB_TIMEOUT_S).sha
    except GatedRepoError as error:
        raise build_access_error(dataset, gated=True) from error
    except RevisionNotFoundError:
        raise ValueError(f"{dataset} has no revision {revision!r}: see task.revision.") from None
    except RepositoryNotFoundError:
        raise build_access_error(dataset, gated=False) from None
    except (OSError, httpx.HTTPError) as error:
        raise StoreUnavailable(
            f"The Hub cannot be reached just now ({summarize_error(error)}); with HF_HUB_OFFLINE=1 what was fetched "
            f"before is read, and task.files names a copy of {dataset}."
        ) from None


@contextmanager
def translate_dataset_errors(settings: DataSettings) -> Iterator[None]:
    """One sentence for what goes wrong while a data set is opened or read."""
    try:
        yield
    except (
        GatedRepoError,
        RepositoryNotFoundError,
        FileNotFoundError,
    ) as error:  # `datasets` finds nothing, or may not
        raise build_access_error(settings.display_name, gated="gated" in str(error).lower()) from error
    except ValueError as error:
        raise ValueError(
            f"{settings.display_name}: {summarize_error(error)}. See task.config, task.train and task.test."
        ) from error
    except (OSError, httpx.HTTPError) as error:
        raise StoreUnavailable(
            f"{settings.display_name} cannot be read just now ({summarize_error(error)}); the last saved step is kept."
        ) from error


def build_access_error(name: str, gated: bool) -> ValueError:
    if gated:
        return ValueError(
            f"{name} is gated: accept its terms on the Hub's page, and set HF_TOKEN to that account's token."
        )
    return ValueError(f"There is no data set {name} on the Hub, or it is private and HF_TOKEN may not see it.")


@lru_cache(maxsize=16)
def load_class_names(settings: DataSettings) -> tuple[str, ...]:
    """The names of the classes, as the data set states them.

    Raises:
        ValueError: it states none.
    """
    names = getattr(open_split(settings, settings.train).features[settings.label], "names", None)
    if not names or len(names) < 2:
        raise ValueError(
            f"{settings.display_name}: column {settings.label!r} names no classes; give them in task.names."
        )
    return tuple(names)


def iterate_images(settings: DataSettings, split: str, num_classes: int) -> Iterator[tuple[Image.Image, int]]:
    """Every picture of a split and its class, in the order of the files."""
    number = 0
    for rows in iterate_rows(settings, open_split(settings, split).iter(batch_size=100)):
        for cell, label in zip(rows[settings.image], rows[settings.label], strict=True):
            where = f"{settings.display_name}, {split}, row {number}"
            yield decode_image(read_image_bytes(cell, where), where), check_class_index(label, num_classes, where)
            number += 1


def iterate_rows(settings: DataSettings, rows: Iterable[Any]) -> Iterator[Any]:
    """Rows as they come; what goes wrong on the way is told in one sentence."""
    coming = iter(rows)
    while True:
        with translate_dataset_errors(settings):
            row = next(coming, None)
        if row is None:
            return
        yield row


def read_image_bytes(cell: Any, where: str) -> bytes:
    """The encoded picture of a cell: it holds its bytes, or where they lie."""
    try:
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{where} is not a picture: {summarize_error(error)}.") from None


def check_class_index(label: Any, num_classes: int, where: str) -> int:
    if type(label) is not int or not 0 <= label < num_classes:
        raise ValueError(
            f"{where}: the class must be a whole number from 0 to {num_classes - 1}, got {truncate_repr(label)}. "
            "See task.label and task.names; a split without classes is none to learn from or to test on."
        )
    return label


@lru_cache(maxsize=2)
def load_in_memory(settings: DataSettings, num_classes: int, train_side: int) -> dict[str, LabeledImages]:
    """All pictures of a data set by split, decoded once.

    The published test split is `test`; the other is parted by a hash of the pixels, and what is tested on is left out.

    Args:
        side: of the pictures to train on, which may show more than what is seen of them; the others are cut as seen.

    Raises:
        ValueError: they do not fit memory, or one cannot be read.
    """
    parts = {split: ImageBuffer() for split in (TRAIN, VALIDATION, CALIBRATION, TEST)}
    tested = set()
    if settings.test:
        for picture, label in iterate_images(settings, settings.test, num_classes):
            seen = settings.preprocess(picture)
            tested.add(digest(seen))
            parts[TEST].add(seen, label)
    for picture, label in iterate_images(settings, settings.train, num_classes):
        seen = settings.preprocess(picture)
        if (key := digest(seen)) in tested:
            continue
        (place,) = assign_splits_by_hash([key], TRAIN_FILE_SPLITS if settings.test else TRAIN_FILE_SPLITS_WITH_TEST)
        if place == TRAIN and train_side != settings.crop:
            seen = settings.to_array(resize_center_crop(settings.convert_mode(picture), settings.size, train_side))
        parts[place].add(seen, label)
        if sum(len(part.content) for part in parts.values()) > MAX_DATASET_BYTES:
            raise ValueError(f"{settings.display_name} does not fit memory as bytes; set task.streaming=true.")
    for name, part in parts.items():
        if not part.labels:
            raise ValueError(f"{settings.display_name} holds no picture for {name}: it is too small.")
    cut = settings.crop
    return {
        name: part.to_labeled_images(train_side if name == TRAIN else cut, settings.channels)
        for name, part in parts.items()
    }


class ImageBuffer:
    """Pictures as they come in."""

    def __init__(self) -> None:
        self.content, self.labels = bytearray(), list[int]()

    def add(self, pixels: np.ndarray, label: int) -> None:
        self.content += pixels.tobytes()
        self.labels.append(label)

    def to_labeled_images(self, side: int, channels: int) -> LabeledImages:
        pixels = np.frombuffer(self.content, np.uint8).reshape(-1, side, side, channels)
        return LabeledImages(pixels, np.array(self.labels, np.int64))
