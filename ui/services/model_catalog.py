"""Every checkpoint that the screens can name, wherever it lies.

Names: `digits` is bundled, `run:parity-1` a finished run, `run:parity-1@500` a saved step of a run, `namespace/name@commit`
on the Hub. Where a checkpoint does not say what it is for, `#task` after its name does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm.stores import Description, HubName, HubStore, LocalStore, Store
from ctm.stores.base import read_all
from ctm.stores.hub_cache import verified
from training.publishing.outbox import Outbox
from training.tasks import Task, fitting_tasks, infer_task, task_of
from ui.services.downloads import Download, Downloads

RUN, PURPOSE = "run:", "#"
WELCOMING = "digits"  # listed first: anybody can draw one
SPARE = 5 * 2**30  # bytes that downloads by visitors leave free on the disk


@dataclass(frozen=True)
class Model:
    """A checkpoint as the Models tab shows it."""

    name: str  # pinned where that is possible, with its purpose
    place: str  # "bundled", "run" or "hub"
    about: Description
    task: Task | None  # None where neither the checkpoint nor its name tells
    choices: tuple[str, ...]  # tasks that it could be for, where it does not tell


class StepStore(LocalStore):
    """The saved steps of runs, finished or not, as `id@step`."""

    def __init__(self, runs: Path):
        super().__init__(runs, "*/checkpoints/[0-9]*")

    def _name(self, path: Path) -> str:
        id, _, step = path.relative_to(self.root).parts
        return f"{id}@{int(step)}" if step.isascii() and step.isdecimal() else f".{step}"


class Models:
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
        bundled: Path,
        runs: Path | None = None,
        listed: Iterable[str] = (),
        cache: Path | None = None,
        endpoint: str | None = None,
    ):
        self.bundled = LocalStore(bundled)
        self.runs = LocalStore(runs or Path(bundled) / "none", "*/checkpoint")
        self.steps = StepStore(self.runs.root)
        self.listed = HubStore(listed, None, cache, endpoint, spare=SPARE)
        # What a visitor names is read as a stranger reads it, and kept apart: the other cache may hold private models.
        self.others = HubStore(
            (), False, self.listed.cache.parent / "ctm-visitors", endpoint, spare=SPARE, largest=2 * 2**30
        )
        self.downloads = Downloads()
        self._resolved = set(self.listed.here())  # commits that may be read with the owner's token

    def names(self) -> list[str]:
        """Those that can think now, the most welcoming first."""
        bundled = sorted(self.bundled.names(), key=lambda name: name != WELCOMING)
        listed = [name for name in self.listed.here() if self._is_listed(HubName.read(name))]
        return [*bundled, *(RUN + name for name in self.runs.names()), *listed, *self.others.here()]

    def elsewhere(self) -> list[str]:
        """Listed models of the Hub that are not on this machine."""
        here = {HubName.read(name) for name in self.names() if "/" in name}
        places = {(name.repo, name.subfolder) for name in here}
        wanted = {text: HubName.read(text) for text in self.listed.models}
        return [
            text
            for text, name in wanted.items()
            if (name not in here if name.is_pinned else (name.repo, name.subfolder) not in places)
        ]

    def describe(self, name: str) -> Model:
        """What is known of a checkpoint; asks the Hub where it has to, so it may take seconds."""
        bare, purpose = split(name)
        store, place, key = self._find(name)
        about = store.describe(key)
        if store is self.listed:
            self._resolved.add(about.name)
        pinned = about.name if place == "hub" else bare
        tells = about.task or purpose or infer_task(about.config)
        task = task_for(about.task, about.config, purpose) if tells else None
        choices = () if about.task else tuple(fitting_tasks(about.config))
        return Model(pinned + (PURPOSE + purpose if purpose else ""), place, about, task, choices)

    def here(self, name: str) -> tuple[Task, dict[str, Any]]:
        """Task of a checkpoint on this machine, and what its files say beside the weights; no network is asked."""
        told = read_all(self.folder(name))
        return task_for(told["task"], told["config"], split(name)[1]), told

    def folder(self, name: str) -> Path:
        """The folder of a checkpoint on this machine; no network is asked.

        Raises:
            ValueError: it is not here.
        """
        store, _, key = self._find(name)
        if not isinstance(store, HubStore):
            return store.fetch(key)
        folder = store.folder_here(HubName.read(key))
        if folder is None:
            raise ValueError(f"{key} is not on this machine yet: download it in the Models tab first.")
        return folder

    def verified(self, name: str) -> Path:
        """As `folder`, with every file's digest checked where it has one."""
        store, _, _ = self._find(name)
        folder = self.folder(name)
        return verified(folder) if isinstance(store, HubStore) else folder

    def page(self, name: str) -> str:
        """The Hub's page of a checkpoint; empty for those that are not there."""
        bare, _ = split(name)
        if "/" not in bare or bare.startswith(RUN):
            return ""
        wanted = HubName.read(bare)
        return f"{self.listed.api.endpoint}/{wanted.repo}" + (f"/tree/{wanted.revision}" if wanted.revision else "")

    def publication(self, name: str) -> str:
        """How the newest publication of a run stands, in a sentence; empty if there is none."""
        if not name.startswith(RUN):
            return ""
        outbox = Outbox(self.runs.root / name.removeprefix(RUN).partition("@")[0])
        entries = outbox.entries()
        return entries[-1].say() if entries else ""

    def download(self, name: str) -> None:
        """Begin to fetch a checkpoint of the Hub."""
        store, place, key = self._find(name)
        if place == "hub":
            self.downloads.start(key, store.fetch)

    def downloading(self, name: str) -> Download | None:
        """The download of a checkpoint, running or over; None if there is none."""
        try:
            return self.downloads.of(self._find(name)[2])
        except ValueError:  # no name at all
            return None

    def _find(self, name: str) -> tuple[Store, str, str]:
        """The store that holds a checkpoint, what its kind is called, and the name in it."""
        bare, _ = split(name)
        if bare.startswith(RUN):
            key = bare.removeprefix(RUN)
            return self.steps if "@" in key else self.runs, "run", key
        if "/" not in bare:
            return self.bundled, "bundled", bare
        wanted = HubName.read(bare)
        return self.listed if self._is_listed(wanted) else self.others, "hub", str(wanted)

    def _is_listed(self, wanted: HubName) -> bool:
        """Whether the owner put up just this: as listed, or a commit that a listed name was resolved to."""
        for name in map(HubName.read, self.listed.models):
            if (name.repo, name.subfolder) == (wanted.repo, wanted.subfolder) and (
                wanted.revision in (None, name.revision) or str(wanted) in self._resolved
            ):
                return True
        return False


def split(name: str) -> tuple[str, str]:
    """A name without its purpose, and the purpose."""
    bare, _, purpose = str(name).strip().partition(PURPOSE)
    return bare, purpose


def task_for(told: dict[str, Any], config: dict[str, Any], purpose: str) -> Task:
    """The task of a checkpoint: as its task.json says, or else its name, or else its config gives away."""
    if told or not purpose:
        return task_of(told, config)
    fitting = fitting_tasks(config)
    if purpose not in fitting:
        known = ", ".join(fitting) or "none of ours"
        raise ValueError(f"This machine cannot do the task {purpose[:40]!r}; its config fits {known}.")
    return task_of(fitting[purpose])
