"""Estimate of the time, memory and disk space of a run, from a few measured steps."""

import resource
import statistics
import sys
from typing import Any

import torch

from ctm.models.registry import count_parameters
from training.config import RunConfig
from training.trainer import Trainer
from training.trainer_state import estimate_checkpoint_bytes

NUM_TIMING_STEPS = 5  # after one warm-up step


def estimate_run(config: RunConfig) -> dict[str, Any]:
    """Measure some steps and one evaluation on this computer; nothing is saved.

    Args:
        config: Settings of the run.

    Returns:
        A dictionary with the keys:

        parameters: Number of parameters of the model.
        seconds_per_step, seconds_per_evaluation: Times of one optimiser step and of one evaluation.
        seconds_per_1000_steps, seconds_in_all: Times of training with its evaluations.
        memory_gb, gpu_memory_gb: Peak memory of the process, and of the GPU; None without a GPU.
        save_gb, disk_gb: Size of one saved step, and of all steps on disk at the same time.
        device: Name of the GPU, or "CPU".
    """
    trainer = Trainer(config)
    step_seconds, evaluation_seconds = trainer.time_steps(NUM_TIMING_STEPS)
    model = trainer.unwrapped_model
    seconds_per_step = statistics.median(step_seconds)
    save_bytes = estimate_checkpoint_bytes(model)
    uses_cuda = torch.cuda.is_available() and config.train.device != "cpu"
    maxrss_per_gb = 2**20 if sys.platform != "darwin" else 2**30  # Linux reports KiB, macOS bytes
    return {
        "parameters": count_parameters(model.config, model.in_features),
        "seconds_per_step": seconds_per_step,
        "seconds_per_evaluation": evaluation_seconds,
        "seconds_per_1000_steps": 1_000 * seconds_per_step + 1_000 / config.train.eval_every * evaluation_seconds,
        "seconds_in_all": config.train.steps * (seconds_per_step + evaluation_seconds / config.train.eval_every),
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / maxrss_per_gb,
        "gpu_memory_gb": torch.cuda.max_memory_reserved() / 2**30 if uses_cuda else None,
        "save_gb": save_bytes / 2**30,
        "disk_gb": save_bytes * (config.train.save_total_limit + 1) / 2**30,  # the newest steps and the best one
        "device": torch.cuda.get_device_name() if uses_cuda else "CPU",
    }
