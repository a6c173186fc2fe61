"""The time that ending thoughts early saves, beside the ticks that it saves."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.halting.rules import Head
from benchmarks.halting.trunks import Trunk
from ctm import Thinker
from ctm.checkpoint import load
from inference import Engine
from inference.policies import EnergyBelow
from training.fitting import with_energy_head
from training.tasks.base import TEST, generator_for

BATCHES = (1, 32, 256)
ROUNDS = 21


def time_saved(trunk: Trunk, head: Head, threshold: float) -> list[dict[str, Any]]:
    """What halting below an energy saves beside thinking to the last tick: medians of interleaved rounds."""
    machine, task = with_energy_head(load(trunk.folder).machine, anew=True), trunk.task
    machine.energy_proj = head.net
    found = []
    for size in BATCHES:
        inputs = task.draw(TEST, size, generator_for("clock", size)).inputs
        found.append({"batch": size, **halting_saves(machine, inputs, EnergyBelow(threshold))})
    return found


@torch.inference_mode()
def halting_saves(machine: Thinker, inputs: torch.Tensor, policy: EnergyBelow) -> dict[str, Any]:
    """Shares of ticks and of time that halting saves a batch, with and without what the backbone takes."""
    engine, seeing = Engine(machine, policy), Stopwatch(machine.encode)
    machine.encode = seeing
    jobs: dict[str, Callable] = {"full": lambda: machine(inputs), "halted": lambda: engine.run(inputs)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for turn in range(ROUNDS + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            made = job()
            whole = time.perf_counter() - start
            if turn:  # the first round warms up
                seconds[name].append((whole, whole - seeing.seconds))
    whole, ticking = ({name: statistics.median(pair[at] for pair in seconds[name]) for name in jobs} for at in (0, 1))
    return {
        "policy": str(policy), "seconds": whole, "seconds_ticking": ticking,
        "ticks_saved": 1 - made.ticks.double().mean().item() / machine.config.iterations,
        "time_saved": 1 - whole["halted"] / whole["full"],
        "time_saved_without_backbone": 1 - ticking["halted"] / ticking["full"],
    }  # fmt: skip


class Stopwatch:
    """A function that notes how long its last call took."""

    def __init__(self, function: Callable):
        self.function, self.seconds = function, 0.0

    def __call__(self, *given):
        start = time.perf_counter()
        made = self.function(*given)
        self.seconds = time.perf_counter() - start
        return made
