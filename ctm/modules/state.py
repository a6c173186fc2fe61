"""Recurrent state of a model, and operations on its batch rows.

Axis letters, used in all shape annotations of `ctm`:
B batch rows, T ticks, D neurons, M ticks of pre-activation history, S neuron pairs, K answer logits (K = P * C),
P positions of a structured answer, C classes, H attention heads, N input positions, d width of an observation.

State tensors are neuron-major: neurons first, batch last. The history of a neuron is then one contiguous block, and
selecting neuron pairs moves whole rows, which makes a tick fast. Outputs (`TickOutput`, `UnrolledOutput`) are batch-first.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def compact_rows_(target: Tensor, source: Tensor, rows: Int[Tensor, " A"], dim: int) -> None:
    """Bring the rows of a source along `dim` to the first places, where all but a few are already."""
    moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero().squeeze(1)
    target.index_copy_(dim, moved, source.index_select(dim, rows[moved]))


@dataclass(frozen=True)
class PreActivationHistory:
    """The last M pre-activations of every neuron: a window that slides over a longer buffer.

    Pushing writes one column behind the window instead of copying the window. `written` is shared by all traces over one
    buffer and says how far it is filled, so a trace that is pushed twice does not overwrite its own future: it copies.
    """

    buffer: Float[Tensor, "D capacity B"]
    end: int
    length: int
    shared_end: list[int]

    @property
    def window(self) -> Float[Tensor, "D M B"]:
        """The remembered pre-activations, oldest first."""
        return self.buffer[:, self.end - self.length : self.end]

    @property
    def latest(self) -> Float[Tensor, "D B"]:
        return self.buffer[:, self.end - 1]

    @classmethod
    def from_window(cls, window: Float[Tensor, "D M B"], reserve_ticks: int) -> "PreActivationHistory":
        """A trace that starts with `window` and has room for so many more ticks."""
        neurons, length, batch = window.shape
        buffer = window.new_empty(neurons, length + reserve_ticks, batch)
        buffer[:, :length] = window
        return cls(buffer, length, length, [length])

    def append(self, values: Float[Tensor, "B D"]) -> "PreActivationHistory":
        """The trace one tick later."""
        if torch.is_grad_enabled():  # autograd may still need the old window: never write into it
            window = torch.cat((self.window[:, 1:], values.T.unsqueeze(1)), 1)
            return PreActivationHistory(window, self.length, self.length, [self.length])
        if self.end == self.buffer.size(1) or self.shared_end[0] != self.end:
            return PreActivationHistory.from_window(self.window, reserve_ticks=max(8, self.length)).append(values)
        self.buffer[:, self.end] = values.T
        self.shared_end[0] = self.end + 1
        return PreActivationHistory(self.buffer, self.end + 1, self.length, self.shared_end)

    def select_rows(self, rows: Int[Tensor, " A"], reserve_ticks: int) -> "PreActivationHistory":
        """The same for some batch rows only. Rows that keep their place are copied as blocks, which is far faster."""
        taken = PreActivationHistory.from_window(self.window[:, :, : len(rows)], reserve_ticks)
        compact_rows_(taken.window, self.window, rows, 2)
        return taken

    def write_rows_(self, source: "PreActivationHistory", slots: Int[Tensor, " A"]) -> "PreActivationHistory":
        """Newcomers take these seats, in the memory of this trace, which is lost."""
        self.window.index_copy_(2, slots, source.window)
        return self


@dataclass(frozen=True)
class SyncAccumulator:
    """A running synchronisation (paper section 3.4): alpha_t = r * alpha_{t-1} + products, beta_t = r * beta_{t-1} + 1."""

    alpha: Float[Tensor, "S B"]
    beta: Float[Tensor, "S 1"] | Float[Tensor, "S B"]  # one for all rows, as long as they think equally long

    @property
    def value(self) -> Float[Tensor, "S B"]:
        return self.alpha * self.beta.clamp(min=1).rsqrt()  # beta is at least 1, but for an empty sum

    def update(self, products: Float[Tensor, "S B"], retention: Float[Tensor, "S 1"]) -> "SyncAccumulator":
        return SyncAccumulator(torch.addcmul(products, retention, self.alpha), retention * self.beta + 1)

    def select_rows(self, rows: Int[Tensor, " A"]) -> "SyncAccumulator":
        beta = self.beta if self.beta.size(1) == 1 else self.beta.index_select(1, rows)
        return SyncAccumulator(self.alpha.index_select(1, rows), beta)

    def write_rows_(self, source: "SyncAccumulator", slots: Int[Tensor, " A"]) -> "SyncAccumulator":
        """Newcomers take these seats, in the memory of this sum, which is lost."""
        beta = self.beta.expand_as(self.alpha).contiguous()
        beta.index_copy_(1, slots, source.beta.expand_as(source.alpha))
        return SyncAccumulator(self.alpha.index_copy_(1, slots, source.alpha), beta)
