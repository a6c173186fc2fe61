"""Continuous Thought Machines and the baselines they are compared with.

This package depends on torch and file formats only: no tasks, no training loop and no user interface.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ctm.config import CTMConfig, read_config
from ctm.models.base import TickModel
from ctm.models.baselines import FFBaseline, LSTMBaseline
from ctm.models.ctm import ContinuousThoughtMachine, CTMContext, CTMState
from ctm.models.outputs import TickOutput, UnrolledOutput
from ctm.models.registry import build_model, count_parameters

if TYPE_CHECKING:
    from ctm.pretrained import load_pretrained

make = build_model  # deprecated name, removed after version 0.2

__all__ = [
    "CTMConfig",
    "CTMContext",
    "CTMState",
    "ContinuousThoughtMachine",
    "FFBaseline",
    "LSTMBaseline",
    "TickModel",
    "TickOutput",
    "UnrolledOutput",
    "build_model",
    "count_parameters",
    "load_pretrained",
    "make",
    "read_config",
]

# Imported when they are first used: the Hub client takes a second to import, and `pipeline` needs packages above this one,
# which `ctm` must not import.
_LATE_MODULES = {"load_pretrained": "ctm.pretrained", "pipeline": "training.pipeline"}


def __getattr__(name: str) -> Any:
    """Return `load_pretrained` or `pipeline`, whose modules are imported late."""
    if name not in _LATE_MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE_MODULES[name]), name)
