"""Small JSON files that can be written on a full disk, because their blocks are allocated in advance."""

import json
import os
from pathlib import Path
from typing import Any

from ctm.io.atomic import write_text

PREALLOCATED_BYTES = 4_096  # block size of most file systems


def preallocate(path: Path) -> None:
    """Allocate the blocks of a small JSON file, so that it can be written later on a full disk."""
    write_text(path, " " * PREALLOCATED_BYTES)


def write_preallocated(path: Path, values: Any) -> None:
    """Write a small JSON object into its preallocated file; without one, create the file. Not atomic."""
    text = json.dumps(values, allow_nan=False)
    with path.open("r+b" if path.is_file() else "wb") as file:
        file.write(text.encode().ljust(PREALLOCATED_BYTES))
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def read_preallocated(path: Path) -> dict[str, Any]:
    """Read a JSON object from a preallocated file; return {} if it is empty or not readable."""
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
