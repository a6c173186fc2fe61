"""A run as one file to take away."""

import contextlib
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from training.run_dir import RunFolder

PACK = "ctm-run-"  # what the folder of a packed run begins with
KEPT = 3_600.0  # seconds that a packed run is kept: it is handed out at once, and may take gigabytes
PACKED = ("config.yaml", "command.txt", "origin.json", "status.json", "metrics.jsonl", "ending.json", "log.txt")


def pack(folder: RunFolder) -> Path:
    """A zip file of a run: settings, figures, log, and its finished or newest checkpoint.

    Raises:
        ValueError: the disk is full.
    """
    checkpoint = folder.newest_checkpoint()
    forget_packs()
    path = Path(tempfile.mkdtemp(prefix=PACK)) / f"{folder.path.name}.zip"
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name in PACKED:
                if (folder.path / name).is_file():
                    packed.write(folder.path / name, f"{folder.path.name}/{name}")
            for file in sorted(checkpoint.iterdir()) if checkpoint else []:
                packed.write(file, f"{folder.path.name}/checkpoint/{file.name}")
    except OSError as error:
        raise ValueError(f"The run cannot be packed: {error.strerror}.") from None
    return path


def forget_packs() -> None:
    """Remove packed runs that were handed out long ago."""
    for pack in Path(tempfile.gettempdir()).glob(f"{PACK}*"):
        with contextlib.suppress(OSError):  # somebody else's, or just removed
            if time.time() - pack.stat().st_mtime > KEPT:
                shutil.rmtree(pack)
