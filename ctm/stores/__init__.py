"""Where checkpoints live: a local folder, or the Hugging Face Hub."""

from pathlib import Path

from ctm.stores.base import Commit, Description, Destination, GivenUp, Store, Unavailable, Watch
from ctm.stores.hub import HubStore
from ctm.stores.local import LocalStore
from ctm.stores.repo_ref import HubName

HUB = "hub:"


def folder_of(name: str) -> tuple[Path, str]:
    """Where the checkpoint lies that a person names, a folder or `hub:namespace/name`, and its full name; the Hub's is fetched.

    Raises:
        Unavailable: the Hub has no such checkpoint or cannot be reached.
    """
    if not name.startswith(HUB):
        return Path(name), name
    store = HubStore()
    full = store.describe(name.removeprefix(HUB)).name
    return store.fetch(full), f"{HUB}{full}"


__all__ = [
    "HUB",
    "Commit",
    "Description",
    "Destination",
    "GivenUp",
    "HubName",
    "HubStore",
    "LocalStore",
    "Store",
    "Unavailable",
    "Watch",
    "folder_of",
]
