"""Layout of the neurons of a model, from unrolls of calibration samples."""

from typing import Any

import numpy as np
import torch

from ctm import TickModel
from ctm.models.ctm import ContinuousThoughtMachine
from ctm.neuron_layout import MAX_LAYOUT_NEURONS, compute_layout
from training.evaluation import build_split_batches
from training.tasks import Task
from training.tasks.splits import CALIBRATION

NUM_LAYOUT_SAMPLES = 256
MAX_COLUMNS = 20_000  # activations per neuron: more would not change the picture


def compute_checkpoint_layout(model: TickModel, task: Task) -> dict[str, Any]:
    """Compute the layout of the neurons of a model.

    Args:
        model: The model, in eval mode.
        task: Its task.

    Returns:
        Content of layout.json; {} for a model of another kind, or with more than `MAX_LAYOUT_NEURONS` neurons.
    """
    if not isinstance(model, ContinuousThoughtMachine) or model.config.d_model > MAX_LAYOUT_NEURONS:
        return {}
    inputs = build_split_batches(task, CALIBRATION, NUM_LAYOUT_SAMPLES)[0].inputs[:NUM_LAYOUT_SAMPLES]
    layout = compute_layout(record_activations(model, inputs))
    return layout.to_dict() | {"split": CALIBRATION, "n": len(inputs)}


@torch.inference_mode()
def record_activations(model: ContinuousThoughtMachine, inputs: torch.Tensor) -> np.ndarray:
    """Run all ticks and return the activations of every neuron, shape (D, N), N at most `MAX_COLUMNS`.

    Args:
        model: The model.
        inputs: Inputs, rows first.
    """
    encoded = model.encode(inputs)
    state = model.initial_state(encoded)
    columns = []
    for _ in range(encoded.ticks):
        state, _ = model.tick(state, encoded)
        columns.append(state.activations.cpu())
    activations = torch.cat(columns, 1).float().numpy()
    stride = -(-activations.shape[1] // MAX_COLUMNS)
    return activations[:, ::stride]
