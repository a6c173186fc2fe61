"""What a run is: its task, its machine, its loss and its loop. A recipe in `configs/` lists only what differs."""

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
from ctm.settings import Settings
from ctm.stores import HubRef
from training.energy.losses import EnergyKind, EnergyLossParams
from training.tasks import Task, make_task

MAX_RECIPE_BYTES = 2**20  # bytes of a recipe


class LossConfig(Settings):
    """What the machine is trained for."""

    trunk: Literal["two_tick", "mean", "mix"] = Field(
        "two_tick",
        description="ticks that count: the least-loss and the most certain one, all, or from all to those two",
    )
    mix: float = Field(
        0.5, ge=0, le=1, description="share of the mean over ticks at the first step, falling to 0 (mix)"
    )
    lookahead: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="structured answers: learn only this many positions past the longest right beginning",
    )
    energy: Literal[EnergyKind, "none"] = Field(
        "wait",
        description="what the energy means: what waiting wins (wait), -logit P(right) (calibrated), the fork's (contrastive), "
        "or another; none: no energy",
    )
    energy_weight: float = Field(0.5, ge=0, description="weight of the energy loss (contrastive: its energy_scale)")
    margin: float = Field(1.0, gt=0, description="energy that a wrong answer is pushed above (contrastive)")
    cost: float = Field(
        0.005, ge=0, le=1, description="what a tick costs, in right answers (value and hindsight energies)"
    )
    energy_reaches_trunk: bool = Field(
        False, description="let the energy's gradient into the machine, as the fork does"
    )

    @property
    def energy_loss_params(self) -> EnergyLossParams:
        return EnergyLossParams(self.margin, self.cost)


class OptimConfig(Settings):
    """AdamW with warm-up and cosine."""

    lr: float = Field(1e-3, gt=0, le=1, description="highest learning rate")
    warmup: int = Field(200, ge=0, le=100_000_000, description="steps until it is reached")
    final_lr: float = Field(0.01, ge=0, le=1, description="share of the highest learning rate that is left at the end")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW weight decay of matrices")
    clip: float = Field(1.0, ge=0, description="largest gradient norm, trunk and energy head apart; 0: no clipping")


class TrainConfig(Settings):
    """The loop."""

    steps: int = Field(2_000, ge=1, le=100_000_000, description="optimiser steps")
    batch_size: int = Field(64, ge=1, le=65_536, description="samples a step and process")
    accumulate: int = Field(1, ge=1, le=4_096, description="batches summed up before a step")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, data and dropout")
    mixed_precision: Literal["no", "bf16", "fp16"] = Field("no", description="precision of matrix products")
    device: Literal["auto", "cpu"] = Field("auto", description="auto takes the accelerator that is there")
    takes: Literal["all", "fitting", "grown", "core"] = Field(
        "all",
        description="weights that init_from gives: all; those that fit; those that fit and, where ours are larger, their "
        "beginnings; or the core alone, which thinks whatever it is shown",
    )
    frozen: Literal["none", "core"] = Field(
        "none", description="what does not learn; the core, to see if it carries over"
    )
    log_every: int = Field(20, ge=1, le=100_000_000, description="steps between two lines of metrics.jsonl")
    eval_every: int = Field(
        500, ge=1, le=100_000_000, description="steps between two evaluations on validation samples"
    )
    eval_samples: int = Field(512, ge=1, le=1_000_000, description="validation samples an evaluation uses")
    save_every: int = Field(500, ge=1, le=100_000_000, description="steps between two checkpoints")
    keep: int = Field(2, ge=1, le=1_000, description="newest checkpoints to keep, besides the best one")
    minutes: float = Field(0, ge=0, description="stop, saved, after so many minutes; 0: no limit")
    spare_gb: float = Field(
        1.0, ge=0, description="GB of disk that stay free: a run stops, saved, before there is less"
    )


class FinalizeConfig(Settings):
    """What happens after the last step: the energy head is fitted, a threshold chosen, the machine measured."""

    fit_samples: int = Field(
        32_768, ge=0, le=1_000_000, description="validation samples to fit the energy head on; 0: leave it as it is"
    )
    fit_steps: int = Field(4_000, ge=1, le=1_000_000, description="optimiser steps of that fit, at most")
    tolerance: float = Field(
        0.005,
        ge=0,
        le=1,
        description="accuracy that a halting threshold may lose against the most accurate one, on calibration samples",
    )


