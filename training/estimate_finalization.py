"""Estimate of the time that finalizing a run takes, from one batch of held-out samples.

`training.finalize` unrolls the samples of every split, some of them twice, and fits the energy head. This module counts these
samples and measures what one batch costs. It measures on the CPU, as `training.finalize` computes there.
"""

import copy
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from ctm import TickModel, build_model
from training.config import RunConfig
from training.energy.features import collect_energy_features, count_fitting_draws
from training.energy.fitting import EVAL_INTERVAL_STEPS, fit_energy_head
from training.evaluation import build_split_batches, evaluate_curves
from training.neuron_layout import NUM_LAYOUT_SAMPLES
from training.tasks import Task
from training.tasks.samples import Batch
from training.tasks.splits import CALIBRATION, SPLIT_PERCENT, VALIDATION, name_part

ResultT = TypeVar("ResultT")
Clock: TypeAlias = Callable[[], float]
NUM_TIMING_STEPS = 10  # of the fit
CALIBRATION_PASSES = 2  # one for the thresholds, one for the confidence
FORWARD_SHARE = 1 / 3  # of an optimiser step of the energy heads
FIT_SECONDS_PER_STEP = 0.002  # in `project_finalization`: four small energy heads; the fit often ends earlier
ANALYSIS_SHARE = 0.5  # time for thresholds, certificates and confidence, relative to the unrolls that they analyse


def estimate_finalization(config: RunConfig, task: Task, clock: Clock) -> float:
    """Return the seconds that finalizing a run takes; the fit of the energy head may end earlier.

    Args:
        config: Settings of the run.
        task: Its task.
        clock: Returns the present time in seconds.
    """
    model = build_model(config.build_model_config(task), task.get_spec().in_features, config.train.seed).eval()
    calibration, seconds_to_draw = measure(
        clock, lambda: build_split_batches(task, CALIBRATION, config.finalize.eval_samples)
    )
    num_calibration = sum(len(batch.inputs) for batch in calibration)
    batch = calibration[0]
    _, batch_seconds = measure(clock, lambda: evaluate_curves(model, task.decoder, [batch]))
    seconds_per_sample = batch_seconds / len(batch.inputs)
    num_samples = float(CALIBRATION_PASSES * num_calibration + NUM_LAYOUT_SAMPLES)
    num_draws = 1.0 + CALIBRATION_PASSES / 2  # in sets of the size of the calibration split
    for split in (VALIDATION, *(name_part(split, CALIBRATION) for split in task.halting_splits), *task.reported_splits):
        ratio = get_size_ratio(task, split, num_calibration)
        num_samples += ratio * num_calibration
        num_draws += ratio
    seconds = num_samples * seconds_per_sample * (1 + ANALYSIS_SHARE) + num_draws * seconds_to_draw
    if config.loss.energy_kind != "none" and config.finalize.fit_samples:
        is_finite = task.load_full_split(CALIBRATION) is not None
        num_drawn = num_calibration if is_finite else config.finalize.eval_samples  # before repeats are removed
        share = min(1.0, num_calibration / num_drawn)
        seconds += sum(count_fitting_draws(task, config.finalize.fit_samples).values()) * seconds_to_draw / num_drawn
        seconds += estimate_energy_fit(config, task, model, batch, share, clock)
    return seconds


def project_finalization(config: RunConfig, task: Task, evaluation_seconds: float) -> float:
    """Return the seconds that finalizing a run takes, from the time of an evaluation in the training; nothing is measured.

    Args:
        config: Settings of the run.
        task: Its task.
        evaluation_seconds: Time of one evaluation.
    """
    # Calibration, validation and halting splits choose the thresholds.
    num_splits = len(task.reported_splits) + len(task.halting_splits) + 2
    num_samples = num_splits * config.finalize.eval_samples
    fit_seconds = 0.0
    if config.loss.energy_kind != "none" and config.finalize.fit_samples:
        num_samples += sum(count_fitting_draws(task, config.finalize.fit_samples).values())
        fit_seconds = config.finalize.fit_steps * FIT_SECONDS_PER_STEP
    return num_samples * evaluation_seconds / config.train.eval_samples + fit_seconds


def get_size_ratio(task: Task, split: str, num_calibration: int) -> float:
    """Return the number of samples of a split, relative to the calibration split."""
    samples = task.load_full_split(split)
    if samples is not None:
        return len(samples.inputs) / max(1, num_calibration)
    return SPLIT_PERCENT.get(split, SPLIT_PERCENT[CALIBRATION]) / SPLIT_PERCENT[CALIBRATION]


def estimate_energy_fit(
    config: RunConfig, task: Task, model: TickModel, batch: Batch, share: float, clock: Clock
) -> float:
    """Return the seconds to fit the energy head: features of all samples, then all steps with their evaluations.

    Args:
        config: Settings of the run.
        task: Its task.
        model: A model of the run, on the CPU.
        batch: Held-out samples.
        share: Share of the drawn samples that remain after repeats are removed.
        clock: Returns the present time in seconds.
    """
    settings, loss = config.finalize, config.loss
    dataset, seconds_to_collect = measure(clock, lambda: collect_energy_features(model, task.decoder, [batch]))
    assert loss.energy_kind != "none"
    kind, head = loss.energy_kind, copy.deepcopy(model.energy_proj)
    _, fit_seconds = measure(
        clock,
        lambda: fit_energy_head(head, dataset, kind, loss.energy_loss_params, NUM_TIMING_STEPS, config.train.seed),
    )
    num_batches = share * sum(count_fitting_draws(task, config.finalize.fit_samples).values()) / len(batch.inputs)
    seconds_per_step = fit_seconds / NUM_TIMING_STEPS
    seconds_per_evaluation = num_batches * seconds_per_step * FORWARD_SHARE
    return num_batches * seconds_to_collect + settings.fit_steps * (
        seconds_per_step + seconds_per_evaluation / EVAL_INTERVAL_STEPS
    )


def measure(clock: Clock, function: Callable[[], ResultT]) -> tuple[ResultT, float]:
    """Call a function; return its result and the seconds that it took."""
    started_at = clock()
    result = function()
    return result, clock() - started_at
