"""The time that ending thoughts early saves, beside the ticks that it saves.

It is processor time of one thread: on a machine that has other things to do, too, waiting would be measured otherwise.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.halting.frozen_models import FrozenModel
from benchmarks.halting.policies_under_test import EnergyHead
from ctm import TickModel
from inference import Engine
from inference.halting.policies import EnergyBelow, HaltingPolicy
from training.tasks.splits import TEST, make_generator

BATCH_SIZES = ((1, 1), (32, 32), (256, 256), (2048, 256))  # rows, and how many of them think at a time
NUM_ROUNDS = 21
NUM_STREAM_ROUNDS = 5  # rounds of more rows than seats


def measure_time_savings(frozen_model: FrozenModel, head: EnergyHead, threshold: float) -> list[dict[str, Any]]:
    """What halting below an energy saves beside thinking to the last tick, for a batch of each size, and for more rows."""
    machine, task = frozen_model.load_model_and_task()
    machine.energy_proj = head.module
    found, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for rows, seats in BATCH_SIZES:
            inputs = task.sample(TEST, rows, make_generator("clock", rows)).inputs
            rounds = NUM_ROUNDS if rows == seats else NUM_STREAM_ROUNDS
            saves = measure_halting_savings(machine, inputs, EnergyBelow(threshold), seats, rounds)
            found.append({"rows": rows, "seats": seats, **saves})
    finally:
        torch.set_num_threads(threads)
    return found


@torch.inference_mode()
def measure_halting_savings(model: TickModel, inputs: Tensor, policy: HaltingPolicy, slots: int, repeats: int) -> dict:
    """Shares of ticks and of time that halting saves, with and without what the backbone takes: medians of interleaved
    rounds. So many rows think at a time as there are seats."""
    engine, seeing = Engine(model, policy, max_batch_slots=slots), Stopwatch(model.encode)
    model.encode = seeing
    jobs = {"full": lambda: [model(part) for part in inputs.split(slots)], "halted": lambda: engine.run(inputs)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for kind, job in jobs.items():
            seeing.seconds, start = 0.0, time.process_time()
            made = job()
            whole = time.process_time() - start
            if repeat:  # the first round warms up
                seconds[kind].append((whole, whole - seeing.seconds))
    model.encode = seeing.function
    whole, ticking = ({kind: statistics.median(pair[at] for pair in seconds[kind]) for kind in jobs} for at in (0, 1))
    return {
        "policy": str(policy),
        "seconds": whole,
        "seconds_ticking": ticking,
        "ticks_saved": 1 - made.ticks.double().mean().item() / model.config.iterations,
        "time_saved": 1 - whole["halted"] / whole["full"],
        "time_saved_without_backbone": 1 - ticking["halted"] / ticking["full"],
    }


class Stopwatch:
    """A function that adds up how long its calls take."""

    def __init__(self, function: Callable):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args):
        start = time.process_time()
        made = self.function(*args)
        self.seconds += time.process_time() - start
        return made
