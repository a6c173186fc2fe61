"""Catalog of checkpoints: bundled ones, runs, saved steps and the Hub, under one naming scheme.

Names: `digits` is bundled, `run:parity-1` is a finished run, `run:parity-1@500` a saved step of a run, and
`namespace/name@commit` is on the Hub. If a checkpoint does not state its task, `#task` after its name does.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm.stores import CheckpointDescription, HubRef, HubStore, LocalStore, Store
from ctm.stores.base import read_checkpoint_info
from ctm.stores.hub_cache import verify_checksums
from training.publishing.outbox import Outbox
from training.tasks import Task, find_compatible_tasks, infer_task_metadata
from training.tasks.registry import resolve_task
from ui.services.downloads import Download, DownloadManager
from ui.services.file_stamps import DirectoryStamp, compute_directory_stamp

RUN_PREFIX, PURPOSE_SEPARATOR = "run:", "#"
# The first one that exists is listed first: a maze shows best what thinking in steps means, and every visitor can draw a digit.
DEFAULT_CHECKPOINTS = ("mazes-15", "digits")
MAX_LOCAL_METADATA = 256  # checkpoints whose metadata are kept
MIN_FREE_DISK_BYTES = 5 * 2**30  # downloads stop before less is free


@dataclass(frozen=True)
class CatalogEntry:
    """A checkpoint in the Models tab.

    Attributes:
        name: Name, pinned to a commit if possible, with its task.
        origin: "bundled", "run" or "hub".
        description: Metadata of the checkpoint.
        task: Task; None if neither the checkpoint nor its name states one.
        task_choices: Compatible tasks, if the checkpoint does not state one.
    """

    name: str
    origin: str
    description: CheckpointDescription
    task: Task | None
    task_choices: tuple[str, ...]


@dataclass(frozen=True)
class LocalMetadata:
    """Task and metadata of a local checkpoint.

    Attributes:
        stamp: Stamp of its directory before they were read.
        task: Its task.
        metadata: Result of `read_checkpoint_info`.
    """

    stamp: DirectoryStamp
    task: Task
    metadata: dict[str, Any]


class StepStore(LocalStore):
    """Store of the saved steps of all runs, named `id@step`.

    Args:
        runs: Directory of the run directories.
    """

    def __init__(self, runs: Path) -> None:
        super().__init__(runs, "*/checkpoints/[0-9]*")

    def _get_checkpoint_name(self, path: Path) -> str:
        run_id, _, step = path.relative_to(self.root).parts
        return f"{run_id}@{int(step)}" if step.isascii() and step.isdecimal() else f".{step}"


class ModelCatalog:
    """Resolves names of checkpoints to stores.

    Args:
        bundled_dir: Directory of the bundled checkpoints.
        runs_dir: Directory of the run directories.
        hub_models: Names on the Hub that the owner lists; they are read with the owner's token.
        cache_dir: Cache of files from the Hub; default: the cache of the Hub client.
        endpoint: URL of another Hub.
    """

    def __init__(
        self,
        bundled_dir: Path,
        runs_dir: Path | None = None,
        hub_models: Iterable[str] = (),
        cache_dir: Path | None = None,
        endpoint: str | None = None,
    ) -> None:
        self.bundled_store = LocalStore(bundled_dir)
        self.run_store = LocalStore(runs_dir or Path(bundled_dir) / "none", "*/checkpoint")
        self.step_store = StepStore(self.run_store.root)
        self.owner_store = HubStore(hub_models, None, cache_dir, endpoint, min_free_bytes=MIN_FREE_DISK_BYTES)
        # Names from visitors are read without a token and cached separately: the owner's cache may contain private models.
        self.visitor_store = HubStore(
            (),
            False,
            self.owner_store.cache_dir.parent / "ctm-visitors",
            endpoint,
            min_free_bytes=MIN_FREE_DISK_BYTES,
            max_weight_bytes=2 * 2**30,
        )
        self.downloads = DownloadManager()
        self._local: dict[tuple[Path, str], LocalMetadata] = {}
        self._lock = threading.Lock()
        self._owner_revisions = set(
            self.owner_store.list_cached_checkpoints()
        )  # commits that may be read with the owner's token

    def list_names(self) -> list[str]:
        """Return the names of all local checkpoints, the default one first."""
        names = self.bundled_store.list_names()
        default = next((name for name in DEFAULT_CHECKPOINTS if name in names), None)
        bundled = sorted(names, key=lambda name: name != default)
        listed = [name for name in self.owner_store.list_cached_checkpoints() if self._is_listed(HubRef.parse(name))]
        return [
            *bundled,
            *(RUN_PREFIX + name for name in self.run_store.list_names()),
            *listed,
            *self.visitor_store.list_cached_checkpoints(),
        ]

    def list_remote(self) -> list[str]:
        """Return the listed Hub models that are not downloaded."""
        local_refs = {HubRef.parse(name) for name in self.list_names() if "/" in name}
        local_folders = {(name.repo, name.subfolder) for name in local_refs}
        refs = {text: HubRef.parse(text) for text in self.owner_store.models}
        return [
            text
            for text, name in refs.items()
            if (name not in local_refs if name.is_pinned else (name.repo, name.subfolder) not in local_folders)
        ]

    def describe(self, name: str) -> CatalogEntry:
        """Return the catalog entry of a checkpoint. May query the Hub, so it may block for seconds.

        Raises:
            ValueError: The checkpoint does not exist or is invalid.
        """
        bare, purpose = split_purpose(name)
        store, origin, key = self._resolve(name)
        description = store.describe(key)
        if store is self.owner_store:
            self._owner_revisions.add(description.name)
        pinned = description.name if origin == "hub" else bare
        is_known = description.task or purpose or infer_task_metadata(description.config)
        task = resolve_task(description.task, description.config, purpose) if is_known else None
        choices = () if description.task else tuple(find_compatible_tasks(description.config))
        return CatalogEntry(
            pinned + (PURPOSE_SEPARATOR + purpose if purpose else ""), origin, description, task, choices
        )

    def read_local(self, name: str) -> tuple[Task, dict[str, Any]]:
        """Return task and metadata of a local checkpoint, without network access.

        They are read again only after a change of the files. All callers share them and must not change them.

        Raises:
            ValueError: The checkpoint is not local or is invalid.
        """
        checkpoint_dir = self.get_local_dir(name)
        key = checkpoint_dir, split_purpose(name)[1]
        # before reading, so that a change at the same time is noticed the next time
        stamp = compute_directory_stamp(checkpoint_dir)
        with self._lock:
            known = self._local.get(key)
        if known is None or known.stamp != stamp:
            metadata = read_checkpoint_info(checkpoint_dir)
            known = LocalMetadata(stamp, resolve_task(metadata["task"], metadata["config"], key[1]), metadata)
            with self._lock:
                self._local.pop(key, None)
                while len(self._local) >= MAX_LOCAL_METADATA:
                    del self._local[next(iter(self._local))]
                self._local[key] = known
        return known.task, known.metadata

    def get_local_dir(self, name: str) -> Path:
        """Return the directory of a local checkpoint, without network access.

        Raises:
            ValueError: The checkpoint is not local.
        """
        store, _, key = self._resolve(name)
        if not isinstance(store, HubStore):
            return store.fetch(key)
        checkpoint_dir = store.find_cached_dir(HubRef.parse(key))
        if checkpoint_dir is None:
            raise ValueError(f"{key} is not downloaded yet. Download it in the Models tab first.")
        return checkpoint_dir

    def get_verified_dir(self, name: str) -> Path:
        """Return the directory of a local checkpoint after checking the digests of its files, if they are known."""
        store, _, _ = self._resolve(name)
        checkpoint_dir = self.get_local_dir(name)
        return verify_checksums(checkpoint_dir) if isinstance(store, HubStore) else checkpoint_dir

    def get_hub_url(self, name: str) -> str:
        """Return the URL of a checkpoint on the Hub; empty for local ones."""
        bare, _ = split_purpose(name)
        if "/" not in bare or bare.startswith(RUN_PREFIX):
            return ""
        ref = HubRef.parse(bare)
        return f"{self.owner_store.api.endpoint}/{ref.repo}" + (f"/tree/{ref.revision}" if ref.revision else "")

    def get_publication_status(self, name: str) -> str:
        """Return the status of the newest publication of a run in one sentence; empty if there is none."""
        if not name.startswith(RUN_PREFIX):
            return ""
        outbox = Outbox(self.run_store.root / name.removeprefix(RUN_PREFIX).partition("@")[0])
        entries = outbox.entries()
        return entries[-1].format_status() if entries else ""

    def download(self, name: str) -> None:
        """Start to download a checkpoint of the Hub."""
        store, origin, key = self._resolve(name)
        if origin == "hub":
            self.downloads.start(key, store.fetch)

    def get_download(self, name: str) -> Download | None:
        """Return the newest download of a checkpoint, or None."""
        try:
            return self.downloads.get(self._resolve(name)[2])
        except ValueError:  # not a valid name
            return None

    def _resolve(self, name: str) -> tuple[Store, str, str]:
        """Return the store of a checkpoint, its origin, and its name in the store."""
        bare, _ = split_purpose(name)
        if bare.startswith(RUN_PREFIX):
            key = bare.removeprefix(RUN_PREFIX)
            return self.step_store if "@" in key else self.run_store, "run", key
        if "/" not in bare:
            return self.bundled_store, "bundled", bare
        ref = HubRef.parse(bare)
        return self.owner_store if self._is_listed(ref) else self.visitor_store, "hub", str(ref)

    def _is_listed(self, ref: HubRef) -> bool:
        """Return whether the owner lists a reference: as such, or as a commit that a listed name was resolved to."""
        for name in map(HubRef.parse, self.owner_store.models):
            if (name.repo, name.subfolder) == (ref.repo, ref.subfolder) and (
                ref.revision in (None, name.revision) or str(ref) in self._owner_revisions
            ):
                return True
        return False


def split_purpose(name: str) -> tuple[str, str]:
    """Split a name into the name without its task, and the task."""
    bare, _, purpose = str(name).strip().partition(PURPOSE_SEPARATOR)
    return bare, purpose
