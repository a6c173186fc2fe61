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
from training.energy.losses import LOGIT_KINDS, EnergyLossParams
from training.run_dir import RunDir
from training.tasks import Task
from training.tasks.base import VALIDATION


class DiskAlmostFull(OSError):
    """A run ends before the disk is full; it says what became of it."""


@dataclass
class TrainerState:
    """What changes while a run goes on, besides weights and optimiser."""

    step: int = 0
    saved: int = -1
    accuracy: float = -1.0  # when it was last measured
    best_step: int | None = None  # among those that were saved
    best_accuracy: float = -1.0


def save_step(
    config: RunConfig,
    task: Task,
    model: TickModel,
    run_dir: RunDir,
    trainer_state: TrainerState,
    state: Any,
) -> None:
    """Save a step as a checkpoint, with `state` beside it, and remove steps that need not be kept.

    Raises:
        OSError: the disk is full or about to be; what was saved before is kept.
    """
    note = (
        {"energy": build_energy_metadata(config.loss.energy, config.loss.energy_loss_params)}
        if config.loss.energy != "none"
        else {}
    )
    made = {
        "training": {
            "command": run_dir.read_command(),
            "steps": trainer_state.step,
            "settings": config.to_portable_dict(),
        }
    }
    check_free_disk(
        run_dir,
        estimate_checkpoint_bytes(model),
        0,
        f"stopped at step {trainer_state.step:,}; what was saved before is kept",
    )
    if trainer_state.accuracy >= trainer_state.best_accuracy:
        trainer_state.best_step, trainer_state.best_accuracy = trainer_state.step, trainer_state.accuracy
    state["loop"] = vars(trainer_state).copy()
    run_dir.save(trainer_state.step, Checkpoint(model, task.describe(), note, made), state)
    run_dir.prune(config.train.keep, trainer_state.best_step)
    check_free_disk(run_dir, 0, config.train.spare_gb, f"stopped and saved at step {trainer_state.step:,}")


def build_energy_metadata(
    kind: str,
    loss_params: EnergyLossParams,
    fit_metrics: dict[str, Any] | None = None,
    correctness_model: CorrectnessModel | None = None,
) -> dict[str, Any]:
    """What the energy of a checkpoint means, for `halting.json`.

    Args:
        kind, meaning: what it was trained for.
        fitted: what fitting it measured, if it was fitted.
        chance: of being right, as it tells it, where that is known.
    """
    note: dict[str, Any] = {"kind": kind}
    if kind == "contrastive":
        note |= {"margin": loss_params.margin, "p_correct": "1 - energy / margin"}
    if kind in ("value", "hindsight"):
        note |= {"cost": loss_params.cost}
    if correctness_model or kind in LOGIT_KINDS:
        correctness_model = correctness_model or CorrectnessModel()
        note |= {"chance": correctness_model.model_dump(), "p_correct": str(correctness_model)}
    return note | ({"fitted_on": {"split": VALIDATION, **fit_metrics}} if fit_metrics else {})


def load_latest_state(run_dir: RunDir, model: TickModel) -> Any:
    """Give a machine the weights of the newest saved step that can be read, and return what was saved beside them.

    Raises:
        ValueError: steps were saved, and none of them can be read.
    """
    problem = ""
    for step in reversed(run_dir.list_steps()):
        try:
            state = run_dir.load_trainer_state(step)
            model.load_state_dict(load_weights(run_dir.checkpoint_dir(step), model.config).state_dict())
        except (ValueError, OSError) as error:
            problem = f"step {step:,} cannot be read: {str(error)[:200]}"
            print(f"The saved {problem}. The one before it is taken, if there is one.", flush=True)
        else:
            return state
    if problem:
        raise ValueError(f"The run cannot go on: {problem}, nor can any before it. Begin a new one.")
    return None


def get_rng_state() -> dict[str, Tensor]:
    """Where this process's random numbers are."""
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_rng_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def estimate_checkpoint_bytes(model: TickModel) -> int:
    """Bytes that a saved step takes: weights, and two moments of the optimiser."""
    return 3 * sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def check_free_disk(run_dir: RunDir, required_bytes: int, min_free_gb: int | float, consequence: str) -> None:
    """Raise `OSError` unless so many bytes fit on the run's disk with `min_free_gb` left free."""
    free = shutil.disk_usage(run_dir.path).free
    if free < 1.3 * required_bytes + min_free_gb * 2**30:
        raise DiskAlmostFull(
            errno.ENOSPC,
            f"The disk is almost full ({free / 2**30:.2f} GB free, {required_bytes / 2**30 + min_free_gb:.2f} GB needed): "
            f"{consequence}. Make room and go on, or lower train.spare_gb",
        )


def measure_memory(device: torch.device) -> dict[str, float]:
    """Memory of this process and of its device in GB, and how busy the device is, where that can be known."""
    figures = {"memory_gb": psutil.Process().memory_info().rss / 2**30}
    if device.type == "cuda":
        figures["gpu_memory_gb"] = torch.cuda.max_memory_reserved(device) / 2**30
        with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # the driver's counters may be out of reach
            figures["gpu_utilisation"] = torch.cuda.utilization(device) / 100
    return figures
