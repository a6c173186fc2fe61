"""The Continuous Thought Machine, and baselines to compare it with: torch only, no task, no screen."""

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
