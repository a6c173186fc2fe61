"""Tests that deferred gradients of keys and values equal those of autograd."""

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
    query = start
    queries = []
    for _ in range(TICKS):
        output, _ = attend(query)
        query = (query + output).sin()
        queries.append(query)
    return torch.stack(queries)


def attend_with_deferred_grad(keys, values):
    return DeferredKVGrad.from_kv(keys, values).attend


def attend_with_autograd(keys, values):
    return lambda query: softmax_attention(query, keys, values)


def test_deferred_attention_equals_plain_attention():
    keys, values = make_keys_and_values()
    query = sample_tensor(G, 1, WIDTH, seed=0)
    results = attend_with_deferred_grad(keys, values)(query)
    expected_results = attend_with_autograd(keys, values)(query)
    for result, expected in zip(results, expected_results, strict=True):
        assert torch.equal(result, expected)


def test_gradients_pass_gradcheck():
    def unroll(start, keys, values):
        return unroll_queries(attend_with_deferred_grad(keys, values), start)

    assert torch.autograd.gradcheck(unroll, (sample_tensor(G, 1, WIDTH, seed=0), *make_keys_and_values()))


@pytest.mark.parametrize("ticks", [[0], [2], [0, 2], [0, 1, 2]], ids=str)
def test_gradients_equal_those_of_autograd_for_any_ticks_in_the_loss(ticks):
    keys, values = make_keys_and_values()
    start = sample_tensor(G, 1, WIDTH, seed=0)
    expected_gradients, gradients = (
        torch.autograd.grad(unroll_queries(make_attend(keys, values), start)[ticks].sin().sum(), (start, keys, values))
        for make_attend in (attend_with_autograd, attend_with_deferred_grad)
    )
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, expected)


def test_several_backward_passes_over_one_unroll_add_up():
    keys, values = make_keys_and_values()
    start = sample_tensor(G, 1, WIDTH, seed=0)
    queries = unroll_queries(attend_with_deferred_grad(keys, values), start)
    for tick in range(TICKS):
        queries[tick].sin().sum().backward(retain_graph=True)
    expected_loss = unroll_queries(attend_with_autograd(keys, values), start).sin().sum()
    leaves = (start, keys, values)
    for leaf, expected in zip(leaves, torch.autograd.grad(expected_loss, leaves), strict=True):
        assert_close(leaf.grad, expected)


def test_two_unrolls_over_one_cache_give_gradients_of_both():
    keys, values = make_keys_and_values()
    starts = [sample_tensor(G, 1, WIDTH, seed=seed) for seed in (0, 5)]

    def compute_gradients(attend):
        loss = sum(unroll_queries(attend, start).sin().sum() for start in starts)
        return torch.autograd.grad(loss, (keys, values))

    gradients = compute_gradients(attend_with_deferred_grad(keys, values))
    expected_gradients = compute_gradients(attend_with_autograd(keys, values))
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, expected)


def test_a_backward_pass_that_stops_before_the_cache_keeps_no_buffers():
    """Compute one gradient first, for example for a penalty, and then run the whole backward pass."""
    keys, values = make_keys_and_values()
    start = sample_tensor(G, 1, WIDTH, seed=0)
    loss = unroll_queries(attend_with_deferred_grad(keys, values), start).sin().sum()
    torch.autograd.grad(loss, start, retain_graph=True)
    gradients = torch.autograd.grad(loss, (keys, values))
    expected_loss = unroll_queries(attend_with_autograd(keys, values), start).sin().sum()
    expected_gradients = torch.autograd.grad(expected_loss, (keys, values))
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, expected)


@pytest.mark.parametrize("frozen", ["keys", "values", "both"])
def test_a_frozen_cache_gets_no_gradient_and_the_query_gets_its_own(frozen):
    keys, values = make_keys_and_values()
    start = sample_tensor(G, 1, WIDTH, seed=0)
    keys.requires_grad_(frozen == "values")
    values.requires_grad_(frozen == "keys")
    unroll_queries(attend_with_deferred_grad(keys, values), start).sin().sum().backward()
    gradients = [leaf.grad for leaf in (start, keys, values)]
    start.grad = keys.grad = values.grad = None
    unroll_queries(attend_with_autograd(keys, values), start).sin().sum().backward()
    for gradient, leaf in zip(gradients, (start, keys, values), strict=True):
        assert (gradient is None) == (leaf.grad is None) == (not leaf.requires_grad)
        assert gradient is None or torch.allclose(gradient, leaf.grad)


def test_without_gradients_nothing_is_recorded():
    keys, values = make_keys_and_values()
    with torch.no_grad():
        output, weights = attend_with_deferred_grad(keys, values)(sample_tensor(G, 1, WIDTH, seed=0))
    assert not output.requires_grad and not weights.requires_grad


def test_an_unroll_that_continues_with_some_rows_still_gives_the_cache_gradients(make_model, make_inputs):
    """`select_rows` ends the deferral; gradients then come from both parts of the unroll."""
    rows = torch.tensor([2, 0])

    def compute_gradients(is_deferred):
        model = make_model()
        encoded = model.encode(make_inputs(model))
        if not is_deferred:
            observation = encoded.observation
            observation = replace(observation, cache=replace(observation.cache, deferred_grad=None))
            encoded = replace(encoded, encoder_output=replace(encoded.encoder_output, observation=observation))
        state, _ = model.tick(model.initial_state(encoded), encoded)
        state, encoded = state.select_rows(rows), encoded.select_rows(rows)
        for _ in range(3):
            state, output = model.tick(state, encoded)
        output.answer.sin().sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    gradients = compute_gradients(is_deferred=True)
    expected_gradients = compute_gradients(is_deferred=False)
    for name, expected in expected_gradients.items():
        assert (gradients[name] is None) == (expected is None)
        if expected is not None:
            assert_close(gradients[name], expected, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("dropout", "gradients", "expected"), [(0.0, True, True), (0.5, True, False), (0.0, False, False)]
)
def test_gradients_are_deferred_only_where_they_are_needed(dropout, gradients, expected):
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    q_proj = torch.nn.Linear(5, 8)
    with torch.set_grad_enabled(gradients):
        cache = build_cross_attention_cache(torch.randn(3, 7, 8), attention, q_proj, dropout)
    assert (cache.deferred_grad is not None) == expected


def test_gradients_of_the_weights_equal_those_of_autograd():
    """The loss uses the attention weights of every tick, and the output of all ticks but the last."""
    keys, values = make_keys_and_values()
    start = sample_tensor(G, 1, WIDTH, seed=0)

    def compute_gradients(attend):
        query, loss = start, 0.0
        for _ in range(TICKS):
            output, weights = attend(query)
            loss = loss + weights[..., 1].log().sum()
            query = (query + output).sin()
        return torch.autograd.grad(loss, (start, keys, values))

    gradients = compute_gradients(attend_with_deferred_grad(keys, values))
    expected_gradients = compute_gradients(attend_with_autograd(keys, values))
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, expected)
