"""Estimate of the time, memory and disk space of a run, from a few measured steps."""

import resource
import statistics
import sys
import time
from typing import Any

import torch

from ctm.models.registry import count_parameters
from training.config import RunConfig
from training.evaluation import MAX_EVALUATION_SAMPLES
from training.trainer import Trainer
from training.trainer_state import estimate_checkpoint_bytes

NUM_TIMING_STEPS = 5  # after one warm-up step
FIT_SECONDS_PER_STEP = 0.002  # of four small energy heads; the fit often ends earlier


def estimate_run(config: RunConfig) -> dict[str, Any]:
    """Measure some steps and one evaluation on this computer; nothing is saved.

    Args:
        config: Settings of the run.

    Returns:
        A dictionary with the keys:

        parameters: Number of parameters of the model.
        seconds_per_step, seconds_per_evaluation: Times of one optimiser step and of one evaluation.
        seconds_to_start: Time until the first step: imports, data and the model.
        seconds_per_1000_steps: Time of training with its evaluations.
        seconds_to_finalize: Time to fit the energy head, choose thresholds and evaluate; see `estimate_finalization`.
        seconds_in_all: Time of all of that.
        memory_gb, gpu_memory_gb: Peak memory of the process, and of the GPU; None without a GPU.
        save_gb, disk_gb: Size of one saved step, and of all steps on disk at the same time.
        device: Name of the GPU, or "CPU".
    """
    import_seconds = time.process_time()  # this process has done nothing else; its run imports the same
    started_at = time.perf_counter()
    trainer = Trainer(config)
    seconds_to_start = import_seconds + time.perf_counter() - started_at
    step_seconds, evaluation_seconds = trainer.time_steps(NUM_TIMING_STEPS)
    model = trainer.unwrapped_model
    seconds_per_step = statistics.median(step_seconds)
    training_seconds = config.train.steps * (seconds_per_step + evaluation_seconds / config.train.eval_every)
    seconds_to_finalize = estimate_finalization(config, evaluation_seconds)
    save_bytes = estimate_checkpoint_bytes(model)
    uses_cuda = torch.cuda.is_available() and config.train.device != "cpu"
    maxrss_per_gb = 2**20 if sys.platform != "darwin" else 2**30  # Linux reports KiB, macOS bytes
    return {
        "parameters": count_parameters(model.config, model.in_features),
        "seconds_per_step": seconds_per_step,
        "seconds_per_evaluation": evaluation_seconds,
        "seconds_per_1000_steps": 1_000 * seconds_per_step + 1_000 / config.train.eval_every * evaluation_seconds,
        "seconds_to_start": seconds_to_start,
        "seconds_to_finalize": seconds_to_finalize,
        "seconds_in_all": seconds_to_start + training_seconds + seconds_to_finalize,
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / maxrss_per_gb,
        "gpu_memory_gb": torch.cuda.max_memory_reserved() / 2**30 if uses_cuda else None,
        "save_gb": save_bytes / 2**30,
        "disk_gb": save_bytes * (config.train.save_total_limit + 1) / 2**30,  # the newest steps and the best one
        "device": torch.cuda.get_device_name() if uses_cuda else "CPU",
    }


def estimate_finalization(config: RunConfig, evaluation_seconds: float) -> float:
    """Return the seconds that finalizing a run takes at most: forward passes over its samples, and the fit.

    Args:
        config: Settings of the run.
        evaluation_seconds: Measured time of one evaluation during training.
    """
    num_splits = len(config.make_task().reported_splits) + 2  # those of the thresholds: calibration and validation
    num_samples = num_splits * MAX_EVALUATION_SAMPLES
    fit_seconds = 0.0
    if config.loss.energy_kind != "none" and config.finalize.fit_samples:
        num_samples += config.finalize.fit_samples
        fit_seconds = config.finalize.fit_steps * FIT_SECONDS_PER_STEP
    return num_samples * evaluation_seconds / config.train.eval_samples + fit_seconds
