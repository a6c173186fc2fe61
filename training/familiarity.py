"""Familiarity of inputs: how far their features are from those of training inputs, and how much confidence they allow."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ctm import TickModel
from ctm.checkpoint import Checkpoint
from ctm.checkpoint.metadata import FamiliarityMetadata, HaltingMetadata
from inference.confidence import ConfidenceLimit, compute_confidence_limit
from training.tasks import Task
from training.tasks.samples import Batch, TaskInput
from training.tasks.splits import CALIBRATION, TRAIN, make_generator

NUM_TRAINING_INPUTS = 1_024  # whose features are the familiar ones
NUM_DIRECTIONS = 16
FAMILIAR_SHARE = 0.99  # of the calibration samples


@torch.inference_mode()
def fit_familiarity(model: TickModel, task: Task, calibration: Iterable[Batch]) -> FamiliarityMetadata | None:
    """Fit the distribution of the pooled features of training inputs, with a threshold from calibration samples.

    Args:
        model: The model, in evaluation mode.
        task: Its task.
        calibration: Calibration samples.

    Returns:
        The distribution, or None for a task whose inputs are generated.
    """
    if not task.has_natural_inputs:
        return None
    training = task.sample(TRAIN, NUM_TRAINING_INPUTS, make_generator("familiarity", TRAIN)).inputs
    features = torch.cat([model.pool_features(part) for part in training.split(256)]).double()
    held_out = torch.cat([model.pool_features(batch.inputs) for batch in calibration]).double()
    mean = features.mean(0)
    _, scales, directions = torch.linalg.svd(features - mean, full_matrices=False)
    variances = scales.square() / len(features)
    count = min(NUM_DIRECTIONS, len(variances) - 1)
    familiarity = FamiliarityMetadata(
        mean=round_all(mean),
        components=[round_all(row) for row in directions[:count]],
        variances=variances[:count].clamp(min=1e-12).tolist(),
        residual_variance=max(variances[count:].mean().item(), 1e-12),
        threshold=1.0,
        split=CALIBRATION,
        n=len(held_out),
    )
    threshold = torch.quantile(familiarity.compute_distance(held_out), FAMILIAR_SHARE).item()
    return familiarity.model_copy(update={"threshold": threshold})


@torch.inference_mode()
def compute_input_limit(checkpoint: Checkpoint, task: Task, task_input: TaskInput) -> ConfidenceLimit:
    """Return the largest confidence that an input allows a checkpoint."""
    metadata = HaltingMetadata.model_validate(checkpoint.halting)
    features = None
    if task.has_natural_inputs and metadata.familiarity is not None:
        features = checkpoint.model.pool_features(task_input.inputs)
    shift = task_input.shift
    evaluations = checkpoint.metrics.get("evaluations", [])
    accuracies = {evaluation["split"]: evaluation["accuracy_halted"] for evaluation in evaluations}
    accuracy = None if shift is None or shift.split is None else accuracies.get(shift.split)
    return compute_confidence_limit(metadata, features, shift is not None, accuracy)


def round_all(values: Tensor) -> list[float]:
    """Return numbers with six decimals."""
    return [round(value, 6) for value in values.tolist()]
