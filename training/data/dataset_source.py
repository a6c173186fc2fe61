"""Source of an image data set: its settings, and its rows as `datasets` reads them, from the Hub or from local files.

Local files are parquet files in the schema of the Hub.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field, field_validator, model_validator

from ctm.messages import summarize_error, truncate_repr
from ctm.settings import Settings
from ctm.stores import HubRef, StoreUnavailable
from training.data.preprocessing import resize_center_crop

HUB_TIMEOUT_S = 10.0


class DataSettings(Settings):
    """Source and size of the images of a data set."""

    dataset: str = Field(
        "", description="data set on the Hub, namespace/name; empty: none, so the task cannot be trained"
    )
    subset: str = Field("", description="subset (configuration) of the data set, if it has several")
    revision: str = Field("", description="commit, tag or branch of the data set; empty: its latest version")
    data_files: str = Field(
        "", description="local directory or parquet file to read instead; not written into checkpoints"
    )
    train_split: str = Field("train", min_length=1, description="split to train on; a part of it is held out")
    test_split: str = Field("test", description="split to test on; empty: 10% of train_split")
    image_column: str = Field("image", min_length=1, description="column with the images")
    label_column: str = Field("label", min_length=1, description="column with the class indices, which start at 0")
    streaming: bool = Field(False, description="read images during training instead of loading all into memory")
    channels: int = Field(3, description="3: colour; 1: grayscale")
    resize: int = Field(256, ge=8, le=2_048, description="shorter side of an image after resizing, pixels")
    crop: int = Field(224, ge=8, le=2_048, description="side of the central square that the model receives, pixels")

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("must be 1 (grayscale) or 3 (colour)")
        return value

    @field_validator("dataset")
    @classmethod
    def _check_dataset_name(cls, value: str) -> str:
        if value and str(HubRef.parse(value)) != HubRef.parse(value).repo:
            raise ValueError("must be namespace/name; set its commit in task.revision")
        return HubRef.parse(value).repo if value else value

    @model_validator(mode="after")
    def _check_crop(self) -> "DataSettings":
        if self.crop > self.resize:
            raise ValueError(f"task.crop must not exceed task.resize: got {self.crop} > {self.resize}.")
        return self

    @property
    def display_name(self) -> str:
        """Name of the data set for messages: that of the local files, or that on the Hub; empty if neither is set."""
        return Path(self.data_files).name if self.data_files else self.dataset

    def preprocess(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """Return the central square that the model receives, as bytes."""
        return self.to_array(resize_center_crop(self.convert_mode(image), self.resize, self.crop))

    def convert_mode(self, image: Image.Image) -> Image.Image:
        """Convert to RGB or to grayscale, by the number of channels."""
        return image.convert("RGB" if self.channels == 3 else "L")

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """Return the pixels of an image in the mode of `convert_mode`."""
        return np.asarray(image, np.uint8).reshape(image.height, image.width, self.channels)


@lru_cache(maxsize=4)
def open_split(settings: DataSettings, split: str) -> Any:
    """Open a split as a `datasets` iterable of rows with encoded images.

    Args:
        settings: Source of the images.
        split: Name of the split in the data set.

    Returns:
        A `Dataset` or `IterableDataset` with the image column and the label column.

    Raises:
        ValueError: The data set or a column is missing or not readable.
        StoreUnavailable: The Hub cannot be reached; a retry may help.
    """
    import datasets  # noqa: PLC0415 - the import takes a second, and other tasks do not need it

    path, arguments = build_load_arguments(settings)
    with translate_dataset_errors(settings):
        rows = datasets.load_dataset(path, split=split, **arguments)
    missing = {settings.image_column, settings.label_column} - set(rows.column_names or ())
    if missing:
        columns = ", ".join(sorted(rows.column_names or ()))
        raise ValueError(
            f"{settings.display_name} has no column {min(missing)!r}; it has {columns}. See task.image_column and "
            "task.label_column."
        )
    if not isinstance(rows.features[settings.image_column], datasets.Image):
        raise ValueError(
            f"{settings.display_name}: column {settings.image_column!r} contains no images. See task.image_column."
        )
    rows = rows.select_columns([settings.image_column, settings.label_column])
    return rows.cast_column(settings.image_column, datasets.Image(decode=False))


def build_load_arguments(settings: DataSettings) -> tuple[str, dict[str, Any]]:
    """Return path and keyword arguments of `datasets.load_dataset`.

    Local files are read in place, without a copy in the cache.

    Raises:
        ValueError: No data set is set, the local files do not exist, or the data set is not accessible.
        StoreUnavailable: The Hub cannot be reached.
    """
    if settings.data_files:
        path = Path(settings.data_files)
        if not path.exists():
            location = truncate_repr(settings.data_files, 200)
            raise ValueError(f"There is no directory or file {location}: see task.data_files.")
        if path.is_dir():
            return str(path), {"name": settings.subset or None, "streaming": True}
        return "parquet", {"data_files": {settings.train_split: str(path)}, "streaming": True}
    if not settings.dataset:
        raise ValueError(
            "The task images has no images of its own: set task.dataset or task.data_files, or evaluate with "
            "--data FILE.parquet, a file with `image` and `label` columns."
        )
    revision = resolve_commit(settings.dataset, settings.revision)
    return settings.dataset, {"name": settings.subset or None, "revision": revision, "streaming": settings.streaming}


@lru_cache(maxsize=16)
def resolve_commit(dataset: str, revision: str) -> str | None:
    """Return the commit to read, which stays the same until this process ends.

    Args:
        dataset: Data set on the Hub, namespace/name.
        revision: Commit, tag or branch; empty for the default branch.

    Returns:
        The commit; in offline mode the revision itself, or None.

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
            f"The Hub cannot be reached just now ({summarize_error(error)}). Set HF_HUB_OFFLINE=1 to read the cached files, "
            f"or task.data_files to read a local copy of {dataset}."
        ) from None


