"""Read and write JSON and text files. Errors are one sentence that names the file."""

import json
import re
from pathlib import Path
from typing import Any

from ctm.io.atomic import write_text

JSON_NUMBER_LIST_PATTERN = re.compile(
    r"\[\n([-+.eE\d,\s]+)\]"
)  # a list of numbers, one a line; no text in JSON has a line break


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """A text of at most so many bytes; empty where there is no file."""
    _check_file_size(path, max_bytes)
    try:
        return path.read_text("utf-8") if path.is_file() else ""
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not text in UTF-8.") from None


def read_json(path: Path, default: Any = None, max_bytes: int | None = None) -> Any:
    """A JSON object from a file of at most so many bytes; `missing` where there is no file and that is allowed.

    Raises:
        ValueError: no such file, too large a one, or not a JSON object.
    """
    _check_file_size(path, max_bytes)
    if not path.is_file():
        if default is not None:
            return default
        raise ValueError(f"{path.name} is missing in {path.parent}.")
    try:
        values = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} must hold a JSON object, got {type(values).__name__}.")
    return values


def write_json(path: Path, values: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    text = json.dumps(values, indent=2, allow_nan=False)
    write_text(path, JSON_NUMBER_LIST_PATTERN.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")


def _check_file_size(path: Path, max_bytes: int | None) -> None:
    if max_bytes is not None and path.is_file() and (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"{path.name} has {size:,} bytes; at most {max_bytes:,} are read.")
