"""Every checkpoint that the screens can name, wherever it lies.

Names: `digits` is bundled, `run:parity-1` a finished run, `namespace/name@commit` on the Hub. Where a checkpoint does not say
what it is for, `#task` after its name does.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm import CTMConfig
from ctm.checkpoint import infer_in_features, merge, read_headers, weight_files
from ctm.machine import count_parameters
from ctm.stores import Description, HubName, HubStore, LocalStore, Store
from training.tasks import Task, fitting_tasks, infer_task, task_of
from ui.downloads import Downloads

RUN, PURPOSE = "run:", "#"
WELCOMING = "digits"  # listed first: anybody can draw one


@dataclass(frozen=True)
class Model:
    """A checkpoint as the screens know it."""

    name: str  # pinned where that is possible, with its purpose
    place: str  # "bundled", "run" or "hub"
    about: Description
    task: Task | None  # None where neither the checkpoint nor its name tells
    choices: tuple[str, ...]  # tasks that its config would fit


class Models:
    """Stores by the names of what they hold.

    Args:
        bundled: folder of checkpoints that come with the app.
        runs: folder of run folders.
        listed: names on the Hub that the owner put up; they are read with the owner's token.
        cache: where files from the Hub are kept.
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
        self.listed = HubStore(listed, None, cache, endpoint)
        self.others = HubStore((), False, cache, endpoint)  # whatever a stranger names is read as a stranger
        self.downloads = Downloads()

    def names(self) -> list[str]:
        """Those that can think now, the most welcoming first."""
        bundled = sorted(self.bundled.names(), key=lambda name: name != WELCOMING)
        return [*bundled, *(RUN + name for name in self.runs.names()), *self.listed.here()]

    def waiting(self) -> list[str]:
        """Listed models of the Hub that are not here yet."""
        here = {HubName.read(name).repo for name in self.listed.here()}
        return [name for name in self.listed.models if HubName.read(name).repo not in here]

    def describe(self, name: str) -> Model:
        """What is known of a checkpoint; asks the Hub where it has to, so it may take seconds."""
        bare, purpose = split(name)
        store, place, key = self._find(bare)
        about = store.describe(key)
        pinned = about.name if place == "hub" else bare
        task = task_for(about, purpose)
        choices = tuple(fitting_tasks(about.config)) if not about.task else ()
        return Model(pinned + (PURPOSE + purpose if purpose else ""), place, about, task, choices)

    def folder(self, name: str) -> Path:
        """The folder of a checkpoint that is on this machine; no network is asked.

        Raises:
            ValueError: it is not here.
        """
        bare, _ = split(name)
        store, place, key = self._find(bare)
        if place != "hub":
            return store.fetch(key)
        if str(HubName.read(key)) not in self.listed.here():
            raise ValueError(f"{key} is not on this machine yet: download it in the Models tab first.")
        return store.fetch(key)

    def download(self, name: str) -> None:
        """Begin to fetch a checkpoint of the Hub."""
        bare, _ = split(name)
        store, place, key = self._find(bare)
        if place == "hub":
            self.downloads.start(key, store.fetch)

    def _find(self, bare: str) -> tuple[Store, str, str]:
        """The store that holds a name, what it is called for people, and the name in it."""
        if bare.startswith(RUN):
            return self.runs, "run", bare.removeprefix(RUN)
        if "/" not in bare:
            return self.bundled, "bundled", bare
        wanted = HubName.read(bare)
        owned = wanted.repo in {HubName.read(name).repo for name in self.listed.models}
        return self.listed if owned else self.others, "hub", str(wanted)


def split(name: str) -> tuple[str, str]:
    """A name without its purpose, and the purpose."""
    bare, _, purpose = str(name).strip().partition(PURPOSE)
    return bare, purpose


def task_for(about: Description, purpose: str) -> Task | None:
    """The task of a checkpoint: as it says itself, as its name says, or as its config gives away."""
    if about.task:
        return task_of(about.task)
    if purpose:
        fitting = fitting_tasks(about.config)
        if purpose not in fitting:
            known = ", ".join(fitting) or "none"
            raise ValueError(f"This machine cannot do the task {purpose[:40]!r}; its config fits: {known}.")
        return task_of(fitting[purpose])
    inferred = infer_task(about.config)
    return task_of(inferred) if inferred else None


def parameters_of(folder: Path, config: CTMConfig) -> int:
    """Number of parameters and buffers, from the headers of the weights."""
    shapes = {name: shape for name, (shape, _) in merge({p: read_headers(p) for p in weight_files(folder)}).items()}
    return count_parameters(config, infer_in_features(config, shapes))


def plain(about: Description) -> dict[str, Any]:
    return dataclasses.asdict(about)