class PublishConfig(Settings):
    """Where the checkpoint goes on the Hub, if it does."""

    repo: str = Field("", description="namespace/name of the repository; empty: nothing is published")
    private: bool = Field(False, description="make the repository private if it has to be made")
    every_minutes: float = Field(
        0, ge=0, description="minutes between two publications while it trains, 10 at least; 0: only at the end"
    )

    @field_validator("repo")
    @classmethod
    def _check_repo_name(cls, value: str) -> str:
        if value and (HubRef.parse(value).revision or HubRef.parse(value).subfolder):
            raise ValueError("publishing goes to a repository's main branch: give namespace/name alone")
        return value

    @field_validator("every_minutes")
    @classmethod
    def _check_interval(cls, value: float) -> float:
        if 0 < value < 10:
            raise ValueError("the Hub limits commits: at most one in ten minutes")
        return value


class RunConfig(Settings):
    """A whole run. `model` holds a kind and published constructor keys; the task fills in what it determines."""

    task: dict[str, Any] = Field(description="kind, and the task's own settings")
    model: dict[str, Any] = Field(default_factory=dict, description="kind (ctm, lstm or ff), and its constructor keys")
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    finish: FinalizeConfig = FinalizeConfig()
    publish: PublishConfig = PublishConfig()
    init_from: str = Field(
        "", description="checkpoint whose weights the run starts from: a folder, or hub:namespace/name@revision"
    )

    @model_validator(mode="after")
    def _check_parts(self) -> "RunConfig":
        self.build_model_config(self.make_task())
        return self

    def make_task(self) -> Task:
        return make_task(self.task).with_resolved_settings()

    def with_overrides(self, overrides: Mapping[str, Any]) -> "RunConfig":
        """The same with some settings changed, such as `{"train.steps": 500}`.

        Raises:
            ValueError: what is wrong, in one sentence a problem.
        """
        values = self.model_dump(mode="json")
        for name, value in overrides.items():
            _set_nested_value(values, name, value)
        return RunConfig.parse(values)

    @property
    def machine_local_settings(self) -> set[str]:
        """Task settings that belong to one machine, such as `task.files`: no checkpoint holds them, no card tells them."""
        return {f"task.{name}" for name in self.make_task().machine_local_settings}

    def to_portable_dict(self) -> dict[str, Any]:
        """The settings as plain data, without what belongs to one machine or account."""
        return self.model_dump(
            mode="json",
            exclude={"publish": True, "init_from": True, "task": set(self.make_task().machine_local_settings)},
        )

    def build_model_config(self, task: Task) -> Config:
        """The machine's config: the recipe's keys over the task's."""
        shape = task.get_spec()
        fixed = {
            "out_dims": shape.positions * shape.classes,
            "prediction_reshaper": shape.prediction_reshaper,
            **shape.config_overrides,
        }
        for key in fixed.keys() & self.model.keys():
            raise ValueError(f"Setting `model.{key}` follows from the task; remove it.")
        kind = self.model.get("kind", "ctm")
        known = (
            CONFIG_CLASSES[kind].model_fields.keys()
            if isinstance(kind, str) and kind in CONFIG_CLASSES
            else fixed.keys()
        )
        if foreign := sorted(fixed.keys() - known):
            raise ValueError(f"The task {task.name} needs model.{foreign[0]}, which model.kind={kind} does not have.")
        defaults = {"backbone_type": shape.backbone, **(ENERGY_HEAD_DEFAULTS if self.loss.energy != "none" else {})}
        return read_config({"kind": "ctm"} | defaults | self.model | fixed, "model")


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML recipe and `key=value` overrides such as `train.steps=500`; `env:NAME` reads an environment variable.

    Raises:
        ValueError: what is wrong, in one sentence a problem.
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
    for override in overrides:
        _apply_override(values, override)
    return RunConfig.parse(values)


def _apply_override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key, e.g. `train.steps=500`; values are read as YAML."""
    name, equals, text = override.partition("=")
    if not equals or not ("." in name or name in RunConfig.model_fields):
        raise ValueError(
            f"An override reads group.setting=value, such as train.steps=500: got {truncate_repr(override)}."
        )
    _set_nested_value(values, name, parse_yaml(text, f"The value of {format_name(name)}"))


def _set_nested_value(values: dict[str, Any], name: str, value: Any) -> None:
    *groups, key = name.split(".")
    group = values
    for part in groups:
        group = group.setdefault(part, {})
        if not isinstance(group, dict):
            raise ValueError(f"`{format_name(part)}` in `{format_name(name)}` is a value, not a group of settings.")
    group[key] = value


def format_overrides(changes: Mapping[str, Any]) -> list[str]:
    """Changes as words of a command line: `train.steps=500`."""
    return [f"{name}={json.dumps(value)}" for name, value in changes.items()]
