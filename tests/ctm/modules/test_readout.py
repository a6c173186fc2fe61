"""Test the readout: certainty, energy head and answer signals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from ctm.modules.readout import (
    NUM_CERTAINTY_FEATURES,
    compute_certainty,
    compute_certainty_features,
    compute_energy,
    make_energy_head,
    project,
)


def test_certainty_is_one_minus_normalised_entropy_of_every_position():
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))  # (T, P * C, B) with P = 2, C = 3
    certainty = compute_certainty(logits, 2)
    for tick in range(2):
        for position in range(2):
            for row in range(3):
                p = logits[tick, 3 * position : 3 * position + 3, row].double().softmax(0)
                entropy = -sum(x * math.log(x) for x in p.tolist())
                assert certainty[tick, position, row] == pytest.approx(1 - entropy / math.log(3), abs=1e-6)


def test_certainty_is_0_for_equal_logits_and_1_for_a_dominant_logit():
    assert_close(compute_certainty(torch.zeros(4, 1), 1), torch.zeros(1, 1), atol=1e-6, rtol=0)
    assert_close(compute_certainty(torch.tensor([[1e4], [0.0], [0.0]]), 1), torch.ones(1, 1))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=8), shift=st.floats(-100, 100))
def test_certainty_is_bounded_and_does_not_depend_on_a_shift(logits, shift):
    answer = torch.tensor(logits).unsqueeze(1)
    certainty = compute_certainty(answer, 1).item()
    assert -1e-6 <= certainty <= 1 + 1e-6
    assert compute_certainty(answer + shift, 1).item() == pytest.approx(certainty, abs=2e-2)


def test_certainty_is_never_outside_0_and_1():
    for classes in range(2, 200):
        certainty = compute_certainty(torch.zeros(classes, 1), 1)
        assert 0 <= certainty <= 1, f"{classes} classes: {certainty.item()}"


def test_certainty_of_low_precision_logits_is_computed_in_float32():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert compute_certainty(logits, 1).dtype == torch.float32
    assert torch.equal(compute_certainty(logits, 1), compute_certainty(logits.float(), 1))


def test_projecting_neuron_major_values_equals_the_layer_on_batch_first_values():
    layer = nn.Linear(5, 3)
    sync = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    assert_close(project(layer, sync), layer(sync.transpose(1, 2)).transpose(1, 2))


def test_certainty_features_are_the_mean_and_the_minimum_and_their_complements_in_nats():
    certainty = torch.tensor([[[0.5], [1.0]]])  # one tick, two positions, one row
    features = compute_certainty_features(certainty)
    assert features.shape == (1, NUM_CERTAINTY_FEATURES, 1)
    assert_close(features[0, :, 0], torch.tensor([0.75, 0.5, math.log(4.0), math.log(2.0)]))
    assert compute_certainty_features(torch.ones(2, 3, 4)).isfinite().all()


def test_the_energy_equals_the_head_on_batch_first_values():
    head = make_energy_head(5, 7)
    sync = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    assert_close(compute_energy(head, sync), head(sync.transpose(1, 2)).squeeze(-1))
