"""Settings of a run: task, model, loss, optimiser and loop. A recipe in `configs/` lists only what differs from them.

Every setting states whether it may change when a run is resumed; see `training.resume_rules`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ctm.config import CONFIG_CLASSES, ENERGY_HEAD_DEFAULTS, Config, read_config
from ctm.io.json_files import read_text
from ctm.io.yaml import parse_yaml
from ctm.messages import format_name, truncate_repr
from ctm.stores import HubRef
from training.energy.losses import DEFAULT_ENERGY_KIND, EnergyKind, EnergyLossParams
from training.resume_rules import BatchSplit, Changeable, Fixed, RunSettings
from training.settings_aliases import rename_override, rename_settings, warn_about_former_names
from training.tasks import Task, make_task

MAX_RECIPE_BYTES = 2**20
MAX_ACCUMULATION_STEPS = 4_096


class LossConfig(RunSettings):
    """Loss of the answer, and kind and loss of the energy."""

    tick_reduction: Fixed[Literal["two_tick", "mean", "mix"]] = Field(
        "two_tick",
        description="ticks that count: the lowest-loss and the most certain one (two_tick), all (mean), or a mix",
    )
    mean_share: Fixed[float] = Field(
        0.5, ge=0, le=1, description="share of the mean over ticks at the first step, falling to 0 (mix)"
    )
    lookahead: Fixed[int | None] = Field(
        None,
        ge=1,
        le=1_000_000,
        description="structured answers: train only this many positions after the longest correct prefix",
    )
    energy_kind: Fixed[Literal[EnergyKind, "none"]] = Field(
        DEFAULT_ENERGY_KIND,
        description="what the energy estimates: gain of waiting (wait), -logit P(correct) (calibrated), P(wrong) times a margin "
        "as in the energy-halting fork (contrastive), or another; none: no energy head",
    )
    energy_weight: Fixed[float] = Field(
        0.5, ge=0, description="weight of the energy loss (energy_scale of the energy-halting fork)"
    )
    energy_margin: Fixed[float] = Field(
        1.0, gt=0, description="energy that a wrong answer is pushed above (contrastive)"
    )
    tick_cost: Fixed[float] = Field(
        0.005, ge=0, le=1, description="cost of a tick, in correct answers (value and hindsight energies)"
    )
    energy_grad_to_trunk: Fixed[bool] = Field(
        False, description="backpropagate the energy loss into the trunk, as the energy-halting fork does"
    )

    @property
    def energy_loss_params(self) -> EnergyLossParams:
        """Settings of the energy loss."""
        return EnergyLossParams(self.energy_margin, self.tick_cost)


class OptimConfig(RunSettings):
    """AdamW with linear warm-up and cosine decay."""

    lr: Changeable[float] = Field(1e-3, gt=0, le=1, description="highest learning rate")
    warmup_steps: Changeable[int] = Field(
        200, ge=0, le=100_000_000, description="steps until the highest learning rate is reached"
    )
    min_lr_ratio: Changeable[float] = Field(
        0.01, ge=0, le=1, description="learning rate at the end, as a share of the highest one"
    )
    weight_decay: Fixed[float] = Field(0.0, ge=0, le=1, description="AdamW weight decay of matrices")
    max_grad_norm: Changeable[float] = Field(
        1.0, ge=0, description="largest gradient norm, of trunk and energy head separately; 0: no clipping"
    )


class TrainConfig(RunSettings):
    """The training loop."""

    steps: Changeable[int] = Field(2_000, ge=1, le=100_000_000, description="optimiser steps")
    batch_size: BatchSplit[int] = Field(64, ge=1, le=65_536, description="samples per batch and process")
    gradient_accumulation_steps: BatchSplit[int] = Field(
        1, ge=1, le=MAX_ACCUMULATION_STEPS, description="batches accumulated before an optimiser step"
    )
    seed: Fixed[int] = Field(0, ge=0, lt=2**31, description="seed of weights, data and dropout")
    mixed_precision: Changeable[Literal["no", "bf16", "fp16"]] = Field("no", description="precision of matrix products")
    device: Changeable[Literal["auto", "cpu"]] = Field("auto", description="auto uses the accelerator if there is one")
    init_mode: Fixed[Literal["all", "matching", "expand", "core"]] = Field(
        "all",
        description="weights to copy from init_from: all; those of equal name and shape (matching); also smaller ones into the "
        "leading slice of larger ones (expand); or only the recurrent core (core)",
    )
    freeze: Fixed[Literal["none", "core"]] = Field(
        "none", description="weights that are not trained: none, or the recurrent core (core)"
    )
    log_every: Changeable[int] = Field(20, ge=1, le=100_000_000, description="steps between two lines of metrics.jsonl")
    eval_every: Changeable[int] = Field(
        500, ge=1, le=100_000_000, description="steps between two evaluations on validation samples"
    )
    eval_samples: Changeable[int] = Field(512, ge=1, le=1_000_000, description="validation samples an evaluation uses")
    save_every: Changeable[int] = Field(500, ge=1, le=100_000_000, description="steps between two checkpoints")
    save_total_limit: Changeable[int] = Field(
        2, ge=1, le=1_000, description="newest checkpoints to keep, besides the best one"
    )
    report_to: Changeable[Literal["none", "trackio", "tensorboard", "wandb"]] = Field(
        "none", description="experiment tracker that receives the logged figures; its package is optional"
    )
    max_minutes: Changeable[float] = Field(0, ge=0, description="save and stop after this many minutes; 0: no limit")
    min_free_disk_gb: Changeable[float] = Field(
        1.0, ge=0, description="save and stop before less than this much disk is free, GB"
    )


class FinalizeConfig(RunSettings):
    """Steps after the training: fit the energy head, choose a threshold, evaluate the model."""

    fit_samples: Changeable[int] = Field(
        32_768,
        ge=0,
        le=1_000_000,
        description="validation samples to fit the energy head on, 2 or more; 0: do not fit it",
    )
    fit_steps: Changeable[int] = Field(4_000, ge=1, le=1_000_000, description="optimiser steps of the fit, at most")
    accuracy_tolerance: Changeable[float] = Field(
        0.005,
        ge=0,
        le=1,
        description="accuracy that a halting threshold may lose against the most accurate one, on calibration samples",
    )

    @field_validator("fit_samples")
    @classmethod
    def _check_fit_samples(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0 (do not fit the energy head) or at least 2")
        return value


class PublishConfig(RunSettings):
    """Publication of the checkpoint on the Hub."""

    repo: Changeable[str] = Field("", description="namespace/name of the repository; empty: nothing is published")
    private: Changeable[bool] = Field(False, description="create the repository as private if it does not exist")
    example_images: Changeable[bool] = Field(
        False,
        description="publish a few held-out images of the data set as example inputs; the data set must permit it",
    )
    interval_minutes: Changeable[float] = Field(
        0, ge=0, description="minutes between two publications during training, at least 10; 0: publish only at the end"
    )

    @field_validator("repo")
    @classmethod
    def _check_repo_name(cls, value: str) -> str:
        if value and (HubRef.parse(value).revision or HubRef.parse(value).subfolder):
            raise ValueError("must be namespace/name: checkpoints are published to the main branch of a repository")
        return value

    @field_validator("interval_minutes")
    @classmethod
    def _check_interval(cls, value: float) -> float:
        if 0 < value < 10:
            raise ValueError("the Hub limits commits: at most one in ten minutes")
        return value


class RunConfig(RunSettings):
    """All settings of a run.

    `model` holds a kind and published constructor keys; the task adds those that it determines.
    """

    task: Fixed[dict[str, Any]] = Field(description="kind, and the settings of the task")
    model: Fixed[dict[str, Any]] = Field(
        default_factory=dict, description="kind (ctm, lstm or ff), and the constructor keys of the model"
    )
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    finalize: FinalizeConfig = FinalizeConfig()
    publish: PublishConfig = PublishConfig()
    init_from: Fixed[str] = Field(
        "", description="checkpoint with the initial weights: a directory, or hub:namespace/name@revision"
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        return rename_settings(values)[0] if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _check_parts(self) -> "RunConfig":
        self.build_model_config(self.make_task())
        return self

    def make_task(self) -> Task:
        """Build the task with all its settings resolved."""
        return make_task(self.task).with_resolved_settings()

    def with_overrides(self, overrides: Mapping[str, Any]) -> "RunConfig":
        """Return a copy with some settings changed.

        Args:
            overrides: Values by dotted name, such as `{"train.steps": 500}`.

        Raises:
            ValueError: A setting is unknown or invalid; one sentence for each problem.
        """
        values = self.model_dump(mode="json")
        for name, value in overrides.items():
            current_name, current_value, _ = rename_override(name, value, values)
            _set_nested_value(values, current_name, current_value)
        return RunConfig.parse(values)

    @property
    def machine_local_settings(self) -> set[str]:
        """Names of task settings that are local to one computer, such as `task.data_files`; no checkpoint or card holds them."""
        return {f"task.{name}" for name in self.make_task().machine_local_settings}

    def to_portable_dict(self) -> dict[str, Any]:
        """Return the settings as plain data, without those that are local to one computer or account."""
        return self.model_dump(
            mode="json",
            exclude={"publish": True, "init_from": True, "task": set(self.make_task().machine_local_settings)},
        )

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


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML recipe and apply overrides.

    Args:
        path: A file, or `env:NAME` for the content of an environment variable.
        overrides: Words such as `train.steps=500`.

    Raises:
        ValueError: The recipe or an override is invalid; one sentence for each problem.
    """
    variable = str(path).removeprefix("env:")
    if variable != str(path):
        text = os.environ.get(variable, "")
    elif os.path.isfile(path):  # noqa: PTH113 - False for impossible names, where Path.is_file raises
        text = read_text(Path(path), MAX_RECIPE_BYTES)
    else:
        raise ValueError(f"There is no recipe at {format_name(path)}. Recipes are the YAML files of configs/.")
    values = parse_yaml(text, format_name(path, 200))
    if not isinstance(values, dict):
        raise ValueError(f"{format_name(path, 200)} must hold groups such as `task:` and `train:`.")
    values, renamed = rename_settings(values)
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
    value = parse_yaml(text, f"The value of {format_name(name)}")
    current_name, current_value, renamed = rename_override(name, value, values)
    _set_nested_value(values, current_name, current_value)
    return renamed


def _set_nested_value(values: dict[str, Any], name: str, value: Any) -> None:
    """Set one dotted key in place; missing groups are created."""
    *groups, key = name.split(".")
    group = values
    for part in groups:
        group = group.setdefault(part, {})
        if not isinstance(group, dict):
            raise ValueError(f"`{format_name(part)}` in `{format_name(name)}` is a value, not a group of settings.")
    group[key] = value


def format_overrides(changes: Mapping[str, Any]) -> list[str]:
    """Format changes as words of a command line, such as `train.steps=500`."""
    return [f"{name}={json.dumps(value)}" for name, value in changes.items()]
