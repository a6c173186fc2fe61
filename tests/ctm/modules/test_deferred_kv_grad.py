"""Test that deferred key and value gradients are equal to those of plain autograd."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ctm.modules.cross_attention import build_cross_attention_cache
from ctm.modules.deferred_kv_grad import DeferredKVGrad, softmax_attention

G, WIDTH, POSITIONS, TICKS = 3, 4, 5, 3


def sample_tensor(*shape, seed):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


def make_keys_and_values():
    return sample_tensor(G, WIDTH, POSITIONS, seed=1), sample_tensor(G, POSITIONS, WIDTH, seed=2)


def unroll_queries(attend, start):
    """Unroll attention whose output gives the next query, as in the model."""
    query, said = start, []
    for _ in range(TICKS):
        seen, _ = attend(query)
        query = (query + seen).sin()
        said.append(query)
    return torch.stack(said)


def attend_with_deferred_grad(keys, values):
    return DeferredKVGrad.from_kv(keys, values).attend


def attend_with_autograd(keys, values):
    return lambda query: softmax_attention(query, keys, values)


def test_deferred_attention_equals_plain_attention():
    keys, values = make_keys_and_values()
    query = sample_tensor(G, 1, WIDTH, seed=0)
    for got, expected in zip(
        attend_with_deferred_grad(keys, values)(query), attend_with_autograd(keys, values)(query), strict=True
    ):
        assert torch.equal(got, expected)


def test_gradients_are_the_slopes_that_small_steps_find():
    def thought(start, keys, values):
        return unroll_queries(attend_with_deferred_grad(keys, values), start)

    assert torch.autograd.gradcheck(thought, (sample_tensor(G, 1, WIDTH, seed=0), *make_keys_and_values()))


@pytest.mark.parametrize("ticks", [[0], [2], [0, 2], [0, 1, 2]], ids=str)
def test_gradients_are_autograds_own_for_any_ticks_in_the_loss(ticks):
    (keys, values), start = make_keys_and_values(), sample_tensor(G, 1, WIDTH, seed=0)
    expected, got = (
        torch.autograd.grad(unroll_queries(way(keys, values), start)[ticks].sin().sum(), (start, keys, values))
        for way in (attend_with_autograd, attend_with_deferred_grad)
    )
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other)


def test_several_backward_passes_over_one_unroll_add_up():
    (keys, values), start = make_keys_and_values(), sample_tensor(G, 1, WIDTH, seed=0)
    said = unroll_queries(attend_with_deferred_grad(keys, values), start)
    for tick in range(TICKS):
        said[tick].sin().sum().backward(retain_graph=True)
    for parameter, expected in zip(
        (start, keys, values),
        torch.autograd.grad(
            unroll_queries(attend_with_autograd(keys, values), start).sin().sum(), (start, keys, values)
        ),
        strict=True,
    ):
        assert_close(parameter.grad, expected)


def test_two_unrolls_over_one_cache_give_gradients_of_both():
    (keys, values), starts = make_keys_and_values(), [sample_tensor(G, 1, WIDTH, seed=seed) for seed in (0, 5)]

    def both(look):
        return torch.autograd.grad(sum(unroll_queries(look, start).sin().sum() for start in starts), (keys, values))

    for one, other in zip(
        both(attend_with_deferred_grad(keys, values)), both(attend_with_autograd(keys, values)), strict=True
    ):
        assert_close(one, other)


def test_a_backward_pass_that_stops_before_the_cache_keeps_no_buffers():
    """Compute one gradient first, for example for a penalty, and then run the whole backward pass."""
    (keys, values), start = make_keys_and_values(), sample_tensor(G, 1, WIDTH, seed=0)
    loss = unroll_queries(attend_with_deferred_grad(keys, values), start).sin().sum()
    torch.autograd.grad(loss, start, retain_graph=True)
    got = torch.autograd.grad(loss, (keys, values))
    expected = torch.autograd.grad(
        unroll_queries(attend_with_autograd(keys, values), start).sin().sum(), (keys, values)
    )
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("frozen", ["keys", "values", "both"])
def test_a_frozen_cache_gets_no_gradient_and_the_query_gets_its_own(frozen):
    (keys, values), start = make_keys_and_values(), sample_tensor(G, 1, WIDTH, seed=0)
    keys.requires_grad_(frozen == "values")
    values.requires_grad_(frozen == "keys")
    unroll_queries(attend_with_deferred_grad(keys, values), start).sin().sum().backward()
    got = [leaf.grad for leaf in (start, keys, values)]
    start.grad = keys.grad = values.grad = None
    unroll_queries(attend_with_autograd(keys, values), start).sin().sum().backward()
    for one, leaf in zip(got, (start, keys, values), strict=True):
        assert (one is None) == (leaf.grad is None) == (not leaf.requires_grad)
        assert one is None or torch.allclose(one, leaf.grad)


def test_without_gradients_nothing_is_recorded():
    keys, values = make_keys_and_values()
    with torch.no_grad():
        seen, where = attend_with_deferred_grad(keys, values)(sample_tensor(G, 1, WIDTH, seed=0))
    assert not seen.requires_grad and not where.requires_grad


def test_an_unroll_that_continues_with_some_rows_still_gives_the_cache_gradients(make_model, make_inputs):
    """`select_rows` ends the deferral; gradients then come from both parts of the unroll."""
    rows = torch.tensor([2, 0])

    def gradients(gathers):
        machine = make_model()
        features = machine.encode(make_inputs(machine))
        if not gathers:
            steady = features.observation
            steady = replace(steady, cache=replace(steady.cache, deferred_grad=None))
            features = replace(features, encoder_output=replace(features.encoder_output, observation=steady))
        state, _ = machine.tick(machine.initial_state(features), features)
        state, features = state.select_rows(rows), features.select_rows(rows)
        for _ in range(3):
            state, output = machine.tick(state, features)
        output.answer.sin().sum().backward()
        return {name: parameter.grad for name, parameter in machine.named_parameters()}

    got, expected = gradients(True), gradients(False)
    for name, gradient in expected.items():
        assert (got[name] is None) == (gradient is None)
        if gradient is not None:
            assert_close(got[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("dropout", "gradients", "expected"), [(0.0, True, True), (0.5, True, False), (0.0, False, False)]
)
def test_gradients_are_deferred_only_where_they_are_needed(dropout, gradients, expected):
    attention, q_proj = torch.nn.MultiheadAttention(8, 2, batch_first=True), torch.nn.Linear(5, 8)
    with torch.set_grad_enabled(gradients):
        scene = build_cross_attention_cache(torch.randn(3, 7, 8), attention, q_proj, dropout)
    assert (scene.deferred_grad is not None) == expected
