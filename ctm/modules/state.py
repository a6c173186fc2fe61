"""Recurrent state of a model, and operations on its batch rows.

Axis letters, used in all shape annotations of `ctm`:
B batch rows, T ticks, D neurons, M ticks of pre-activation history, S neuron pairs, K answer logits (K = P * C),
P positions of a structured answer, C classes, H attention heads, N input positions, d width of an observation.

State tensors are neuron-major: neurons first, batch last. The history of a neuron is then one contiguous block, and
selecting neuron pairs moves whole rows, which makes a tick fast. Outputs (`TickOutput`, `UnrolledOutput`) are batch-
first.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def compact_rows_(target: Tensor, source: Tensor, rows: Int[Tensor, " A"], dim: int) -> None:
    """Copy the selected rows of `source` to the first rows of `target`, in place.

    Rows that already have the right index are not copied. `target` and `source` may share memory.

    Args:
        target: Tensor that is written.
        source: Tensor that is read; its rows equal those of `target` where the index does not change.
        rows: Row indices in `source`.
        dim: Batch dimension of both tensors.
    """
    changed = (rows != torch.arange(len(rows), device=rows.device)).nonzero().squeeze(1)
    target.index_copy_(dim, changed, source.index_select(dim, rows[changed]))


@dataclass(frozen=True)
class PreActivationHistory:
    """Last M pre-activations of every neuron: a window that slides over a longer buffer.

    Without gradients, `append` writes one column behind the window instead of copying the window. Several histories may
    share a buffer. `shared_end` is its filled length, which all of them share: a history that is appended to a second
    time finds `shared_end != end` and copies its window, so that it does not overwrite columns of the first one.

    Attributes:
        buffer: Memory of the window and of later ticks.
        end: Index after the last column of the window.
        length: Window length M.
        shared_end: One-element list: index after the last column that any history on this buffer has written.
    """

    buffer: Float[Tensor, "D capacity B"]
    end: int
    length: int
    shared_end: list[int]

    @property
    def window(self) -> Float[Tensor, "D M B"]:
        """Pre-activations in the window, oldest first."""
        return self.buffer[:, self.end - self.length : self.end]

    @property
    def latest(self) -> Float[Tensor, "D B"]:
        """Pre-activations of the last tick."""
        return self.buffer[:, self.end - 1]

    @classmethod
    def from_window(cls, window: Float[Tensor, "D M B"], reserve_ticks: int) -> "PreActivationHistory":
        """Copy a window into a new buffer with space for `reserve_ticks` more ticks."""
        neurons, length, batch = window.shape
        buffer = window.new_empty(neurons, length + reserve_ticks, batch)
        buffer[:, :length] = window
        return cls(buffer, length, length, [length])

    def append(self, values: Float[Tensor, "B D"]) -> "PreActivationHistory":
        """Return the history one tick later."""
        if torch.is_grad_enabled():  # autograd may still need the old window
            return self.append_to_copy(values)
        if self.end == self.buffer.size(1) or self.shared_end[0] != self.end:
            return PreActivationHistory.from_window(self.window, reserve_ticks=max(8, self.length)).append(values)
        self.buffer[:, self.end] = values.T
        self.shared_end[0] = self.end + 1
        return PreActivationHistory(self.buffer, self.end + 1, self.length, self.shared_end)

    def append_to_copy(self, values: Float[Tensor, "B D"]) -> "PreActivationHistory":
        """Return the history one tick later, in new memory without space for more ticks."""
        window = torch.cat((self.window[:, 1:], values.T.unsqueeze(1)), 1)
        return type(self)(window, self.length, self.length, [self.length])

    def select_rows(self, rows: Int[Tensor, " A"], reserve_ticks: int) -> "PreActivationHistory":
        """Return a copy that holds only some batch rows, with space for `reserve_ticks` more ticks.

        Rows that keep their index are copied as one block, which is much faster than an index selection.
        """
        selected = PreActivationHistory.from_window(self.window[:, :, : len(rows)], reserve_ticks)
        compact_rows_(selected.window, self.window, rows, 2)
        return selected

    def write_rows_(self, source: "PreActivationHistory", slots: Int[Tensor, " A"]) -> "PreActivationHistory":
        """Write the rows of `source` into the slots `slots` of this window, in place."""
        self.window.index_copy_(2, slots, source.window)
        return self


@dataclass(frozen=True)
class SyncAccumulator:
    """Running sums of a synchronisation (paper section 3.4).

    alpha_t = r * alpha_{t-1} + products_t and beta_t = r * beta_{t-1} + 1, with retention r = exp(-decay).

    Attributes:
        alpha: Decayed sum of products.
        beta: Decayed number of ticks; one column while all rows have the same number of ticks, else one per row.
    """

    alpha: Float[Tensor, "S B"]
    beta: Float[Tensor, "S 1"] | Float[Tensor, "S B"]

    @property
    def value(self) -> Float[Tensor, "S B"]:
        """Synchronisation alpha / sqrt(beta)."""
        return self.alpha * self.beta.clamp(min=1).rsqrt()  # beta is at least 1, except before the first tick

    def update(self, products: Float[Tensor, "S B"], retention: Float[Tensor, "S 1"]) -> "SyncAccumulator":
        """Return the sums after one more tick.

        Args:
            products: Products of paired activations at this tick.
            retention: Fraction of the sums that is kept from one tick to the next.
        """
        return SyncAccumulator(torch.addcmul(products, retention, self.alpha), retention * self.beta + 1)

    def select_rows(self, rows: Int[Tensor, " A"]) -> "SyncAccumulator":
        """Return a copy that holds only some batch rows."""
        beta = self.beta if self.beta.size(1) == 1 else self.beta.index_select(1, rows)
        return SyncAccumulator(self.alpha.index_select(1, rows), beta)

    def write_rows_(self, source: "SyncAccumulator", slots: Int[Tensor, " A"]) -> "SyncAccumulator":
        """Write the rows of `source` into the slots `slots`; overwrites the memory of this accumulator."""
        beta = self.beta.expand_as(self.alpha).contiguous()
        beta.index_copy_(1, slots, source.beta.expand_as(source.alpha))
        return SyncAccumulator(self.alpha.index_copy_(1, slots, source.alpha), beta)
