"""Settings of a run: task, model, and the groups of `training.setting_groups`.

A recipe in `configs/` lists only what differs from the defaults.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, model_validator

from ctm import TickModel, build_model
from ctm.config import CONFIG_CLASSES, ENERGY_HEAD_DEFAULTS, Config, read_config
from ctm.io.json_files import read_text
from ctm.io.yaml import parse_yaml
from ctm.messages import format_name, truncate_repr
from ctm.models.meta_device import use_meta_device
from training.former_recipes import find_former_recipe
from training.resume_rules import Fixed, RunSettings
from training.setting_groups import FinalizeConfig, LossConfig, OptimConfig, PublishConfig, TrainConfig
from training.settings_aliases import rename_settings, warn_about_former_names
from training.stage_overrides import MAX_STAGES, STAGE_PREFIX, STAGES, apply_stage, normalize_stages, set_setting
from training.tasks import Task, make_task
from training.token_init import check_token_backbone
from training.weight_transfer import freeze_parameters, load_initial_weights

__all__ = [
    "FinalizeConfig",
    "LossConfig",
    "OptimConfig",
    "PublishConfig",
    "RunConfig",
    "TrainConfig",
    "format_overrides",
    "read_recipe",
]

MAX_RECIPE_BYTES = 2**20


class RunConfig(RunSettings):
    """All settings of a run.

    `model` holds a kind and published constructor keys; the task adds those that it determines.
    """

    task: Fixed[dict[str, Any]] = Field(title="Task", description="kind, and the settings of the task")
    model: Fixed[dict[str, Any]] = Field(
        default_factory=dict, title="Model", description="kind (ctm, lstm or ff), and the constructor keys of the model"
    )
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    finalize: FinalizeConfig = FinalizeConfig()
    publish: PublishConfig = PublishConfig()
    init_from: Fixed[str] = Field(
        "",
        title="Initial weights",
        description="checkpoint with the initial weights: a directory, or hub:namespace/name@revision",
    )
    stages: Fixed[tuple[dict[str, Any], ...]] = Field(
        (),
        max_length=MAX_STAGES,
        description="overrides of the settings above, one mapping for each stage; each stage begins with the weights of the one "
        "before; empty: one stage",
    )
    _stage_configs: tuple["RunConfig", ...] = PrivateAttr(())

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        return normalize_stages(rename_settings(values)[0]) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _check_parts(self) -> "RunConfig":
        task = self.make_task()
        model_config = self.build_model_config(task)
        check_auxiliary_losses(self.loss, task, model_config)
        if self.train.token_init == "separate":
            check_token_backbone(model_config)
        self._stage_configs = build_stage_configs(self)
        return self

    @property
    def stage_configs(self) -> tuple["RunConfig", ...]:
        """Settings of every stage, without `stages`; a run without stages is one stage."""
        return self._stage_configs or (self,)

    @property
    def last_stage(self) -> "RunConfig":
        """Settings of the last stage, whose model the run ends with."""
        return self.stage_configs[-1]

    @property
    def num_steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.train.steps for stage in self.stage_configs)

    def make_task(self) -> Task:
        """Build the task with all its settings resolved."""
        return make_task(self.task).with_resolved_settings()

    def with_overrides(self, overrides: Mapping[str, Any]) -> "RunConfig":
        """Return a copy with some settings changed.

        Args:
            overrides: Values by dotted name, such as `{"train.steps": 500}`; `stages.2.train.steps` for one stage.

        Raises:
            ValueError: A setting is unknown or invalid; one sentence for each problem.
        """
        values = self.model_dump(mode="json")
        for name, value in overrides.items():
            set_setting(values, name, value)
        return RunConfig.parse(values)

    @property
    def machine_local_settings(self) -> set[str]:
        """Names of task settings that are local to one computer, such as `task.data_files`; no checkpoint or card holds them."""
        stages = enumerate(self._stage_configs, 1)
        names = {f"{STAGE_PREFIX}{number}.{name}" for number, stage in stages for name in stage.machine_local_settings}
        return names | {f"task.{name}" for name in self.make_task().machine_local_settings}

    def to_portable_dict(self) -> dict[str, Any]:
        """Return the settings as plain data, without those that are local to one computer or account."""
        values = self.model_dump(
            mode="json",
            exclude={"publish": True, "init_from": True, "task": set(self.make_task().machine_local_settings)},
        )
        for stage, config in zip(values[STAGES], self._stage_configs, strict=True):
            for name in config.make_task().machine_local_settings & stage.get("task", {}).keys():
                del stage["task"][name]
        return values

    def build_model_config(self, task: Task) -> Config:
        """Build the config of the model from the recipe and the task.

        Raises:
            ValueError: A key is invalid, unknown to the kind of model, or determined by the task.
        """
        spec = task.get_spec()
        task_values = {
            "out_dims": spec.positions * spec.classes,
            "prediction_reshaper": spec.prediction_reshaper,
            **spec.config_overrides,
        }
        for key in task_values.keys() & self.model.keys():
            raise ValueError(f"Setting `model.{key}` follows from the task; remove it.")
        kind = self.model.get("kind", "ctm")
        known_keys = (
            CONFIG_CLASSES[kind].model_fields.keys()
            if isinstance(kind, str) and kind in CONFIG_CLASSES
            else task_values.keys()
        )
        if unknown_keys := sorted(task_values.keys() - known_keys):
            raise ValueError(
                f"The task {task.name} needs model.{unknown_keys[0]}, which model.kind={kind} does not have."
            )
        defaults = {"backbone_type": spec.backbone, **(ENERGY_HEAD_DEFAULTS if self.loss.energy_kind != "none" else {})}
        return read_config({"kind": "ctm"} | defaults | self.model | task_values, "model")


def supports_probe_loss(task: Task, model_config: Config) -> bool:
    """Return whether the probe loss can be computed: the task states intermediate results, the model is a CTM with attention."""
    return task.num_states is not None and _attends(model_config)


def states_every_position(task: Task) -> bool:
    """Return whether the task states an intermediate step for every position of the answer."""
    return task.num_states is not None and task.states_have_positions


def supports_attention_loss(task: Task, model_config: Config) -> bool:
    """Return whether the attention loss can be computed: the intermediate results have places, too."""
    return supports_probe_loss(task, model_config) and task.states_have_places


def supports_feature_loss(task: Task, model_config: Config) -> bool:
    """Return whether the feature loss can be computed: the task states classes of the places, too."""
    return supports_probe_loss(task, model_config) and task.num_place_classes is not None


def _attends(model_config: Config) -> bool:
    return model_config.model_type == "ctm" and bool(getattr(model_config, "heads", 0))


def check_auxiliary_losses(loss: LossConfig, task: Task, model_config: Config) -> None:
    """Check that task and model have what the losses of a recipe need.

    Raises:
        ValueError: The task states no intermediate steps, or the model has no attention.
    """
    if loss.early_padding and not states_every_position(task):
        raise ValueError(
            "loss.early_padding needs a task that states the intermediate steps of every position of the answer, and "
            f"{task.name} states none: set it to false."
        )
    if not loss.has_auxiliary_loss:
        return
    if task.num_states is None:
        raise ValueError(
            "loss.attention_loss_weight, probe_loss_weight and feature_loss_weight need a task that states intermediate steps, and "
            f"{task.name} states none: set them to 0."
        )
    if loss.feature_loss_weight and task.num_place_classes is None:
        raise ValueError(
            "loss.feature_loss_weight needs a task that states a class of every place of the input, and "
            f"{task.name} states none: set it to 0."
        )
    if loss.attention_loss_weight and not task.states_have_places:
        raise ValueError(
            "loss.attention_loss_weight needs a task whose intermediate steps have places in the input, and those of "
            f"{task.name} have none: set it to 0."
        )
    if not _attends(model_config):
        raise ValueError(
            "loss.attention_loss_weight, probe_loss_weight and feature_loss_weight need model.kind=ctm with attention: set them to 0, or "
            "model.heads to 1 or more."
        )


def build_stage_configs(config: RunConfig) -> tuple[RunConfig, ...]:
    """Build and check the settings of every stage of a run.

    Args:
        config: Settings of the run.

    Returns:
        The settings of each stage, without `stages`; nothing for a run that lists none. `init_from` counts in the first one.

    Raises:
        ValueError: A stage is invalid, or its model cannot begin with the weights of the one before. The message names the
            stage.
    """
    configs: list[RunConfig] = []
    values = config.model_dump(mode="json", exclude={STAGES})
    model: TickModel | None = None
    for number, overrides in enumerate(config.stages, 1):
        try:
            stage = RunConfig.parse(apply_stage(values if number == 1 else values | {"init_from": ""}, overrides))
            model = check_stage_weights(stage, model, number)
        except ValueError as error:
            raise ValueError("\n".join(f"stage {number}: {line}" for line in str(error).splitlines())) from None
        configs.append(stage)
    return tuple(configs)


def check_stage_weights(config: RunConfig, previous: TickModel | None, number: int) -> TickModel:
    """Check that the model of a stage can begin with the weights of the stage before; no memory is used for weights.

    Args:
        config: Settings of the stage.
        previous: Model of the stage before; None for the first stage.
        number: Number of the stage, from 1.

    Returns:
        The model of the stage, without weights.

    Raises:
        ValueError: It cannot, or the model has no part that the stage freezes.
    """
    task = config.make_task()
    with use_meta_device():
        model = build_model(config.build_model_config(task), task.get_spec().in_features)
        freeze_parameters(model, config.train.freeze)
        if previous is not None:
            load_initial_weights(model, previous, config.train.init_mode, f"the model of stage {number - 1}")
    return model


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML recipe and apply overrides.

    Args:
        path: A file, or `env:NAME` for the content of an environment variable.
        overrides: Words such as `train.steps=500`; such a word counts in every stage, `stages.2.train.steps=500` in one.

    Raises:
        ValueError: The recipe or an override is invalid; one sentence for each problem.
    """
    variable = str(path).removeprefix("env:")
    if variable != str(path):
        text = os.environ.get(variable, "")
    elif os.path.isfile(path):  # noqa: PTH113 - False for impossible names, where Path.is_file raises
        text = read_text(Path(path), MAX_RECIPE_BYTES)
    else:
        former = find_former_recipe(Path(path).name)
        hint = former.describe() if former else "Recipes are the YAML files of configs/."
        raise ValueError(f"There is no recipe at {format_name(path)}. {hint}")
    values = parse_yaml(text, format_name(path, 200))
    if not isinstance(values, dict):
        raise ValueError(f"{format_name(path, 200)} must hold groups such as `task:` and `train:`.")
    values, renamed = rename_settings(values)
    values = normalize_stages(values)
    for override in overrides:
        renamed |= _apply_override(values, override)
    warn_about_former_names(renamed, format_name(path, 200))
    return RunConfig.parse(values)


def _apply_override(values: dict[str, Any], override: str) -> dict[str, str]:
    """Set one dotted key in place, e.g. `train.steps=500`; the value is read as YAML.

    Returns:
        The former names that the override uses: {former: current}.
    """
    name, equals, text = override.partition("=")
    if not equals or not ("." in name or name in RunConfig.model_fields):
        raise ValueError(
            f"An override reads group.setting=value, such as train.steps=500: got {truncate_repr(override)}."
        )
    return set_setting(values, name, parse_yaml(text, f"The value of {format_name(name)}"))


def format_overrides(changes: Mapping[str, Any]) -> list[str]:
    """Format changes as words of a command line, such as `train.steps=500`."""
    return [f"{name}={json.dumps(value)}" for name, value in changes.items()]
