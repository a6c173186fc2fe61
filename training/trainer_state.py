"""State of a training run besides the weights: saved steps, random state, and use of memory and disk."""

import contextlib
import errno
import math
import shutil
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict, cast

import psutil
import torch
from torch import Tensor

from ctm import TickModel
from ctm.checkpoint import Checkpoint, load_weights
from ctm.checkpoint.metadata import CorrectnessModel
from training.config import RunConfig
from training.console import write_line
from training.energy.losses import LOGIT_KINDS, EnergyLossParams
from training.run_dir import RunDir
from training.stages import Stage, find_saved_stage
from training.tasks import Task
from training.tasks.splits import VALIDATION


class DiskAlmostFull(OSError):
    """The free disk space is below the limit of the run; the message says what was saved."""


@dataclass
class TrainerState:
    """Progress of a run, saved with each step as the entry `loop`.

    Attributes:
        step: Number of optimiser steps done.
        samples: Number of training samples in these steps, those of all processes.
        seconds: Time of training, evaluations and saving until this step, without pauses.
        saved: The last saved step; -1 before the first.
        accuracy: Validation accuracy at the latest evaluation; -1 before the first.
        best_step: The saved step with the best accuracy.
        best_accuracy: Accuracy of that step.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    saved: int = -1
    accuracy: float = -1.0
    best_step: int | None = None
    best_accuracy: float = -1.0

    def mark_saved(self) -> None:
        """Record that the current step is saved, and whether it is the best one."""
        self.saved = self.step
        if self.accuracy >= self.best_accuracy:
            self.best_step = self.step
            self.best_accuracy = self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


class SavedState(TypedDict):
    """What a saved step holds besides the weights.

    Attributes:
        optimizer: State of the optimiser.
        random: State of the random number generators of each process.
        loop: Fields of `TrainerState`.
        costs: Fields of the `TrainingCost` of each process; absent in a state that version 0.1 saved.
        scaler: State of the loss scaler, for fp16.
        probe: Weights of the probe of the intermediate results.
    """

    optimizer: dict[str, Any]
    random: list[dict[str, Tensor]]
    loop: dict[str, Any]
    costs: NotRequired[list[dict[str, Any]]]
    scaler: NotRequired[dict[str, Any]]
    probe: NotRequired[dict[str, Tensor]]


def save_step(
    config: RunConfig,
    stage: Stage,
    task: Task,
    model: TickModel,
    run_dir: RunDir,
    saved: SavedState,
) -> None:
    """Save a step as a checkpoint, and prune older steps.

    Args:
        config: Settings of the run.
        stage: The stage that the step belongs to.
        task: Its task.
        model: The model to save.
        run_dir: The run directory.
        saved: What is saved next to the checkpoint.

    Raises:
        OSError: The disk is full or almost full; earlier steps are kept.
    """
    step = saved["loop"]["step"]
    changes = run_dir.read_portable_changes(config)
    metrics = {
        "training": {
            "command": run_dir.read_command(),
            "steps": step,
            "settings": config.to_portable_dict(),
            **stage.status,
            **({"changes": changes} if changes else {}),
        }
    }
    check_free_disk(
        run_dir,
        estimate_checkpoint_bytes(model),
        0,
        f"stopped at step {step:,}; earlier steps are kept",
    )
    run_dir.save(step, Checkpoint(model, task.describe(), build_step_halting(stage.config), metrics), dict(saved))
    run_dir.prune(config.train.save_total_limit, saved["loop"]["best_step"])
    check_free_disk(run_dir, 0, config.train.min_free_disk_gb, f"stopped and saved at step {step:,}")


def build_step_halting(config: RunConfig) -> dict[str, Any]:
    """Return the content of `halting.json` of a saved step: the meaning of its energy, and no policies."""
    if config.loss.energy_kind == "none":
        return {}
    return {"energy": build_energy_metadata(config.loss.energy_kind, config.loss.energy_loss_params)}


def build_energy_metadata(
    kind: str,
    loss_params: EnergyLossParams,
    fit_metrics: dict[str, Any] | None = None,
    correctness_model: CorrectnessModel | None = None,
) -> dict[str, Any]:
    """Build the entry `energy` of `halting.json`: the meaning of the energy of a checkpoint.

    Args:
        kind: Kind of energy.
        loss_params: Settings of its loss.
        fit_metrics: Result of `training.energy.fitting.fit_energy`, if the head was fitted.
        correctness_model: P(correct) from energy and certainty, if it was fitted.
    """
    metadata: dict[str, Any] = {"kind": kind}
    if kind == "contrastive":
        metadata |= {"margin": loss_params.margin, "p_correct": "1 - energy / margin"}
    if kind in ("value", "hindsight"):
        metadata |= {"cost": loss_params.cost}
    if correctness_model or kind in LOGIT_KINDS:
        correctness_model = correctness_model or CorrectnessModel()
        metadata |= {"chance": correctness_model.model_dump(), "p_correct": str(correctness_model)}
    return metadata | ({"fitted_on": {"split": VALIDATION, **fit_metrics}} if fit_metrics else {})


def load_latest_state(run_dir: RunDir, config: RunConfig) -> tuple[SavedState, TickModel] | None:
    """Load the newest readable saved step.

    Args:
        run_dir: The run directory.
        config: Settings of the run; its stages tell the model of each step.

    Returns:
        The saved state of that step and its model, or None if no step is saved.

    Raises:
        ValueError: Steps are saved, and none of them can be read.
    """
    problem = ""
    for step in reversed(run_dir.list_steps()):
        stage = find_saved_stage(config, step).config
        try:
            state = cast(SavedState, run_dir.load_trainer_state(step))
            model = load_weights(run_dir.checkpoint_dir(step), stage.build_model_config(stage.make_task()))
        except (ValueError, OSError) as error:
            problem = f"step {step:,} cannot be read: {str(error)[:200]}"
            write_line(f"The saved {problem}. The step before it is used, if there is one.")
        else:
            return state, model
    if problem:
        raise ValueError(
            f"The run cannot resume: {problem}, and no earlier step can be read. Delete the saved steps and start over "
            "with --restart, or start a new run in another directory."
        )
    return None


def get_rng_state() -> dict[str, Tensor]:
    """Return the state of the random number generators of this process."""
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_rng_state(state: dict[str, Tensor]) -> None:
    """Restore what `get_rng_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def estimate_checkpoint_bytes(model: TickModel) -> int:
    """Return the size of a saved step in bytes: weights, and two moments of the optimiser."""
    return 3 * sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def check_free_disk(run_dir: RunDir, required_bytes: int, min_free_gb: int | float, consequence: str) -> None:
    """Check that a file fits on the disk of a run.

    Args:
        run_dir: The run directory.
        required_bytes: Size of the file; 30 % are added.
        min_free_gb: GB that must remain free.
        consequence: What happens otherwise, for the message.

    Raises:
        DiskAlmostFull: The file does not fit.
    """
    free_bytes = shutil.disk_usage(run_dir.path).free
    file_bytes = round(1.3 * required_bytes)
    needed_bytes = file_bytes + round(min_free_gb * 2**30)
    if free_bytes >= needed_bytes:
        return
    # A lower limit helps only if the limit, not the file, is what does not fit.
    alternative = (
        f", or resume with train.min_free_disk_gb=0 (now {min_free_gb:g})"
        if min_free_gb > 0 and free_bytes >= file_bytes
        else ""
    )
    raise DiskAlmostFull(
        errno.ENOSPC,
        f"The disk is almost full ({format_bytes(free_bytes)} free, {format_bytes(needed_bytes)} needed): {consequence}. "
        f"Free {format_bytes(needed_bytes - free_bytes)} and resume{alternative}",
    )


def format_bytes(count: int) -> str:
    """Format a size with the unit that fits, from bytes to GB, such as `1.3 MB`; a part of a digit is rounded up."""
    units = ("bytes", "KB", "MB", "GB")
    power = min(len(units) - 1, max(0, count.bit_length() - 1) // 10)
    value = math.ceil(count / 2 ** (10 * power) * 10) / 10
    return f"{value:,.1f}".removesuffix(".0") + f" {units[power]}"


def measure_memory(device: torch.device) -> dict[str, float]:
    """Return the memory of this process and of its GPU in GB, and the utilisation of the GPU in [0, 1] if known."""
    figures = {"memory_gb": psutil.Process().memory_info().rss / 2**30}
    if device.type == "cuda":
        figures["gpu_memory_gb"] = torch.cuda.max_memory_reserved(device) / 2**30
        with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # the counters of the driver may be unavailable
            figures["gpu_utilisation"] = torch.cuda.utilization(device) / 100
    return figures
