"""Read images and labels from parquet files in the schema of the Hub: a column of encoded bytes and one of labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from training.data.class_labels import ClassLabels, map_positions
from training.data.image_errors import UnreadableImage
from training.data.image_reader import DecodedImage, read_image
from training.data.parquet_metadata import get_class_names
from training.data.unreadable_images import DEFAULT_MAX_RATE, UnreadableImages

MAX_IMAGE_BYTES = 200 * 2**20
MAX_IMAGE_PIXELS = 80_000_000


def read_table(path: Path, columns: list[str]) -> pyarrow.Table:
    """Read columns of a parquet file.

    Args:
        path: The file.
        columns: Names of the columns.

    Raises:
        ValueError: The file or a column is missing.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        return parquet.read_table(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        names = " and ".join(f"`{column}`" for column in columns)
        noun = "column" if len(columns) == 1 else "columns"
        raise ValueError(f"{path.name} is not a parquet file with {names} {noun}: {error}") from None


def iterate_image_column(table: pyarrow.Table, filename: str, column: str = "image") -> Iterator[Image.Image]:
    """Yield the decoded images of a column.

    Args:
        table: Table that has the column.
        filename: Name of the file for error messages.
        column: Name of the column.

    Yields:
        The images in row order, in mode L or RGB.

    Raises:
        ValueError: A row is not an image.
    """
    for row, cell in enumerate(table[column]):
        try:
            yield read_image_cell(cell.as_py()).to_8_bit()
        except UnreadableImage as error:
            raise ValueError(f"{filename}: row {row}: {error}") from None


def iterate_labeled_images(
    table: pyarrow.Table,
    filename: str,
    names: Sequence[str],
    image_column: str = "image",
    label_column: str = "label",
    max_unreadable_rate: float = DEFAULT_MAX_RATE,
) -> Iterator[tuple[DecodedImage, int]]:
    """Yield the decoded images of a table and their classes. Images that cannot be read are skipped.

    Args:
        table: Table that has the columns.
        filename: Name of the file for error messages.
        names: Names of the classes.
        image_column: Name of the column with the images.
        label_column: Name of the column with their classes.
        max_unreadable_rate: Share of the images that may be unreadable.

    Raises:
        ValueError: A label is not a class, there are no rows, or too many images cannot be read.
    """
    if not len(table):
        raise ValueError(f"{filename} has no rows.")
    file_names = get_class_names(table.schema, label_column)
    positions = None
    if file_names is not None and set(file_names) <= set(names):
        positions = map_positions(file_names, names, filename) or tuple(range(len(names)))
    labels = ClassLabels(tuple(names), positions)
    unreadable = UnreadableImages(filename, max_unreadable_rate)
    for row, (cell, label) in enumerate(zip(table[image_column], table[label_column], strict=True)):
        try:
            image = read_image_cell(cell.as_py())
        except UnreadableImage as error:
            unreadable.add(f"row {row}", error)
            unreadable.check(len(table))
            continue
        unreadable.add_readable()
        yield image, labels.get_index(label.as_py(), f"{filename}: row {row}")
    unreadable.log()


def read_image_cell(cell: Any) -> DecodedImage:
    """Decode the image in a cell of a table.

    Args:
        cell: A dict with the content of an image file as `bytes`, or the content itself.

    Raises:
        UnreadableImage: The cell contains no image that can be read.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is None:
        raise UnreadableImage("There is no picture.")
    if not isinstance(content, bytes):
        raise UnreadableImage("The value is not the content of an image file.")
    return read_dataset_image(content)


def read_dataset_image(content: bytes) -> DecodedImage:
    """Decode an image of a data set, which may be larger than an image of a user.

    Raises:
        UnreadableImage: The content is not an image that can be read.
    """
    return read_image(content, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS)
