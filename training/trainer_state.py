"""What a run keeps of itself: saved steps, the random state to go on from, and how full memory and disk are."""

import contextlib
import errno
import shutil
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor

from ctm import TickModel
from ctm.checkpoint import Checkpoint, load_weights
from ctm.checkpoint.metadata import CorrectnessModel
from training.config import RunConfig
from training.energy.losses import IS_A_LOGIT, Meaning
from training.run_dir import RunFolder
from training.tasks import Task
from training.tasks.base import VALIDATION


class DiskAlmostFull(OSError):
    """A run ends before the disk is full; it says what became of it."""


@dataclass
class Progressing:
    """What changes while a run goes on, besides weights and optimiser."""

    step: int = 0
    saved: int = -1
    accuracy: float = -1.0  # when it was last measured
    best_step: int | None = None  # among those that were saved
    best_accuracy: float = -1.0


def save_step(
    config: RunConfig,
    task: Task,
    machine: TickModel,
    folder: RunFolder,
    progress: Progressing,
    state: Any,
) -> None:
    """Save a step as a checkpoint, with `state` beside it, and remove steps that need not be kept.

    Raises:
        OSError: the disk is full or about to be; what was saved before is kept.
    """
    note = {"energy": energy_note(config.loss.energy, config.loss.meaning)} if config.loss.energy != "none" else {}
    made = {"training": {"command": folder.command(), "steps": progress.step, "settings": config.portable()}}
    refuse_full_disk(folder, size_of(machine), 0, f"stopped at step {progress.step:,}; what was saved before is kept")
    if progress.accuracy >= progress.best_accuracy:
        progress.best_step, progress.best_accuracy = progress.step, progress.accuracy
    state["loop"] = vars(progress).copy()
    folder.save(progress.step, Checkpoint(machine, task.describe(), note, made), state)
    folder.prune(config.train.keep, progress.best_step)
    refuse_full_disk(folder, 0, config.train.spare_gb, f"stopped and saved at step {progress.step:,}")


def energy_note(
    kind: str, meaning: Meaning, fitted: dict[str, Any] | None = None, chance: CorrectnessModel | None = None
) -> dict[str, Any]:
    """What the energy of a checkpoint means, for `halting.json`.

    Args:
        kind, meaning: what it was trained for.
        fitted: what fitting it measured, if it was fitted.
        chance: of being right, as it tells it, where that is known.
    """
    note: dict[str, Any] = {"kind": kind}
    if kind == "contrastive":
        note |= {"margin": meaning.margin, "p_correct": "1 - energy / margin"}
    if kind in ("value", "hindsight"):
        note |= {"cost": meaning.cost}
    if chance or kind in IS_A_LOGIT:
        chance = chance or CorrectnessModel()
        note |= {"chance": chance.model_dump(), "p_correct": str(chance)}
    return note | ({"fitted_on": {"split": VALIDATION, **fitted}} if fitted else {})


def load_newest(folder: RunFolder, machine: TickModel) -> Any:
    """Give a machine the weights of the newest saved step that can be read, and return what was saved beside them.

    Raises:
        ValueError: steps were saved, and none of them can be read.
    """
    problem = ""
    for step in reversed(folder.steps()):
        try:
            state = folder.progress(step)
            machine.load_state_dict(load_weights(folder.checkpoint(step), machine.config).state_dict())
        except (ValueError, OSError) as error:
            problem = f"step {step:,} cannot be read: {str(error)[:200]}"
            print(f"The saved {problem}. The one before it is taken, if there is one.", flush=True)
        else:
            return state
    if problem:
        raise ValueError(f"The run cannot go on: {problem}, nor can any before it. Begin a new one.")
    return None


def random_state() -> dict[str, Tensor]:
    """Where this process's random numbers are."""
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def size_of(machine: TickModel) -> int:
    """Bytes that a saved step takes: weights, and two moments of the optimiser."""
    return 3 * sum(tensor.numel() * tensor.element_size() for tensor in machine.state_dict().values())


def refuse_full_disk(folder: RunFolder, needed: int, spare_gb: int | float, consequence: str) -> None:
    """Raise `OSError` unless so many bytes fit on the run's disk with `spare_gb` left free."""
    free = shutil.disk_usage(folder.path).free
    if free < 1.3 * needed + spare_gb * 2**30:
        raise DiskAlmostFull(
            errno.ENOSPC,
            f"The disk is almost full ({free / 2**30:.2f} GB free, {needed / 2**30 + spare_gb:.2f} GB needed): "
            f"{consequence}. Make room and go on, or lower train.spare_gb",
        )


def memory(device: torch.device) -> dict[str, float]:
    """Memory of this process and of its device in GB, and how busy the device is, where that can be known."""
    figures = {"memory_gb": psutil.Process().memory_info().rss / 2**30}
    if device.type == "cuda":
        figures["gpu_memory_gb"] = torch.cuda.max_memory_reserved(device) / 2**30
        with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # the driver's counters may be out of reach
            figures["gpu_utilisation"] = torch.cuda.utilization(device) / 100
    return figures
