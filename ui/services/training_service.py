"""What the Train tab asks for: runs to start, to watch, to compare and to end."""

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctm.stores import HubName, Unavailable
from ctm.stores.base import is_whole
from training.config import PublishConfig, RunConfig, as_overrides, read_recipe
from training.jobs.estimate_process import measure
from training.jobs.remote.hf_jobs import RemoteJobs
from training.jobs.scheduler import Runner
from training.jobs.store import HERE
from training.publishing.upload_worker import Courier
from ui.services.form_schema import changes_of, values_of
from ui.services.model_catalog import RUN, Models
from ui.services.run_archive import pack
from ui.services.run_view_models import RunViews, command_of

KINDS = ("baselines", "published")  # folders of recipes, beside those to begin with
EARLIER, HUB = "run:", "hub:"  # what a source of settings begins with that is no recipe
MOST_PROCESSES = 16  # of a run on processors alone
SPARE_MINUTES = 10  # of a run's time elsewhere, to measure and to publish
COMMAND = re.compile(r"python -m training train [\w ./:@,=+\"'\[\]{}-]{1,2000}")  # that a checkpoint may say made it


@dataclass(frozen=True)
class Place:
    """Where a run may take place."""

    name: str  # "here", or hardware of Hugging Face Jobs
    label: str
    price: float | None  # dollars an hour; None where nothing is paid, or nobody says
    devices: int = 1


