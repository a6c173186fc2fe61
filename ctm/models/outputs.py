"""Values in flight, and the letters their axes go by.

B batch rows, T ticks, D neurons, M remembered ticks, S synchronised pairs, K answer logits (K = P * C), P positions of
a structured answer, C classes, H attention heads, N places to look at, d width of an observation.

Inside a thought tensors are *neuron-major*: neurons first, batch last. A neuron's history is then one contiguous block and
picking pairs of neurons moves whole rows, which is what makes a tick fast. What leaves the machine (`Output`, `Thought`)
is batch-first, as everywhere else.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def move_(places: Tensor, source: Tensor, rows: Int[Tensor, " A"], dim: int) -> None:
    """Bring the rows of a source along `dim` to the first places, where all but a few are already."""
    moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero().squeeze(1)
    places.index_copy_(dim, moved, source.index_select(dim, rows[moved]))


@dataclass(frozen=True)
class Output:
    """What the machine says at one tick."""

    answer: Float[Tensor, "B K"]  # logits
    certainty: Float[Tensor, "B P"]  # one minus normalised entropy, per position; in [0, 1]
    energy: Float[Tensor, " B"] | None  # low when the answer is right; None without an energy head


@dataclass(frozen=True)
class Thought:
    """All ticks of one batch, laid out as in the published code."""

    answers: Float[Tensor, "B K T"]
    certainties: Float[Tensor, "B 2 T"]  # normalised entropy, and one minus it
    energies: Float[Tensor, "B T"] | None
    listening: Int[Tensor, " B"] | None = None  # ticks before an answer counts; None where all count


def may_answer(listening: Int[Tensor, " B"] | None, ticks: int) -> Bool[Tensor, "B T"] | None:
    """Where answers count; None where all do."""
    return None if listening is None else torch.arange(ticks, device=listening.device) >= listening.unsqueeze(1)


@dataclass(frozen=True)
class Trace:
    """The last M pre-activations of every neuron: a window that slides over a longer buffer.

    Pushing writes one column behind the window instead of copying the window. `written` is shared by all traces over one
    buffer and says how far it is filled, so a trace that is pushed twice does not overwrite its own future: it copies.
    """

    buffer: Float[Tensor, "D capacity B"]
    end: int
    length: int
    written: list[int]

    @property
    def window(self) -> Float[Tensor, "D M B"]:
        """The remembered pre-activations, oldest first."""
        return self.buffer[:, self.end - self.length : self.end]

    @property
    def newest(self) -> Float[Tensor, "D B"]:
        return self.buffer[:, self.end - 1]

    @classmethod
    def of(cls, window: Float[Tensor, "D M B"], room: int) -> "Trace":
        """A trace that starts with `window` and has room for so many more ticks."""
        neurons, length, batch = window.shape
        buffer = window.new_empty(neurons, length + room, batch)
        buffer[:, :length] = window
        return cls(buffer, length, length, [length])

    def push(self, newest: Float[Tensor, "B D"]) -> "Trace":
        """The trace one tick later."""
        if torch.is_grad_enabled():  # autograd may still need the old window: never write into it
            window = torch.cat((self.window[:, 1:], newest.T.unsqueeze(1)), 1)
            return Trace(window, self.length, self.length, [self.length])
        if self.end == self.buffer.size(1) or self.written[0] != self.end:
            return Trace.of(self.window, room=max(8, self.length)).push(newest)
        self.buffer[:, self.end] = newest.T
        self.written[0] = self.end + 1
        return Trace(self.buffer, self.end + 1, self.length, self.written)

    def take(self, rows: Int[Tensor, " A"], room: int) -> "Trace":
        """The same for some batch rows only. Rows that keep their place are copied as blocks, which is far faster."""
        taken = Trace.of(self.window[:, :, : len(rows)], room)
        move_(taken.window, self.window, rows, 2)
        return taken

    def seat_(self, newcomers: "Trace", seats: Int[Tensor, " A"]) -> "Trace":
        """Newcomers take these seats, in the memory of this trace, which is lost."""
        self.window.index_copy_(2, seats, newcomers.window)
        return self


@dataclass(frozen=True)
class Sync:
    """A running synchronisation (paper section 3.4): alpha_t = r * alpha_{t-1} + products, beta_t = r * beta_{t-1} + 1."""

    alpha: Float[Tensor, "S B"]
    beta: Float[Tensor, "S 1"] | Float[Tensor, "S B"]  # one for all rows, as long as they think equally long

    @property
    def value(self) -> Float[Tensor, "S B"]:
        return self.alpha * self.beta.clamp(min=1).rsqrt()  # beta is at least 1, but for an empty sum

    def add(self, products: Float[Tensor, "S B"], rate: Float[Tensor, "S 1"]) -> "Sync":
        return Sync(torch.addcmul(products, rate, self.alpha), rate * self.beta + 1)

    def take(self, rows: Int[Tensor, " A"]) -> "Sync":
        beta = self.beta if self.beta.size(1) == 1 else self.beta.index_select(1, rows)
        return Sync(self.alpha.index_select(1, rows), beta)

    def seat_(self, newcomers: "Sync", seats: Int[Tensor, " A"]) -> "Sync":
        """Newcomers take these seats, in the memory of this sum, which is lost."""
        beta = self.beta.expand_as(self.alpha).contiguous()
        beta.index_copy_(1, seats, newcomers.beta.expand_as(newcomers.alpha))
        return Sync(self.alpha.index_copy_(1, seats, newcomers.alpha), beta)
