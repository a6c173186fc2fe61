"""Retention of uploaded files: by age, and by total size.

Gradio keeps every upload until the process ends. `delete_cache` of a page knows only the files of its own events, so a file
that no event has used would stay.
"""

import time
from pathlib import Path

MAX_STORED_UPLOAD_BYTES = 2**31
MAX_UPLOAD_AGE_S = 3600.0


def list_files(directory: Path) -> frozenset[Path]:
    """Return the files below a directory."""
    return frozenset(path for path in directory.rglob("*") if path.is_file())


def prune_uploads(
    uploads_dir: Path,
    own_files: frozenset[Path] = frozenset(),
    max_bytes: int = MAX_STORED_UPLOAD_BYTES,
    max_age_s: float = MAX_UPLOAD_AGE_S,
) -> None:
    """Delete expired uploads, and the oldest ones while the total size exceeds the limit.

    Args:
        uploads_dir: Directory into which Gradio writes uploads.
        own_files: Files of the page itself in that directory, which are never deleted.
        max_bytes: Maximum total size of the other files, in bytes.
        max_age_s: Maximum age of an upload, in seconds.
    """
    uploads = []
    for path in uploads_dir.rglob("*"):
        try:
            if path not in own_files and path.is_file():
                stat = path.stat()  # a copied file keeps the modification time of its original
                uploads.append((max(stat.st_mtime, stat.st_ctime), stat.st_size, path))
        except OSError:  # another request removed the file
            continue
    total_bytes = sum(size for _, size, _ in uploads)
    for changed_at, size, path in sorted(uploads):
        if total_bytes <= max_bytes and time.time() - changed_at < max_age_s:
            break
        path.unlink(missing_ok=True)
        total_bytes -= size
