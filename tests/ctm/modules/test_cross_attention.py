"""Test cross-attention with cached keys and values and fused queries against the attention module of torch."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ctm.modules.cross_attention import build_cross_attention_cache


def make_attention(heads, positions=7, width=8, pairs=5, batch=3):
    torch.manual_seed(0)
    attention, q_proj = nn.MultiheadAttention(width, heads, batch_first=True), nn.Linear(pairs, width)
    with torch.no_grad():
        attention.in_proj_bias.normal_()  # torch starts them at 0
        attention.out_proj.bias.normal_()
    return attention, q_proj, torch.randn(batch, positions, width), torch.randn(batch, pairs)


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_attention_equals_torchs_attention(heads):
    attention, q_proj, features, sync = make_attention(heads)
    seen, where = build_cross_attention_cache(features, attention, q_proj, 0.0).attend(sync.T)
    expected, weights = attention(q_proj(sync).unsqueeze(1), features, features, average_attn_weights=False)
    assert_close(attention.out_proj(seen), expected.squeeze(1), rtol=1e-5, atol=1e-5)
    assert_close(where, weights.squeeze(2), rtol=1e-5, atol=1e-6)


def test_attention_over_selected_rows_equals_those_rows():
    attention, q_proj, features, sync = make_attention(2)
    scene, rows = build_cross_attention_cache(features, attention, q_proj, 0.0), torch.tensor([2, 0])
    for part, whole in zip(scene.select_rows(rows).attend(sync[rows].T), scene.attend(sync.T), strict=True):
        assert_close(part, whole[rows])


@pytest.mark.parametrize("rows", [[0, 1, 2], [3, 1], [3, 2, 1, 0], [1, 1]])
def test_rows_compacted_in_place_are_the_same_rows(rows):
    attention, q_proj, features, sync = make_attention(2, batch=4)
    scene, rows = build_cross_attention_cache(features, attention, q_proj, 0.0), torch.tensor(rows, dtype=torch.long)
    with torch.no_grad():
        expected = scene.select_rows(rows).attend(sync[rows].T)
        for part, other in zip(scene.compact_rows_(rows).attend(sync[rows].T), expected, strict=True):
            assert torch.equal(part, other)


def test_the_order_of_positions_does_not_change_the_attention_output():
    attention, q_proj, features, sync = make_attention(2)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    (seen, where), (seen_again, where_again) = (
        build_cross_attention_cache(places, attention, q_proj, 0.0).attend(sync.T)
        for places in (features, features[:, order])
    )
    assert_close(seen_again, seen, rtol=1e-5, atol=1e-6)
    assert_close(where_again, where[..., order], rtol=1e-5, atol=1e-6)
