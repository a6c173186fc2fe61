"""Checkpoint stores: a local directory, or the Hugging Face Hub."""

from functools import partial
from pathlib import Path

from ctm.stores.base import (
    CheckpointDescription,
    Commit,
    Destination,
    DownloadCancelled,
    ProgressCallback,
    RepoType,
    Store,
    StoreUnavailable,
)
from ctm.stores.hub import HubStore
from ctm.stores.local import LocalStore
from ctm.stores.repo_ref import HubRef

HUB_PREFIX = "hub:"


def resolve_checkpoint_dir(
    name: str, store: HubStore | None = None, *, local_files_only: bool = False, force_download: bool = False
) -> tuple[Path, str]:
    """Return the local directory of a checkpoint and its full name; a checkpoint on the Hub is downloaded.

    Args:
        name: Path of a directory, or `hub:namespace/name`.
        store: Store of the Hub; default: that of the token of the environment.
        local_files_only: Use cached files only, without network access.
        force_download: Download the files even if they are cached.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: The Hub, or with `local_files_only` its cache, has no such checkpoint.
    """
    if not name.startswith(HUB_PREFIX):
        return Path(name), name
    store = store or HubStore()
    name_on_hub = name.removeprefix(HUB_PREFIX)
    # By the name as given, so that its commit is known without a network later.
    fetch = store.fetch_cached if local_files_only else partial(store.fetch, force_download=force_download)
    path = fetch(name_on_hub)
    return path, f"{HUB_PREFIX}{store.get_pinned_name(name_on_hub, path)}"


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
    "RepoType",
    "Store",
    "StoreUnavailable",
    "resolve_checkpoint_dir",
]
