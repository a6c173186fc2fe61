"""Cost of a training: processor time and floating-point operations.

Both say more about a training than the minutes that it took, which depend on what else ran on the computer.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ctm import build_model
from ctm.config import SCHEDULED_BACKBONE, get_backbone_type
from training.config import RunConfig
from training.flops import count_flops
from training.loss import build_probes, compute_loss
from training.tasks.samples import Batch
from training.weight_transfer import freeze_parameters


@dataclass(frozen=True)
class BatchKind:
    """What determines the operations of a training batch, and where to find such a batch again.

    Attributes:
        stage: Number of the stage, from 1.
        shape: Shape of the inputs.
        has_auxiliary_loss: Whether the auxiliary losses were computed.
        rank: Rank of the process that trained on it.
        num_processes: Number of processes.
    """

    stage: int
    shape: tuple[int, ...]
    has_auxiliary_loss: bool
    rank: int
    num_processes: int


@dataclass(frozen=True)
class BatchCount:
    """Batches of one kind.

    Attributes:
        index: Index of the first one in the batches of its stage and process.
        count: Number of batches.
    """

    index: int
    count: int


class TrainingCost:
    """Processor time of one process of a run, and its batches by kind, over all stages and resumptions.

    Processor time includes the evaluations during the training.
    """

    def __init__(self) -> None:
        """Start at zero, with the processor time from now on."""
        self._seconds: float | None = 0.0
        self._batches: dict[BatchKind, BatchCount] | None = {}
        self._start_s = time.process_time()

    def add_batch(self, kind: BatchKind, index: int) -> None:
        """Count one batch.

        Args:
            kind: Its kind.
            index: Its index in the batches of its stage and process.
        """
        if self._batches is not None:
            previous = self._batches.get(kind, BatchCount(index, 0))
            self._batches[kind] = replace(previous, count=previous.count + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures up to now as plain data; None for a figure that is not known."""
        seconds = None if self._seconds is None else self._seconds + time.process_time() - self._start_s
        if self._batches is None:
            return {"processor_seconds": seconds, "batches": None}
        batches = [vars(kind) | vars(count) | {"shape": list(kind.shape)} for kind, count in self._batches.items()]
        return {"processor_seconds": seconds, "batches": batches}

    def restore(self, costs: Sequence[dict[str, Any]] | None, rank: int) -> None:
        """Continue from saved figures.

        Args:
            costs: Figures of each process; None if they were not recorded, so that the totals stay unknown.
            rank: Rank of this process; that of rank 0 continues the sums over all processes.
        """
        self._start_s = time.process_time()
        self._seconds, self._batches = 0.0, {}
        if costs is None:
            self._seconds = self._batches = None
        elif rank == 0:
            self._seconds = sum_processor_seconds(costs)
            self._batches = read_batches(costs)


def sum_processor_seconds(costs: Iterable[dict[str, Any]]) -> float | None:
    """Return the processor time of all processes in seconds; None if that of one is not known."""
    seconds = [cost["processor_seconds"] for cost in costs]
    return None if None in seconds else sum(seconds)


def read_batches(costs: Iterable[dict[str, Any]]) -> dict[BatchKind, BatchCount] | None:
    """Return the batches of all processes by kind; None if those of one are not known."""
    batches: dict[BatchKind, BatchCount] = {}
    for cost in costs:
        if cost["batches"] is None:
            return None
        for values in cost["batches"]:
            own = {name: values[name] for name in BatchKind.__dataclass_fields__}
            kind = BatchKind(**own | {"shape": tuple(values["shape"])})
            count = values["count"] + (batches[kind].count if kind in batches else 0)
            batches[kind] = BatchCount(values["index"], count)
    return batches


def measure_training_cost(config: RunConfig, costs: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """Return the cost of a run for `metrics.json`: `processor_seconds` and `flops`, those that are known.

    The operations are matrix products, convolutions and attention, forward and backward, two for each multiply-add. They are
    counted once for each kind of batch, on a batch that the run was trained on, and multiplied by the number of batches. That is
    exact, except for models whose ticks depend on the content of the input: their operations are left out.

    Args:
        config: Settings of the run.
        costs: Figures of each process, from the last saved step; None if they were not recorded.
    """
    if costs is None:
        return {}
    seconds, batches = sum_processor_seconds(costs), read_batches(costs)
    flops = None
    if batches is not None and not any(has_scheduled_ticks(config.stage_configs[kind.stage - 1]) for kind in batches):
        flops = sum(count_batch_flops(config, kind, count.index) * count.count for kind, count in batches.items())
    return {name: value for name, value in {"processor_seconds": seconds, "flops": flops}.items() if value is not None}


def has_scheduled_ticks(config: RunConfig) -> bool:
    """Return whether the ticks of a model, and so its operations, depend on the content of the input.

    Args:
        config: Settings of one stage.
    """
    return get_backbone_type(config.build_model_config(config.make_task()).to_dict()) == SCHEDULED_BACKBONE


def count_batch_flops(config: RunConfig, kind: BatchKind, index: int) -> int:
    """Count the floating-point operations of one training batch, forward and backward.

    Args:
        config: Settings of the run.
        kind: Kind of the batch.
        index: Its index in the batches of its stage and process.
    """
    stage = config.stage_configs[kind.stage - 1]
    task = stage.make_task()
    batch: Batch = next(
        task.iterate_batches(kind.shape[0], stage.train.seed, kind.rank, kind.num_processes, start=index)
    )
    uses_cuda = torch.cuda.is_available() and stage.train.device != "cpu"
    device = torch.device("cuda" if uses_cuda else "cpu")
    with torch.random.fork_rng():
        model = build_model(stage.build_model_config(task), task.get_spec().in_features).to(device).train()
        freeze_parameters(model, stage.train.freeze)
        probes = build_probes(stage, task)
        probes = probes if probes is None else probes.to(device)
        progress = 0.0 if kind.has_auxiliary_loss else 1.0

        def run() -> None:
            compute_loss(stage.loss, task, model, batch, device, progress, probes)[0].backward()

        return count_flops(run)


def format_processor_time(seconds: int | float | None) -> str:
    """Format processor time in hours, minutes or seconds; a dash if it is not known."""
    if seconds is None:
        return "-"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def format_flops(flops: int | float | None) -> str:
    """Format floating-point operations with a unit that fits; a dash if they are not known."""
    if flops is None:
        return "-"
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if flops >= size:
            return f"{flops / size:,.3g} {unit}"
    return f"{flops / 1e6:,.3g} MFLOP"
