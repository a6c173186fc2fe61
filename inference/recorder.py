"""Recording of a run for the user interface, bounded in memory.

Pass a recorder to `Engine.run(inputs, on_tick=recorder)`. It converts tensors to NumPy. If a model has more neurons,
synchronisation pairs or attended positions than fit the budget, the recorder keeps an evenly spaced selection, whose
indices it records in `Recorder.channel_indices`.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ctm.models.base import STATE_CHANNELS
from ctm.modules.readout import compute_answer_signals
from inference.engine import TickEvent
from inference.tick_history import TickHistory


@dataclass(frozen=True)
class TickSnapshot:
    """One tick of a batch as arrays, rows first. It is converted once, however many rows are recorded.

    Attributes:
        rows: Input row index -> index in the arrays.
        logits: Logits, shape (A, P, C).
        certainty: Certainty of every position, shape (A, P).
        energy: Energy, shape (A,); None without an energy head.
        channels: Channels of the model state (see `ModelState.get_channels`), each of shape (A, ...).
        attention_map_shape: Shape of the positions that attention covers.
    """

    rows: dict[int, int]
    logits: np.ndarray
    certainty: np.ndarray
    energy: np.ndarray | None
    channels: dict[str, np.ndarray]
    attention_map_shape: tuple[int, ...]

    @classmethod
    def from_event(cls, tick: TickEvent) -> "TickSnapshot":
        """Convert one tick to arrays."""
        output = tick.output
        slots = tick.slots.cpu().numpy()
        return cls(
            rows={row: index for index, row in enumerate(tick.rows.tolist())},
            logits=to_numpy(output.answer.unflatten(1, (output.certainty.size(1), -1))),
            certainty=to_numpy(output.certainty),
            energy=None if output.energy is None else to_numpy(output.energy),
            channels={name: to_numpy(values)[slots] for name, values in tick.state.get_channels().items()},
            attention_map_shape=tick.attention_map_shape,
        )


@dataclass
class Recorder:
    """Outputs and states of one row at every tick.

    Attributes:
        max_ticks: Maximum number of ticks of the row; the memory is divided by it.
        row: Input row index.
        max_bytes: Memory for the wide channels (activations, synchronisation, attention), in bytes.
        logits: One array of shape (P, C) per tick.
        certainty: One array of shape (P,) per tick.
        energy: One number per tick; empty without an energy head.
        channels: Channel -> one array per tick.
        channel_indices: Channel -> indices of the recorded entries of its last axis.
        attention_map_shape: Shape of the positions that attention covers.
    """

    max_ticks: int
    row: int = 0
    max_bytes: int = 16 * 2**20
    logits: list[np.ndarray] = field(default_factory=list)
    certainty: list[np.ndarray] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    channels: dict[str, list[np.ndarray]] = field(default_factory=dict)
    channel_indices: dict[str, np.ndarray] = field(default_factory=dict)
    attention_map_shape: tuple[int, ...] = ()

    def __call__(self, tick: TickEvent) -> None:
        """Record one tick."""
        self.record(TickSnapshot.from_event(tick))

    def record(self, snapshot: TickSnapshot) -> None:
        """Record the row of this recorder, if it has not halted before."""
        index = snapshot.rows.get(self.row)
        if index is None:
            return
        self.attention_map_shape = snapshot.attention_map_shape
        self.logits.append(snapshot.logits[index])
        self.certainty.append(snapshot.certainty[index])
        if snapshot.energy is not None:
            self.energy.append(float(snapshot.energy[index]))
        for name, values in snapshot.channels.items():
            self._record_channel(name, values[index])

    def copy_first(self, num_ticks: int) -> "Recorder":
        """Return a recorder of the first ticks. Another thread may record further ticks meanwhile.

        Args:
            num_ticks: Number of ticks, at least 1; all of them must be recorded completely.
        """
        return replace(
            self,
            logits=self.logits[:num_ticks],
            certainty=self.certainty[:num_ticks],
            energy=self.energy[:num_ticks],
            channels={name: values[:num_ticks] for name, values in self.channels.items()},
            channel_indices=dict(self.channel_indices),
        )

    def build_history(self, signals: frozenset[str] = frozenset()) -> TickHistory:
        """Return the recorded ticks as the history of a batch of one row, as a halting policy reads it.

        Args:
            signals: Names of further scores to compute, of `ctm.modules.readout.ANSWER_SIGNALS`.
        """
        logits = torch.from_numpy(np.stack(self.logits))  # (t, P, C)
        answer = logits.flatten(1)
        previous_answer = torch.cat((answer[:1], answer[:-1]))
        values_by_signal = compute_answer_signals(signals, answer, previous_answer, logits.size(1))
        if "change" in values_by_signal:
            values_by_signal["change"][0] = torch.inf  # there is no tick before the first
        return TickHistory(
            certainty=torch.from_numpy(np.stack(self.certainty)).unsqueeze(0),
            choices=logits.argmax(2).unsqueeze(0),
            energy=torch.tensor([self.energy]) if self.energy else None,
            signals={name: values.unsqueeze(0) for name, values in values_by_signal.items()},
        )

    def get_channel(self, name: str) -> np.ndarray | None:
        """Return a channel with ticks first, or None if the model does not have it."""
        return np.stack(self.channels[name]) if name in self.channels else None

    def _record_channel(self, name: str, values: np.ndarray) -> None:
        """Record an evenly spaced selection of the last axis that fits the memory of this channel."""
        if name not in self.channel_indices:
            max_bytes_per_tick = self.max_bytes // len(STATE_CHANNELS) // self.max_ticks
            max_count = max_bytes_per_tick // max(1, values[..., 0].size * values.itemsize)
            count = values.shape[-1]
            # Attention is recorded completely or not at all: a map with gaps would mislead.
            num_recorded = count if count <= max_count else 0 if name == "attention" else max(1, max_count)
            self.channel_indices[name] = np.linspace(0, count - 1, num_recorded).round().astype(int)
        if len(self.channel_indices[name]):
            self.channels.setdefault(name, []).append(values[..., self.channel_indices[name]])


def to_numpy(values: Tensor) -> np.ndarray:
    """Convert a tensor to a float32 array on the CPU."""
    return values.detach().to("cpu", torch.float32).numpy()
