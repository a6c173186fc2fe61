"""Files in the client's cache: which are ours, and whether they are what the Hub holds."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub.utils import tqdm

from ctm.io.atomic import write_text
from ctm.io.json_files import read_json
from ctm.stores.base import SMALL, StoreUnavailable
from ctm.stores.repo_ref import COMMIT_HASH_PATTERN


def is_ctm_config(config: Path) -> bool:
    """Whether a config is one of a Continuous Thought Machine; a cache holds other models, too."""
    try:
        values: dict[str, Any] = read_json(config, max_bytes=SMALL)
    except ValueError:
        return False
    return {"d_model", "iterations", "n_synch_out"} <= values.keys()


def verify_checksums(folder: Path) -> Path:
    """The folder, if every file is what its digest in the cache says; a file that is not is removed."""
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
    """Note which commit a branch stood for, so that it can be found again without a network."""
    if len(ref.name) == 40 or not commit:
        return
    ref.parent.mkdir(parents=True, exist_ok=True)
    write_text(ref, commit)


def read_cached_ref(ref: Path) -> str | None:
    """The commit that a branch stood for when it was last asked for; None if that is not known."""
    try:
        with ref.open("rb") as file:
            text = file.read(100).strip().decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if COMMIT_HASH_PATTERN.fullmatch(text) else None


def compute_digest(path: Path, reference_digest: str) -> str | None:
    """The digest of a file in the way that `like` is one: SHA-256, or Git's SHA-1; None if it is neither."""
    if len(reference_digest) == 64:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if len(reference_digest) == 40:
        start = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: start).hexdigest()
    return None


def make_progress_tqdm(report: Callable[[int], None] | None) -> type[tqdm]:
    """A progress bar for the client that draws nothing and tells how many bytes came."""

    class Counter(tqdm):
        def __init__(self, *args: Any, **options: Any):
            self.counts = not str(options.pop("name", "")).endswith(".transfer")  # xet counts everything twice
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: int | float | None = 1) -> None:
            if report is not None and n and self.counts:
                report(int(n))

    return Counter
