"""Stages of a run: which steps belong to which settings.

The steps of a run are counted on over its stages. A saved step belongs to the stage that trained it, so the last step of a
stage holds its model, and the first step of the next stage begins with the weights of that model and a new optimiser.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.config import RunConfig
from training.stage_overrides import STAGE_PREFIX, STAGES


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        number: Number of the stage, from 1.
        count: Number of stages of the run.
        config: Settings of the stage.
        first_step: Steps of the stages before.
    """

    number: int
    count: int
    config: RunConfig
    first_step: int

    @property
    def end_step(self) -> int:
        """Steps of the run when the stage is done."""
        return self.first_step + self.config.train.steps

    @property
    def is_last(self) -> bool:
        """Whether no stage follows."""
        return self.number == self.count

    @property
    def setting_prefix(self) -> str:
        """What an override of this stage begins with, such as `stages.2.`; empty in a run of one stage."""
        return f"{STAGE_PREFIX}{self.number}." if self.count > 1 else ""

    @property
    def status(self) -> dict[str, int]:
        """Entries of `status.json` and of the training metadata that name the stage; none in a run of one stage."""
        return {"stage": self.number, "stages": self.count} if self.count > 1 else {}

    def describe(self) -> str:
        """Return the position among the stages, such as `stage 2 of 3`."""
        return f"stage {self.number} of {self.count}"


def build_stages(config: RunConfig) -> tuple[Stage, ...]:
    """Build the stages of a run, in order; a run without `stages` has one."""
    stages: list[Stage] = []
    for number, stage_config in enumerate(config.stage_configs, 1):
        first_step = stages[-1].end_step if stages else 0
        stages.append(Stage(number, len(config.stage_configs), stage_config, first_step))
    return tuple(stages)


def find_saved_stage(config: RunConfig, step: int) -> Stage:
    """Return the stage that a saved step belongs to.

    Args:
        config: Settings of the run.
        step: Number of steps done; beyond the last stage for a run that was shortened.
    """
    stages = build_stages(config)
    return next((stage for stage in stages if step <= stage.end_step), stages[-1])


def find_stage_to_train(config: RunConfig, step: int) -> Stage:
    """Return the stage of the next step; the last one if all steps are done."""
    stages = build_stages(config)
    return next((stage for stage in stages if step < stage.end_step), stages[-1])


def describe_stages(settings: Mapping[str, Any]) -> list[tuple[int, list[str]]]:
    """Return steps and overrides of every stage, the overrides as words such as `optim.lr=0.0015`; nothing for one stage.

    Args:
        settings: Settings of a run as plain data, which may be those of a card from elsewhere.
    """
    stages = settings.get(STAGES)
    train = settings.get("train")
    steps = train.get("steps", 0) if isinstance(train, Mapping) else 0
    return [
        (
            stage.get("train", {}).get("steps", steps),
            [f"{group}.{key}={value}" for group, values in stage.items() for key, value in values.items()],
        )
        for stage in (stages if isinstance(stages, list | tuple) else ())
    ]
