"""What the Train tab asks for: runs to start, to watch, to compare and to end."""

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctm.stores import HubRef, StoreUnavailable
from ctm.stores.base import is_complete_checkpoint
from training.config import PublishConfig, RunConfig, format_overrides, read_recipe
from training.jobs.estimate_process import run_estimate
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.jobs.store import LOCAL_TARGET
from training.publishing.upload_worker import UploadWorker
from ui.services.form_schema import compute_form_changes, get_form_values
from ui.services.model_catalog import RUN_PREFIX, ModelCatalog
from ui.services.run_archive import create_run_archive
from ui.services.run_view_models import RunViewModels, get_command

RECIPE_DIRS = ("baselines", "published")  # folders of recipes, beside those to begin with
RUN_SOURCE_PREFIX, HUB_SOURCE_PREFIX = "run:", "hub:"  # what a source of settings begins with that is no recipe
MAX_CPU_PROCESSES = 16  # of a run on processors alone
REMOTE_MARGIN_MINUTES = 10  # of a run's time elsewhere, to measure and to publish
TRAIN_COMMAND_PATTERN = re.compile(
    r"python -m training train [\w ./:@,=+\"'\[\]{}-]{1,2000}"
)  # that a checkpoint may say made it


@dataclass(frozen=True)
class HardwareOption:
    """Where a run may take place."""

    name: str  # "here", or hardware of Hugging Face Jobs
    label: str
    price_per_hour: float | None  # dollars an hour; None where nothing is paid, or nobody says
    devices: int = 1


