"""Read images and labels from parquet files in the schema of the Hub: a column of encoded bytes and one of labels."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from ctm.messages import summarize_error


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
        The images in row order.

    Raises:
        ValueError: A row is not an image.
    """
    for row, cell in enumerate(table[column]):
        value = cell.as_py()
        yield decode_image(value.get("bytes") if isinstance(value, dict) else value, f"{filename}: row {row}")


def decode_image(content: Any, location: str) -> Image.Image:
    """Decode an image from the bytes of its file.

    Args:
        content: Content of an image file; any other value than bytes is an error.
        location: Origin of the image for error messages.

    Raises:
        ValueError: The bytes are not an image.
    """
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{location} is not an image: {summarize_error(error)}.") from None
    return image


def read_label_column(table: pyarrow.Table, filename: str, num_classes: int, column: str = "label") -> list[int]:
    """Read the class labels of a table.

    Args:
        table: Table that has the column.
        filename: Name of the file for error messages.
        num_classes: Number of classes.
        column: Name of the column.

    Raises:
        ValueError: The column is empty, or a value is not a class index.
    """
    labels = table[column].to_pylist()
    if not labels or not all(type(label) is int and 0 <= label < num_classes for label in labels):
        raise ValueError(f"{filename}: labels must be whole numbers from 0 to {num_classes - 1}.")
    return labels
