"""Protocols and shared functions of checkpoint stores."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ctm.checkpoint import CONFIG_NAME, MODEL_CARD_NAME, list_weight_files
from ctm.checkpoint.metadata import MAX_METADATA_BYTES, read_metadata
from ctm.checkpoint.preview import Preview, read_preview
from ctm.config import read_published_config
from ctm.io.json_files import read_json, read_text

log = logging.getLogger(__name__)

RepoType = Literal["model", "space"]
STATIC_SPACE_FILES = ("index.html", "README.md")
ProgressCallback = Callable[[int, int], None]  # (downloaded bytes, total bytes); may raise DownloadCancelled


class StoreUnavailable(ValueError):
    """The store cannot be reached now; a later retry may succeed.

    Args:
        message: One sentence.
        retry_after_s: Seconds to wait, if the store requested it.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DownloadCancelled(ValueError):
    """The caller cancelled the download."""


@dataclass(frozen=True)
class Commit:
    """Result of a publication.

    Attributes:
        revision: Commit hash; empty for a local store.
        url: Address of the commit.
    """

    revision: str
    url: str


@dataclass(frozen=True)
class CheckpointDescription:
    """Everything that is known about a checkpoint without loading its weights.

    Attributes:
        name: Name of exactly this version.
        revision: Commit hash on the Hub; None for a local checkpoint.
        last_modified: Date, ISO 8601.
        size_bytes: Size of the weights, bytes.
        is_downloaded: Whether the weights are on the local disk.
        config: Contents of config.json.
        task: Contents of task.json.
        halting: Contents of halting.json.
        metrics: Contents of metrics.json.
        card: Text of README.md.
        preview: Contents of preview.json; None without a valid one.
    """

    name: str
    revision: str | None
    last_modified: str
    size_bytes: int
    is_downloaded: bool
    config: dict[str, Any]
    task: dict[str, Any] = field(default_factory=dict)
    halting: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    preview: Preview | None = None


@runtime_checkable
class Destination(Protocol):
    """Store that checkpoints and static Spaces can be published to."""

    def publish(
        self, folder: Path, name: str, message: str, private: bool = False, repo_type: RepoType = "model"
    ) -> Commit:
        """Publish a checkpoint directory, or with `space` a static Space.

        Publishing twice with the same message has no further effect.
        """


@runtime_checkable
class Store(Protocol):
    """Store that checkpoints can be read from.

    All errors are `ValueError`s with one sentence; `StoreUnavailable` if a retry may succeed.
    """

    def list_names(self) -> list[str]:
        """Return the names of known checkpoints, without network access."""

    def describe(self, name: str) -> CheckpointDescription:
        """Return the description of a checkpoint, without downloading its weights."""

    def fetch(self, name: str, on_progress: ProgressCallback | None = None) -> Path:
        """Return the local directory of a checkpoint, complete and verified."""


def is_complete_checkpoint(folder: Path) -> bool:
    """Return whether the config and all weight files exist; their contents are not checked."""
    try:
        return (folder / CONFIG_NAME).is_file() and all(path.is_file() for path in list_weight_files(folder))
    except ValueError:
        return False


def is_complete_folder(folder: Path, repo_type: RepoType) -> bool:
    """Return whether a directory holds a whole checkpoint, or a whole static Space."""
    if repo_type == "model":
        return is_complete_checkpoint(folder)
    return all((folder / name).is_file() for name in STATIC_SPACE_FILES)


def describe_checkpoint_dir(folder: Path, name: str, revision: str | None = None) -> CheckpointDescription:
    """Describe a checkpoint directory. Its date is that of its metrics, else (UTC) that of the newest of config and weights."""
    weights = [path for path in list_weight_files(folder) if path.is_file()]
    modified = max(path.stat().st_mtime for path in (*weights, folder / CONFIG_NAME))
    info = read_checkpoint_info(folder)
    return CheckpointDescription(
        name=name,
        revision=revision,
        last_modified=read_date(info["metrics"]) or datetime.fromtimestamp(modified, UTC).date().isoformat(),
        size_bytes=sum(path.stat().st_size for path in weights),
        is_downloaded=is_complete_checkpoint(folder),
        **info,
    )


def read_date(metrics: dict[str, Any]) -> str:
    """Return the date on which a checkpoint was measured, ISO 8601; empty if its metrics state none.

    The times of files do not tell it: a clone or a download sets them anew.
    """
    try:
        return date.fromisoformat(metrics["date"]).isoformat()
    except (KeyError, TypeError, ValueError):
        return ""


def read_checkpoint_info(folder: Path) -> dict[str, Any]:
    """Read config, metadata, model card and preview of a checkpoint directory.

    Raises:
        ValueError: A file is too large or not valid.
    """
    config = read_published_config(read_json(folder / CONFIG_NAME, max_bytes=MAX_METADATA_BYTES), CONFIG_NAME).to_dict()
    return {
        "config": config,
        **read_metadata(folder),
        "card": read_text(folder / MODEL_CARD_NAME, max_bytes=MAX_METADATA_BYTES),
        "preview": read_valid_preview(folder),
    }


def read_valid_preview(folder: Path) -> Preview | None:
    """Return the preview of a checkpoint directory; None without a valid one, because a checkpoint works without it."""
    try:
        return read_preview(folder)
    except ValueError as error:
        log.warning("The preview of %s is ignored: %s", folder, error)
        return None
