"""Test cross-attention with cached keys and values and fused queries against the attention module of torch."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ctm.modules.cross_attention import build_cross_attention_cache


def make_attention(heads, positions=7, width=8, pairs=5, batch=3):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(width, heads, batch_first=True)
    q_proj = nn.Linear(pairs, width)
    with torch.no_grad():
        attention.in_proj_bias.normal_()  # torch starts them at 0
        attention.out_proj.bias.normal_()
    return attention, q_proj, torch.randn(batch, positions, width), torch.randn(batch, pairs)


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_attention_equals_the_attention_module_of_torch(heads):
    attention, q_proj, features, sync = make_attention(heads)
    output, weights = build_cross_attention_cache(features, attention, q_proj, 0.0).attend(sync.T)
    query = q_proj(sync).unsqueeze(1)
    expected_output, expected_weights = attention(query, features, features, average_attn_weights=False)
    assert_close(attention.out_proj(output), expected_output.squeeze(1), rtol=1e-5, atol=1e-5)
    assert_close(weights, expected_weights.squeeze(2), rtol=1e-5, atol=1e-6)


def test_attention_over_selected_rows_equals_those_rows():
    attention, q_proj, features, sync = make_attention(2)
    cache = build_cross_attention_cache(features, attention, q_proj, 0.0)
    rows = torch.tensor([2, 0])
    selected = cache.select_rows(rows).attend(sync[rows].T)
    for values, all_values in zip(selected, cache.attend(sync.T), strict=True):
        assert_close(values, all_values[rows])


@pytest.mark.parametrize("rows", [[0, 1, 2], [3, 1], [3, 2, 1, 0], [1, 1]])
def test_rows_compacted_in_place_equal_selected_rows(rows):
    attention, q_proj, features, sync = make_attention(2, batch=4)
    cache = build_cross_attention_cache(features, attention, q_proj, 0.0)
    rows = torch.tensor(rows, dtype=torch.long)
    with torch.no_grad():
        selected = cache.select_rows(rows).attend(sync[rows].T)
        compacted = cache.compact_rows_(rows).attend(sync[rows].T)
        for values, expected in zip(compacted, selected, strict=True):
            assert torch.equal(values, expected)


def test_the_order_of_positions_does_not_change_the_attention_output():
    attention, q_proj, features, sync = make_attention(2)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    output, weights = build_cross_attention_cache(features, attention, q_proj, 0.0).attend(sync.T)
    permuted_features = features[:, order]
    permuted_output, permuted_weights = build_cross_attention_cache(permuted_features, attention, q_proj, 0.0).attend(
        sync.T
    )
    assert_close(permuted_output, output, rtol=1e-5, atol=1e-6)
    assert_close(permuted_weights, weights[..., order], rtol=1e-5, atol=1e-6)
