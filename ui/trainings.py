"""What the Train tab asks for: runs to start, to watch, to compare and to end."""

import contextlib
import re
import shlex
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from ctm.stores import HubName, Unavailable
from ctm.stores.base import is_whole
from training.config import PublishConfig, RunConfig, as_overrides, read_recipe
from training.jobs.book import HERE, Job
from training.jobs.courier import Courier
from training.jobs.measuring import measure
from training.jobs.remote import RemoteJobs
from training.jobs.runner import Runner
from training.outbox import LIVE, Outbox
from training.runs import RunFolder
from ui.curves import curves_value, number
from ui.form import changes_of, side_by_side, values_of
from ui.models import RUN, Models

TAIL = 24_000  # characters of a log that are shown
EARLIER, HUB = "run:", "hub:"  # what a source of settings begins with that is no recipe
STATES = {"queued": "waiting for its turn", "running": "training", "succeeded": "finished", "failed": "failed",
          "cancelled": "stopped", "interrupted": "interrupted"}  # fmt: skip
MOST_PROCESSES = 16  # of a run on processors alone
SPARE_MINUTES = 10  # of a run's time elsewhere, to measure and to publish
MOST_COMPARED = 6
MOST_VIEWS, MOST_ROWS = 30, 10_000  # runs of which what was read is remembered
PACK = "ctm-run-"  # what the folder of a packed run begins with
KEPT = 3_600.0  # seconds that a packed run is kept: it is handed out at once, and may take gigabytes
COMMAND = re.compile(r"python -m training train [\w ./:@,=+\"'\[\]{}-]{1,2000}")  # that a checkpoint may say made it
PACKED = ("config.yaml", "command.txt", "origin.json", "status.json", "metrics.jsonl", "ending.json", "log.txt")


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
    """

    def __init__(
        self,
        runner: Runner,
        models: Models,
        recipes: Path,
        courier: Courier | None = None,
        remote: RemoteJobs | None = None,
        namespace: str = "",
    ):
        self.runner, self.models, self.recipes, self.courier = runner, models, Path(recipes), courier
        self.remote, self.namespace = remote, namespace
        self._views: dict[str, tuple[Any, Any]] = {}
        self._rows: dict[str, tuple[Any, Any]] = {}
        self._look = threading.Lock()

    def begin(self) -> None:
        """Take over the runs that are there, and look after them from now on."""
        self.runner.start()
        if self.courier and self.runner.writes:
            self.courier.start()

    def close(self) -> None:
        """The app ends: what trains here is told to save."""
        if self.courier:
            self.courier.close()
        self.runner.close()

    # --- to start ------------------------------------------------------------------------------------------------

    def sources(self) -> list[tuple[str, str]]:
        """What settings a run can begin with: recipes, then earlier runs; as shown, and as named."""
        recipes = [(claim_of(path), path.stem) for path in sorted(self.recipes.glob("*.yaml"))]
        earlier = [(f"as in the run {job.id}", EARLIER + job.id) for job in self.runner.book.all()]
        return [*recipes, *earlier]

    def settings(self, source: str) -> tuple[RunConfig, str, str]:
        """The settings of a source, the command that its run would have, and a name for a new run.

        Args:
            source: a recipe's name, `run:ID`, or `hub:namespace/name` of a checkpoint that tells how it was trained.
        """
        if source.startswith(EARLIER):
            folder = self.runner.folder(source.removeprefix(EARLIER))
            return config_of(folder), command_of(folder), re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", folder.path.name)
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
        path = next((path for path in self.recipes.glob("*.yaml") if path.stem == source), None)
        if path is None:
            raise ValueError(f"There is no recipe called {source[:60]!r}.")
        return read_recipe(path), f"python -m training train {path.parent.name}/{path.name}", name_of(path.stem)

    def form(self, source: str) -> dict[str, Any]:
        """What the form shows for a source: the kind of task, and a value for each of its fields."""
        config, _, name = self.settings(source)
        return {"task": config.task["kind"], "name": name, "values": values_of(config), "publish": config.publish.model_dump(),
                "beginnings": self.beginnings(config.init_from), "init_from": config.init_from}  # fmt: skip

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
                one.name, f"Hugging Face Jobs: {one.title}" + (f", ${one.price:.2f} an hour" if one.price else ""), one.price,
                one.devices,
            )
            for one in there
        ]  # fmt: skip

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
        words = as_overrides(changes)
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

    # --- to watch ------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        return self.runner.book.all()

    def choices(self) -> list[tuple[str, str]]:
        """Every run, with what it does, and its id."""
        return [(f"{job.id} ({STATES[job.state]})", job.id) for job in self.jobs()]

    def current(self) -> str | None:
        """The run that people want to see first: the one that runs, or else the newest."""
        running = self.runner.book.running()
        jobs = running or self.jobs()
        return jobs[0].id if jobs else None

    def watch(self, id: str) -> dict[str, Any]:
        """All that is shown of a run; read anew only when something of it has changed."""
        return self._known(self._views, MOST_VIEWS, self.runner.book.get(id), self._view)

    def _known(
        self, kept: dict[str, tuple[Any, Any]], most: int, job: Job, read: Callable[[Job, RunFolder, str], Any]
    ) -> Any:
        """What was read of a run, read again if something has changed; many may ask at once."""
        folder = RunFolder(self.runner.runs / job.id)
        stamp = (job, stamps(folder))
        with self._look:
            if job.id not in kept or kept[job.id][0] != stamp:
                while len(kept) >= most:
                    del kept[next(iter(kept))]  # the one that was read again longest ago
                kept.pop(job.id, None)
                # a version of before the reading: what is written meanwhile is read, and seen, the next time
                kept[job.id] = (stamp, read(job, folder, f"{job.id} {hash(stamp)}"))
            return kept[job.id][1]

    def _view(self, job: Job, folder: RunFolder, version: str) -> dict[str, Any]:
        lines, status = quietly(folder.read_metrics, []), status_of(folder)
        step, steps, speed = status["step"], status["steps"], status["steps_per_second"]
        entries = quietly(Outbox(folder.path).entries, [])
        return {
            "id": job.id, "state": job.state, "version": version, "by": job.by,
            "headline": headline(job, status), "sentence": job.sentence, "share": step / steps if steps else 0.0,
            "step": step, "steps": steps, "left": (steps - step) / speed if speed and job.state == "running" else None,
            "speed": speed, "curves": curves_value([(job.id, lines, steps)]), "log": tail(folder.log_file, self.runner.token),
            "saved": folder.steps(), "finished": is_whole(folder.finished), "command": command_of(folder),
            "published": entries[-1].say() if entries else "", "publishing": bool(entries and entries[-1].state in LIVE),
            "address": entries[-1].url if entries else "", "size": size_of(folder.path), "place": job.place, "url": job.url,
            "submitted": job.submitted, "started": job.started, "ended": job.ended, "intent": job.intent,
            "repo": quietly(lambda: config_of(folder).publish.repo, ""),
        }  # fmt: skip

    def history(self) -> list[list[Any]]:
        """A row for every run: id, state, task, step, accuracy on held-out samples, minutes, when, by whom, where, disk."""
        return [self._known(self._rows, MOST_ROWS, job, self._row) for job in self.jobs()]

    def _row(self, job: Job, folder: RunFolder, _: str) -> list[Any]:
        task, status = quietly(lambda: config_of(folder).task["kind"], "?"), status_of(folder)
        best = number(quietly(folder.last_validation, {}).get("validation_accuracy_best"))
        took = (job.ended or time.time()) - job.started if job.started else 0
        return [
            job.id, STATES[job.state], task, status["step"], None if best is None else round(100 * best, 2),
            round(took / 60, 1),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(job.submitted)), job.by, job.place,
            round(size_of(folder.path) / 2**20, 1),
        ]  # fmt: skip

    def compare(self, ids: Sequence[str]) -> tuple[dict[str, Any], list[list[str]]]:
        """Curves of several runs in one value, and their settings side by side."""
        folders = [self.runner.folder(id) for id in ids[:MOST_COMPARED]]
        curves = curves_value([(f.path.name, quietly(f.read_metrics, []), status_of(f)["steps"]) for f in folders])
        return curves, side_by_side([(folder.path.name, config_of(folder)) for folder in folders])

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
        """A zip file of a run: settings, figures, log, and its finished or newest checkpoint."""
        folder = self.runner.folder(id)
        steps = folder.steps()
        checkpoint = folder.finished if is_whole(folder.finished) else folder.checkpoint(steps[-1]) if steps else None
        forget_packs()
        path = Path(tempfile.mkdtemp(prefix=PACK)) / f"{folder.path.name}.zip"
        try:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
                for name in PACKED:
                    if (folder.path / name).is_file():
                        packed.write(folder.path / name, f"{folder.path.name}/{name}")
                for file in sorted(checkpoint.iterdir()) if checkpoint else []:
                    packed.write(file, f"{folder.path.name}/checkpoint/{file.name}")
        except OSError as error:
            raise ValueError(f"The run cannot be packed: {error.strerror}.") from None
        return str(path)


def forget_packs() -> None:
    """Remove packed runs that were handed out long ago."""
    for pack in Path(tempfile.gettempdir()).glob(f"{PACK}*"):
        with contextlib.suppress(OSError):  # somebody else's, or just removed
            if time.time() - pack.stat().st_mtime > KEPT:
                shutil.rmtree(pack)


def quietly(read: Callable[[], Any], otherwise: Any) -> Any:
    """What a file of a run says, or `otherwise` where it is broken: one odd run must not hide the others."""
    try:
        return read()
    except (ValueError, OSError, TypeError, AttributeError, RecursionError):
        return otherwise


def config_of(folder: RunFolder) -> RunConfig:
    """The settings of a run.

    Raises:
        ValueError: they are gone, or no settings.
    """
    try:
        return folder.config()
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError):
        raise ValueError(
            f"The settings of the run {folder.path.name} cannot be read: its config.yaml is broken."
        ) from None


def command_of(folder: RunFolder) -> str:
    return quietly(folder.command, "unknown")


def status_of(folder: RunFolder) -> dict[str, Any]:
    """How far a run says that it is: numbers, whatever its file holds, and the name of its phase."""
    said = quietly(folder.status, {})
    found = {name: max(0.0, number(said.get(name)) or 0.0) for name in ("step", "steps", "steps_per_second")}
    return {"phase": str(said.get("phase", "")), **found, "step": int(found["step"]), "steps": int(found["steps"])}


def headline(job: Job, status: Mapping[str, Any]) -> str:
    """What a run is doing, in a few words."""
    step, steps = status.get("step", 0), status.get("steps", 0)
    reached = f"step {step:,} of {steps:,}" if steps else "no step yet"
    if job.state == "running":
        if job.intent in ("stop", "leave"):
            return f"Stopping at {reached}: it saves first"
        if job.intent == "kill":
            return "Being killed"
        phases = {"finishing": "Finishing: fits the energy, chooses thresholds, measures",
                  "finished": "Ending: publishes what it made"}  # fmt: skip
        return phases.get(status.get("phase", ""), f"Training: {reached}" if steps else "Starting")
    return STATES[job.state].capitalize() + (
        f" at {reached}" if job.state in ("failed", "cancelled", "interrupted") else ""
    )


def stamps(folder: RunFolder) -> tuple[tuple[str, int, int], ...]:
    """What tells whether something of a run has changed, without reading it."""
    found = []
    watched = [
        folder.metrics,
        folder.path / "status.json",
        folder.log_file,
        folder.path / "checkpoints",
        folder.finished,
    ]
    for path in (*watched, *folder.path.glob("outbox/*/entry.json")):
        try:
            about = path.stat()
        except OSError:
            continue
        found.append((path.name, about.st_mtime_ns, about.st_size))
    return tuple(found)


def tail(path: Path, secret: str) -> str:
    """The end of a log, in whole lines, with the token blotted out should anything ever have printed it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    if size > TAIL:  # the first line is cut off, and might begin in the middle of the token
        text = text.partition("\n")[2]
    return text.replace(secret, "•••") if secret else text


def size_of(folder: Path) -> int:
    """Bytes that a folder takes on the disk; what is linked is counted once."""
    found = {}
    for path in folder.rglob("*"):
        try:
            about = path.lstat()
        except OSError:
            continue
        found[about.st_ino] = about.st_size
    return sum(found.values())


def claim_of(path: Path) -> str:
    """A recipe's name, and what it says it reaches: its comment's line about held-out samples."""
    for line in path.read_text("utf-8").splitlines():
        if found := re.match(r"#\s+\w+: ([\d.]+%) of", line):
            return f"{path.stem} ({found[1]} measured)"
        if not line.startswith("#"):
            break
    return path.stem


def name_of(text: str) -> str:
    """Words that a run can be called by."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "run"
