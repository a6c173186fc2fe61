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

BATCH_SIZES = ((1, 1), (16, 16), (32, 32), (256, 256), (2048, 256))  # rows, slots
NUM_ROUNDS = 21
NUM_STREAM_ROUNDS = 5  # rounds with more rows than slots


def measure_time_savings(frozen_model: FrozenModel, head: EnergyHead, threshold: float) -> list[dict[str, Any]]:
    """Measure what an energy threshold saves against a full unroll, for each batch size and for more rows than slots."""
    model, task = frozen_model.load_model_and_task()
    model.energy_proj = head.module
    results = []
    previous_num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for num_rows, num_slots in BATCH_SIZES:
            inputs = task.sample(TEST, num_rows, make_generator("clock", num_rows)).inputs
            num_rounds = NUM_ROUNDS if num_rows == num_slots else NUM_STREAM_ROUNDS
            savings = measure_halting_savings(model, inputs, EnergyBelow(threshold), num_slots, num_rounds)
            results.append({"rows": num_rows, "slots": num_slots, **savings})
    finally:
        torch.set_num_threads(previous_num_threads)
    return results


@torch.inference_mode()
def measure_halting_savings(
    model: TickModel, inputs: Tensor, policy: HaltingPolicy, num_slots: int, num_rounds: int
) -> dict[str, Any]:
    """Return the shares of ticks and of time that halting saves, with and without the time of the encoder.

    Times are medians over interleaved rounds.

    Args:
        model: the model; its encoder is replaced during the measurement.
        inputs: the rows.
        policy: the halting policy.
        num_slots: rows that run at the same time, at most.
        num_rounds: rounds of a full unroll and a run with halting, after one that warms up.
    """
    engine = Engine(model, policy, max_batch_slots=num_slots)
    encoder = CallTimer(model.encode)
    model.encode = encoder  # type: ignore[assignment, method-assign]  # counts the time of the encoder inside both runs
    runs: dict[str, Callable[[], Any]] = {
        "full": lambda: [model(part) for part in inputs.split(num_slots)],
        "halted": lambda: engine.run(inputs),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for round_index in range(num_rounds + 1):
        for name, run in runs.items():
            encoder.seconds = 0.0
            start_time = time.process_time()
            output = run()
            total_seconds = time.process_time() - start_time
            if round_index:  # the first round warms up
                seconds[name].append((total_seconds, total_seconds - encoder.seconds))
    model.encode = encoder.function  # type: ignore[assignment, method-assign]  # as before
    median_seconds, median_tick_seconds = (
        {name: statistics.median(pair[index] for pair in pairs) for name, pairs in seconds.items()} for index in (0, 1)
    )
    return {
        "policy": str(policy),
        "seconds": median_seconds,
        "seconds_ticking": median_tick_seconds,
        "ticks_saved": 1 - output.ticks.double().mean().item() / model.config.iterations,
        "time_saved": 1 - median_seconds["halted"] / median_seconds["full"],
        "time_saved_without_backbone": 1 - median_tick_seconds["halted"] / median_tick_seconds["full"],
    }


class CallTimer:
    """Callable that adds up the CPU time of its calls.

    Attributes:
        function: the function that it calls.
        seconds: CPU time of all calls, in seconds.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:
        """Call the function and add its CPU time."""
        start_time = time.process_time()
        output = self.function(*args)
        self.seconds += time.process_time() - start_time
        return output
