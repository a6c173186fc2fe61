"""Continuous Thought Machines and the baselines they are compared with.

This package depends on torch and file formats only: no tasks, no training loop and no user interface.
"""

from ctm.config import CTMConfig, read_config
from ctm.models.base import TickModel
from ctm.models.ctm import ContinuousThoughtMachine, CTMContext, CTMState
from ctm.models.outputs import TickOutput, UnrolledOutput
from ctm.models.registry import build_model, count_parameters

make = build_model  # deprecated name, removed after version 0.2

__all__ = [
    "CTMConfig",
    "CTMContext",
    "CTMState",
    "ContinuousThoughtMachine",
    "TickModel",
    "TickOutput",
    "UnrolledOutput",
    "build_model",
    "count_parameters",
    "make",
    "read_config",
]