@contextmanager
def translate_dataset_errors(settings: DataSettings) -> Iterator[None]:
    """Translate errors of `datasets` and of the Hub client into errors of one sentence.

    Raises:
        ValueError: The data set is missing, not accessible or has another structure.
        StoreUnavailable: It cannot be read now; a retry may help.
    """
    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError, FileNotFoundError) as error:
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
    """Build the error for a data set that is gated, or that is missing or private."""
    if gated:
        return ValueError(
            f"{name} is gated: accept its terms on its page of the Hub, and set HF_TOKEN to the token of that account."
        )
    return ValueError(f"There is no data set {name} on the Hub, or it is private and HF_TOKEN has no access to it.")


@lru_cache(maxsize=16)
def load_class_names(settings: DataSettings) -> tuple[str, ...]:
    """Return the class names of the data set.

    Raises:
        ValueError: The data set has no class names.
    """
    names = getattr(open_split(settings, settings.train_split).features[settings.label_column], "names", None)
    if not names or len(names) < 2:
        raise ValueError(
            f"{settings.display_name}: column {settings.label_column!r} names no classes; list them in task.names."
        )
    return tuple(names)


def iterate_rows(settings: DataSettings, rows: Iterable[Any]) -> Iterator[Any]:
    """Yield rows, with errors translated by `translate_dataset_errors`."""
    iterator = iter(rows)
    while True:
        with translate_dataset_errors(settings):
            row = next(iterator, None)
        if row is None:
            return
        yield row


def read_image_bytes(cell: Any, location: str) -> bytes:
    """Return the encoded image of a cell, which contains its bytes or a path.

    Args:
        cell: Value of the image column.
        location: Data set, split and row for error messages.

    Raises:
        ValueError: The cell contains neither.
    """
    try:
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{location} is not an image: {summarize_error(error)}.") from None
