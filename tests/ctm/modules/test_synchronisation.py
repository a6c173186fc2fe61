"""Test synchronisation: explicit sum (paper section 3.4), neuron pairs, and decay rates at their bounds."""

import math

import pytest
import torch
from torch.testing import assert_close

from ctm.modules.synchronisation import (
    choose_neurons,
    compute_retention,
    expand_pairs,
    make_zero_accumulator,
    unroll_synchronisation,
)

SELECTION_TYPES = ("first-last", "random", "random-pairing")


def list_pairs(model, role):
    """Return the neuron pairs of the published code, written as loops."""
    left, right = (getattr(model, f"{role}_neuron_indices_{side}").tolist() for side in ("left", "right"))
    if model.config.neuron_select_type == "random-pairing":
        return list(zip(left, right, strict=True))
    return [(left[i], right[j]) for i in range(len(left)) for j in range(i, len(left))]


def compute_synchronisation(model, role, activations):
    """Return sum_k exp(-r (t - k)) z_i(k) z_j(k) / sqrt(sum_k exp(-r (t - k))) for every pair (i, j)."""
    decays = getattr(model, f"decay_params_{role}").tolist()
    columns = []
    for (i, j), r in zip(list_pairs(model, role), decays, strict=True):
        weights = [math.exp(-r * (len(activations) - 1 - k)) for k in range(len(activations))]
        total = sum(weight * z[:, i] * z[:, j] for weight, z in zip(weights, activations, strict=True))
        columns.append(total / math.sqrt(sum(weights)))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("kind", SELECTION_TYPES)
def test_recurrent_synchronisation_equals_the_explicit_sum(kind, gradients, make_model, make_inputs):
    model = make_model(neuron_select_type=kind)
    with torch.set_grad_enabled(gradients):
        encoded = model.encode(make_inputs(model))
        state = model.initial_state(encoded)
        activations = [state.post_activations.detach()]
        assert_close(state.sync_out.detach(), compute_synchronisation(model, "out", activations))
        for _ in range(5):
            state, _ = model.tick(state, encoded)
            # Attention comes before the synapses, so its synchronisation ends at the previous tick.
            expected_action = compute_synchronisation(model, "action", activations)
            assert_close(state.sync_action.detach(), expected_action, rtol=1e-4, atol=1e-5)
            activations.append(state.post_activations.detach())
            expected_out = compute_synchronisation(model, "out", activations)
            assert_close(state.sync_out.detach(), expected_out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SELECTION_TYPES)
def test_output_synchronisation_includes_the_start_state_and_action_starts_at_zero(kind, make_model, make_inputs):
    model = make_model(neuron_select_type=kind)
    encoded = model.encode(make_inputs(model))
    state = model.initial_state(encoded)
    z = model.start_activated_state
    products = torch.stack([z[i] * z[j] for i, j in list_pairs(model, "out")])
    assert_close(state.out_sync.alpha, products.unsqueeze(1).expand(-1, 3))
    assert torch.equal(state.out_sync.beta, torch.ones_like(state.out_sync.beta))
    assert not state.action_sync.alpha.any() and not state.action_sync.beta.any()
    assert state.action_sync.alpha.shape == (len(list_pairs(model, "action")), 3)


def test_without_attention_there_is_no_action_synchronisation(make_model, make_inputs, raw_input_changes):
    model = make_model(**raw_input_changes | {"n_synch_action": 4})
    encoded = model.encode(make_inputs(model))
    state, _ = model.tick(model.initial_state(encoded), encoded)
    assert state.action_sync is None and state.sync_action is None
    assert not [name for name in model.state_dict() if "action" in name]


def test_unrolling_known_products_equals_single_updates():
    generator = torch.Generator().manual_seed(0)
    products = torch.randn(6, 4, 3, generator=generator)
    retention = torch.rand(4, 1, generator=generator)
    initial_sync = make_zero_accumulator(4, torch.zeros(9, 3)).update(torch.randn(4, 3, generator=generator), retention)
    sync = initial_sync
    for product, value in zip(products, unroll_synchronisation(products, initial_sync, retention), strict=True):
        sync = sync.update(product, retention)
        assert_close(value, sync.value)


# --- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["first-last", "random"])
def test_dense_pairs_are_the_upper_triangle_row_by_row(kind):
    left, right = expand_pairs(kind, torch.tensor([10, 11, 12]), torch.tensor([20, 21, 22]))
    pairs = list(zip(left.tolist(), right.tolist(), strict=True))
    assert pairs == [(10, 20), (10, 21), (10, 22), (11, 21), (11, 22), (12, 22)]


def test_random_pairs_are_the_corresponding_neurons():
    left, right = expand_pairs("random-pairing", torch.tensor([10, 11]), torch.tensor([20, 21]))
    assert (left.tolist(), right.tolist()) == ([10, 11], [20, 21])


