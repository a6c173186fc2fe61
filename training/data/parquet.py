"""Pictures in parquet files, as the Hub stores them: encoded bytes in a column, labels in another."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from ctm.messages import summarize_error


def read_table(path: Path, columns: list[str]) -> pyarrow.Table:
    """The columns of a parquet file.

    Raises:
        ValueError: no such file, or no such columns.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        return parquet.read_table(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        named = " and ".join(f"`{column}`" for column in columns)
        word = "column" if len(columns) == 1 else "columns"
        raise ValueError(f"{path.name} is not a parquet file with {named} {word}: {error}") from None


def iterate_image_column(table: pyarrow.Table, filename: str, column: str = "image") -> Iterator[Image.Image]:
    """The pictures of a column, decoded one by one; `name` is the file's, for messages.

    Raises:
        ValueError: a row is not a picture.
    """
    for row, cell in enumerate(table[column]):
        value = cell.as_py()
        yield decode_image(value.get("bytes") if isinstance(value, dict) else value, f"{filename}: row {row}")


def decode_image(content: bytes, location: str) -> Image.Image:
    """A picture from its file's bytes; `where` says whose, for messages.

    Raises:
        ValueError: they are none.
    """
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{location} is not a picture: {summarize_error(error)}.") from None
    return picture


def read_label_column(table: pyarrow.Table, filename: str, num_classes: int, column: str = "label") -> list[int]:
    """The column of labels.

    Raises:
        ValueError: it is empty, or holds something else than classes.
    """
    labels = table[column].to_pylist()
    if not labels or not all(type(label) is int and 0 <= label < num_classes for label in labels):
        raise ValueError(f"{filename}: labels must be whole numbers from 0 to {num_classes - 1}.")
    return labels
