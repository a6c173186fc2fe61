"""JSON and text files, read with one sentence for what is wrong, and written whole or not at all."""

import json
import os
import uuid
from pathlib import Path
from typing import Any


def read_text(path: Path) -> str:
    """A text; empty where there is no file."""
    try:
        return path.read_text("utf-8") if path.is_file() else ""
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not text in UTF-8.") from None


def read_json(path: Path, missing: Any = None) -> Any:
    """A JSON object from a file; `missing` where there is no file and that is allowed.

    Raises:
        ValueError: no such file, or not a JSON object.
    """
    if not path.is_file():
        if missing is not None:
            return missing
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
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        draft.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", "utf-8")
        sync(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
