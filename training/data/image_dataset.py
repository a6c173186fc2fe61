"""Read image data sets through `datasets`, from the Hub or from parquet files in its schema.

Data sets that fit into memory are decoded once and stored as bytes. Larger ones are streamed: see `training.data.streaming`.
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
    """Source and size of the images of a data set."""

    dataset: str = Field("", description="data set of the Hub, namespace/name; empty: none, so nothing to train on")
    subset: str = Field("", description="configuration of the data set, where it has several")
    revision: str = Field("", description="commit, tag or branch of the data set; empty: as it is today")
    data_files: str = Field(
        "", description="local directory or parquet file to read instead; never written into a checkpoint"
    )
    train_split: str = Field("train", min_length=1, description="split to learn from; a part of it is held out")
    test_split: str = Field("test", description="split to test on; empty: a tenth of the other")
    image_column: str = Field("image", min_length=1, description="column of the pictures")
    label_column: str = Field("label", min_length=1, description="column of the classes, whole numbers from 0 on")
    streaming: bool = Field(False, description="read while training instead of holding all in memory")
    channels: int = Field(3, description="3: colours; 1: grey")
    resize: int = Field(256, ge=8, le=2_048, description="shorter side that a picture is resized to, pixels")
    crop: int = Field(224, ge=8, le=2_048, description="side of the middle that is cut out and seen")

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("must be 1 (grey) or 3 (colours)")
        return value

    @field_validator("dataset")
    @classmethod
    def _check_dataset_name(cls, value: str) -> str:
        if value and str(HubRef.parse(value)) != HubRef.parse(value).repo:
            raise ValueError("names a data set alone, namespace/name; its commit goes into task.revision")
        return HubRef.parse(value).repo if value else value

    @model_validator(mode="after")
    def _check_crop(self) -> "DataSettings":
        if self.crop > self.resize:
            raise ValueError(f"task.crop may be task.resize at most: got {self.crop} > {self.resize}.")
        return self

    @property
    def display_name(self) -> str:
        """Name for messages."""
        return Path(self.data_files).name if self.data_files else self.dataset

    def preprocess(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """Return the center crop that the model receives."""
        return self.to_array(resize_center_crop(self.convert_mode(image), self.resize, self.crop))

    def convert_mode(self, image: Image.Image) -> Image.Image:
        """Convert to RGB or to grayscale, by the number of channels."""
        return image.convert("RGB" if self.channels == 3 else "L")

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        return np.asarray(image, np.uint8).reshape(image.height, image.width, self.channels)


@dataclass(frozen=True)
class LabeledImages:
    """Decoded images, shape (n, h, w, c), and their classes, shape (n)."""

    pixels: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]


@lru_cache(maxsize=4)
def open_split(settings: DataSettings, split: str) -> Any:
    """Open a split as a `datasets` iterable of rows with encoded images.

    Raises:
        ValueError: The data set or a column is missing or not readable.
        StoreUnavailable: The Hub cannot be reached; a retry may help.
    """
    import datasets  # noqa: PLC0415 -- takes a second, which those who train on something else are spared

    begins, arguments = build_load_arguments(settings)
    with translate_dataset_errors(settings):
        rows = datasets.load_dataset(begins, split=split, **arguments)
    missing = {settings.image_column, settings.label_column} - set(rows.column_names or ())
    if missing:
        columns = ", ".join(sorted(rows.column_names or ()))
        raise ValueError(
            f"{settings.display_name} has no column {min(missing)!r}; it has {columns}. See task.image_column and task.label_column."
        )
    if not isinstance(rows.features[settings.image_column], datasets.Image):
        raise ValueError(
            f"{settings.display_name}: column {settings.image_column!r} holds no pictures. See task.image_column."
        )
    rows = rows.select_columns([settings.image_column, settings.label_column])
    return rows.cast_column(settings.image_column, datasets.Image(decode=False))


def build_load_arguments(settings: DataSettings) -> tuple[str, dict[str, Any]]:
    """Return the arguments of `load_dataset`. Local files are read in place, without a copy in the cache."""
    if settings.data_files:
        path = Path(settings.data_files)
        if not path.exists():
            raise ValueError(
                f"There is no folder or file {truncate_repr(settings.data_files, 200)}: see task.data_files."
            )
        if path.is_dir():
            return str(path), {"name": settings.subset or None, "streaming": True}
        return "parquet", {"data_files": {settings.train_split: str(path)}, "streaming": True}
    if not settings.dataset:
        raise ValueError(
            "The task images has no pictures of its own: set task.dataset or task.data_files, or measure with --data FILE.parquet, "
            "a file with `image` and `label` columns."
        )
    revision = resolve_commit(settings.dataset, settings.revision)
    return settings.dataset, {"name": settings.subset or None, "revision": revision, "streaming": settings.streaming}


@lru_cache(maxsize=16)
def resolve_commit(dataset: str, revision: str) -> str | None:
    """Return the commit to read, fixed for the lifetime of this process.

    Raises:
        ValueError: The data set or revision is missing or not accessible.
        StoreUnavailable: The Hub does not answer within `HUB_TIMEOUT_S`.
    """
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
            f"before is read, and task.data_files names a copy of {dataset}."
        ) from None


@contextmanager
def translate_dataset_errors(settings: DataSettings) -> Iterator[None]:
    """Translate errors of `datasets` and of the Hub client into errors of one sentence."""
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
            f"{settings.display_name}: {summarize_error(error)}. See task.subset, task.train_split and task.test_split."
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
    """Return the class names of the data set.

    Raises:
        ValueError: The data set has no class names.
    """
    names = getattr(open_split(settings, settings.train_split).features[settings.label_column], "names", None)
    if not names or len(names) < 2:
        raise ValueError(
            f"{settings.display_name}: column {settings.label_column!r} names no classes; give them in task.names."
        )
    return tuple(names)


def iterate_images(settings: DataSettings, split: str, num_classes: int) -> Iterator[tuple[Image.Image, int]]:
    """Yield every image of a split and its class, in file order."""
    number = 0
    for rows in iterate_rows(settings, open_split(settings, split).iter(batch_size=100)):
        for cell, label in zip(rows[settings.image_column], rows[settings.label_column], strict=True):
            where = f"{settings.display_name}, {split}, row {number}"
            yield decode_image(read_image_bytes(cell, where), where), check_class_index(label, num_classes, where)
            number += 1


def iterate_rows(settings: DataSettings, rows: Iterable[Any]) -> Iterator[Any]:
    """Yield rows, with errors translated by `translate_dataset_errors`."""
    coming = iter(rows)
    while True:
        with translate_dataset_errors(settings):
            row = next(coming, None)
        if row is None:
            return
        yield row


def read_image_bytes(cell: Any, where: str) -> bytes:
    """Return the encoded image of a cell, which holds its bytes or a path."""
    try:
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{where} is not a picture: {summarize_error(error)}.") from None


def check_class_index(label: Any, num_classes: int, where: str) -> int:
    if type(label) is not int or not 0 <= label < num_classes:
        raise ValueError(
            f"{where}: the class must be a whole number from 0 to {num_classes - 1}, got {truncate_repr(label)}. "
            "See task.label_column and task.names; a split without classes is none to learn from or to test on."
        )
    return label


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
    parts = {split: ImageBuffer() for split in (TRAIN, VALIDATION, CALIBRATION, TEST)}
    tested = set()
    if settings.test_split:
        for picture, label in iterate_images(settings, settings.test_split, num_classes):
            seen = settings.preprocess(picture)
            tested.add(digest(seen))
            parts[TEST].add(seen, label)
    for picture, label in iterate_images(settings, settings.train_split, num_classes):
        seen = settings.preprocess(picture)
        if (key := digest(seen)) in tested:
            continue
        (place,) = assign_splits_by_hash(
            [key], TRAIN_FILE_SPLITS if settings.test_split else TRAIN_FILE_SPLITS_WITH_TEST
        )
        if place == TRAIN and train_side != settings.crop:
            seen = settings.to_array(resize_center_crop(settings.convert_mode(picture), settings.resize, train_side))
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
    """Growing buffer of decoded images and their classes."""

    def __init__(self) -> None:
        self.content, self.labels = bytearray(), list[int]()

    def add(self, pixels: np.ndarray, label: int) -> None:
        self.content += pixels.tobytes()
        self.labels.append(label)

    def to_labeled_images(self, side: int, channels: int) -> LabeledImages:
        pixels = np.frombuffer(self.content, np.uint8).reshape(-1, side, side, channels)
        return LabeledImages(pixels, np.array(self.labels, np.int64))
