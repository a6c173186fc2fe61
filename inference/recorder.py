"""Remembering a thought for the screen, bounded in memory.

A recorder is handed to `Engine.run(inputs, watch=recorder)`. It owns the conversion to NumPy; where a machine has more
neurons, synchronised pairs or places than fit its budget, it keeps an even selection and says so.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from inference.engine import TickEvent

CHANNELS = ("pre_activations", "post_activations", "sync_out", "sync_action", "attention")


@dataclass(frozen=True)
class TickSnapshot:
    """One tick of a batch as arrays, rows first: made once, however many rows are recorded."""

    rows: dict[int, int]  # number of a row -> where it is in the arrays
    logits: np.ndarray  # (A, P, C)
    certainty: np.ndarray  # (A, P)
    energy: np.ndarray | None  # (A,)
    channels: dict[str, np.ndarray]  # what the machine has of them, (A, ...)
    attention_map_shape: tuple[int, ...]

    @classmethod
    def from_event(cls, tick: TickEvent) -> "TickSnapshot":
        output, seats = tick.output, tick.slots.cpu().numpy()
        wide = {name: getattr(tick.state, name, None) for name in CHANNELS}
        return cls(
            rows={row: index for index, row in enumerate(tick.rows.tolist())},
            logits=to_numpy(output.answer.unflatten(1, (output.certainty.size(1), -1))),
            certainty=to_numpy(output.certainty),
            energy=None if output.energy is None else to_numpy(output.energy),
            channels={name: to_numpy(values)[seats] for name, values in wide.items() if values is not None},
            attention_map_shape=tick.attention_map_shape,
        )


@dataclass
class Recorder:
    """Everything one row said and did, tick by tick.

    Args:
        row: which row of the batch.
        ticks: most ticks that the thought can take; memory is divided by it.
        max_bytes: memory for the wide channels (activations, synchronisation, attention), in bytes.
    """

    max_ticks: int
    row: int = 0
    max_bytes: int = 16 * 2**20
    logits: list[np.ndarray] = field(default_factory=list)  # (P, C) a tick
    certainty: list[np.ndarray] = field(default_factory=list)  # (P,)
    energy: list[float] = field(default_factory=list)
    channels: dict[str, list[np.ndarray]] = field(default_factory=dict)
    channel_indices: dict[str, np.ndarray] = field(default_factory=dict)  # channel -> which of its entries are kept
    attention_map_shape: tuple[int, ...] = ()  # shape of the map that attention looks at

    def __call__(self, tick: TickEvent) -> None:
        self.record(TickSnapshot.from_event(tick))

    def record(self, snapshot: TickSnapshot) -> None:
        """Keep what this row says and does, if it still thinks."""
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

    def get_channel(self, name: str) -> np.ndarray | None:
        """A channel with ticks first, or None if the machine has none."""
        return np.stack(self.channels[name]) if name in self.channels else None

    def _record_channel(self, name: str, values: np.ndarray) -> None:
        """Keep an even selection of the last axis that fits this channel's share of the memory."""
        if name not in self.channel_indices:
            room = self.max_bytes // len(CHANNELS) // self.max_ticks // max(1, values[..., 0].size * values.itemsize)
            count = values.shape[-1]
            # Attention is kept whole or not at all: a map with holes would mislead.
            most = count if count <= room else 0 if name == "attention" else max(1, room)
            self.channel_indices[name] = np.linspace(0, count - 1, most).round().astype(int)
        if len(self.channel_indices[name]):
            self.channels.setdefault(name, []).append(values[..., self.channel_indices[name]])


def to_numpy(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float32).numpy()
