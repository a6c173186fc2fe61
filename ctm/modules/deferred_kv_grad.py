"""Attention over constant keys and values, whose gradients are computed once per unroll.

Every tick has one query per head. Plain autograd would accumulate T rank-one gradients of the keys and of the values,
each as large as the keys or values themselves. Here the backward pass of a tick only stores what those gradients need.
After the last one, a single product over all ticks gives dK = sum_t q_t dS_t and dV = sum_t w_t dO_t.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def softmax_attention(
    query: Float[Tensor, "G 1 d"], keys: Float[Tensor, "G d N"], values: Float[Tensor, "G N d"], dropout: float = 0.0
) -> tuple[Float[Tensor, "G 1 d"], Float[Tensor, "G 1 N"]]:
    """Compute softmax attention for G = batch * heads single queries.

    Args:
        query: Queries, already scaled.
        keys: Keys, transposed.
        values: Values.
        dropout: Dropout probability of attention weights.

    Returns:
        Attention output, and attention weights before dropout.
    """
    weights = torch.bmm(query, keys).softmax(-1)
    dropped_weights = F.dropout(weights, dropout) if dropout else weights
    return torch.bmm(dropped_weights, values), weights


@dataclass
class KVGradBuffer:
    """Terms of dK and dV that the backward passes of the ticks store.

    Attributes:
        queries: Queries q_t.
        score_grads: Gradients dS_t of the attention scores.
        weights: Attention weights w_t.
        output_grads: Gradients dO_t of the attention outputs.
        graph_task_id: Backward pass that the terms belong to.
    """

    queries: list[Tensor] = field(default_factory=list)
    score_grads: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    output_grads: list[Tensor] = field(default_factory=list)
    graph_task_id: int = -1

    @property
    def parts(self) -> tuple[list[Tensor], ...]:
        """The four lists of terms."""
        return self.queries, self.score_grads, self.weights, self.output_grads

    def add(self, *values: Tensor) -> None:
        """Store the terms of one tick.

        A backward pass that stops before it reaches keys and values never uses its terms: the next pass drops them.
        PyTorch numbers backward passes only in a private API; `torch.utils.checkpoint` distinguishes them by the same
        number.
        """
        if self.graph_task_id != (current := torch._C._current_graph_task_id()):
            self.graph_task_id = current
            self.clear()
        for part, value in zip(self.parts, values, strict=True):
            part.append(value)

    def clear(self) -> None:
        """Drop all terms."""
        for part in self.parts:
            part.clear()


@dataclass(frozen=True)
class DeferredKVGrad:
    """Keys and values whose gradients are accumulated over the ticks of an unroll.

    Attributes:
        keys: Keys, detached: gradients flow through `grad_token`.
        values: Values, detached.
        grad_token: Zero that connects every tick to keys and values in the autograd graph.
        grad_buffer: Terms of the gradients.
    """

    keys: Float[Tensor, "G d N"]
    values: Float[Tensor, "G N d"]
    grad_token: Float[Tensor, ""]
    grad_buffer: KVGradBuffer

    @classmethod
    def from_kv(cls, keys: Float[Tensor, "G d N"], values: Float[Tensor, "G N d"]) -> "DeferredKVGrad":
        """Wrap keys and values."""
        buffer = KVGradBuffer()
        return cls(keys.detach(), values.detach(), _CollectKVGrad.apply(keys, values, buffer), buffer)

    def attend(self, query: Float[Tensor, "G 1 d"]) -> tuple[Float[Tensor, "G 1 d"], Float[Tensor, "G 1 N"]]:
        """Compute softmax attention; see `softmax_attention`."""
        return _Attend.apply(query, self.grad_token, self.keys, self.values, self.grad_buffer)


def exclude_from_compilation() -> None:
    """Let `torch.compile` run the attention as it is, because its backward pass writes into `grad_buffer`.

    Call this before the first compilation. A decorator would import the compiler with this module, which takes more than a second.
    """
    if not hasattr(DeferredKVGrad.attend, "_torchdynamo_disable"):
        setattr(DeferredKVGrad, "attend", torch.compiler.disable(DeferredKVGrad.attend))  # noqa: B010 - mypy rejects an assignment


class _CollectKVGrad(torch.autograd.Function):
    """Autograd node before all ticks of an unroll; its backward pass runs after theirs and computes dK and dV."""

    @staticmethod
    def forward(ctx: Any, keys: Tensor, values: Tensor, grad_buffer: KVGradBuffer) -> Tensor:
        ctx.grad_buffer = grad_buffer
        return keys.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, Tensor, None]:
        buffer: KVGradBuffer = ctx.grad_buffer
        queries, scores, weights, output = (torch.cat(part, 1) for part in buffer.parts)
        buffer.clear()
        return torch.bmm(queries.transpose(1, 2), scores), torch.bmm(weights.transpose(1, 2), output), None


class _Attend(torch.autograd.Function):
    """Softmax attention whose backward pass stores the terms of dK and dV in a `KVGradBuffer`."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, grad_token: Tensor, keys: Tensor, values: Tensor, grad_buffer: KVGradBuffer
    ) -> tuple[Tensor, Tensor]:
        output, weights = softmax_attention(query, keys, values)
        ctx.save_for_backward(query, weights, keys, values)
        ctx.grad_buffer = grad_buffer
        ctx.set_materialize_grads(False)
        return output, weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, output_grad: Tensor | None, weights_grad: Tensor | None
    ) -> tuple[Tensor, Tensor, None, None, None]:
        query, weights, keys, values = ctx.saved_tensors
        if output_grad is None:  # the loss uses the weights alone
            output_grad = query.new_zeros(query.size(0), 1, values.size(2))
        score = torch.bmm(output_grad, values.transpose(1, 2))
        if weights_grad is not None:
            score = score + weights_grad
        score = weights * (score - (score * weights).sum(-1, keepdim=True))
        ctx.grad_buffer.add(query, score, weights, output_grad)
        return torch.bmm(score, keys.transpose(1, 2)), output_grad.new_zeros(()), None, None, None