@pytest.mark.parametrize("kind", SELECTION_TYPES)
def test_the_config_computes_the_number_of_pairs(kind, make_model):
    model = make_model(neuron_select_type=kind, n_synch_out=7)
    encoded = model.encode(torch.zeros(1, 6, dtype=torch.int64))
    assert len(encoded.out_pairs.left) == model.config.compute_synch_size(7) == len(model.decay_params_out)
    assert len(encoded.action_pairs.left) == model.config.compute_synch_size(4) == len(model.decay_params_action)
    assert len(encoded.out_pairs.left) == (7 if kind == "random-pairing" else 28)


def test_first_last_uses_the_first_neurons_for_output_and_the_last_for_attention():
    for side in choose_neurons("first-last", "out", 10, 3, 0, None):
        assert side.tolist() == [0, 1, 2]
    for side in choose_neurons("first-last", "action", 10, 3, 0, None):
        assert side.tolist() == [7, 8, 9]


def test_first_last_ignores_the_neuron_indices_in_a_checkpoint(make_model, make_inputs):
    """The published code slices; its buffers may hold any values."""
    model = make_model(neuron_select_type="first-last")
    inputs = make_inputs(model)
    expected = model(inputs).answers
    model.out_neuron_indices_left.fill_(3)
    model.action_neuron_indices_right.fill_(0)
    assert torch.equal(model(inputs).answers, expected)


@pytest.mark.parametrize("kind", ["random", "random-pairing"])
def test_random_neurons_come_from_the_generator_alone_and_from_all_neurons(kind):
    def choose(seed):
        return choose_neurons(kind, "out", 8, 400, 3, torch.Generator().manual_seed(seed))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    left, right = choose(5)
    same_seed_left, same_seed_right = choose(5)
    other_seed_left, _ = choose(6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(left, same_seed_left) and torch.equal(right, same_seed_right)
    assert not torch.equal(left, other_seed_left) and not torch.equal(left, right)
    assert set(left.tolist()) == set(right.tolist()) == set(range(8))


def test_n_random_pairing_self_pairs_the_first_neurons_with_themselves():
    left, right = choose_neurons("random-pairing", "out", 1_000, 50, 20, torch.Generator().manual_seed(0))
    assert torch.equal(left[:20], right[:20])
    assert (left[20:] != right[20:]).sum() > 25


# --- decay rates -----------------------------------------------------------------------------------------------------


def test_decay_rates_are_clamped_between_0_and_15():
    retention = compute_retention(torch.tensor([-3.0, 0.0, 1.0, 15.0, 40.0])).squeeze(1)
    assert_close(retention, torch.tensor([1.0, 1.0, math.exp(-1), math.exp(-15), math.exp(-15)]))


@pytest.mark.parametrize(("decay", "outward"), [(0.0, -1), (-2.0, -1), (15.0, 1), (17.0, 1)])
def test_at_a_bound_only_the_outward_gradient_vanishes(decay, outward):
    """A step goes against the gradient: a lower rate needs a positive gradient."""
    for direction, expected in ((outward, 0.0), (-outward, 1.0)):
        rate = torch.tensor([decay], requires_grad=True)
        loss = (
            direction * compute_retention(rate).log().sum()
        )  # log(retention) is -rate, so descent raises direction * rate
        loss.backward()
        assert_close(rate.grad, torch.tensor([-direction * expected]))


def test_within_the_bounds_gradients_pass_in_both_directions():
    rate = torch.tensor([0.1, 14.0], requires_grad=True)
    compute_retention(rate).log().mul(torch.tensor([[2.0], [-3.0]])).sum().backward()
    assert_close(rate.grad, torch.tensor([-2.0, 3.0]))


@pytest.mark.parametrize("start", [-1.0, 0.0, 15.0, 16.0])
def test_a_rate_at_or_beyond_its_bound_can_return(start):
    rate = torch.nn.Parameter(torch.tensor([start]))
    optimizer = torch.optim.SGD([rate], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (compute_retention(rate).log() + 4).square().sum().backward()  # minimal where the rate is 4
        optimizer.step()
    assert_close(rate.detach(), torch.tensor([4.0]), atol=1e-2, rtol=0)


def test_decay_rates_of_a_model_can_return_into_their_bounds(make_model, make_inputs):
    """Fit a model with rates beyond the bound to the outputs of the same model with slow decay."""
    model = make_model(iterations=6)
    inputs = make_inputs(model)
    with torch.no_grad():
        model.decay_params_out.fill_(0.5)
        expected = model(inputs).answers
        model.decay_params_out.fill_(-0.05)
    optimizer = torch.optim.Adam([model.decay_params_out], lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(inputs).answers - expected).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert (model.decay_params_out > 0.05).all()
