"""Checkpoint stores: a local directory, or the Hugging Face Hub."""

from pathlib import Path

from ctm.stores.base import (
    CheckpointDescription,
    Commit,
    Destination,
    DownloadCancelled,
    ProgressCallback,
    Store,
    StoreUnavailable,
)
from ctm.stores.hub import HubStore
from ctm.stores.local import LocalStore
from ctm.stores.repo_ref import HubRef

HUB_PREFIX = "hub:"


def resolve_checkpoint_dir(name: str) -> tuple[Path, str]:
    """Return the local directory of a checkpoint and its full name; a checkpoint on the Hub is downloaded.

    Args:
        name: Path of a directory, or `hub:namespace/name`.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: The Hub has no such checkpoint.
    """
    if not name.startswith(HUB_PREFIX):
        return Path(name), name
    store = HubStore()
    full = store.describe(name.removeprefix(HUB_PREFIX)).name
    return store.fetch(full), f"{HUB_PREFIX}{full}"


__all__ = [
    "HUB_PREFIX",
    "CheckpointDescription",
    "Commit",
    "Destination",
    "DownloadCancelled",
    "HubRef",
    "HubStore",
    "LocalStore",
    "ProgressCallback",
    "Store",
    "StoreUnavailable",
    "resolve_checkpoint_dir",
]
