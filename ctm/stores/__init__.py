"""Where checkpoints live: a local folder, or the Hugging Face Hub."""

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
    """Where the checkpoint lies that a person names, a folder or `hub:namespace/name`, and its full name; the Hub's is fetched.

    Raises:
        Unavailable: the Hub has no such checkpoint or cannot be reached.
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
