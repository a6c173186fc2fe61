"""Former names of settings, in recipes, overrides, run directories and checkpoints of version 0.1.

All readers of settings apply this table before validation; nothing else in the project uses a former name.
"""

import logging
from collections.abc import Mapping
from typing import Any

GROUP_ALIASES = {"finish": "finalize"}
SETTING_ALIASES: dict[str, dict[str, str]] = {
    "loss": {
        "trunk": "tick_reduction",
        "mix": "mean_share",
        "energy": "energy_kind",
        "margin": "energy_margin",
        "cost": "tick_cost",
        "energy_reaches_trunk": "energy_grad_to_trunk",
    },
    "optim": {"warmup": "warmup_steps", "final_lr": "min_lr_ratio", "clip": "max_grad_norm"},
    "train": {
        "accumulate": "gradient_accumulation_steps",
        "takes": "init_mode",
        "frozen": "freeze",
        "keep": "save_total_limit",
        "minutes": "max_minutes",
        "spare_gb": "min_free_disk_gb",
    },
    "finalize": {"tolerance": "accuracy_tolerance"},
    "publish": {"every_minutes": "interval_minutes"},
}
VALUE_ALIASES: dict[str, dict[str, str]] = {"train.init_mode": {"fitting": "matching", "grown": "expand"}}
TASK_ALIASES: dict[str, dict[str, str]] = {
    "brackets": {"deepest": "max_depth", "deeper": "ood_max_depth"},
    "chain": {"most": "max_operations", "longer": "ood_max_operations"},
    "digits": {"turn": "max_rotation", "shift": "max_shift", "scale": "max_scale_change"},
    "images": {
        "data": "dataset",
        "config": "subset",
        "files": "data_files",
        "train": "train_split",
        "test": "test_split",
        "image": "image_column",
        "label": "label_column",
        "size": "resize",
        "ground": "background",
    },
    "sorting": {"gap": "min_gap"},
    "tracking": {
        "ask": "target",
        "fastest": "max_speed",
        "ahead": "max_horizon",
        "further": "ood_horizon",
        "missed": "missing_rate",
    },
}
# Accepted without a warning: the name of transformers.
EQUIVALENT_NAMES: dict[str, dict[str, str]] = {"model": {"model_type": "kind"}}

logger = logging.getLogger(__name__)


def rename_settings(values: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[str, str]]:
    """Rename the settings of a run to their current names.

    Args:
        values: Settings of a run as nested mappings. Invalid content is left to the validation.

    Returns:
        The settings under their current names, and the former names that were replaced: {former: current}, dotted.

    Raises:
        ValueError: A setting is given under both names.
    """
    renamed: dict[str, str] = {}
    groups = _rename_keys(values, GROUP_ALIASES, "", renamed)
    for group, settings in groups.items():
        if not isinstance(settings, Mapping):
            continue
        current = _rename_keys(settings, _get_aliases(group, groups), f"{group}.", renamed)
        groups[group] = {name: _rename_value(f"{group}.{name}", value, renamed) for name, value in current.items()}
    return groups, renamed


def rename_task_settings(kind: str, settings: Mapping[Any, Any]) -> dict[Any, Any]:
    """Rename the settings of a task, as `task.json` holds them, to their current names.

    Raises:
        ValueError: A setting is given under both names.
    """
    return _rename_keys(settings, TASK_ALIASES.get(kind, {}), "task.", {})


def rename_override(name: str, value: Any, values: Mapping[Any, Any]) -> tuple[str, Any, dict[str, str]]:
    """Rename one dotted setting to its current name.

    Args:
        name: Dotted name, such as `train.keep`.
        value: Its value.
        values: The settings of the run that the override changes; they name the task.

    Returns:
        Current name, current value, and the former names that were replaced.
    """
    renamed: dict[str, str] = {}
    group, dot, key = name.partition(".")
    group = GROUP_ALIASES.get(group, group)
    current = f"{group}{dot}{_get_aliases(group, values).get(key, key)}"
    if current != name:
        renamed[name] = current
    return current, _rename_value(current, value, renamed), renamed


def warn_about_former_names(renamed: Mapping[str, str], source: str) -> None:
    """Log one deprecation sentence that names every former name and its replacement.

    Args:
        renamed: Former name -> current name.
        source: What contains the former names, for the message.
    """
    equivalent = {f"{group}.{name}" for group, names in EQUIVALENT_NAMES.items() for name in names}
    changes = ", ".join(f"{former} is now {renamed[former]}" for former in renamed if former not in equivalent)
    if changes:
        logger.warning("%s uses former names of settings, which still work: %s.", source, changes)


def _get_aliases(group: Any, values: Mapping[Any, Any]) -> dict[str, str]:
    if group != "task":
        return SETTING_ALIASES.get(group, {}) | EQUIVALENT_NAMES.get(group, {})
    task = values.get("task")
    kind = task.get("kind") if isinstance(task, Mapping) else None
    return TASK_ALIASES.get(kind, {}) if isinstance(kind, str) else {}


def _rename_keys(
    values: Mapping[Any, Any], aliases: Mapping[str, str], prefix: str, renamed: dict[str, str]
) -> dict[Any, Any]:
    """Return the mapping with renamed keys in the same order, and add the changes to `renamed`."""
    current: dict[Any, Any] = {}
    for name, value in values.items():
        new_name = aliases.get(name, name)
        if new_name != name:
            if new_name in values:
                raise ValueError(
                    f"`{prefix}{name}` is the former name of `{prefix}{new_name}`, and both are set: remove the former."
                )
            renamed[f"{prefix}{name}"] = f"{prefix}{new_name}"
        current[new_name] = value
    return current


def _rename_value(name: str, value: Any, renamed: dict[str, str]) -> Any:
    aliases = VALUE_ALIASES.get(name, {})
    if not isinstance(value, str) or value not in aliases:
        return value
    renamed[f"{name}={value}"] = f"{name}={aliases[value]}"
    return aliases[value]
