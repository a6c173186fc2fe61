"""Every checkpoint that the screens can name, wherever it lies.

Names: `digits` is bundled, `run:parity-1` a finished run, `run:parity-1@500` a saved step of a run, `namespace/name@commit`
on the Hub. Where a checkpoint does not say what it is for, `#task` after its name does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm.stores import CheckpointDescription, HubRef, HubStore, LocalStore, Store
from ctm.stores.base import read_checkpoint_info
from ctm.stores.hub_cache import verify_checksums
from training.publishing.outbox import Outbox
from training.tasks import Task, build_task, find_compatible_tasks, infer_task_metadata
from ui.services.downloads import Download, DownloadManager

RUN_PREFIX, PURPOSE_SEPARATOR = "run:", "#"
DEFAULT_CHECKPOINT = "digits"  # listed first: anybody can draw one
MIN_FREE_DISK_BYTES = 5 * 2**30  # bytes that downloads by visitors leave free on the disk


@dataclass(frozen=True)
class CatalogEntry:
    """A checkpoint as the Models tab shows it."""

    name: str  # pinned where that is possible, with its purpose
    origin: str  # "bundled", "run" or "hub"
    description: CheckpointDescription
    task: Task | None  # None where neither the checkpoint nor its name tells
    task_choices: tuple[str, ...]  # tasks that it could be for, where it does not tell


class StepStore(LocalStore):
    """The saved steps of runs, finished or not, as `id@step`."""

    def __init__(self, runs: Path):
        super().__init__(runs, "*/checkpoints/[0-9]*")

    def _get_checkpoint_name(self, path: Path) -> str:
        id, _, step = path.relative_to(self.root).parts
        return f"{id}@{int(step)}" if step.isascii() and step.isdecimal() else f".{step}"


class ModelCatalog:
    """Stores by the names of what they hold.

    Args:
        bundled: folder of checkpoints that come with the app.
        runs: folder of run folders.
        listed: names on the Hub that the owner put up; they are read with the owner's token.
        cache: where files from the Hub are kept; the Hub client's usual cache when not given.
        endpoint: another Hub.
    """

    def __init__(
        self,
        bundled_dir: Path,
        runs_dir: Path | None = None,
        hub_models: Iterable[str] = (),
        cache_dir: Path | None = None,
        endpoint: str | None = None,
    ):
        self.bundled_store = LocalStore(bundled_dir)
        self.run_store = LocalStore(runs_dir or Path(bundled_dir) / "none", "*/checkpoint")
        self.step_store = StepStore(self.run_store.root)
        self.owner_store = HubStore(hub_models, None, cache_dir, endpoint, min_free_bytes=MIN_FREE_DISK_BYTES)
        # What a visitor names is read as a stranger reads it, and kept apart: the other cache may hold private models.
        self.visitor_store = HubStore(
            (),
            False,
            self.owner_store.cache_dir.parent / "ctm-visitors",
            endpoint,
            min_free_bytes=MIN_FREE_DISK_BYTES,
            max_weight_bytes=2 * 2**30,
        )
        self.downloads = DownloadManager()
        self._owner_revisions = set(
            self.owner_store.list_cached_checkpoints()
        )  # commits that may be read with the owner's token

    def list_names(self) -> list[str]:
        """Those that can think now, the most welcoming first."""
        bundled = sorted(self.bundled_store.list_names(), key=lambda name: name != DEFAULT_CHECKPOINT)
        listed = [name for name in self.owner_store.list_cached_checkpoints() if self._is_listed(HubRef.parse(name))]
        return [
            *bundled,
            *(RUN_PREFIX + name for name in self.run_store.list_names()),
            *listed,
            *self.visitor_store.list_cached_checkpoints(),
        ]

    def list_remote(self) -> list[str]:
        """Listed models of the Hub that are not on this machine."""
        here = {HubRef.parse(name) for name in self.list_names() if "/" in name}
        places = {(name.repo, name.subfolder) for name in here}
        wanted = {text: HubRef.parse(text) for text in self.owner_store.models}
        return [
            text
            for text, name in wanted.items()
            if (name not in here if name.is_pinned else (name.repo, name.subfolder) not in places)
        ]

    def describe(self, name: str) -> CatalogEntry:
        """What is known of a checkpoint; asks the Hub where it has to, so it may take seconds."""
        bare, purpose = split_purpose(name)
        store, place, key = self._resolve(name)
        about = store.describe(key)
        if store is self.owner_store:
            self._owner_revisions.add(about.name)
        pinned = about.name if place == "hub" else bare
        tells = about.task or purpose or infer_task_metadata(about.config)
        task = resolve_task(about.task, about.config, purpose) if tells else None
        choices = () if about.task else tuple(find_compatible_tasks(about.config))
        return CatalogEntry(pinned + (PURPOSE_SEPARATOR + purpose if purpose else ""), place, about, task, choices)

    def read_local(self, name: str) -> tuple[Task, dict[str, Any]]:
        """Task of a checkpoint on this machine, and what its files say beside the weights; no network is asked."""
        told = read_checkpoint_info(self.get_local_dir(name))
        return resolve_task(told["task"], told["config"], split_purpose(name)[1]), told

    def get_local_dir(self, name: str) -> Path:
        """The folder of a checkpoint on this machine; no network is asked.

        Raises:
            ValueError: it is not here.
        """
        store, _, key = self._resolve(name)
        if not isinstance(store, HubStore):
            return store.fetch(key)
        folder = store.find_cached_dir(HubRef.parse(key))
        if folder is None:
            raise ValueError(f"{key} is not on this machine yet: download it in the Models tab first.")
        return folder

    def get_verified_dir(self, name: str) -> Path:
        """As `folder`, with every file's digest checked where it has one."""
        store, _, _ = self._resolve(name)
        folder = self.get_local_dir(name)
        return verify_checksums(folder) if isinstance(store, HubStore) else folder

    def get_hub_url(self, name: str) -> str:
        """The Hub's page of a checkpoint; empty for those that are not there."""
        bare, _ = split_purpose(name)
        if "/" not in bare or bare.startswith(RUN_PREFIX):
            return ""
        wanted = HubRef.parse(bare)
        return f"{self.owner_store.api.endpoint}/{wanted.repo}" + (
            f"/tree/{wanted.revision}" if wanted.revision else ""
        )

    def get_publication_status(self, name: str) -> str:
        """How the newest publication of a run stands, in a sentence; empty if there is none."""
        if not name.startswith(RUN_PREFIX):
            return ""
        outbox = Outbox(self.run_store.root / name.removeprefix(RUN_PREFIX).partition("@")[0])
        entries = outbox.entries()
        return entries[-1].format_status() if entries else ""

    def download(self, name: str) -> None:
        """Begin to fetch a checkpoint of the Hub."""
        store, place, key = self._resolve(name)
        if place == "hub":
            self.downloads.start(key, store.fetch)

    def get_download(self, name: str) -> Download | None:
        """The download of a checkpoint, running or over; None if there is none."""
        try:
            return self.downloads.get(self._resolve(name)[2])
        except ValueError:  # no name at all
            return None

    def _resolve(self, name: str) -> tuple[Store, str, str]:
        """The store that holds a checkpoint, what its kind is called, and the name in it."""
        bare, _ = split_purpose(name)
        if bare.startswith(RUN_PREFIX):
            key = bare.removeprefix(RUN_PREFIX)
            return self.step_store if "@" in key else self.run_store, "run", key
        if "/" not in bare:
            return self.bundled_store, "bundled", bare
        wanted = HubRef.parse(bare)
        return self.owner_store if self._is_listed(wanted) else self.visitor_store, "hub", str(wanted)

    def _is_listed(self, ref: HubRef) -> bool:
        """Whether the owner put up just this: as listed, or a commit that a listed name was resolved to."""
        for name in map(HubRef.parse, self.owner_store.models):
            if (name.repo, name.subfolder) == (ref.repo, ref.subfolder) and (
                ref.revision in (None, name.revision) or str(ref) in self._owner_revisions
            ):
                return True
        return False


def split_purpose(name: str) -> tuple[str, str]:
    """A name without its purpose, and the purpose."""
    bare, _, purpose = str(name).strip().partition(PURPOSE_SEPARATOR)
    return bare, purpose


def resolve_task(task_metadata: dict[str, Any], config: dict[str, Any], purpose: str) -> Task:
    """The task of a checkpoint: as its task.json says, or else its name, or else its config gives away."""
    if task_metadata or not purpose:
        return build_task(task_metadata, config)
    fitting = find_compatible_tasks(config)
    if purpose not in fitting:
        known = ", ".join(fitting) or "none of ours"
        raise ValueError(f"This machine cannot do the task {purpose[:40]!r}; its config fits {known}.")
    return build_task(fitting[purpose])
