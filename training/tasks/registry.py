"""Registry of tasks: scan the modules of this package for `Task` subclasses and build tasks by name."""

import importlib
import math
import pkgutil
from functools import cache
from typing import Any

import training.tasks
from ctm.config import get_backbone_type
from ctm.messages import truncate_repr
from training.settings_aliases import rename_task_settings
from training.tasks.base import Task, has_image_backbone
from training.tasks.raw import RawSequence

INFRASTRUCTURE_MODULES = {"base", "raw", "registry", "samples", "splits"}  # modules that define no task with samples


@cache
def get_task_types() -> dict[str, type[Task]]:
    """Return the task classes by name, from every module of this package."""
    task_types = {}
    for module in pkgutil.iter_modules(training.tasks.__path__):
        if module.name in INFRASTRUCTURE_MODULES:
            continue
        for value in vars(importlib.import_module(f"training.tasks.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Task) and getattr(value, "name", None):
                task_types[value.name] = value
    return dict(sorted(task_types.items()))


def list_task_kinds() -> list[str]:
    """Return the names of all tasks, sorted."""
    return list(get_task_types())


def make_task(values: dict[str, Any]) -> Task:
    """Build a task from its kind and settings.

    Args:
        values: The kind and any settings, such as `{"kind": "parity", "length": 16}`; former names of settings are
            accepted.

    Raises:
        ValueError: The kind is unknown or a setting is invalid.
    """
    settings = dict(values)
    kind = settings.pop("kind", None)
    if kind == RawSequence.name:
        return RawSequence(RawSequence.Settings.parse(settings, "task"))
    if not isinstance(kind, str) or kind not in get_task_types():
        raise ValueError(
            f"Setting `task.kind` must be one of {', '.join(list_task_kinds())}: got {truncate_repr(kind)}."
        )
    task = get_task_types()[kind]
    return task(task.Settings.parse(rename_task_settings(kind, settings), "task"))


def build_task(metadata: dict[str, Any], config: dict[str, Any] | None = None) -> Task:
    """Build the task of a checkpoint from its `task.json`, or infer it from its config.

    Args:
        metadata: Contents of `task.json`; empty if the checkpoint has none.
        config: Contents of `config.json`, also checked for compatibility with the task.

    Raises:
        ValueError: The task is unknown, or the model does not fit it.
    """
    metadata = metadata or (infer_task_metadata(config) if config else None) or {}
    if "task" not in metadata:
        raise ValueError("This checkpoint has no task.json, so the format of its input and of its answers is unknown.")
    task = make_task({**metadata.get("settings", {}), "kind": metadata["task"]})
    if config and not is_task_compatible(task, config):
        raise ValueError(
            f"task.json names the task {metadata['task'][:40]!r}, but the model of config.json cannot do that task."
        )
    return task


def infer_task_metadata(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the `task.json` contents for a published `config.json`, or None if the task is ambiguous."""
    for kind, task in get_task_types().items():
        settings = task.settings_from_config(config)
        if settings is not None and (inferred := make_task_or_none(kind, settings)):
            return inferred.describe()
    return None


def make_task_or_none(kind: str, settings: dict[str, Any]) -> Task | None:
    """Build a task, or return None if the settings are invalid."""
    try:
        return make_task({"kind": kind, **settings})
    except ValueError:
        return None


def is_task_compatible(task: Task, config: dict[str, Any]) -> bool:
    """Return whether a model with this published config has the inputs and outputs of the task."""
    spec = task.get_spec()
    reshaper = list(config.get("prediction_reshaper", [-1]))
    out_dims = config.get("out_dims", 0)
    sizes = [out_dims // abs(math.prod(reshaper)) if size == -1 else size for size in reshaper]
    if get_backbone_type(config) == "mnist_backbone" and spec.in_features != 1:
        return False
    output_matches = sizes == [spec.positions, spec.classes] or (spec.positions == 1 and sizes == [spec.classes])
    needs_image_backbone = has_image_backbone({"backbone_type": spec.backbone})
    input_matches = has_image_backbone(config) if needs_image_backbone else spec.backbone == get_backbone_type(config)
    return output_matches and spec.positions * spec.classes == out_dims and input_matches


def find_compatible_tasks(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the `task.json` contents of every task that fits a published `config.json`, by task name."""
    compatible = {}
    task_types: dict[str, type[Task]] = {**get_task_types(), RawSequence.name: RawSequence}
    for kind, task in task_types.items():
        candidate = make_task_or_none(kind, task.settings_from_config(config) or {})
        if candidate and is_task_compatible(candidate, config):
            compatible[kind] = candidate.describe()
    return compatible


def resolve_task(task_metadata: dict[str, Any], config: dict[str, Any], name: str) -> Task:
    """Return the task of a checkpoint: from its metadata, else as the user states it, else from its config.

    Args:
        task_metadata: Content of task.json; empty if there is none.
        config: Config of the model.
        name: Task that the user or the name of the checkpoint states; empty if there is none.

    Raises:
        ValueError: The task is unknown or does not fit the config.
    """
    if task_metadata or not name:
        return build_task(task_metadata, config)
    compatible_tasks = find_compatible_tasks(config)
    if name not in compatible_tasks:
        known = ", ".join(compatible_tasks) or "no known task"
        raise ValueError(f"This model cannot do the task {name[:40]!r}. Its config fits: {known}.")
    return build_task(compatible_tasks[name])
