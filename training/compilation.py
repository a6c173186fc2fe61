"""Compile the ticks of a model for training (`train.compile`)."""

import torch

from ctm import TickModel
from training.console import write_line


def compile_model(model: TickModel, device: torch.device) -> bool:
    """Compile the transition of a model in place, or print one sentence if this computer cannot compile.

    Args:
        model: The model.
        device: Device that it trains on.

    Returns:
        Whether the model is compiled.
    """
    problem = find_compiler_problem(device)
    if problem:
        write_line(f"train.compile has no effect, the model runs uncompiled: torch.compile failed with {problem}")
        return False
    model.compile_transition()
    return True


def find_compiler_problem(device: torch.device) -> str:
    """Compile a small function for a device; return the first line of the error, or an empty text."""
    torch.compiler.reset()
    try:
        torch.compile(lambda values: values.sin() + 1)(torch.zeros(2, device=device))
    except (RuntimeError, ImportError, OSError) as error:  # no C++ compiler, no Triton, or an unknown platform
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
    return ""
