"""Registry of tasks: every module of this package that defines a `Task` subclass is found by scanning the directory."""

import importlib
import math
import pkgutil
from functools import cache
from typing import Any

import training.tasks
from ctm.config import get_backbone_type
from ctm.messages import truncate_repr
from training.tasks.base import Task, has_image_backbone

INFRASTRUCTURE_MODULES = {"base", "registry", "splits"}  # modules of the package that define no task


@cache
def get_task_types() -> dict[str, type[Task]]:
    """Task name -> class, from every module beside this one."""
    task_types = {}
    for module in pkgutil.iter_modules(training.tasks.__path__):
        if module.name in INFRASTRUCTURE_MODULES:
            continue
        for value in vars(importlib.import_module(f"training.tasks.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Task) and getattr(value, "name", None):
                task_types[value.name] = value
    return dict(sorted(task_types.items()))


def list_task_kinds() -> list[str]:
    return list(get_task_types())


def make_task(values: dict[str, Any]) -> Task:
    """A task from its kind and settings, e.g. `{"kind": "parity", "length": 16}`."""
    settings = dict(values)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in get_task_types():
        raise ValueError(
            f"Setting `task.kind` must be one of {', '.join(list_task_kinds())}: got {truncate_repr(kind)}."
        )
    task = get_task_types()[kind]
    return task(task.Settings.parse(settings, "task"))


def build_task(metadata: dict[str, Any], config: dict[str, Any] | None = None) -> Task:
    """The task that a checkpoint's `task.json` describes, or where it has none, the one that its config speaks for."""
    metadata = metadata or (infer_task_metadata(config) if config else None) or {}
    if "task" not in metadata:
        raise ValueError("This checkpoint has no task.json, so its input and its answers cannot be read.")
    task = make_task({**metadata.get("settings", {}), "kind": metadata["task"]})
    if config and not is_task_compatible(task, config):
        raise ValueError(
            f"task.json says {metadata['task'][:40]!r}, but the machine of config.json cannot do that task."
        )
    return task


def infer_task_metadata(config: dict[str, Any]) -> dict[str, Any] | None:
    """What a `task.json` would say beside a bare published `config.json`, which tells no task; None where that is open."""
    for kind, task in get_task_types().items():
        settings = task.settings_from_config(config)
        if settings is not None and (made := make_task_or_none(kind, settings)):
            return made.describe()
    return None


def make_task_or_none(kind: str, settings: dict[str, Any]) -> Task | None:
    """The task of a size that a machine has; None where there is no such size."""
    try:
        return make_task({"kind": kind, **settings})
    except ValueError:
        return None


def is_task_compatible(task: Task, config: dict[str, Any]) -> bool:
    """Whether a machine of this published config sees and answers as the task needs it."""
    shape, told, size = task.get_spec(), list(config.get("prediction_reshaper", [-1])), config.get("out_dims", 0)
    sizes = [size // abs(math.prod(told)) if one == -1 else one for one in told]
    answers = sizes == [shape.positions, shape.classes] or (shape.positions == 1 and sizes == [shape.classes])
    pictures = has_image_backbone({"backbone_type": shape.backbone})
    sees = has_image_backbone(config) if pictures else shape.backbone == get_backbone_type(config)
    return answers and shape.positions * shape.classes == size and sees


def find_compatible_tasks(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Task name -> what a `task.json` would say, for every task that a machine of this published config could do."""
    found = {}
    for kind, task in get_task_types().items():
        made = make_task_or_none(kind, task.settings_from_config(config) or {})
        if made and is_task_compatible(made, config):
            found[kind] = made.describe()
    return found
