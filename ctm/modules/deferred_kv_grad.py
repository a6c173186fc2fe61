"""Attention over a scene that stays the same for a whole thought, with gradients of keys and values worked out once.

Every tick asks one query a head. Left to itself, autograd would add up T rank-one gradients of keys and of values, each as
large as the scene. Here a tick's backward pass only notes what those gradients need; when the last one has passed, a single
product over all ticks makes them: dK = sum_t q_t dS_t, dV = sum_t w_t dO_t.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def softmax_attention(
    query: Float[Tensor, "G 1 d"], keys: Float[Tensor, "G d N"], values: Float[Tensor, "G N d"], dropout: float = 0.0
) -> tuple[Float[Tensor, "G 1 d"], Float[Tensor, "G 1 N"]]:
    """What is seen and where, for G = batch * heads queries."""
    weights = torch.bmm(query, keys).softmax(-1)
    kept = F.dropout(weights, dropout) if dropout else weights
    return torch.bmm(kept, values), weights


@dataclass
class KVGradBuffer:
    """What the backward passes of a thought's ticks leave for the keys' and values' gradients."""

    queries: list[Tensor] = field(default_factory=list)
    score_grads: list[Tensor] = field(default_factory=list)  # gradients
    weights: list[Tensor] = field(default_factory=list)
    output_grads: list[Tensor] = field(default_factory=list)  # gradients
    graph_task_id: int = -1

    @property
    def parts(self) -> tuple[list[Tensor], ...]:
        return self.queries, self.score_grads, self.weights, self.output_grads

    def add(self, *values: Tensor) -> None:
        """Note what one look leaves.

        A backward pass that stops before it comes to the scene never uses its notes: the next pass drops them. PyTorch
        numbers its passes only in private; `torch.utils.checkpoint` tells them apart by the same number.
        """
        if self.graph_task_id != (running := torch._C._current_graph_task_id()):
            self.graph_task_id = running
            self.clear()
        for part, value in zip(self.parts, values, strict=True):
            part.append(value)

    def clear(self) -> None:
        for part in self.parts:
            part.clear()


@dataclass(frozen=True)
class DeferredKVGrad:
    """A scene's keys and values, whose gradients are gathered over the ticks of a thought."""

    keys: Float[Tensor, "G d N"]  # detached: gradients go through the token
    values: Float[Tensor, "G N d"]
    grad_token: Float[Tensor, ""]
    grad_buffer: KVGradBuffer

    @classmethod
    def from_kv(cls, keys: Float[Tensor, "G d N"], values: Float[Tensor, "G N d"]) -> "DeferredKVGrad":
        notes = KVGradBuffer()
        return cls(keys.detach(), values.detach(), _CollectKVGrad.apply(keys, values, notes), notes)

    def attend(self, query: Float[Tensor, "G 1 d"]) -> tuple[Float[Tensor, "G 1 d"], Float[Tensor, "G 1 N"]]:
        return _Attend.apply(query, self.grad_token, self.keys, self.values, self.grad_buffer)


class _CollectKVGrad(torch.autograd.Function):
    """Stands before all looks of a thought, so its backward pass comes after all of theirs."""

    @staticmethod
    def forward(ctx, keys, values, grad_buffer):
        ctx.grad_buffer = grad_buffer
        return keys.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx, _):
        notes = ctx.grad_buffer
        queries, scores, weights, seen = (torch.cat(part, 1) for part in notes.parts)
        notes.clear()
        return torch.bmm(queries.transpose(1, 2), scores), torch.bmm(weights.transpose(1, 2), seen), None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, grad_token, keys, values, grad_buffer):
        seen, weights = softmax_attention(query, keys, values)
        ctx.save_for_backward(query, weights, keys, values)
        ctx.grad_buffer = grad_buffer
        ctx.mark_non_differentiable(weights)
        return seen, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, output_grad, _):
        query, weights, keys, values = ctx.saved_tensors
        score = torch.bmm(output_grad, values.transpose(1, 2))
        score = weights * (score - (score * weights).sum(-1, keepdim=True))
        ctx.grad_buffer.add(query, score, weights, output_grad)
        return torch.bmm(score, keys.transpose(1, 2)), output_grad.new_zeros(()), None, None, None
