"""Cache of huggingface_hub: which entries are CTM checkpoints, and whether their files are intact."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub.utils import tqdm

from ctm.checkpoint.metadata import MAX_METADATA_BYTES
from ctm.io.atomic import write_text
from ctm.io.json_files import read_json
from ctm.stores.base import StoreUnavailable
from ctm.stores.repo_ref import COMMIT_HASH_PATTERN


def is_ctm_config(config: Path) -> bool:
    """Return whether a config file belongs to a Continuous Thought Machine; the cache also holds other models."""
    try:
        values: dict[str, Any] = read_json(config, max_bytes=MAX_METADATA_BYTES)
    except ValueError:
        return False
    return {"d_model", "iterations", "n_synch_out"} <= values.keys()


def verify_checksums(folder: Path) -> Path:
    """Check every file of a cached directory against its digest, and return the directory.

    Raises:
        StoreUnavailable: A file is damaged; it has been removed.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            blob = path.resolve()
            if not blob.is_file() or compute_digest(blob, blob.name) not in (blob.name, None):
                blob.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                raise StoreUnavailable(
                    f"{path.name} did not arrive as the Hub holds it, and was removed: fetch it again."
                )
    return folder


def write_cached_ref(ref: Path, commit: str) -> None:
    """Save the commit of a branch, so that the branch can be resolved without a network."""
    if len(ref.name) == 40 or not commit:
        return
    ref.parent.mkdir(parents=True, exist_ok=True)
    write_text(ref, commit)


def read_cached_ref(ref: Path) -> str | None:
    """Return the last known commit of a branch; None if it is not known."""
    try:
        with ref.open("rb") as file:
            text = file.read(100).strip().decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if COMMIT_HASH_PATTERN.fullmatch(text) else None


def compute_digest(path: Path, reference_digest: str) -> str | None:
    """Return the digest of a file, of the same type as `reference_digest`: SHA-256 or Git SHA-1.

    None if it is neither.
    """
    if len(reference_digest) == 64:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if len(reference_digest) == 40:
        start = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: start).hexdigest()
    return None


def make_progress_tqdm(report: Callable[[int], None] | None) -> type[tqdm]:
    """Return a progress bar class for the client that prints nothing.

    Args:
        report: Called with the number of new bytes.
    """

    class Counter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.counts = not str(options.pop("name", "")).endswith(".transfer")  # xet reports every byte twice
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: int | float | None = 1) -> None:
            if report is not None and n and self.counts:
                report(int(n))

    return Counter
