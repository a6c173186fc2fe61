"""Inference with halting policies. Depends on no task and on no user interface."""

from inference.engine import Engine, EngineResult, TickEvent
from inference.halting.policies import HaltingPolicy
from inference.halting.policy_parser import parse
from inference.recorder import Recorder
from inference.tick_history import TickHistory

__all__ = ["Engine", "EngineResult", "HaltingPolicy", "Recorder", "TickEvent", "TickHistory", "parse"]
