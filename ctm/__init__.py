"""The Continuous Thought Machine, and baselines to compare it with: torch only, no task, no screen."""

from ctm.config import CTMConfig, read_config
from ctm.models.base import Thinker
from ctm.models.ctm import ContinuousThoughtMachine, Features, State
from ctm.models.outputs import Output, Thought
from ctm.models.registry import count_parameters, make

__all__ = [
    "CTMConfig",
    "ContinuousThoughtMachine",
    "Features",
    "Output",
    "State",
    "Thinker",
    "Thought",
    "count_parameters",
    "make",
    "read_config",
]
