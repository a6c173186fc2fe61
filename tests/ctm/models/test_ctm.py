"""Test the Continuous Thought Machine: unroll against single ticks, row independence, gradients."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from ctm.modules.readout import compute_certainty_features

SELECTION_TYPES = ("first-last", "random", "random-pairing")
NLM_VARIANTS = {
    "linear": {"deep_nlms": False},
    "deep": {},
    "linear, normalised": {"deep_nlms": False, "do_layernorm_nlm": True},
    "deep, normalised": {"do_layernorm_nlm": True},
}
INPUT_VARIANTS = {"attention": {}, "raw": {"heads": 0, "n_synch_action": 0, "backbone_type": "none"}}
ANSWER_VARIANTS = {"one choice": {}, "structured": {"prediction_reshaper": [3, 2]}}


def iter_variants():
    """Yield the changes to the config of every combination of variants."""
    for selection, nlm, depth, input_kind, answer in product(
        SELECTION_TYPES, NLM_VARIANTS, (1, 4), INPUT_VARIANTS, ANSWER_VARIANTS
    ):
        changes = {"neuron_select_type": selection, "synapse_depth": depth, "energy_head_enabled": True}
        yield pytest.param(
            changes | NLM_VARIANTS[nlm] | INPUT_VARIANTS[input_kind] | ANSWER_VARIANTS[answer],
            id=f"{selection}-{nlm}-{depth}-{input_kind}-{answer}",
        )


def unroll_tick_by_tick(model, inputs):
    """Return the states, including the start state, and the outputs of all ticks."""
    encoded = model.encode(inputs)
    states = [model.initial_state(encoded)]
    outputs = []
    for _ in range(model.config.iterations):
        state, output = model.tick(states[-1], encoded)
        states.append(state)
        outputs.append(output)
    return states, outputs


def assert_same_unroll(unrolled, outputs):
    certainty = torch.stack([output.certainty.mean(1) for output in outputs], -1)
    assert_close(unrolled.answers, torch.stack([output.answer for output in outputs], -1), rtol=1e-4, atol=5e-5)
    assert_close(unrolled.certainties[:, 1], certainty, rtol=1e-4, atol=5e-5)
    assert_close(unrolled.certainties[:, 0], 1 - certainty, rtol=1e-4, atol=5e-5)
    assert_close(unrolled.energies, torch.stack([output.energy for output in outputs], -1), rtol=1e-4, atol=5e-5)


# --- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", list(iter_variants()))
def test_the_unroll_equals_single_ticks_with_and_without_gradients(changes, make_model, make_inputs):
    model = make_model(**changes)
    inputs = make_inputs(model)
    with_gradients = model(inputs)
    assert_same_unroll(with_gradients, unroll_tick_by_tick(model, inputs)[1])
    with torch.no_grad():
        without_gradients = model(inputs)
        assert_same_unroll(without_gradients, unroll_tick_by_tick(model, inputs)[1])
    assert with_gradients.answers.requires_grad and not without_gradients.answers.requires_grad
    assert_close(without_gradients.answers, with_gradients.answers.detach(), rtol=1e-4, atol=5e-5)
    assert with_gradients.answers.shape == (3, 6, 4)
    assert with_gradients.answers.std(0).max() > 1e-2, "rows do not differ: the input has no effect"
    assert with_gradients.answers.std(2).max() > 1e-2, "ticks do not differ: the ticks have no effect"


@pytest.mark.parametrize("input_kind", list(INPUT_VARIANTS))
@pytest.mark.parametrize("selection", list(SELECTION_TYPES))
def test_an_unroll_equals_the_equations_written_out(selection, input_kind, make_model, make_inputs):
    """Compute the model as the published code does: no fused weights, no batching over neurons, no running sums."""
    model = make_model(neuron_select_type=selection, **INPUT_VARIANTS[input_kind])
    inputs = make_inputs(model)
    config = model.config
    nlm_layers = (model.trace_processor[0][0], model.trace_processor[0][2])

    def apply_neuron(index, history):
        for layer in nlm_layers:
            history = F.glu((history @ layer.w1[:, :, index] + layer.b1[0, index]) / layer.T, -1)
        return history.squeeze(-1)

    def synchronise(role, activations):
        left, right = (getattr(model, f"{role}_neuron_indices_{side}") for side in ("left", "right"))
        n = len(left)
        pairs = (
            [(i, i) for i in range(n)]
            if selection == "random-pairing"
            else [(i, j) for i in range(n) for j in range(i, n)]
        )
        decays = [
            torch.exp(-rate * torch.arange(len(activations)).flip(0)) for rate in getattr(model, f"decay_params_{role}")
        ]
        z = torch.stack(activations)
        sums = [
            (decays[s][:, None] * z[:, :, left[i]] * z[:, :, right[j]]).sum(0) / decays[s].sum().sqrt()
            for s, (i, j) in enumerate(pairs)
        ]
        return torch.stack(sums, 1)

    with torch.no_grad():
        activations = [model.start_activated_state.expand(3, -1)]
        trace = model.start_trace.expand(3, -1, -1)
        answers = []
        for _ in range(config.iterations):
            observation = inputs
            if config.heads:
                features = model.kv_proj(model.backbone(inputs).transpose(1, 2))
                query = model.q_proj(synchronise("action", activations)).unsqueeze(1)
                observation = model.attention(query, features, features)[0].squeeze(1)
            pre_activations = model.synapses(torch.cat((observation, activations[-1]), 1))
            trace = torch.cat((trace[:, :, 1:], pre_activations.unsqueeze(2)), 2)
            activations.append(torch.stack([apply_neuron(d, trace[:, d]) for d in range(config.d_model)], 1))
            answers.append(model.output_projector(synchronise("out", activations)))
        assert_close(model(inputs).answers, torch.stack(answers, -1), rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("input_kind", list(INPUT_VARIANTS))
def test_training_without_any_dropped_value_gives_the_outputs_of_eval(input_kind, depth, make_model, make_inputs):
    """Compare training with dropout to evaluation.

    Dropout prevents fusing, so training takes another code path. A probability of 1e-12 takes that path and drops
    nothing.
    """
    model = make_model(dropout=1e-12, synapse_depth=depth, **INPUT_VARIANTS[input_kind])
    inputs = make_inputs(model)
    with torch.no_grad():
        expected = model(inputs).answers
        assert_close(model.train()(inputs).answers, expected, rtol=1e-4, atol=5e-5)


def test_a_model_without_energy_head_returns_no_energy(make_model, make_inputs):
    model = make_model()
    inputs = make_inputs(model)
    assert model(inputs).energies is None
    assert unroll_tick_by_tick(model, inputs)[1][0].energy is None


def test_one_tick_returns_the_certainty_of_every_position_of_a_structured_answer(make_model, make_inputs):
    model = make_model(prediction_reshaper=[3, 2])
    output = unroll_tick_by_tick(model, make_inputs(model))[1][-1]
    p = output.answer.reshape(3, 3, 2).softmax(-1)
    expected = 1 + (p * p.log()).sum(-1) / torch.log(torch.tensor(2.0))
    assert_close(output.certainty, expected, rtol=1e-5, atol=1e-6)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [*INPUT_VARIANTS.values(), {"backbone_type": "resnet18-1"}], ids=[*INPUT_VARIANTS, "resnet"]
)
def test_rows_of_a_batch_do_not_affect_each_other(changes, make_model, make_inputs):
    model = make_model(energy_head_enabled=True, **changes)
    inputs = make_inputs(model, 4)
    other_inputs = make_inputs(model, 4, seed=9)
    perturbed = torch.cat((inputs[:2], other_inputs[2:3], inputs[3:]))
    with torch.no_grad():
        unrolled = model(inputs)
        perturbed_unrolled = model(perturbed)
    for name in ("answers", "certainties", "energies"):
        before, after = getattr(unrolled, name), getattr(perturbed_unrolled, name)
        assert_close(after[[0, 1, 3]], before[[0, 1, 3]], rtol=1e-4, atol=5e-5)
        assert (after[2] - before[2]).abs().max() > 1e-3


@pytest.mark.parametrize("changes", list(INPUT_VARIANTS.values()), ids=list(INPUT_VARIANTS))
def test_rows_in_another_order_give_outputs_in_that_order(changes, make_model, make_inputs):
    model = make_model(energy_head_enabled=True, **changes)
    inputs = make_inputs(model, 4)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        unrolled = model(inputs)
        permuted = model(inputs[order])
    for name in ("answers", "certainties", "energies"):
        assert_close(getattr(permuted, name), getattr(unrolled, name)[order], rtol=1e-4, atol=5e-5)


# --- gradients -------------------------------------------------------------------------------------------------------

TRAINING_VARIANTS = {
    "deep U-Net": {"synapse_depth": 4, "do_layernorm_nlm": True, "energy_head_enabled": True},
    "energy from certainty": {"energy_head_enabled": True, "energy_sees_certainty": True},
    "energy from neurons": {"energy_head_enabled": True, "energy_sees_neurons": True},
    "raw linear": INPUT_VARIANTS["raw"] | NLM_VARIANTS["linear, normalised"] | {"neuron_select_type": "first-last"},
    "picture": {"backbone_type": "resnet18-1", "positional_embedding_type": "learnable-fourier"},
    "picture, rotated": {"backbone_type": "resnet50-1", "positional_embedding_type": "custom-rotational"},
    "parity": {
        "backbone_type": "parity_backbone",
        "positional_embedding_type": "custom-rotational-1d",
        "neuron_select_type": "random",
    },
}


@pytest.mark.parametrize("changes", list(TRAINING_VARIANTS.values()), ids=list(TRAINING_VARIANTS))
def test_gradients_reach_every_parameter_that_the_last_answer_depends_on(changes, make_model, make_inputs):
    model = make_model(**changes).train()
    answers = model(make_inputs(model, 4)).answers
    F.cross_entropy(answers[..., -1], torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("energy_proj"):
            assert parameter.grad is None, f"the answer does not depend on {name}"
        else:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, f"no gradient reaches {name}"
            assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


@pytest.mark.parametrize("certainty", [False, True])
@pytest.mark.parametrize("neurons", [False, True])
def test_an_energy_head_with_more_inputs_gives_the_same_energy_in_the_unroll_and_in_every_tick(
    certainty, neurons, make_model, make_inputs
):
    model = make_model(energy_head_enabled=True, energy_sees_certainty=certainty, energy_sees_neurons=neurons)
    inputs = make_inputs(model)
    with torch.no_grad():
        unrolled = model(inputs)
        encoded = model.encode(inputs)
        state = model.initial_state(encoded)
        for tick in range(encoded.ticks):
            state, output = model.tick(state, encoded)
            head_inputs = [state.latent]
            head_inputs += [state.post_activations] if neurons else []
            head_inputs += [compute_certainty_features(output.certainty.T).T] if certainty else []
            assert_close(output.energy, model.energy_proj(torch.cat(head_inputs, 1)).squeeze(1))
            assert_close(output.energy, unrolled.energies[:, tick], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("certainty", [False, True])
@pytest.mark.parametrize("grad_to_trunk", [False, True])
def test_the_energy_gradient_reaches_the_trunk_only_on_request(grad_to_trunk, certainty, make_model, make_inputs):
    model = make_model(energy_head_enabled=True, energy_sees_certainty=certainty)
    model(make_inputs(model), energy_grad_to_trunk=grad_to_trunk).energies.square().sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    head = {name for name, _ in model.named_parameters() if name.startswith("energy_proj")}
    answer_layer = {"output_projector.0.weight", "output_projector.0.bias"}
    all_parameters = {name for name, _ in model.named_parameters()}
    assert len(head) == 4
    assert with_gradient == (all_parameters - (set() if certainty else answer_layer) if grad_to_trunk else head)


@pytest.mark.parametrize("changes", [{"synapse_depth": 4}, INPUT_VARIANTS["raw"], {"do_layernorm_nlm": True}])
def test_gradients_of_the_unroll_equal_those_of_single_ticks(changes, make_model, make_inputs):
    model = make_model(neuron_select_type="random", **changes)
    inputs = make_inputs(model)
    names = [name for name, _ in model.named_parameters()]

    def compute_gradients(answers):
        return torch.autograd.grad(answers.sin().sum(), model.parameters())

    gradients = compute_gradients(model(inputs).answers)
    outputs = unroll_tick_by_tick(model, inputs)[1]
    expected_gradients = compute_gradients(torch.stack([output.answer for output in outputs], -1))
    for name, gradient, expected in zip(names, gradients, expected_gradients, strict=True):
        assert_close(gradient, expected, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("changes", [{"synapse_depth": 4, "do_layernorm_nlm": True}, INPUT_VARIANTS["raw"]])
def test_gradients_equal_central_differences(changes, make_model, make_inputs):
    """Compare gradients with central differences along a random direction for every parameter.

    float32 only allows a loose tolerance.
    """
    model = make_model(**changes)
    inputs = make_inputs(model)
    step_size = 2e-3
    generator = torch.Generator().manual_seed(0)

    def compute_loss():
        return model(inputs).answers.sin().sum()

    gradients = torch.autograd.grad(compute_loss(), model.parameters())
    for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator)
        direction /= direction.norm()
        losses = []
        with torch.no_grad():
            for offset in (step_size, -step_size):
                parameter.add_(direction, alpha=offset)
                losses.append(compute_loss())
                parameter.sub_(direction, alpha=offset)
        difference_quotient = (losses[0] - losses[1]) / (2 * step_size)
        assert_close(
            (gradient * direction).sum(),
            difference_quotient,
            rtol=1e-2,
            atol=6e-3,
            msg=lambda text, name=name: f"{name}: {text}",
        )
