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
    for kind, neurons, depth, sees, answer in product(
        SELECTION_TYPES, NLM_VARIANTS, (1, 4), INPUT_VARIANTS, ANSWER_VARIANTS
    ):
        changes = {"neuron_select_type": kind, "synapse_depth": depth, "energy_head_enabled": True}
        yield pytest.param(
            changes | NLM_VARIANTS[neurons] | INPUT_VARIANTS[sees] | ANSWER_VARIANTS[answer],
            id=f"{kind}-{neurons}-{depth}-{sees}-{answer}",
        )


def unroll_tick_by_tick(model, inputs):
    """Return the states, including the start state, and the outputs of all ticks."""
    features = model.encode(inputs)
    states, outputs = [model.initial_state(features)], []
    for _ in range(model.config.iterations):
        state, output = model.tick(states[-1], features)
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
def test_the_unroll_is_ticking_by_hand_with_and_without_gradients(changes, make_model, make_inputs):
    machine = make_model(**changes)
    inputs = make_inputs(machine)
    assert_same_unroll(copied := machine(inputs), unroll_tick_by_tick(machine, inputs)[1])
    with torch.no_grad():
        assert_same_unroll(slid := machine(inputs), unroll_tick_by_tick(machine, inputs)[1])
    assert copied.answers.requires_grad and not slid.answers.requires_grad
    assert_close(slid.answers, copied.answers.detach(), rtol=1e-4, atol=5e-5)
    assert copied.answers.shape == (3, 6, 4)
    assert copied.answers.std(0).max() > 1e-2, "rows do not differ: the input is not seen"
    assert copied.answers.std(2).max() > 1e-2, "ticks do not differ: nothing is thought"


@pytest.mark.parametrize("sees", list(INPUT_VARIANTS))
@pytest.mark.parametrize("kind", list(SELECTION_TYPES))
def test_an_unroll_equals_the_equations_written_out(kind, sees, make_model, make_inputs):
    """Compute the model as the published code does: no fused weights, no batching over neurons, no running sums."""
    machine = make_model(neuron_select_type=kind, **INPUT_VARIANTS[sees])
    inputs = make_inputs(machine)
    config, first, second = machine.config, machine.trace_processor[0][0], machine.trace_processor[0][2]

    def neuron(number, history):
        for layer in (first, second):
            history = F.glu((history @ layer.w1[:, :, number] + layer.b1[0, number]) / layer.T, -1)
        return history.squeeze(-1)

    def synchronisation(place, past):
        left, right = (getattr(machine, f"{place}_neuron_indices_{side}") for side in ("left", "right"))
        n = len(left)
        pairs = (
            [(i, i) for i in range(n)] if kind == "random-pairing" else [(i, j) for i in range(n) for j in range(i, n)]
        )
        kept = [
            torch.exp(-rate * torch.arange(len(past)).flip(0)) for rate in getattr(machine, f"decay_params_{place}")
        ]
        z = torch.stack(past)
        sums = [
            (kept[s][:, None] * z[:, :, left[i]] * z[:, :, right[j]]).sum(0) / kept[s].sum().sqrt()
            for s, (i, j) in enumerate(pairs)
        ]
        return torch.stack(sums, 1)

    with torch.no_grad():
        past = [machine.start_activated_state.expand(3, -1)]
        trace = machine.start_trace.expand(3, -1, -1)
        answers = []
        for _ in range(config.iterations):
            observed = inputs
            if config.heads:
                places = machine.kv_proj(machine.backbone(inputs).transpose(1, 2))
                query = machine.q_proj(synchronisation("action", past)).unsqueeze(1)
                observed = machine.attention(query, places, places)[0].squeeze(1)
            pre_activations = machine.synapses(torch.cat((observed, past[-1]), 1))
            trace = torch.cat((trace[:, :, 1:], pre_activations.unsqueeze(2)), 2)
            past.append(torch.stack([neuron(d, trace[:, d]) for d in range(config.d_model)], 1))
            answers.append(machine.output_projector(synchronisation("out", past)))
        assert_close(machine(inputs).answers, torch.stack(answers, -1), rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("sees", list(INPUT_VARIANTS))
def test_training_without_any_dropped_value_gives_the_numbers_of_eval(sees, depth, make_model, make_inputs):
    """Compare training with dropout to evaluation.

    Dropout prevents fusing, so training takes another code path. A probability of 1e-12 takes that path and drops
    nothing.
    """
    machine = make_model(dropout=1e-12, synapse_depth=depth, **INPUT_VARIANTS[sees])
    inputs = make_inputs(machine)
    with torch.no_grad():
        expected = machine(inputs).answers
        assert_close(machine.train()(inputs).answers, expected, rtol=1e-4, atol=5e-5)


def test_a_model_without_energy_head_returns_no_energy(make_model, make_inputs):
    machine = make_model()
    inputs = make_inputs(machine)
    assert machine(inputs).energies is None
    assert unroll_tick_by_tick(machine, inputs)[1][0].energy is None


def test_one_tick_returns_the_certainty_of_every_position_of_a_structured_answer(make_model, make_inputs):
    machine = make_model(prediction_reshaper=[3, 2])
    output = unroll_tick_by_tick(machine, make_inputs(machine))[1][-1]
    p = output.answer.reshape(3, 3, 2).softmax(-1)
    expected = 1 + (p * p.log()).sum(-1) / torch.log(torch.tensor(2.0))
    assert_close(output.certainty, expected, rtol=1e-5, atol=1e-6)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [*INPUT_VARIANTS.values(), {"backbone_type": "resnet18-1"}], ids=[*INPUT_VARIANTS, "resnet"]
)
def test_rows_of_a_batch_do_not_touch_each_other(changes, make_model, make_inputs):
    machine = make_model(energy_head_enabled=True, **changes)
    inputs, other = make_inputs(machine, 4), make_inputs(machine, 4, seed=9)
    perturbed = torch.cat((inputs[:2], other[2:3], inputs[3:]))
    with torch.no_grad():
        before, after = machine(inputs), machine(perturbed)
    for name in ("answers", "certainties", "energies"):
        old, new = getattr(before, name), getattr(after, name)
        assert_close(new[[0, 1, 3]], old[[0, 1, 3]], rtol=1e-4, atol=5e-5)
        assert (new[2] - old[2]).abs().max() > 1e-3


