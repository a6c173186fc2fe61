"""Overrides of the stages of a run: their form in a recipe, and their combination with the settings above them.

A recipe may list `stages`. Each is a mapping of overrides, as dotted names or as nested groups:

    stages:
      - {optim.lr: 2.0e-3}
      - {optim: {lr: 1.5e-3}, train: {steps: 10000}}

Stages do not inherit from each other: each combines its own overrides with the settings above the list.
"""

from collections.abc import Mapping
from typing import Any

from ctm.messages import format_name, truncate_repr
from training.setting_groups import TrainConfig
from training.settings_aliases import rename_override, rename_settings

STAGES = "stages"
STAGE_PREFIX = f"{STAGES}."
MAX_STAGES = 32
STAGE_GROUPS = ("task", "model", "loss", "optim")
RUN_GROUPS = ("finalize", "publish", "init_from", STAGES)  # of the whole run, as are the other settings of `train`
STAGE_TRAIN_SETTINGS = (
    "steps",
    "batch_size",
    "gradient_accumulation_steps",
    "token_init",
    "init_mode",
    "freeze",
    "eval_every",
)


def is_stage_setting(name: str) -> bool:
    """Return whether a setting, given by its dotted name, may differ between stages."""
    group, _, key = name.partition(".")
    return group in STAGE_GROUPS or (group == "train" and key in STAGE_TRAIN_SETTINGS)


def normalize_stages(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the settings of a run with nested groups and current names in each stage.

    Args:
        values: Settings of a run under their current names. A list of stages of another type is left to the validation.

    Raises:
        ValueError: A stage is no mapping, or sets what only the whole run may set. The message names the stage.
    """
    stages = values.get(STAGES)
    if not isinstance(stages, list | tuple):
        return dict(values)
    task = values.get("task")
    kind = task.get("kind") if isinstance(task, Mapping) else None
    normalized = [_normalize_stage(number, stage, kind) for number, stage in enumerate(stages, 1)]
    return {**values, STAGES: normalized}


def _normalize_stage(number: int, stage: Any, task_kind: Any) -> dict[str, Any]:
    if stage is None:  # an empty item of a YAML list
        return {}
    if not isinstance(stage, Mapping):
        raise ValueError(
            f"stage {number}: must be a group of `name: value` lines, such as {{optim.lr: 1.0e-3}}: got {truncate_repr(stage)}."
        )
    groups: dict[str, Any] = {}
    for name, value in stage.items():
        if isinstance(value, Mapping) and "." not in str(name):
            for key, item in value.items():
                set_nested_value(groups, f"{name}.{key}", item)
        else:
            set_nested_value(groups, str(name), value)
    try:
        groups = _rename_stage(groups, task_kind)
    except ValueError as error:
        raise ValueError(f"stage {number}: {error}") from None
    _check_stage_settings(number, groups)
    return groups


def _rename_stage(groups: dict[str, Any], task_kind: Any) -> dict[str, Any]:
    """Return the groups of a stage under their current names; the kind of task tells which names its settings have."""
    task = groups.get("task")
    if not isinstance(task, dict) or "kind" in task:
        return rename_settings(groups)[0]
    renamed = rename_settings({**groups, "task": {"kind": task_kind, **task}})[0]
    del renamed["task"]["kind"]
    return renamed


def _check_stage_settings(number: int, groups: Mapping[str, Any]) -> None:
    """Check that a stage sets nothing that only the whole run may set; unknown names are left to the validation."""
    for group, settings in groups.items():
        keys = settings.keys() if isinstance(settings, Mapping) else ()
        run_settings = {
            "train": [
                f"train.{key}" for key in keys if key in TrainConfig.model_fields and key not in STAGE_TRAIN_SETTINGS
            ]
        }.get(group, [group] if group in RUN_GROUPS else [])
        if run_settings:
            allowed = ", ".join(
                [*(f"{part}.*" for part in STAGE_GROUPS), *(f"train.{key}" for key in STAGE_TRAIN_SETTINGS)]
            )
            raise ValueError(
                f"stage {number}: {run_settings[0]} cannot differ between stages: set it above `{STAGES}`. A stage may set {allowed}."
            )


def apply_stage(values: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one stage.

    Args:
        values: Settings above the list of stages, as plain data.
        stage: Overrides of the stage, as nested groups. A task or model of another kind replaces the whole group.
    """
    combined = {name: value for name, value in values.items() if name != STAGES}
    for group, settings in stage.items():
        base = combined.get(group)
        if not (isinstance(base, Mapping) and isinstance(settings, Mapping)):
            combined[group] = settings
            continue
        has_other_kind = "kind" in settings and settings["kind"] != base.get(
            "kind", "ctm" if group == "model" else None
        )
        combined[group] = dict(settings) if has_other_kind else {**base, **settings}
    return combined


def set_setting(values: dict[str, Any], name: str, value: Any) -> dict[str, str]:
    """Set one setting of a run in place, in plain data with normalized stages.

    Args:
        values: Settings of the run.
        name: Dotted name; `stages.2.optim.lr` sets it in the second stage, `optim.lr` in all stages.
        value: Its value.

    Returns:
        The former names that were replaced: {former: current}.

    Raises:
        ValueError: The run has no such stage, or a part of the name is no group.
    """
    if name.startswith(STAGE_PREFIX):
        return _set_stage_setting(values, name, value)
    current_name, current_value, renamed = rename_override(name, value, values)
    set_nested_value(values, current_name, current_value)
    stages = values.get(STAGES)
    if current_name != STAGES and isinstance(stages, list):
        for stage in stages:
            _delete_nested_value(stage, current_name)
    return renamed


def _set_stage_setting(values: dict[str, Any], name: str, value: Any) -> dict[str, str]:
    number, _, rest = name.removeprefix(STAGE_PREFIX).partition(".")
    stages = values.get(STAGES) or []
    if not (isinstance(stages, list) and number.isdecimal() and 1 <= int(number) <= len(stages) and rest):
        raise ValueError(
            f"{format_name(name)} must read {STAGES}.NUMBER.group.setting, such as {STAGES}.1.optim.lr, with the number of one of "
            f"the {len(stages)} stages of this run."
        )
    current_name, current_value, renamed = rename_override(rest, value, values)
    set_nested_value(stages[int(number) - 1], current_name, current_value)
    return {f"{STAGE_PREFIX}{number}.{old}": f"{STAGE_PREFIX}{number}.{new}" for old, new in renamed.items()}


def set_nested_value(values: dict[str, Any], name: str, value: Any) -> None:
    """Set one dotted key in place; missing groups are created."""
    *groups, key = name.split(".")
    group = values
    for part in groups:
        group = group.setdefault(part, {})
        if not isinstance(group, dict):
            raise ValueError(f"`{format_name(part)}` in `{format_name(name)}` is a value, not a group of settings.")
    group[key] = value


def _delete_nested_value(values: Any, name: str) -> None:
    """Delete one dotted key in place, if it is there."""
    *groups, key = name.split(".")
    for part in groups:
        values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(key, None)
