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
    skips = [synapses.first_projection(x)]
    for down in synapses.down_projections:
        skips.append(down(skips[-1]))
    output = skips[-1]
    for level in reversed(range(len(synapses.up_projections))):
        output = synapses.skip_lns[level](synapses.up_projections[level](output) + skips[level])
    return output


def make_values():
    """Return the attention output, a raw input and the activations of a batch."""
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(B, width, generator=generator) for width in (INPUT_WIDTH, INPUT_WIDTH, D))


@DEPTHS
@pytest.mark.parametrize("has_attention", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_synapses_with_a_prepared_projection_equal_the_modules_called_in_order(depth, has_attention, dropout):
    synapses = make_synapse(depth, dropout).train(dropout > 0)  # a probability of 1e-12 drops nothing
    attention_output, raw_input, z = make_values()
    out_proj = nn.Linear(INPUT_WIDTH, INPUT_WIDTH) if has_attention else None
    arguments = (out_proj.weight, out_proj.bias) if has_attention else (None, raw_input)
    input_projection = prepare_input_projection(synapses, *arguments)
    assert isinstance(input_projection, UnfusedInputProjection if dropout and depth == 1 else FusedInputProjection)
    output = synapses.forward_rest(input_projection(attention_output if has_attention else None, z.T))
    observation = out_proj(attention_output) if has_attention else raw_input
    expected = call_modules_in_order(synapses.eval(), torch.cat((observation, z), 1))
    assert_close(output, expected, rtol=1e-4, atol=1e-5)


@DEPTHS
@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_an_input_projection_of_selected_rows_gives_those_rows(depth, dropout):
    synapses = make_synapse(depth, dropout).train(dropout > 0)
    _, raw_input, z = make_values()
    input_projection = prepare_input_projection(synapses, None, raw_input)
    rows = torch.tensor([2, 0])
    selected = input_projection.select_rows(rows)(None, z[rows].T)
    assert_close(selected, input_projection(None, z.T)[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("neurons", [8, 16, 17, 128, 509, 2048])
@pytest.mark.parametrize("depth", [2, 3, 5, 8, 16])
def test_the_widths_of_a_u_net_fall_evenly_as_published(neurons, depth):
    with torch.device("meta"):
        synapses = SynapseUNet(neurons + 1, neurons, depth, 0.0)
    published_widths = [int(width) for width in np.linspace(neurons, 16, depth)]
    down_layers = [modules[1] for modules in synapses.down_projections]
    assert [layer.in_features for layer in down_layers] + [down_layers[-1].out_features] == published_widths
    assert [layer.out_features for layer in down_layers] == published_widths[1:]
    assert [(up[1].in_features, up[1].out_features) for up in synapses.up_projections] == [
        (narrow, wide) for wide, narrow in pairwise(published_widths)
    ]
