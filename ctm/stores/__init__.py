"""Where checkpoints live: a local folder, or the Hugging Face Hub."""

from ctm.stores.base import Commit, Description, Destination, GivenUp, Store, Unavailable, Watch
from ctm.stores.hub import HubStore
from ctm.stores.local import LocalStore
from ctm.stores.names import HubName

__all__ = [
    "Commit", "Description", "Destination", "GivenUp", "HubName", "HubStore", "LocalStore", "Store", "Unavailable", "Watch",
]  # fmt: skip
