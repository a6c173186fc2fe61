"""Thinking that stops at the right moment. Knows no task and no screen."""

from inference.engine import Engine, Tick, Verdict
from inference.history import History
from inference.parsing import parse
from inference.policies import Policy
from inference.recorder import Recorder

__all__ = ["Engine", "History", "Policy", "Recorder", "Tick", "Verdict", "parse"]
