"""Thinking that stops at the right moment. Knows no task and no screen."""

from inference.engine import Engine, Tick, Verdict
from inference.halting.policies import Policy
from inference.halting.policy_parser import parse
from inference.recorder import Recorder
from inference.tick_history import History

__all__ = ["Engine", "History", "Policy", "Recorder", "Tick", "Verdict", "parse"]
