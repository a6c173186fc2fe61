"""A run as one file to take away."""

import contextlib
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from training.run_dir import RunDir

ARCHIVE_PREFIX = "ctm-run-"  # what the folder of a packed run begins with
ARCHIVE_TTL_S = 3_600.0  # seconds that a packed run is kept: it is handed out at once, and may take gigabytes
ARCHIVED_FILES = ("config.yaml", "command.txt", "origin.json", "status.json", "metrics.jsonl", "ending.json", "log.txt")


def create_run_archive(run_dir: RunDir) -> Path:
    """A zip file of a run: settings, figures, log, and its finished or newest checkpoint.

    Raises:
        ValueError: the disk is full.
    """
    checkpoint = run_dir.find_latest_checkpoint()
    delete_expired_archives()
    path = Path(tempfile.mkdtemp(prefix=ARCHIVE_PREFIX)) / f"{run_dir.path.name}.zip"
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name in ARCHIVED_FILES:
                if (run_dir.path / name).is_file():
                    packed.write(run_dir.path / name, f"{run_dir.path.name}/{name}")
            for file in sorted(checkpoint.iterdir()) if checkpoint else []:
                packed.write(file, f"{run_dir.path.name}/checkpoint/{file.name}")
    except OSError as error:
        raise ValueError(f"The run cannot be packed: {error.strerror}.") from None
    return path


def delete_expired_archives() -> None:
    """Remove packed runs that were handed out long ago."""
    for pack in Path(tempfile.gettempdir()).glob(f"{ARCHIVE_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or just removed
            if time.time() - pack.stat().st_mtime > ARCHIVE_TTL_S:
                shutil.rmtree(pack)
