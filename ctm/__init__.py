"""The Continuous Thought Machine: torch only, no task, no screen."""

from ctm.config import CTMConfig
from ctm.machine import ContinuousThoughtMachine, Features, State
from ctm.types import Output, Thought

__all__ = ["CTMConfig", "ContinuousThoughtMachine", "Features", "Output", "State", "Thought"]
