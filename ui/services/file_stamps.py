"""Values that change with files, without reading them: what was built from the files is built again only after a change."""

import os
from pathlib import Path

DirectoryStamp = tuple[tuple[str, int, int], ...]


def compute_file_stamp(path: Path) -> tuple[int, int]:
    """Return a value that changes with a file, without reading it; zeros if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def compute_directory_stamp(directory: Path) -> DirectoryStamp:
    """Return name, size and modification time of every file of a directory; empty if it cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))
