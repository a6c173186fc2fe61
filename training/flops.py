"""Count floating-point operations: matrix products, convolutions and attention, two for each multiply-add."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ctm.models.base import TickModel


def count_flops(run: Callable[[], object]) -> int:
    """Return the floating-point operations of a call, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@torch.inference_mode()
def count_prediction_flops(model: TickModel, inputs: Tensor) -> int:
    """Return the floating-point operations of one prediction with all ticks.

    Args:
        model: The model.
        inputs: Its inputs, a batch.
    """
    return count_flops(lambda: model(inputs))