@pytest.mark.parametrize("changes", list(INPUT_VARIANTS.values()), ids=list(INPUT_VARIANTS))
def test_rows_in_another_order_give_outputs_in_that_order(changes, make_model, make_inputs):
    machine = make_model(energy_head_enabled=True, **changes)
    inputs, order = make_inputs(machine, 4), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        straight, permuted = machine(inputs), machine(inputs[order])
    for name in ("answers", "certainties", "energies"):
        assert_close(getattr(permuted, name), getattr(straight, name)[order], rtol=1e-4, atol=5e-5)


# --- gradients -------------------------------------------------------------------------------------------------------

TRAINING_VARIANTS = {
    "deep U-Net": {"synapse_depth": 4, "do_layernorm_nlm": True, "energy_head_enabled": True},
    "certainty seen": {"energy_head_enabled": True, "energy_sees_certainty": True},
    "neurons seen": {"energy_head_enabled": True, "energy_sees_neurons": True},
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
    machine = make_model(**changes).train()
    answers = machine(make_inputs(machine, 4)).answers
    F.cross_entropy(answers[..., -1], torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in machine.named_parameters():
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
    machine = make_model(energy_head_enabled=True, energy_sees_certainty=certainty, energy_sees_neurons=neurons)
    inputs = make_inputs(machine)
    with torch.no_grad():
        thought, features = machine(inputs), machine.encode(inputs)
        state = machine.initial_state(features)
        for tick in range(features.ticks):
            state, output = machine.tick(state, features)
            seen = [state.latent, state.post_activations, compute_certainty_features(output.certainty.T).T]
            shown = [values for values, sees in zip(seen, (True, neurons, certainty), strict=True) if sees]
            assert_close(output.energy, machine.energy_proj(torch.cat(shown, 1)).squeeze(1))
            assert_close(output.energy, thought.energies[:, tick], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("sees", [False, True])
@pytest.mark.parametrize("reaches", [False, True])
def test_the_energy_gradient_reaches_the_trunk_only_on_request(reaches, sees, make_model, make_inputs):
    machine = make_model(energy_head_enabled=True, energy_sees_certainty=sees)
    machine(make_inputs(machine), energy_grad_to_trunk=reaches).energies.square().sum().backward()
    reached = {name for name, p in machine.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    head = {name for name, _ in machine.named_parameters() if name.startswith("energy_proj")}
    answer = {"output_projector.0.weight", "output_projector.0.bias"}
    everything = {name for name, _ in machine.named_parameters()}
    assert len(head) == 4
    assert reached == (everything - (set() if sees else answer) if reaches else head)


@pytest.mark.parametrize("changes", [{"synapse_depth": 4}, INPUT_VARIANTS["raw"], {"do_layernorm_nlm": True}])
def test_gradients_of_the_unroll_are_those_of_ticking_by_hand(changes, make_model, make_inputs):
    machine = make_model(neuron_select_type="random", **changes)
    inputs, names = make_inputs(machine), [name for name, _ in machine.named_parameters()]

    def gradients(answers):
        return torch.autograd.grad(answers.sin().sum(), machine.parameters())

    unrolled = gradients(machine(inputs).answers)
    ticked = gradients(torch.stack([output.answer for output in unroll_tick_by_tick(machine, inputs)[1]], -1))
    for name, one, other in zip(names, unrolled, ticked, strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("changes", [{"synapse_depth": 4, "do_layernorm_nlm": True}, INPUT_VARIANTS["raw"]])
def test_gradients_are_the_slopes_that_small_steps_find(changes, make_model, make_inputs):
    """Compare gradients with central differences along a random direction for every parameter.

    float32 only allows a loose tolerance.
    """
    machine = make_model(**changes)
    inputs, step, directions = make_inputs(machine), 2e-3, torch.Generator().manual_seed(0)

    def loss():
        return machine(inputs).answers.sin().sum()

    slopes = torch.autograd.grad(loss(), machine.parameters())
    for (name, parameter), slope in zip(machine.named_parameters(), slopes, strict=True):
        direction = torch.randn(parameter.shape, generator=directions)
        direction /= direction.norm()
        ends = []
        with torch.no_grad():
            for side in (step, -step):
                parameter.add_(direction, alpha=side)
                ends.append(loss())
                parameter.sub_(direction, alpha=side)
        measured = (ends[0] - ends[1]) / (2 * step)
        assert_close(
            (slope * direction).sum(), measured, rtol=1e-2, atol=6e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
