"""Changes of settings between the earlier part of a run and its resumed part: which there are, and whether they are allowed.

The settings themselves state what may change; see `training.resume_rules`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from ctm.messages import format_name_list, truncate_repr
from training.config import RunConfig
from training.resume_rules import ResumeRule, RunSettings, find_rule
from training.stage_overrides import STAGE_PREFIX, STAGES, is_stage_setting
from training.stages import Stage, build_stages, find_saved_stage

SPECIAL_SETTINGS = ("task", "model", STAGES)  # compared by functions of their own


@dataclass(frozen=True)
class SettingChange:
    """One setting with another value than before.

    Attributes:
        name: Dotted name.
        old: Value before.
        new: Value now.
        rule: What a resumed run may do with the setting.
    """

    name: str
    old: Any
    new: Any
    rule: ResumeRule

    def __str__(self) -> str:
        return f"{self.name} from {format_value(self.old)} to {format_value(self.new)}"


def format_value(value: Any) -> str:
    """Format a value for a message as a recipe would state it; an absent or empty one in words."""
    match value:
        case None | "":
            return "none" if value is None else "empty"
        case bool():
            return str(value).lower()
        case str() if value.isprintable() and len(value) <= 100:
            return value
        case list() | tuple():
            return truncate_repr(list(value), 100)
    return truncate_repr(value, 100)


def find_changes(old: RunConfig, new: RunConfig) -> list[SettingChange]:
    """Return the settings of one stage, or of a run of one stage, whose effective values differ.

    A setting that is stated with its default is equal to one that is omitted. Keys of the model that follow from the task or
    the loss are not listed besides the setting that determines them.
    """
    changes = [*_compare_tasks(old, new), *_compare_models(old, new)]
    for name, info in RunConfig.model_fields.items():
        if name in SPECIAL_SETTINGS:
            continue
        old_value, new_value = getattr(old, name), getattr(new, name)
        if isinstance(new_value, RunSettings):
            changes += _compare(
                f"{name}.", old_value.model_dump(), new_value.model_dump(), type(new_value).model_fields
            )
        else:
            changes += _compare("", {name: old_value}, {name: new_value}, {name: info})
    return changes


def find_run_changes(old: RunConfig, new: RunConfig, step: int) -> list[SettingChange]:
    """Return the changes of a run at its last saved step, with the rules of each stage.

    A stage that has not begun may change in any way. A stage that is followed by one that has begun is over: its settings
    have no effect any more, except those that would make another experiment.

    Args:
        old: Settings of the saved run.
        new: Settings of the resumed run.
        step: The last saved step.
    """
    if not old.stages and not new.stages:
        return find_changes(old, new)
    current = find_saved_stage(old, step).number
    changes: dict[str, SettingChange] = {}
    pairs = zip_longest(build_stages(old), build_stages(new))
    for number, (old_stage, new_stage) in enumerate(pairs, 1):
        if old_stage and new_stage:
            found = _compare_stages(old_stage, new_stage, current)
        else:
            old_values, new_values = (
                stage and _get_portable_stage(config, number) for config, stage in ((old, old_stage), (new, new_stage))
            )
            rule = ResumeRule.FIXED if number <= current else ResumeRule.CHANGEABLE
            found = [SettingChange(f"{STAGE_PREFIX}{number}", old_values, new_values, rule)]
        changes = {change.name: change for change in found} | changes
    return list(changes.values())


def _compare_stages(old: Stage, new: Stage, current: int) -> list[SettingChange]:
    """Return the changes of one stage; a setting of the whole run has no prefix and is compared in the stages that have begun."""
    found = []
    for change in find_changes(old.config, new.config):
        named = (
            replace(change, name=f"{STAGE_PREFIX}{new.number}.{change.name}")
            if is_stage_setting(change.name)
            else change
        )
        if named is change and new.number > current:
            continue
        if new.number > current:
            found.append(replace(named, rule=ResumeRule.CHANGEABLE))
        elif new.number == current or named is change or change.rule is ResumeRule.FIXED:
            found.append(named)
        elif change.name == "train.steps":
            found.append(replace(named, rule=ResumeRule.FIXED))
    return found


def _get_portable_stage(config: RunConfig, number: int) -> dict[str, Any]:
    """Return the overrides of a stage without those that are local to one computer; none in a run without stages."""
    stages = config.to_portable_dict()[STAGES]
    return stages[number - 1] if stages else {}


def _compare_tasks(old: RunConfig, new: RunConfig) -> Iterable[SettingChange]:
    old_task, new_task = old.make_task(), new.make_task()
    if old_task.name != new_task.name:
        return [SettingChange("task.kind", old_task.name, new_task.name, ResumeRule.FIXED)]
    old_values, new_values = (task.settings.model_dump() for task in (old_task, new_task))
    return _compare("task.", old_values, new_values, type(new_task.settings).model_fields)


def _compare_models(old: RunConfig, new: RunConfig) -> Iterable[SettingChange]:
    old_model, new_model = (config.build_model_config(config.make_task()) for config in (old, new))
    if old_model.model_type != new_model.model_type:
        return [SettingChange("model.kind", old_model.model_type, new_model.model_type, ResumeRule.FIXED)]
    stated = old.model.keys() | new.model.keys()
    changes = _compare("model.", old_model.model_dump(), new_model.model_dump(), {})
    return [change for change in changes if change.name.removeprefix("model.") in stated]


def _compare(
    prefix: str, old: Mapping[str, Any], new: Mapping[str, Any], fields: Mapping[str, FieldInfo]
) -> list[SettingChange]:
    """Return the changes between two groups of the same settings; one without a rule is fixed."""
    return [
        SettingChange(
            f"{prefix}{name}",
            old[name],
            new[name],
            (find_rule(fields[name]) if name in fields else None) or ResumeRule.FIXED,
        )
        for name in new
        if old[name] != new[name]
    ]


def check_fixed_settings(changes: Iterable[SettingChange], path: Path) -> None:
    """Check that no setting changes that makes another model or another experiment.

    Args:
        changes: Changes since the run was saved.
        path: The run directory, for the message.

    Raises:
        ValueError: There are such changes; the message names each with both values.
    """
    fixed = [change for change in changes if change.rule is ResumeRule.FIXED]
    if not fixed:
        return
    values = "; ".join(f"{c.name} is {format_value(c.old)} there and {format_value(c.new)} here" for c in fixed)
    names = format_name_list([change.name for change in fixed])
    raise ValueError(
        f"{path} holds a run with other settings, and a resumed run cannot change them: {values}. Resume with the values "
        f"of the run ({names}), start over in this directory with --restart, or name another directory with --run-dir."
    )


def check_batch_split(old: RunConfig, new: RunConfig, old_processes: int, new_processes: int) -> None:
    """Check that an optimiser step has as many samples as before, if its batches are split in another way.

    Args:
        old: Settings of the run.
        new: Settings of the resumed run.
        old_processes: Number of processes that saved the run.
        new_processes: Number of processes that resume it.

    Raises:
        ValueError: The number of samples differs.
    """
    splits = [
        (config.train.batch_size, config.train.gradient_accumulation_steps, processes)
        for config, processes in ((old, old_processes), (new, new_processes))
    ]
    if splits[0][:2] == splits[1][:2]:  # the same settings on another number of processes
        return
    old_size, new_size = (batch * accumulated * processes for batch, accumulated, processes in splits)
    if old_size != new_size:
        old_text, new_text = (f"{' x '.join(map(str, split))}" for split in splits)
        raise ValueError(
            f"An optimiser step of this run has train.batch_size x train.gradient_accumulation_steps x processes = "
            f"{old_text} = {old_size} samples, and would have {new_text} = {new_size}: choose values with the product {old_size}."
        )


def check_steps(config: RunConfig, step: int, number: int = 1) -> None:
    """Check that the last step of the current stage is not one that is over.

    Args:
        config: Settings of the run from now on.
        step: The last saved step.
        number: Number of the stage that it belongs to.

    Raises:
        ValueError: More steps are saved than `train.steps` states.
    """
    stage = build_stages(config)[number - 1]
    if stage.end_step < step:
        name, done = f"{stage.setting_prefix}train.steps", step - stage.first_step
        raise ValueError(
            f"{name}={stage.config.train.steps} is less than the {done:,} steps that this {'stage' if stage.count > 1 else 'run'} has "
            f"done: set {name}={done} or more, or start over with --restart."
        )
