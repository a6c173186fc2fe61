"""Test synapses with fused and unfused input projection against calls of the modules one after the other."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ctm.modules.synapses import (
    FusedInputProjection,
    SynapseUNet,
    UnfusedInputProjection,
    make_synapses,
    prepare_input_projection,
)

D, INPUT_WIDTH, B = 24, 6, 3
DEPTHS = pytest.mark.parametrize("depth", [1, 2, 5])


def make_synapse(depth, dropout=0.0):
    torch.manual_seed(0)
    synapses = make_synapses(INPUT_WIDTH + D, D, depth, dropout)
    with torch.no_grad():
        for parameter in synapses.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return synapses.eval()


def call_modules_in_order(synapses, x):
    """Call every module as the published code does; skips are added from the narrowest level to the widest."""
    if not isinstance(synapses, SynapseUNet):
        return synapses(x)
    passed = [synapses.first_projection(x)]
    for down in synapses.down_projections:
        passed.append(down(passed[-1]))
    out = passed[-1]
    for level in reversed(range(len(synapses.up_projections))):
        out = synapses.skip_lns[level](synapses.up_projections[level](out) + passed[level])
    return out


def make_values():
    draws = torch.Generator().manual_seed(1)
    return (torch.randn(B, width, generator=draws) for width in (INPUT_WIDTH, INPUT_WIDTH, D))


@DEPTHS
@pytest.mark.parametrize("attends", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_prepared_synapses_are_the_modules_called_one_after_the_other(depth, attends, dropout):
    synapses = make_synapse(depth, dropout).train(dropout > 0)  # a chance of 1e-12 drops nothing
    seen, raw, z = make_values()
    projection = nn.Linear(INPUT_WIDTH, INPUT_WIDTH) if attends else None
    entry = prepare_input_projection(synapses, *((projection.weight, projection.bias) if attends else (None, raw)))
    assert isinstance(entry, UnfusedInputProjection if dropout and depth == 1 else FusedInputProjection)
    got = synapses.forward_rest(entry(seen if attends else None, z.T))
    observed = projection(seen) if attends else raw
    assert_close(got, call_modules_in_order(synapses.eval(), torch.cat((observed, z), 1)), rtol=1e-4, atol=1e-5)


@DEPTHS
@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_an_entry_for_some_rows_of_a_raw_input_gives_those_rows(depth, dropout):
    synapses = make_synapse(depth, dropout).train(dropout > 0)
    _, raw, z = make_values()
    entry, rows = prepare_input_projection(synapses, None, raw), torch.tensor([2, 0])
    assert_close(entry.select_rows(rows)(None, z[rows].T), entry(None, z.T)[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("neurons", [8, 16, 17, 128, 509, 2048])
@pytest.mark.parametrize("depth", [2, 3, 5, 8, 16])
def test_the_widths_of_a_u_net_fall_evenly_as_published(neurons, depth):
    with torch.device("meta"):
        synapses = SynapseUNet(neurons + 1, neurons, depth, 0.0)
    published = [int(width) for width in np.linspace(neurons, 16, depth)]
    downs = [layers[1] for layers in synapses.down_projections]
    assert [layer.in_features for layer in downs] + [downs[-1].out_features] == published
    assert [layer.out_features for layer in downs] == published[1:]
    assert [(up[1].in_features, up[1].out_features) for up in synapses.up_projections] == [
        (narrow, wide) for wide, narrow in pairwise(published)
    ]
