"""Cross-attention over the encoded input (paper section 3.4, equation 5).

The action synchronisation gives one query per head at every tick. Keys and values are constant over the unroll, so they
are computed once, and so are products of adjacent linear maps.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ctm.modules.deferred_kv_grad import DeferredKVGrad, softmax_attention
from ctm.modules.state import compact_rows_


@dataclass(frozen=True)
class CrossAttentionCache:
    """Keys and values of the encoded input, and the fused query projection. All of it is constant over the unroll.

    Attributes:
        keys: Keys, transposed.
        values: Values.
        query_weight: Product of `q_proj`, the query part of the attention projection and the softmax scale.
        query_bias: Bias of the same product.
        dropout: Dropout probability of attention weights; 0 in eval mode.
        deferred_grad: In training, the same keys and values with deferred gradients; see
            `ctm.modules.deferred_kv_grad`.
    """

    keys: Float[Tensor, "B H d N"]
    values: Float[Tensor, "B H N d"]
    query_weight: Float[Tensor, "E S"]
    query_bias: Float[Tensor, "E 1"]
    dropout: float
    deferred_grad: DeferredKVGrad | None = None

    def select_rows(self, rows: Int[Tensor, " A"]) -> "CrossAttentionCache":
        """Return a copy that holds only some batch rows, without deferred gradients."""
        keys = self.keys.index_select(0, rows)
        values = self.values.index_select(0, rows)
        return CrossAttentionCache(keys, values, self.query_weight, self.query_bias, self.dropout)

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "CrossAttentionCache":
        """Return a cache of some batch rows; overwrites the memory of this one.

        Copies only rows whose index changes.
        """
        for tensor in (self.keys, self.values):
            compact_rows_(tensor, tensor, rows, 0)
        keys = self.keys[: len(rows)]
        values = self.values[: len(rows)]
        return CrossAttentionCache(keys, values, self.query_weight, self.query_bias, self.dropout)

    def write_rows_(self, source: "CrossAttentionCache", slots: Int[Tensor, " A"]) -> "CrossAttentionCache":
        """Write the rows of `source` into the slots `slots`, in place."""
        self.keys.index_copy_(0, slots, source.keys)
        self.values.index_copy_(0, slots, source.values)
        return self

    def attend(self, sync: Float[Tensor, "S B"]) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B H N"]]:
        """Attend to the encoded input.

        Args:
            sync: Action synchronisation, or another query input.

        Returns:
            Attention output before the output projection, and attention weights.
        """
        batch, heads, width, _ = self.keys.shape
        query = torch.addmm(self.query_bias, self.query_weight, sync).T.reshape(batch * heads, 1, width)
        if self.deferred_grad is not None:
            output, weights = self.deferred_grad.attend(query)
        else:
            output, weights = softmax_attention(query, self.keys.flatten(0, 1), self.values.flatten(0, 1), self.dropout)
        return output.view(batch, heads * width), weights.view(batch, heads, -1)


def build_cross_attention_cache(
    features: Float[Tensor, "B N E"], attention: nn.MultiheadAttention, q_proj: nn.Linear, dropout: float
) -> CrossAttentionCache:
    """Compute keys and values of all positions, and fuse both query projections and the softmax scale.

    Args:
        features: Output of `kv_proj`, one row per position.
        attention: Published attention module; only its projections are used.
        q_proj: Published query projection.
        dropout: Dropout probability of attention weights.
    """
    width = attention.embed_dim
    heads = attention.num_heads
    w_query, w_key, w_value = attention.in_proj_weight.chunk(3)
    b_query, b_key, b_value = attention.in_proj_bias.chunk(3)
    scale = 1 / math.sqrt(width // heads)
    keys = F.linear(features, w_key, b_key).unflatten(2, (heads, -1)).permute(0, 2, 3, 1).contiguous()
    values = F.linear(features, w_value, b_value).unflatten(2, (heads, -1)).transpose(1, 2).contiguous()
    defers_grad = torch.is_grad_enabled() and not dropout and not torch.is_autocast_enabled(features.device.type)
    return CrossAttentionCache(
        keys,
        values,
        query_weight=scale * (w_query @ q_proj.weight),
        query_bias=scale * (w_query @ q_proj.bias + b_query).unsqueeze(1),
        dropout=dropout,
        deferred_grad=DeferredKVGrad.from_kv(keys.flatten(0, 1), values.flatten(0, 1)) if defers_grad else None,
    )
