"""JSON and text files, read with one sentence for what is wrong; files and folders, written whole or not at all."""

import fcntl
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PREALLOCATED_BYTES = 4_096  # bytes; a block of most disks
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


def write_text(path: Path, text: str) -> None:
    """Write a text so that a reader sees the old file or the new one, never half of it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    draft = get_temp_path(path)
    try:
        draft.write_bytes(content)
        fsync_path(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def replace_dir(draft: Path, folder: Path) -> None:
    """Put the folder `draft` where `folder` is, if there is one; the old folder is removed only after that."""
    if not folder.exists():
        os.rename(draft, folder)
        return
    old = get_temp_path(folder)
    os.rename(folder, old)
    try:
        os.rename(draft, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def get_temp_path(path: Path) -> Path:
    """A hidden name beside a path, which nothing else has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


@contextmanager
def file_lock(path: Path, timeout_s: float = 0.0) -> Iterator[bool]:
    """Whether nobody else holds this lock, tried for so many seconds; the lock goes with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + timeout_s
    with path.open("a") as file:
        while not (mine := _try_lock(file)) and time.monotonic() < until:
            time.sleep(0.05)
        yield mine


def _try_lock(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some mounted folders know no locks: then whoever comes is taken to be alone
        logging.getLogger(__name__).warning("%s cannot be locked (%s)", file.name, error.strerror)
    return True


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


def fsync_path(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _check_file_size(path: Path, max_bytes: int | None) -> None:
    if max_bytes is not None and path.is_file() and (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"{path.name} has {size:,} bytes; at most {max_bytes:,} are read.")
