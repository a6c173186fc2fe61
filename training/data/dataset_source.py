"""Read the rows of an image data set through `datasets`, from the Hub or from local files, with the classes of their labels."""

import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from training.data.class_labels import ClassLabels, infer_class_names, map_positions
from training.data.dataset_errors import translate_dataset_errors, translate_remote_errors
from training.data.dataset_location import build_load_arguments
from training.data.dataset_settings import DataSettings
from training.data.image_errors import UnreadableImage
from training.data.parquet_metadata import (
    build_column_error,
    check_columns,
    get_common_class_names,
    read_parquet_schemas,
)

ROWS_PER_READ = 100


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
    columns = sorted({settings.image_column, settings.label_column})
    schemas = read_parquet_schemas(settings)
    if schemas:
        arguments["columns"] = columns
        check_columns(settings, schemas)
    with translate_dataset_errors(settings):
        rows = datasets.load_dataset(path, split=split, **arguments)
        if isinstance(rows, datasets.IterableDataset):
            rows = rows.decode(False)  # remote files are otherwise decoded before their bytes are seen
    missing = set(columns) - set(rows.column_names or ())
    if missing:
        raise build_column_error(settings.display_name, missing, rows.column_names or ())
    if not _can_hold_images(rows.features[settings.image_column]):
        raise ValueError(
            f"{settings.display_name}: column {settings.image_column!r} contains no images. See task.image_column."
        )
    return rows.select_columns(columns).cast_column(settings.image_column, datasets.Image(decode=False))


def _can_hold_images(feature: Any) -> bool:
    """Return whether a column has the type of images, or of the content of their files."""
    import datasets  # noqa: PLC0415 - see `open_split`

    if isinstance(feature, datasets.Value):
        return feature.dtype in ("binary", "large_binary")
    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and "bytes" in feature)


def read_file_class_names(settings: DataSettings, split: str) -> tuple[str, ...] | None:
    """Return the names that the files of a split, or else the data set, give to the classes; None if they name none.

    Raises:
        ValueError: The files differ, or there is no such split.
    """
    if (schemas := read_parquet_schemas(settings).get(split)) and (
        names := get_common_class_names(settings.display_name, schemas, settings.label_column)
    ):
        return names
    names = getattr(open_split(settings, split).features[settings.label_column], "names", None)
    return tuple(names) if names else None


@lru_cache(maxsize=16)
def load_class_names(settings: DataSettings) -> tuple[str, ...]:
    """Return the names of the classes: those of the label column, or else its different values.

    Raises:
        ValueError: There are fewer than two, or the values are not classes.
    """
    location = f"{settings.display_name}: column {settings.label_column!r}"
    open_split(settings, settings.train_split)  # reports a missing split or column
    names = read_file_class_names(settings, settings.train_split)
    if names is None:
        return infer_class_names(iterate_labels(settings), location)
    if len(names) < 2:
        raise ValueError(f"{location} names fewer than two classes.")
    return names


def iterate_labels(settings: DataSettings) -> Iterator[Any]:
    """Yield the labels of the train split. The images of parquet files are not read."""
    import datasets  # noqa: PLC0415 - see `open_split`

    path, arguments = build_load_arguments(settings)
    if read_parquet_schemas(settings):
        arguments["columns"] = [settings.label_column]
    arguments["streaming"] = True
    with translate_dataset_errors(settings):
        rows = datasets.load_dataset(path, split=settings.train_split, **arguments)
        rows = rows.decode(False).select_columns([settings.label_column])
    for batch in iterate_rows(settings, rows.iter(batch_size=ROWS_PER_READ)):
        yield from batch[settings.label_column]


def build_class_labels(settings: DataSettings, split: str, names: tuple[str, ...]) -> ClassLabels:
    """Return how the labels of a split become classes.

    Args:
        settings: Source of the images.
        split: Name of the split.
        names: Names of the classes of the task.

    Raises:
        ValueError: The split has classes that the train split does not have.
    """
    split_names = read_file_class_names(settings, split)
    if split_names is None:
        return ClassLabels(names)
    train_names = read_file_class_names(settings, settings.train_split)
    if train_names is None and not set(split_names) <= set(names):
        return ClassLabels(names)
    where = f"{settings.display_name}, {split},"
    positions = map_positions(split_names, train_names or names, where)
    return ClassLabels(names, positions if positions is not None else tuple(range(len(names))))


def iterate_rows(settings: DataSettings, rows: Iterable[Any]) -> Iterator[Any]:
    """Yield rows, with errors translated by `translate_dataset_errors`."""
    iterator = iter(rows)
    while True:
        with translate_dataset_errors(settings):
            row = next(iterator, None)
        if row is None:
            return
        yield row


def get_image_content(settings: DataSettings, cell: Any) -> bytes:
    """Return the content of the image file in a cell of the image column.

    Args:
        settings: Source of the images.
        cell: Content and path of the file, one of which may be missing; or an image that `datasets` has decoded.

    Raises:
        UnreadableImage: The cell is empty, or its file is missing.
        StoreUnavailable: The Hub cannot be reached.
    """
    from datasets.utils.file_utils import xopen  # noqa: PLC0415 - see `open_split`

    if isinstance(cell, Image.Image):
        file = io.BytesIO()
        cell.save(file, "PNG")
        return file.getvalue()
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is None and isinstance(cell, dict) and cell.get("path"):
        try:
            with translate_remote_errors(settings), xopen(cell["path"], "rb") as opened:
                return opened.read()
        except FileNotFoundError:
            raise UnreadableImage(f"There is no file {Path(cell['path']).name}.") from None
    if not isinstance(content, bytes):
        raise UnreadableImage("There is no picture.")
    return content