class TrainingService:
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
        scheduler: JobScheduler,
        catalog: ModelCatalog,
        recipes_dir: Path,
        upload_worker: UploadWorker | None = None,
        jobs_client: HfJobsClient | None = None,
        namespace: str = "",
        has_persistent_storage: bool = True,
    ):
        self.scheduler, self.catalog, self.recipes_dir, self.upload_worker = (
            scheduler,
            catalog,
            Path(recipes_dir),
            upload_worker,
        )
        self.jobs_client, self.namespace, self.has_persistent_storage = jobs_client, namespace, has_persistent_storage
        self.run_views = RunViewModels(scheduler)

    def start_scheduler(self) -> None:
        """Take over the runs that are there, and look after them from now on."""
        self.scheduler.start()
        if self.upload_worker:
            self.upload_worker.start(lambda: self.scheduler.is_leader)

    def close(self) -> None:
        """The app ends: what trains here is told to save."""
        if self.upload_worker:
            self.upload_worker.close()
        self.scheduler.close()

    # --- to start ------------------------------------------------------------------------------------------------

    def list_sources(self) -> list[tuple[str, str]]:
        """What settings a run can begin with: recipes, then earlier runs; as shown, and as named."""
        recipes = [(format_recipe_label(path, name), name) for name, path in self._find_recipes().items()]
        earlier = [(f"as in the run {job.id}", RUN_SOURCE_PREFIX + job.id) for job in self.scheduler.store.list_jobs()]
        return [*recipes, *earlier]

    def load_source(self, source: str) -> tuple[RunConfig, str, str]:
        """The settings of a source, the command that its run would have, and a name for a new run.

        Args:
            source: a recipe's name, `run:ID`, or `hub:namespace/name` of a checkpoint that tells how it was trained.
        """
        if source.startswith(RUN_SOURCE_PREFIX):
            folder = self.scheduler.get_run_dir(source.removeprefix(RUN_SOURCE_PREFIX))
            return folder.load_config(), get_command(folder), re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", folder.path.name)
        if source.startswith(HUB_SOURCE_PREFIX):
            about = self.catalog.describe(source.removeprefix(HUB_SOURCE_PREFIX)).description
            made = about.metrics.get("training")
            told = made.get("settings") if isinstance(made, dict) else None
            if not isinstance(told, dict):
                raise ValueError(f"{about.name} does not tell the settings that it was trained with.")
            ours = {"publish": {}, "init_from": f"hub:{about.name}"}  # where a run goes is not for a checkpoint to say
            said = str(made.get("command"))
            command = said if TRAIN_COMMAND_PATTERN.fullmatch(said) else "python -m training train"
            name = HubRef.parse(about.name).repo.rpartition("/")[2]
            return RunConfig.parse(told | ours), f"{command} init_from=hub:{about.name}", slugify(name)
        path = self._find_recipes().get(source)
        if path is None:
            raise ValueError(f"There is no recipe called {source[:60]!r}.")
        file = path.relative_to(self.recipes_dir.parent).as_posix()
        return read_recipe(path), f"python -m training train {file}", slugify(path.stem)

    def _find_recipes(self) -> dict[str, Path]:
        """Recipes by name: those of the folder itself first, then those of the folders of recipes in it."""
        found = {path.stem: path for path in sorted(self.recipes_dir.glob("*.yaml"))}
        for kind in RECIPE_DIRS:
            found |= {f"{kind}/{path.stem}": path for path in sorted(self.recipes_dir.glob(f"{kind}/*.yaml"))}
        return found

    def build_form(self, source: str) -> dict[str, Any]:
        """What the form shows for a source: the kind of task, and a value for each of its fields."""
        config, _, name = self.load_source(source)
        return {
            "task": config.task["kind"],
            "name": name,
            "values": get_form_values(config),
            "publish": config.publish.model_dump(),
            "beginnings": self.list_initial_weight_choices(config.init_from),
            "init_from": config.init_from,
        }

    def count_devices(self) -> int:
        """Accelerators of this machine, or one processor."""
        return max(1, torch.cuda.device_count())

    def list_initial_weight_choices(self, current: str = "") -> list[tuple[str, str]]:
        """Weights that a run can begin with: new ones, those that its settings name, those of every checkpoint."""
        as_before = (
            [(f"the weights of {current.removeprefix('hub:')}, as its settings say", current)] if current else []
        )
        return [
            ("new weights", ""),
            *as_before,
            *((f"the weights of {name}", name) for name in self.catalog.list_names()),
        ]

    def estimate(self, source: str, form_values: Mapping[str, Any]) -> dict[str, Any]:
        """What a run would cost, from a few measured steps; takes a quarter of a minute."""
        if torch.cuda.device_count() and any(job.is_local for job in self.scheduler.store.list_running()):
            raise ValueError(
                "A run is using the accelerator, which would be measured wrong and might lack memory: wait for its end."
            )
        config, _ = self._build_config(source, form_values, {}, None)
        free = shutil.disk_usage(self.scheduler.runs_dir).free / 2**30
        return run_estimate(config, self.scheduler.environment) | {"free_gb": free}

    def list_hardware_options(self) -> list[HardwareOption]:
        """This machine, and the hardware of Hugging Face Jobs where that can be reached."""
        here = [HardwareOption(LOCAL_TARGET, "this machine", None)]
        if self.scheduler.remote_monitor is None or self.jobs_client is None:
            return here
        try:
            there = self.jobs_client.list_flavors()
        except ValueError:  # nothing can be sent just now; the form works all the same
            return here
        return here + [
            HardwareOption(
                one.name,
                f"Hugging Face Jobs: {one.pretty_name}"
                + (f", ${one.price_per_hour:.2f} an hour" if one.price_per_hour else ""),
                one.price_per_hour,
                one.devices,
            )
            for one in there
        ]

    def start_run(
        self,
        source: str,
        form_values: Mapping[str, Any],
        by: str,
        *,
        name: str = "",
        publish: Mapping[str, Any] | None = None,
        init_from: str | None = None,
        place: str = LOCAL_TARGET,
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
        config, command = self._build_config(source, form_values, publish, init_from)
        name = name or self.load_source(source)[2]
        more: dict[str, Any] = {"devices": devices}
        most = self.count_devices() if config.train.device != "cpu" else MAX_CPU_PROCESSES
        if place != LOCAL_TARGET:
            there = next((known for known in self.list_hardware_options() if known.name == place), None)
            if there is None:
                raise ValueError(f"There is no hardware {place[:60]!r} to send a run to just now.")
            if not config.publish.repo:
                raise ValueError(
                    "Name a repository to publish to: the machine of Hugging Face Jobs is gone after the run."
                )
            if not config.train.max_minutes:  # so that it saves and publishes before it is cut off
                config = config.with_overrides({"train.max_minutes": max(1, timeout - REMOTE_MARGIN_MINUTES)})
            more = {"place": place, "timeout": timeout, "namespace": self.namespace, "devices": there.devices}
        elif not 1 <= devices <= most:
            raise ValueError(f"A run may take 1 to {most} devices here: got {devices}.")
        if config.publish.repo and self.upload_worker:  # before hours are spent on what could not be sent
            self.upload_worker.hub_store.check_write_access(config.publish.repo, config.publish.private)
        return self.scheduler.submit(config, name, command, by, **more).id

    def _build_config(
        self, source: str, form_values: Mapping[str, Any], publish: Mapping[str, Any], init_from: str | None
    ) -> tuple[RunConfig, str]:
        """The settings that a filled-in form stands for, and the command that would train the same."""
        config, command, _ = self.load_source(source)
        changes = compute_form_changes(config, form_values)
        where = PublishConfig.parse(publish, "publish").model_dump()
        moved = {f"publish.{key}": value for key, value in where.items() if value != getattr(config.publish, key)}
        words = format_overrides(
            {name: value for name, value in changes.items() if name not in config.machine_local_settings}
        )
        if init_from is not None and init_from != config.init_from:
            moved["init_from"] = self._resolve_initial_weights(init_from)
            words.append(f"init_from={moved['init_from']}")
        return config.with_overrides(changes | moved), " ".join([command, *map(shlex.quote, words)])

    def _resolve_initial_weights(self, name: str) -> str:
        """Where the weights of a checkpoint are: its folder, or its name on the Hub; empty for new weights."""
        if not name:
            return ""
        if "/" in name:
            return f"hub:{HubRef.parse(name)}"
        folder = self.catalog.get_verified_dir(name)
        app = self.recipes_dir.parent.resolve()
        return str(folder.relative_to(app) if folder.is_relative_to(app) else folder)

    # --- to act --------------------------------------------------------------------------------------------------

    def stop(self, run_id: str) -> str:
        return self.scheduler.stop(run_id).sentence

    def kill(self, run_id: str) -> str:
        return self.scheduler.kill(run_id).sentence

    def resume(self, run_id: str) -> str:
        return self.scheduler.resume(run_id).sentence

    def delete(self, run_id: str) -> None:
        self.scheduler.remove(run_id)

    def publish(self, run_id: str, repo: str, private: bool) -> str:
        """Send what a run has made to the Hub; how that stands."""
        if self.upload_worker is None:
            raise ValueError("This app has no Hub to publish to.")
        settings = PublishConfig.parse({"repo": (repo or "").strip(), "private": bool(private)}, "publish")
        if not settings.repo:
            raise ValueError("Name the repository: namespace/name.")
        try:
            return self.upload_worker.enqueue_run_checkpoint(
                self.scheduler.get_run_dir(run_id), settings
            ).format_status()
        except StoreUnavailable as error:
            raise ValueError(f"{error} Try again in a moment.") from None

    def get_checkpoint_name(self, run_id: str, step: int | None) -> str:
        """How the Think tab names a saved step of a run; without a step its finished checkpoint, or else its newest one."""
        folder = self.scheduler.get_run_dir(run_id)
        if step is None and not is_complete_checkpoint(folder.final_checkpoint_dir):
            if not (steps := folder.list_steps()):
                raise ValueError(f"The run {run_id} has saved nothing yet that could think.")
            step = steps[-1]
        return f"{RUN_PREFIX}{run_id}" if step is None else f"{RUN_PREFIX}{run_id}@{step}"

    def create_archive(self, run_id: str) -> str:
        """A zip file of a run, to hand out."""
        return str(create_run_archive(self.scheduler.get_run_dir(run_id)))


def format_recipe_label(path: Path, name: str) -> str:
    """A recipe's name, and what it says it reaches: its comment's line about held-out samples."""
    for line in path.read_text("utf-8").splitlines():
        if found := re.match(r"#\s+\w+: ([\d.]+%) of", line):
            return f"{name} ({found[1]} measured)"
        if not line.startswith("#"):
            break
    return name


def slugify(text: str) -> str:
    """Words that a run can be called by."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "run"
