"""Archive of one run as a zip file to download."""

import contextlib
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from training.run_dir import RunDir

ARCHIVE_PREFIX = "ctm-run-"  # prefix of the temporary directory of an archive
ARCHIVE_TTL_S = 3_600.0  # it is downloaded at once, and may take gigabytes


def create_run_archive(run_dir: RunDir) -> Path:
    """Write a zip file of a run: settings, metrics, log, and its final or newest checkpoint.

    Args:
        run_dir: Run directory.

    Returns:
        Path of the zip file, in a temporary directory of its own.

    Raises:
        ValueError: The archive cannot be written, for example because the disk is full.
    """
    checkpoint = run_dir.find_latest_checkpoint()
    delete_expired_archives()
    path = Path(tempfile.mkdtemp(prefix=ARCHIVE_PREFIX)) / f"{run_dir.path.name}.zip"
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name in RunDir.ARCHIVED_FILES:
                if (run_dir.path / name).is_file():
                    archive.write(run_dir.path / name, f"{run_dir.path.name}/{name}")
            for file in sorted(checkpoint.iterdir()) if checkpoint else []:
                archive.write(file, f"{run_dir.path.name}/checkpoint/{file.name}")
    except OSError as error:
        raise ValueError(f"The run cannot be packed: {error.strerror}.") from None
    return path


def delete_expired_archives() -> None:
    """Delete archives older than `ARCHIVE_TTL_S`."""
    for archive_dir in Path(tempfile.gettempdir()).glob(f"{ARCHIVE_PREFIX}*"):
        with contextlib.suppress(OSError):  # owned by another account, or just deleted
            if time.time() - archive_dir.stat().st_mtime > ARCHIVE_TTL_S:
                shutil.rmtree(archive_dir)
