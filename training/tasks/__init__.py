"""Tasks, one file each; `training.tasks.registry` finds them by scanning this directory."""

from training.tasks.base import Task
from training.tasks.registry import (
    build_task,
    find_compatible_tasks,
    infer_task_metadata,
    list_task_kinds,
    make_task,
)

__all__ = ["Task", "build_task", "find_compatible_tasks", "infer_task_metadata", "list_task_kinds", "make_task"]
