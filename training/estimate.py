"""What a run would cost, from a few measured steps of it: time, memory, disk."""

import resource
import statistics
import sys
from typing import Any

import torch

from ctm.models.registry import count_parameters
from training.config import RunConfig
from training.trainer import time_steps
from training.trainer_state import estimate_checkpoint_bytes

NUM_TIMING_STEPS = 5  # that are measured, after one that warms up


def estimate_run(config: RunConfig) -> dict[str, Any]:
    """Measure some steps and one evaluation on this machine; nothing is saved.

    Returns:
        parameters; seconds a step, an evaluation and 1,000 steps with their evaluations; GB of memory of the process and of
        the accelerator; GB that a saved step and all kept ones take; what it ran on.
    """
    machine, steps, evaluation = time_steps(config, NUM_TIMING_STEPS)
    step = statistics.median(steps)
    saved = estimate_checkpoint_bytes(machine)
    cuda = torch.cuda.is_available() and config.train.device != "cpu"
    per_gb = 2**20 if sys.platform != "darwin" else 2**30  # of the unit that the system counts in
    return {
        "parameters": count_parameters(machine.config, machine.in_features),
        "seconds_per_step": step,
        "seconds_per_evaluation": evaluation,
        "seconds_per_1000_steps": 1_000 * step + 1_000 / config.train.eval_every * evaluation,
        "seconds_in_all": config.train.steps * (step + evaluation / config.train.eval_every),
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_gb,
        "gpu_memory_gb": torch.cuda.max_memory_reserved() / 2**30 if cuda else None,
        "save_gb": saved / 2**30,
        "disk_gb": saved * (config.train.keep + 1) / 2**30,  # the newest and the best
        "device": torch.cuda.get_device_name() if cuda else "CPU",
    }