class Trainings:
    """Runs, for screens.

    Args:
        runner: starts and ends them.
        models: where their checkpoints can be thought with.
        recipes: folder of recipes.
        courier: publishes; None where there is no Hub to publish to.
        remote: Hugging Face Jobs; None where they cannot be reached from.
        namespace: who pays there.
        lasting: whether runs outlive a restart of the machine.
    """

    def __init__(
        self,
        runner: Runner,
        models: Models,
        recipes: Path,
        courier: Courier | None = None,
        remote: RemoteJobs | None = None,
        namespace: str = "",
        lasting: bool = True,
    ):
        self.runner, self.models, self.recipes, self.courier = runner, models, Path(recipes), courier
        self.remote, self.namespace, self.lasting = remote, namespace, lasting
        self.views = RunViews(runner)

    def begin(self) -> None:
        """Take over the runs that are there, and look after them from now on."""
        self.runner.start()
        if self.courier:
            self.courier.start(lambda: self.runner.writes)

    def close(self) -> None:
        """The app ends: what trains here is told to save."""
        if self.courier:
            self.courier.close()
        self.runner.close()

    # --- to start ------------------------------------------------------------------------------------------------

    def sources(self) -> list[tuple[str, str]]:
        """What settings a run can begin with: recipes, then earlier runs; as shown, and as named."""
        recipes = [(claim_of(path, name), name) for name, path in self._recipes().items()]
        earlier = [(f"as in the run {job.id}", EARLIER + job.id) for job in self.runner.book.all()]
        return [*recipes, *earlier]

    def settings(self, source: str) -> tuple[RunConfig, str, str]:
        """The settings of a source, the command that its run would have, and a name for a new run.

        Args:
            source: a recipe's name, `run:ID`, or `hub:namespace/name` of a checkpoint that tells how it was trained.
        """
        if source.startswith(EARLIER):
            folder = self.runner.folder(source.removeprefix(EARLIER))
            return folder.config(), command_of(folder), re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", folder.path.name)
        if source.startswith(HUB):
            about = self.models.describe(source.removeprefix(HUB)).about
            made = about.metrics.get("training")
            told = made.get("settings") if isinstance(made, dict) else None
            if not isinstance(told, dict):
                raise ValueError(f"{about.name} does not tell the settings that it was trained with.")
            ours = {"publish": {}, "init_from": f"hub:{about.name}"}  # where a run goes is not for a checkpoint to say
            said = str(made.get("command"))
            command = said if COMMAND.fullmatch(said) else "python -m training train"
            name = HubName.read(about.name).repo.rpartition("/")[2]
            return RunConfig.read(told | ours), f"{command} init_from=hub:{about.name}", name_of(name)
        path = self._recipes().get(source)
        if path is None:
            raise ValueError(f"There is no recipe called {source[:60]!r}.")
        file = path.relative_to(self.recipes.parent).as_posix()
        return read_recipe(path), f"python -m training train {file}", name_of(path.stem)

    def _recipes(self) -> dict[str, Path]:
        """Recipes by name: those of the folder itself first, then those of the folders of recipes in it."""
        found = {path.stem: path for path in sorted(self.recipes.glob("*.yaml"))}
        for kind in KINDS:
            found |= {f"{kind}/{path.stem}": path for path in sorted(self.recipes.glob(f"{kind}/*.yaml"))}
        return found

    def form(self, source: str) -> dict[str, Any]:
        """What the form shows for a source: the kind of task, and a value for each of its fields."""
        config, _, name = self.settings(source)
        return {
            "task": config.task["kind"],
            "name": name,
            "values": values_of(config),
            "publish": config.publish.model_dump(),
            "beginnings": self.beginnings(config.init_from),
            "init_from": config.init_from,
        }

    def devices(self) -> int:
        """Accelerators of this machine, or one processor."""
        return max(1, torch.cuda.device_count())

    def beginnings(self, own: str = "") -> list[tuple[str, str]]:
        """Weights that a run can begin with: new ones, those that its settings name, those of every checkpoint."""
        as_before = [(f"the weights of {own.removeprefix('hub:')}, as its settings say", own)] if own else []
        return [("new weights", ""), *as_before, *((f"the weights of {name}", name) for name in self.models.names())]

    def estimate(self, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a run would cost, from a few measured steps; takes a quarter of a minute."""
        if torch.cuda.device_count() and any(job.is_here for job in self.runner.book.running()):
            raise ValueError(
                "A run is using the accelerator, which would be measured wrong and might lack memory: wait for its end."
            )
        config, _ = self._configured(source, given, {}, None)
        free = shutil.disk_usage(self.runner.runs).free / 2**30
        return measure(config, self.runner.environment) | {"free_gb": free}

    def places(self) -> list[Place]:
        """This machine, and the hardware of Hugging Face Jobs where that can be reached."""
        here = [Place(HERE, "this machine", None)]
        if self.runner.away is None or self.remote is None:
            return here
        try:
            there = self.remote.flavours()
        except ValueError:  # nothing can be sent just now; the form works all the same
            return here
        return here + [
            Place(
                one.name,
                f"Hugging Face Jobs: {one.title}" + (f", ${one.price:.2f} an hour" if one.price else ""),
                one.price,
                one.devices,
            )
            for one in there
        ]

    def start(
        self,
        source: str,
        given: Mapping[str, Any],
        by: str,
        *,
        name: str = "",
        publish: Mapping[str, Any] | None = None,
        init_from: str | None = None,
        place: str = HERE,
        timeout: int = 0,
        devices: int = 1,
    ) -> str:
        """Put a run in line; its id.

        Args:
            source: see `settings`.
            given: field name -> value of the filled-in form.
            by: who asks.
            name: what its id begins with; empty for the recipe's.
            publish: settings of publishing.
            init_from: a checkpoint's name as on the Think tab, or empty for new weights; None for what the settings say.
            place: `here`, or hardware of Hugging Face Jobs.
            timeout: minutes that it may take there.
            devices: processes here, one a device.
        """
        publish = publish or {}
        config, command = self._configured(source, given, publish, init_from)
        name = name or self.settings(source)[2]
        more: dict[str, Any] = {"devices": devices}
        most = self.devices() if config.train.device != "cpu" else MOST_PROCESSES
        if place != HERE:
            there = next((known for known in self.places() if known.name == place), None)
            if there is None:
                raise ValueError(f"There is no hardware {place[:60]!r} to send a run to just now.")
            if not config.publish.repo:
                raise ValueError(
                    "Name a repository to publish to: the machine of Hugging Face Jobs is gone after the run."
                )
            if not config.train.minutes:  # so that it saves and publishes before it is cut off
                config = config.changed({"train.minutes": max(1, timeout - SPARE_MINUTES)})
            more = {"place": place, "timeout": timeout, "namespace": self.namespace, "devices": there.devices}
        elif not 1 <= devices <= most:
            raise ValueError(f"A run may take 1 to {most} devices here: got {devices}.")
        if config.publish.repo and self.courier:  # before hours are spent on what could not be sent
            self.courier.store.prove_writable(config.publish.repo, config.publish.private)
        return self.runner.submit(config, name, command, by, **more).id

    def _configured(
        self, source: str, given: Mapping[str, Any], publish: Mapping[str, Any], init_from: str | None
    ) -> tuple[RunConfig, str]:
        """The settings that a filled-in form stands for, and the command that would train the same."""
        config, command, _ = self.settings(source)
        changes = changes_of(config, given)
        where = PublishConfig.read(publish, "publish").model_dump()
        moved = {f"publish.{key}": value for key, value in where.items() if value != getattr(config.publish, key)}
        words = as_overrides({name: value for name, value in changes.items() if name not in config.local})
        if init_from is not None and init_from != config.init_from:
            moved["init_from"] = self._beginning(init_from)
            words.append(f"init_from={moved['init_from']}")
        return config.changed(changes | moved), " ".join([command, *map(shlex.quote, words)])

    def _beginning(self, name: str) -> str:
        """Where the weights of a checkpoint are: its folder, or its name on the Hub; empty for new weights."""
        if not name:
            return ""
        if "/" in name:
            return f"hub:{HubName.read(name)}"
        folder = self.models.verified(name)
        app = self.recipes.parent.resolve()
        return str(folder.relative_to(app) if folder.is_relative_to(app) else folder)

    # --- to act --------------------------------------------------------------------------------------------------

    def stop(self, id: str) -> str:
        return self.runner.stop(id).sentence

    def kill(self, id: str) -> str:
        return self.runner.kill(id).sentence

    def resume(self, id: str) -> str:
        return self.runner.resume(id).sentence

    def delete(self, id: str) -> None:
        self.runner.remove(id)

    def publish(self, id: str, repo: str, private: bool) -> str:
        """Send what a run has made to the Hub; how that stands."""
        if self.courier is None:
            raise ValueError("This app has no Hub to publish to.")
        settings = PublishConfig.read({"repo": (repo or "").strip(), "private": bool(private)}, "publish")
        if not settings.repo:
            raise ValueError("Name the repository: namespace/name.")
        try:
            return self.courier.offer(self.runner.folder(id), settings).say()
        except Unavailable as error:
            raise ValueError(f"{error} Try again in a moment.") from None

    def checkpoint_name(self, id: str, step: int | None) -> str:
        """How the Think tab names a saved step of a run; without a step its finished checkpoint, or else its newest one."""
        folder = self.runner.folder(id)
        if step is None and not is_whole(folder.finished):
            if not (steps := folder.steps()):
                raise ValueError(f"The run {id} has saved nothing yet that could think.")
            step = steps[-1]
        return f"{RUN}{id}" if step is None else f"{RUN}{id}@{step}"

    def pack(self, id: str) -> str:
        """A zip file of a run, to hand out."""
        return str(pack(self.runner.folder(id)))


def claim_of(path: Path, name: str) -> str:
    """A recipe's name, and what it says it reaches: its comment's line about held-out samples."""
    for line in path.read_text("utf-8").splitlines():
        if found := re.match(r"#\s+\w+: ([\d.]+%) of", line):
            return f"{name} ({found[1]} measured)"
        if not line.startswith("#"):
            break
    return name


def name_of(text: str) -> str:
    """Words that a run can be called by."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "run"
