"""The time that ending thoughts early saves, beside the ticks that it saves."""

from typing import Any

from benchmarks.halting.rules import Head
from benchmarks.halting.trunks import Trunk
from benchmarks.tick import halting_saves
from inference.policies import EnergyBelow
from training.tasks.base import TEST, generator_for

BATCHES = (1, 32, 256)
ROUNDS = 21


def time_saved(trunk: Trunk, head: Head, threshold: float) -> list[dict[str, Any]]:
    """What halting below an energy saves beside thinking to the last tick, for each size of a batch."""
    machine, task = trunk.opened()
    machine.energy_proj = head.net
    found = []
    for size in BATCHES:
        inputs = task.draw(TEST, size, generator_for("clock", size)).inputs
        found.append({"batch": size, **halting_saves(machine, inputs, EnergyBelow(threshold), ROUNDS)})
    return found
