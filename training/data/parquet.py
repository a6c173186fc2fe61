"""Pictures in parquet files, as the Hub stores them: encoded bytes in a column, labels in another."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from ctm.settings import summarize_error


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


def pictures_in(table: pyarrow.Table, name: str, column: str = "image") -> Iterator[Image.Image]:
    """The pictures of a column, decoded one by one; `name` is the file's, for messages.

    Raises:
        ValueError: a row is not a picture.
    """
    for row, cell in enumerate(table[column]):
        value = cell.as_py()
        yield decoded(value.get("bytes") if isinstance(value, dict) else value, f"{name}: row {row}")


def decoded(content: bytes, where: str) -> Image.Image:
    """A picture from its file's bytes; `where` says whose, for messages.

    Raises:
        ValueError: they are none.
    """
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where} is not a picture: {summarize_error(error)}.") from None
    return picture


def labels_in(table: pyarrow.Table, name: str, classes: int, column: str = "label") -> list[int]:
    """The column of labels.

    Raises:
        ValueError: it is empty, or holds something else than classes.
    """
    labels = table[column].to_pylist()
    if not labels or not all(type(label) is int and 0 <= label < classes for label in labels):
        raise ValueError(f"{name}: labels must be whole numbers from 0 to {classes - 1}.")
    return labels
