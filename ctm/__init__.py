"""The Continuous Thought Machine, and baselines to compare it with: torch only, no task, no screen."""

from ctm.config import CTMConfig, read_config
from ctm.machine import ContinuousThoughtMachine, Features, State
from ctm.thinker import Thinker
from ctm.thinkers import count_parameters, make
from ctm.types import Output, Thought

__all__ = [
    "CTMConfig", "ContinuousThoughtMachine", "Features", "Output", "State", "Thinker", "Thought", "count_parameters",
    "make", "read_config",
]  # fmt: skip
