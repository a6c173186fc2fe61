"""Settings of a run directory: create them, load them, and change them when the run is resumed."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ctm.io.atomic import write_text
from ctm.io.json_files import read_json, read_text
from ctm.io.yaml import format_yaml, parse_yaml
from ctm.messages import format_name_list
from ctm.stores.base import is_complete_checkpoint
from training.config import RunConfig, read_recipe
from training.resume_rules import ResumeRule
from training.run_history import RunHistory
from training.run_paths import CONFIG_FILENAME, TRAINER_STATE_FILENAME, RunPaths
from training.setting_changes import (
    SettingChange,
    check_batch_split,
    check_fixed_settings,
    check_steps,
    find_run_changes,
)
from training.settings_aliases import rename_settings
from training.stage_overrides import STAGES, normalize_stages
from training.stages import find_saved_stage
from training.train_command import add_overrides

LOCAL_GROUPS = ("publish.", "init_from")  # settings of one account or computer, which no checkpoint holds


@dataclass(frozen=True)
class RunSettingsFiles(RunPaths):
    """Settings of one run, their changes, and the command that started it."""

    @property
    def history(self) -> RunHistory:
        """Changes of the settings."""
        return RunHistory(self.history_file)

    @property
    def last_step(self) -> int:
        """The newest saved step; 0 if none is saved."""
        return max(self.list_steps(), default=0)

    @property
    def has_checkpoint(self) -> bool:
        """Whether a step or the final checkpoint is saved."""
        return bool(self.list_steps()) or is_complete_checkpoint(self.final_checkpoint_dir)

    def initialize(self, config: RunConfig, num_processes: int = 1) -> list[SettingChange]:
        """Create the run directory, or let an existing run continue with settings that may have changed.

        A run without a saved step takes any settings. Otherwise the changes are recorded in the history. Remains of an
        interrupted save are deleted.

        Args:
            config: Settings of the run from now on.
            num_processes: Number of processes that train from now on.

        Returns:
            The changes since the run was saved.

        Raises:
            ValueError: A setting changed that may not change; nothing is written.
        """
        changes = self.check_changes(config, num_processes)
        self.path.mkdir(parents=True, exist_ok=True)
        for temp_dir in (*self.checkpoints_dir.glob(".*"), *self.trainer_states_dir.glob(".*")):  # of a killed save
            shutil.rmtree(temp_dir, ignore_errors=True)
        for state_dir in self.trainer_states_dir.glob("*"):
            if not (self.checkpoints_dir / state_dir.name).is_dir():
                shutil.rmtree(state_dir, ignore_errors=True)
        self.history.append(self.last_step, changes)
        text = format_yaml(config.model_dump(mode="json"))
        if read_text(self.config_file) != text:
            write_text(self.config_file, text)
        return changes

    def change_settings(self, overrides: Sequence[str], num_processes: int = 1) -> list[SettingChange]:
        """Change settings of a run that no process trains now; they count when it is resumed.

        Args:
            overrides: Words such as `optim.lr=1e-4`.
            num_processes: Number of processes that will train.

        Returns:
            The changes since the run was saved.

        Raises:
            ValueError: There is no run here, an override is invalid, or a setting may not change.
        """
        config = self.load_config_with(overrides)
        starts_over = not self.has_checkpoint and self.command_file.is_file()
        changes = self.initialize(config, num_processes)
        if starts_over:
            local_names = config.machine_local_settings
            words = [word for word in overrides if word.partition("=")[0] not in local_names]
            command = self.command_file.read_text("utf-8", "replace").strip()
            write_text(self.command_file, add_overrides(command, words) + "\n")
        return changes

    def has_settings(self, config: RunConfig) -> bool:
        """Return whether the run directory holds these settings, under present or former names."""
        try:
            return self.load_config() == config
        except ValueError:  # no run, broken, or its data has moved
            return False

    def load_config(self) -> RunConfig:
        """Load the settings of the run.

        Raises:
            ValueError: There is no run here, or its settings cannot be read.
        """
        return RunConfig.parse(self._read_config_values())

    def load_config_with(self, overrides: Sequence[str]) -> RunConfig:
        """Load the settings of the run with overrides, such as `train.steps=500`; nothing is written.

        Raises:
            ValueError: There is no run here, its settings cannot be read, or an override is invalid.
        """
        self._read_config_values()
        return read_recipe(self.config_file, overrides)

    def _read_config_values(self) -> dict[str, Any]:
        """Return the settings under their current names, without validation: the data of the task may have moved."""
        if not self.config_file.is_file():
            raise ValueError(f"There is no run at {self.path}.")
        try:
            values = parse_yaml(read_text(self.config_file), CONFIG_FILENAME)
        except (ValueError, OSError):
            raise ValueError(
                f"The settings of the run {self.path.name} cannot be read: {CONFIG_FILENAME} is broken."
            ) from None
        if not isinstance(values, dict):
            RunConfig.parse(values)  # raises the error
        return normalize_stages(rename_settings(values)[0])

    # --- changes -------------------------------------------------------------------------------------------------

    def check_changes(self, config: RunConfig, num_processes: int = 1) -> list[SettingChange]:
        """Return the changes between the saved run and other settings; none if nothing is saved.

        Args:
            config: Settings of the run from now on.
            num_processes: Number of processes that train from now on.

        Raises:
            ValueError: A setting changed that may not change.
        """
        if not self.config_file.is_file() or not self.has_checkpoint:
            return []
        values = self._read_config_values()
        moved = find_moved_data(values, config)
        old = RunConfig.parse(move_data(values, moved, config))
        step = max(self.last_step, self.read_final_step())
        changes = find_run_changes(old, config, step)
        check_fixed_settings(changes, self.path)
        number = find_saved_stage(old, step).number
        if any(change.rule is ResumeRule.BATCH_SPLIT for change in changes):
            old_stage, new_stage = (settings.stage_configs[number - 1] for settings in (old, config))
            check_batch_split(old_stage, new_stage, self._count_saving_processes(), num_processes)
        if not self.is_finished(config):
            check_steps(config, self.last_step, number)
        if moved:
            self._check_labels(config.stage_configs[number - 1])
        return [*moved, *changes]

    def _count_saving_processes(self) -> int:
        """Return the number of processes that saved the newest step: the state has the random numbers of each."""
        try:
            path = self.trainer_state_dir(self.last_step) / TRAINER_STATE_FILENAME
            return len(torch.load(path, map_location="cpu", weights_only=True)["random"])
        except Exception:  # a damaged file makes torch raise errors of many types; the step before it will be used
            return 1

    def _check_labels(self, config: RunConfig) -> None:
        """Check that data at another place has the classes that the run was trained on."""
        saved = read_json(self.checkpoint_dir(self.last_step) / "task.json", default={}).get("labels", [])
        labels = config.make_task().get_labels()
        if saved and saved != labels:
            raise ValueError(
                f"The images of task.data_files have the classes {format_name_list(labels)}, and this run was trained on "
                f"{format_name_list(saved)}: set task.data_files to the data set of the run."
            )

    def is_finished(self, config: RunConfig) -> bool:
        """Return whether the final checkpoint is that of the last step, so that nothing is left to do."""
        return 0 < max(config.num_steps, self.last_step) <= self.read_final_step()

    def read_final_step(self) -> int:
        """Return the step of the final checkpoint; 0 if there is none."""
        if not is_complete_checkpoint(self.final_checkpoint_dir):
            return 0
        try:
            training = read_json(self.final_checkpoint_dir / "metrics.json", default={}).get("training", {})
        except ValueError:
            return 0
        step = training.get("steps", 0) if isinstance(training, dict) else 0
        return step if type(step) is int else 0

    def read_portable_changes(self, config: RunConfig) -> list[dict[str, Any]]:
        """Return the recorded changes, without settings that are local to one computer or account."""
        local_names = config.machine_local_settings
        return [
            line
            for line in self.history.read()
            if line["setting"] not in local_names and not line["setting"].startswith(LOCAL_GROUPS)
        ]


def find_moved_data(values: dict[str, Any], config: RunConfig) -> list[SettingChange]:
    """Return the changes of task settings that hold paths of one computer; none if the tasks differ in kind.

    Args:
        values: Saved settings, without validation: it would read the data at its former path.
        config: Settings of the run from now on.
    """
    task = values.get("task")
    if not isinstance(task, dict) or task.get("kind") != config.task.get("kind"):
        return []
    settings = config.make_task().settings
    return [
        SettingChange(f"task.{name}", old, new, ResumeRule.CHANGEABLE)
        for name in config.make_task().machine_local_settings
        if (old := task.get(name, "")) != (new := getattr(settings, name))
    ]


def move_data(values: dict[str, Any], moved: list[SettingChange], config: RunConfig) -> dict[str, Any]:
    """Return saved settings with the paths of another computer replaced, in the stages, too.

    Args:
        values: Saved settings.
        moved: Result of `find_moved_data`.
        config: Settings of the run from now on.
    """
    new_values = {change.name.removeprefix("task."): change.new for change in moved}
    stages = []
    saved_stages = values.get(STAGES)
    for number, stage in enumerate(saved_stages if isinstance(saved_stages, list) else ()):
        task = stage.get("task", {})
        names = config.make_task().machine_local_settings & task.keys()
        if names and number < len(config.stages):
            new_task = config.stages[number].get("task", {})
            task = {name: value for name, value in task.items() if name not in names}
            stage = {**stage, "task": task | {name: new_task[name] for name in names & new_task.keys()}}
        stages.append(stage)
    return values | {"task": values["task"] | new_values} | ({STAGES: stages} if stages else {})
