"""Sources of settings for a new run: recipes, earlier runs and checkpoints of the Hub, and initial weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ctm.stores import HUB_PREFIX, HubRef
from training.config import PublishConfig, RunConfig, format_overrides, read_recipe
from training.jobs.scheduler import JobScheduler
from training.train_command import add_overrides, shorten_command
from ui.services.form_schema import compute_form_changes, flatten
from ui.services.model_catalog import RUN_PREFIX, ModelCatalog
from ui.services.run_view_models import get_command

RECIPE_SUBDIRS = ("quick", "baselines", "published")
MAX_RUN_NAME_LENGTH = 40
TRAIN_COMMAND = "python -m training train"
# Metadata of a checkpoint from the Hub is untrusted: only a command of this form is shown.
TRAIN_COMMAND_PATTERN = re.compile(rf"{TRAIN_COMMAND} [\w ./:@,=+\"'\[\]{{}}-]{{1,2000}}")
RUN_TIMESTAMP_PATTERN = re.compile(r"-\d{8}-\d{6}(-\d+)?$")
ACCURACY_PATTERN = re.compile(r"#\s+\w+: ([\d.]+)% (?:accuracy|of)")


class RunSource(NamedTuple):
    """Settings to start a run from.

    Attributes:
        config: The settings.
        command: Command that trains with them.
        name: Name for the new run, without its timestamp.
    """

    config: RunConfig
    command: str
    name: str


class RecipeCatalog:
    """Lists and loads what a new run can start from.

    A source is the name of a recipe, `run:ID` of an earlier run, or `hub:owner/name` of a checkpoint whose metadata
    contain the settings of its training.

    Args:
        recipes_dir: Directory of the recipes.
        scheduler: Scheduler of the earlier runs.
        catalog: Checkpoints for initial weights.
    """

    def __init__(self, recipes_dir: Path, scheduler: JobScheduler, catalog: ModelCatalog) -> None:
        self.recipes_dir = Path(recipes_dir)
        self.scheduler = scheduler
        self.catalog = catalog

    def list_sources(self) -> list[tuple[str, str]]:
        """Return label and name of every recipe, then of every earlier run, the newest first."""
        recipes = [(format_recipe_label(path, name), name) for name, path in self._find_recipes().items()]
        runs = [(f"run {job.id}", RUN_PREFIX + job.id) for job in self.scheduler.list_jobs()]
        return [*recipes, *runs]

    def load_source(self, source: str) -> RunSource:
        """Load the settings of a source. May query the Hub.

        Raises:
            ValueError: There is no such source, or its settings are invalid.
        """
        if source.startswith(RUN_PREFIX):
            return self._load_run(source.removeprefix(RUN_PREFIX))
        if source.startswith(HUB_PREFIX):
            return self._load_checkpoint(source.removeprefix(HUB_PREFIX))
        path = self._find_recipes().get(source)
        if path is None:
            raise ValueError(f"There is no recipe called {source[:60]!r}.")
        file = path.relative_to(self.recipes_dir.parent).as_posix()
        return RunSource(read_recipe(path), f"{TRAIN_COMMAND} {file}", slugify(path.stem))

    def _load_run(self, run_id: str) -> RunSource:
        run_dir = self.scheduler.get_run_dir(run_id)
        name = RUN_TIMESTAMP_PATTERN.sub("", run_dir.path.name)
        return RunSource(run_dir.load_config(), get_command(run_dir), name)

    def _load_checkpoint(self, name: str) -> RunSource:
        checkpoint = self.catalog.describe(name).description
        training = checkpoint.metrics.get("training")
        settings = training.get("settings") if isinstance(training, dict) else None
        if not isinstance(training, dict) or not isinstance(settings, dict):
            raise ValueError(f"{checkpoint.name} does not contain the settings that it was trained with.")
        command = str(training.get("command"))
        if not TRAIN_COMMAND_PATTERN.fullmatch(command):
            command = TRAIN_COMMAND
        init_from = f"{HUB_PREFIX}{checkpoint.name}"
        # the target repository of the original run must not become that of the new one
        config = RunConfig.parse(settings | {"publish": {}, "init_from": ""})
        changes: dict[str, Any] = {"init_from": init_from}
        overrides = [f"init_from={init_from}"]
        if config.stages:  # the new run trains as the last stage did
            stage_changes = {"stages": [], **flatten(config.stages[-1])}
            changes = stage_changes | changes
            overrides = [*format_overrides(stage_changes), *overrides]
        repo_name = HubRef.parse(checkpoint.name).repo.rpartition("/")[2]
        return RunSource(config.with_overrides(changes), add_overrides(command, overrides), slugify(repo_name))

    def read_accuracy(self, source: str) -> float | None:
        """Return the measured accuracy of a recipe in percent; None for other sources, and if it was not measured."""
        path = self._find_recipes().get(source)
        return read_recipe_accuracy(path) if path else None

    def _find_recipes(self) -> dict[str, Path]:
        """Return the recipes by name: those of the directory first, then those of its subdirectories."""
        recipes = {path.stem: path for path in sorted(self.recipes_dir.glob("*.yaml"))}
        for subdir in RECIPE_SUBDIRS:
            recipes |= {f"{subdir}/{path.stem}": path for path in sorted(self.recipes_dir.glob(f"{subdir}/*.yaml"))}
        return recipes

    def build_form(self, source: str) -> dict[str, Any]:
        """Return what the form shows for a source: the kind of task, a name, publication and the initial weights.

        Raises:
            ValueError: See `load_source`.
        """
        config, _, name = self.load_source(source)
        return {
            "task": config.task["kind"],
            "name": name,
            "publish": config.publish.model_dump(),
            "initial_weights": self.list_initial_weights(config.init_from),
            "init_from": config.init_from,
        }

    def list_initial_weights(self, current: str = "") -> list[tuple[str, str]]:
        """Return label and value of every choice of initial weights.

        Args:
            current: Value in the settings of the source; listed after random weights.
        """
        choices = [("random weights", "")]
        if current:
            choices.append((f"weights of {current.removeprefix(HUB_PREFIX)}, from the settings", current))
        return choices + [(f"weights of {name}", name) for name in self.catalog.list_names()]

    def build_config(
        self, source: str, form_values: Mapping[str, Any], publish: Mapping[str, Any], init_from: str | None
    ) -> RunSource:
        """Return the settings of a submitted form, the command that trains with them, and the name of the source.

        Args:
            source: See `load_source`.
            form_values: Submitted values by field name.
            publish: Settings of publishing.
            init_from: Value of `list_initial_weights`; None to keep that of the source.

        Raises:
            ValueError: A value is invalid.
        """
        config, command, name = self.load_source(source)
        changes = compute_form_changes(config, form_values)
        publish_settings = PublishConfig.parse(publish, "publish").model_dump()
        run_changes = {
            f"publish.{key}": value for key, value in publish_settings.items() if value != getattr(config.publish, key)
        }
        overrides = format_overrides(
            {key: value for key, value in changes.items() if key not in config.machine_local_settings}
        )
        if init_from is not None and init_from != config.init_from:
            run_changes["init_from"] = self._resolve_initial_weights(init_from)
            overrides.append(f"init_from={run_changes['init_from']}")
        new_config = config.with_overrides(changes | run_changes)
        new_command = shorten_command(command, new_config, self.recipes_dir.parent) or add_overrides(command, overrides)
        return RunSource(new_config, new_command, name)

    def _resolve_initial_weights(self, name: str) -> str:
        """Return the directory of a checkpoint, or its name on the Hub; empty for random weights."""
        if not name:
            return ""
        if "/" in name:
            return f"{HUB_PREFIX}{HubRef.parse(name)}"
        checkpoint_dir = self.catalog.get_verified_dir(name)
        root = self.recipes_dir.parent.resolve()
        return str(checkpoint_dir.relative_to(root) if checkpoint_dir.is_relative_to(root) else checkpoint_dir)


def format_recipe_label(path: Path, name: str) -> str:
    """Return the name of a recipe with its measured result.

    Args:
        path: Path of the recipe.
        name: Name of the recipe.

    Returns:
        Text such as "parity-16: reached 99.4%"; the name alone without a measured result.
    """
    accuracy = read_recipe_accuracy(path)
    return name if accuracy is None else f"{name}: reached {accuracy:.1f}%"


def read_recipe_accuracy(path: Path) -> float | None:
    """Return the percentage of correct answers that the comment at the top of a recipe states; None without one."""
    for line in path.read_text("utf-8-sig").splitlines():
        if not line.startswith("#"):
            break
        if match := ACCURACY_PATTERN.match(line):
            return float(match[1])
    return None


def slugify(text: str) -> str:
    """Return a text as a name for a run: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_RUN_NAME_LENGTH] or "run"
