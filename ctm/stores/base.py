"""What a store of checkpoints does, whatever it is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ctm.checkpoint import CARD, CONFIG, weight_files
from ctm.checkpoint.metadata import LARGEST as SMALL
from ctm.checkpoint.metadata import read_notes
from ctm.config import read_config
from ctm.io.atomic import read_json, read_text

Watch = Callable[[int, int], None]  # (bytes done, bytes in all); raises GivenUp to end a fetch


class Unavailable(ValueError):
    """The store cannot be asked just now; asking again later may help.

    Args:
        message: one sentence.
        retry_after: seconds to wait, where the store said so.
    """

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class GivenUp(ValueError):
    """Whoever asked for a checkpoint does not want it any more."""


@dataclass(frozen=True)
class Commit:
    """What a store answers to a publication."""

    revision: str
    url: str


@dataclass(frozen=True)
class Description:
    """What is known of a checkpoint without loading its weights."""

    name: str  # how to ask for exactly this one again
    revision: str | None  # the Hub's commit
    updated: str  # date, ISO
    size: int  # bytes of its weights
    here: bool  # whether its weights are on this machine
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
    """A place of checkpoints. All errors are `ValueError` with one sentence; `Unavailable` where waiting may help."""

    def names(self) -> list[str]:
        """Checkpoints that are known here, without asking a network."""

    def describe(self, name: str) -> Description:
        """All that is known of a checkpoint without fetching its weights."""

    def fetch(self, name: str, watch: Watch | None = None) -> Path:
        """The folder of a checkpoint on this machine, whole and verified."""


def is_whole(folder: Path) -> bool:
    """Whether config and all weight files are there; says nothing about what is in them."""
    try:
        return (folder / CONFIG).is_file() and all(path.is_file() for path in weight_files(folder))
    except ValueError:
        return False


def describe_folder(folder: Path, name: str, revision: str | None = None) -> Description:
    """What a folder tells of its checkpoint; its date is that of the newest of config and weights, in UTC."""
    weights = [path for path in weight_files(folder) if path.is_file()]
    changed = max(path.stat().st_mtime for path in (*weights, folder / CONFIG))
    return Description(
        name=name,
        revision=revision,
        updated=datetime.fromtimestamp(changed, UTC).date().isoformat(),
        size=sum(path.stat().st_size for path in weights),
        here=is_whole(folder),
        **read_all(folder),
    )


def read_all(folder: Path) -> dict[str, Any]:
    """Config, task, halting, metrics and card of a folder, for a description.

    Raises:
        ValueError: a file that is far too large, or not what it should be.
    """
    config = read_config(read_json(folder / CONFIG, most=SMALL), CONFIG).published()
    return {"config": config, **read_notes(folder), "card": read_text(folder / CARD, most=SMALL)}
