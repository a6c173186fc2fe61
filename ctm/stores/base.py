"""What a store of checkpoints does, whatever it is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ctm.checkpoint import CONFIG_NAME, MODEL_CARD_NAME, list_weight_files
from ctm.checkpoint.metadata import MAX_METADATA_BYTES as SMALL
from ctm.checkpoint.metadata import read_metadata
from ctm.config import read_config
from ctm.io.json_files import read_json, read_text

ProgressCallback = Callable[[int, int], None]  # (bytes done, bytes in all); raises GivenUp to end a fetch


class StoreUnavailable(ValueError):
    """The store cannot be asked just now; asking again later may help.

    Args:
        message: one sentence.
        retry_after: seconds to wait, where the store said so.
    """

    def __init__(self, message: str, retry_after_s: float | None = None):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DownloadCancelled(ValueError):
    """Whoever asked for a checkpoint does not want it any more."""


@dataclass(frozen=True)
class Commit:
    """What a store answers to a publication."""

    revision: str
    url: str


@dataclass(frozen=True)
class CheckpointDescription:
    """What is known of a checkpoint without loading its weights."""

    name: str  # how to ask for exactly this one again
    revision: str | None  # the Hub's commit
    last_modified: str  # date, ISO
    size_bytes: int  # bytes of its weights
    is_downloaded: bool  # whether its weights are on this machine
    config: dict[str, Any]
    task: dict[str, Any] = field(default_factory=dict)
    halting: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    card: str = ""


@runtime_checkable
class Destination(Protocol):
    """Where checkpoints can be put."""

    def publish(self, folder: Path, name: str, message: str, private: bool = False) -> Commit:
        """Put a checkpoint folder there. The same message twice publishes once."""


@runtime_checkable
class Store(Destination, Protocol):
    """A place of checkpoints. All errors are `ValueError` with one sentence; `StoreUnavailable` where waiting may help."""

    def list_names(self) -> list[str]:
        """Checkpoints that are known here, without asking a network."""

    def describe(self, name: str) -> CheckpointDescription:
        """All that is known of a checkpoint without fetching its weights."""

    def fetch(self, name: str, on_progress: ProgressCallback | None = None) -> Path:
        """The folder of a checkpoint on this machine, whole and verified."""


def is_complete_checkpoint(folder: Path) -> bool:
    """Whether config and all weight files are there; says nothing about what is in them."""
    try:
        return (folder / CONFIG_NAME).is_file() and all(path.is_file() for path in list_weight_files(folder))
    except ValueError:
        return False


def describe_checkpoint_dir(folder: Path, name: str, revision: str | None = None) -> CheckpointDescription:
    """What a folder tells of its checkpoint; its date is that of the newest of config and weights, in UTC."""
    weights = [path for path in list_weight_files(folder) if path.is_file()]
    changed = max(path.stat().st_mtime for path in (*weights, folder / CONFIG_NAME))
    return CheckpointDescription(
        name=name,
        revision=revision,
        last_modified=datetime.fromtimestamp(changed, UTC).date().isoformat(),
        size_bytes=sum(path.stat().st_size for path in weights),
        is_downloaded=is_complete_checkpoint(folder),
        **read_checkpoint_info(folder),
    )


def read_checkpoint_info(folder: Path) -> dict[str, Any]:
    """Config, task, halting, metrics and card of a folder, for a description.

    Raises:
        ValueError: a file that is far too large, or not what it should be.
    """
    config = read_config(read_json(folder / CONFIG_NAME, max_bytes=SMALL), CONFIG_NAME).to_dict()
    return {"config": config, **read_metadata(folder), "card": read_text(folder / MODEL_CARD_NAME, max_bytes=SMALL)}
