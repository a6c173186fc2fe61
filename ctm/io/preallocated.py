"""Small JSON files that can be written on a full disk, because their blocks are allocated in advance."""

import json
import os
from pathlib import Path
from typing import Any

from ctm.io.atomic import write_text

PREALLOCATED_BYTES = 4_096  # bytes; a block of most disks


def preallocate(path: Path) -> None:
    """Take the room of a small JSON file now, for a moment in which the disk may be full."""
    write_text(path, " " * PREALLOCATED_BYTES)


def write_preallocated(path: Path, values: Any) -> None:
    """Write a small JSON object into its reserved room; where none was reserved, as any file."""
    text = json.dumps(values, allow_nan=False)
    with path.open("r+b" if path.is_file() else "wb") as file:
        file.write(text.encode().ljust(PREALLOCATED_BYTES))
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def read_preallocated(path: Path) -> dict[str, Any]:
    """A JSON object in reserved room; {} while nothing was filled in, or where it cannot be read."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
