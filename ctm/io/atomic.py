"""JSON and text files, read with one sentence for what is wrong; files and folders, written whole or not at all."""

import os
import shutil
import uuid
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text so that a reader sees the old file or the new one, never half of it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    draft = get_temp_path(path)
    try:
        draft.write_bytes(content)
        fsync_path(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def replace_dir(draft: Path, folder: Path) -> None:
    """Put the folder `draft` where `folder` is, if there is one; the old folder is removed only after that."""
    if not folder.exists():
        draft.rename(folder)
        return
    old = get_temp_path(folder)
    folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def get_temp_path(path: Path) -> Path:
    """A hidden name beside a path, which nothing else has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def fsync_path(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
