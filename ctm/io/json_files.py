"""Read and write JSON and text files. Every error is one sentence that names the file."""

import json
import re
from pathlib import Path
from typing import Any

from ctm.io.atomic import write_text

TEXT_ENCODING = "utf-8-sig"  # UTF-8; a byte order mark, which editors of Windows write, is skipped
# Numbers on a line each; JSON strings contain no line break.
JSON_NUMBER_LIST_PATTERN = re.compile(r"\[\n([-+.eE\d,\s]+)\]")


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """Read a UTF-8 text file; return "" if it does not exist.

    Raises:
        ValueError: The file is larger than `max_bytes`, or is not UTF-8.
    """
    _check_file_size(path, max_bytes)
    try:
        return path.read_text(TEXT_ENCODING) if path.is_file() else ""
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not text in UTF-8.") from None


def read_json(path: Path, default: Any = None, max_bytes: int | None = None) -> Any:
    """Read a JSON object.

    Args:
        path: File to read.
        default: Value for a missing file; None makes it an error.
        max_bytes: Maximum file size, bytes; None for no limit.

    Raises:
        ValueError: The file is missing without a default, is too large, or is not a JSON object.
    """
    _check_file_size(path, max_bytes)
    if not path.is_file():
        if default is not None:
            return default
        raise ValueError(f"{path.name} is missing in {path.parent}.")
    try:
        values = json.loads(path.read_text(TEXT_ENCODING))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} must hold a JSON object, got {type(values).__name__}.")
    return values


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON value per line; [] if there is no file.

    Lines that are incomplete or are no objects are skipped: an append may have been interrupted.
    """
    objects = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            objects.append(value)
    return objects


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file atomically. Lists of numbers are written on one line.

    Raises:
        ValueError: The values hold NaN or infinity.
        TypeError: The values hold an object that JSON cannot represent.
    """
    text = json.dumps(values, indent=2, allow_nan=False)
    write_text(path, JSON_NUMBER_LIST_PATTERN.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n")


def _check_file_size(path: Path, max_bytes: int | None) -> None:
    """Raise `ValueError` if a file is larger than `max_bytes`."""
    if max_bytes is not None and path.is_file() and (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"{path.name} has {size:,} bytes; at most {max_bytes:,} are read.")
