"""Estimate of the time, memory and disk space of a run, from a few measured steps."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ctm.models.registry import count_parameters
from training.config import RunConfig
from training.estimate_finalization import estimate_finalization
from training.stages import build_stages
from training.trainer import Trainer
from training.trainer_state import estimate_checkpoint_bytes

NUM_TIMING_STEPS = 5  # after one warm-up step


def estimate_run(config: RunConfig) -> dict[str, Any]:
    """Measure some steps and an evaluation of every stage, and parts of the finalization, on this computer; nothing is saved.

    Args:
        config: Settings of the run.

    Returns:
        A dictionary with the keys:

        parameters: Number of parameters of the model, of the last stage if there are several.
        seconds_per_step, seconds_per_evaluation: Times of one optimiser step and of one evaluation, on average over the stages.
        seconds_to_start: Time until the first step: imports, data and the model.
        seconds_per_1000_steps: Time of training with its evaluations.
        seconds_to_finalize: Time to fit the energy head, choose thresholds and evaluate; see `estimate_finalization`.
        seconds_in_all: Time of all of that.
        memory_gb, gpu_memory_gb: Peak memory of the process, and of the GPU; None without a GPU.
        save_gb, disk_gb: Size of one saved step, and of all steps on disk at the same time.
        device: Name of the GPU, or "CPU".
    """
    import_seconds = time.process_time()  # this process has done nothing else; its run imports the same
    uses_cuda = torch.cuda.is_available() and config.train.device != "cpu"
    clock = select_clock(uses_cuda)
    seconds_to_start = import_seconds
    training_seconds = total_evaluation_seconds = 0.0
    save_bytes = 0
    for stage in build_stages(config):
        started_at = clock()
        trainer = Trainer(stage.config, None, stage)
        seconds_to_start += clock() - started_at
        step_seconds, evaluation_seconds = trainer.time_steps(NUM_TIMING_STEPS, clock)
        training_seconds += stage.config.train.steps * statistics.median(step_seconds)
        total_evaluation_seconds += count_evaluations(stage.config) * evaluation_seconds
        save_bytes = max(save_bytes, estimate_checkpoint_bytes(trainer.unwrapped_model))
    model = trainer.unwrapped_model
    seconds_to_finalize = estimate_finalization(config.last_stage, trainer.task, select_clock(uses_cuda=False))
    maxrss_per_gb = 2**20 if sys.platform != "darwin" else 2**30  # Linux reports KiB, macOS bytes
    seconds_per_step = training_seconds / config.num_steps
    figures = {
        "parameters": count_parameters(model.config, model.in_features),
        "seconds_per_step": seconds_per_step,
        "seconds_per_evaluation": total_evaluation_seconds / count_evaluations(config),
        "seconds_per_1000_steps": 1_000 * (training_seconds + total_evaluation_seconds) / config.num_steps,
        "seconds_to_start": seconds_to_start,
        "seconds_to_finalize": seconds_to_finalize,
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / maxrss_per_gb,
        "gpu_memory_gb": torch.cuda.max_memory_reserved() / 2**30 if uses_cuda else None,
        "save_gb": save_bytes / 2**30,
        "disk_gb": save_bytes * (config.train.save_total_limit + 1) / 2**30,  # the newest steps and the best one
        "device": torch.cuda.get_device_name() if uses_cuda else "CPU",
    }
    return figures | {"seconds_in_all": compute_total_seconds(figures, config)}


def select_clock(uses_cuda: bool) -> Callable[[], float]:
    """Return the clock that measures how long a computation takes on a computer that does nothing else.

    One thread takes as long as the processor time that it uses, whatever other programs do. Several threads and a GPU have no such
    measure, so there it is the elapsed time.
    """
    return time.perf_counter if uses_cuda or torch.get_num_threads() > 1 else time.process_time


def count_evaluations(config: RunConfig) -> float:
    """Return the number of evaluations of all stages, with the share of the next one that the steps after the last one are."""
    return sum(stage.train.steps / stage.train.eval_every for stage in config.stage_configs)


def compute_total_seconds(figures: Mapping[str, Any], config: RunConfig) -> float:
    """Return the seconds of a run: its start, its steps and evaluations, and its finalization.

    Args:
        figures: Measured times, see `estimate_run`. They may come from a run with another number of steps.
        config: Settings of the run.
    """
    training_seconds = config.num_steps * figures["seconds_per_step"]
    evaluation_seconds = count_evaluations(config) * figures["seconds_per_evaluation"]
    return figures["seconds_to_start"] + training_seconds + evaluation_seconds + figures["seconds_to_finalize"]
