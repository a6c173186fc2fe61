"""Time that halting saves, beside the ticks that it saves.

Measured as CPU time of one thread, so that other processes on the computer do not count.
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

BATCH_SIZES = ((1, 1), (32, 32), (256, 256), (2048, 256))  # rows, slots
NUM_ROUNDS = 21
NUM_STREAM_ROUNDS = 5  # rounds with more rows than slots


def measure_time_savings(frozen_model: FrozenModel, head: EnergyHead, threshold: float) -> list[dict[str, Any]]:
    """Measure what an energy threshold saves against a full unroll, for each batch size and for more rows than slots."""
    model, task = frozen_model.load_model_and_task()
    model.energy_proj = head.module
    results = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for rows, slots in BATCH_SIZES:
            inputs = task.sample(TEST, rows, make_generator("clock", rows)).inputs
            rounds = NUM_ROUNDS if rows == slots else NUM_STREAM_ROUNDS
            savings = measure_halting_savings(model, inputs, EnergyBelow(threshold), slots, rounds)
            results.append({"rows": rows, "seats": slots, **savings})
    finally:
        torch.set_num_threads(threads)
    return results


@torch.inference_mode()
def measure_halting_savings(model: TickModel, inputs: Tensor, policy: HaltingPolicy, slots: int, repeats: int) -> dict:
    """Return the shares of ticks and of time that halting saves, with and without the time of the encoder.

    Medians of interleaved rounds; at most `slots` rows run at the same time.
    """
    engine = Engine(model, policy, max_batch_slots=slots)
    encoder = Stopwatch(model.encode)
    model.encode = encoder
    jobs = {"full": lambda: [model(part) for part in inputs.split(slots)], "halted": lambda: engine.run(inputs)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for kind, job in jobs.items():
            encoder.seconds = 0.0
            start = time.process_time()
            output = job()
            total = time.process_time() - start
            if repeat:  # the first round warms up
                seconds[kind].append((total, total - encoder.seconds))
    model.encode = encoder.function
    total_seconds, tick_seconds = (
        {kind: statistics.median(pair[index] for pair in seconds[kind]) for kind in jobs} for index in (0, 1)
    )
    return {
        "policy": str(policy),
        "seconds": total_seconds,
        "seconds_ticking": tick_seconds,
        "ticks_saved": 1 - output.ticks.double().mean().item() / model.config.iterations,
        "time_saved": 1 - total_seconds["halted"] / total_seconds["full"],
        "time_saved_without_backbone": 1 - tick_seconds["halted"] / tick_seconds["full"],
    }


class Stopwatch:
    """Callable that adds up the CPU time of its calls, in seconds."""

    def __init__(self, function: Callable):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args):
        """Call the function and add its CPU time."""
        start = time.process_time()
        output = self.function(*args)
        self.seconds += time.process_time() - start
        return output
