"""Atomic file and directory writes: readers see the old contents or the new contents, never a part."""

import os
import shutil
import uuid
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary file, fsync, rename."""
    temp_path = get_temp_path(path)
    try:
        temp_path.write_bytes(content)
        fsync_path(temp_path)
        temp_path.replace(path)
    finally:
        temp_path.unlink(missing_ok=True)


def replace_dir(temp_path: Path, folder: Path) -> None:
    """Move the directory `temp_path` to `folder`. An existing directory is removed after the move.

    Raises:
        OSError: The move failed; an existing directory is back in place.
    """
    if not folder.exists():
        temp_path.rename(folder)
        return
    old_path = get_temp_path(folder)
    folder.rename(old_path)
    try:
        temp_path.rename(folder)
    except OSError:
        old_path.rename(folder)
        raise
    shutil.rmtree(old_path, ignore_errors=True)


def get_temp_path(path: Path) -> Path:
    """Return a unique hidden path in the same directory as `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def fsync_path(path: Path) -> None:
    """Flush a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
