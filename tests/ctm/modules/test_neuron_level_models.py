"""Test neuron-level models: batched product against a loop, independence of neurons, memory layout."""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from ctm.modules.neuron_level_models import NeuronLinear, activate, make_neuron_models

D, M, H, B = 5, 4, 3, 2
MODELS = pytest.mark.parametrize("deep", [True, False], ids=["deep", "linear"])
NORMS = pytest.mark.parametrize("normalised", [True, False], ids=["normalised", "plain"])


def make_random_nlms(deep, normalised):
    """Build neuron-level models with published names and without neutral weights."""
    models = make_neuron_models(D, M, H, deep=deep, normalise=normalised, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in models.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return models.eval()


def get_linear_layers(models):
    return [layer for layer in models[0] if isinstance(layer, NeuronLinear)]


def prepare_nlms(models):
    return [layer.prepare() for layer in get_linear_layers(models)]


def make_window():
    return torch.randn(D, M, B, generator=torch.Generator().manual_seed(1))


@MODELS
@NORMS
def test_the_batched_models_equal_a_loop_over_neurons_with_published_weights(deep, normalised):
    models = make_random_nlms(deep, normalised)
    weights = models.state_dict()
    window = make_window()
    rows = []
    for neuron in range(D):
        history = window[neuron].T  # (B, M)
        for layer in ("0.0", "0.2") if deep else ("0.0",):
            if normalised:
                history = F.layer_norm(
                    history, history.shape[1:], weights[f"{layer}.layernorm.weight"], weights[f"{layer}.layernorm.bias"]
                )
            linear = history @ weights[f"{layer}.w1"][:, :, neuron] + weights[f"{layer}.b1"][0, neuron]
            value, gate = (linear / weights[f"{layer}.T"]).chunk(2, 1)
            history = value * torch.sigmoid(gate)
        rows.append(history[:, 0])
    assert_close(activate(prepare_nlms(models), window), torch.stack(rows), rtol=1e-5, atol=1e-6)


@MODELS
@NORMS
def test_the_weights_have_the_published_names_and_shapes(deep, normalised):
    widths = {"0.0": (M, 2 * H), "0.2": (H, 2)} if deep else {"0.0": (M, 2)}
    shapes = {}
    for layer, (wide, out) in widths.items():
        shapes |= {f"{layer}.w1": (wide, out, D), f"{layer}.b1": (1, D, out), f"{layer}.T": (1,)}
        if normalised:
            shapes |= {f"{layer}.layernorm.weight": (wide,), f"{layer}.layernorm.bias": (wide,)}
    assert {
        name: tuple(tensor.shape) for name, tensor in make_random_nlms(deep, normalised).state_dict().items()
    } == shapes


@MODELS
@NORMS
def test_a_neuron_depends_on_its_own_history_only(deep, normalised):
    layers = prepare_nlms(make_random_nlms(deep, normalised))
    jacobian = torch.autograd.functional.jacobian(
        lambda window: activate(layers, window), make_window()
    )  # (D, B, D, M, B)
    for i in range(D):
        for j in range(D):
            assert jacobian[i, :, j].any() == (i == j), f"neuron {i} and the history of neuron {j}"
    for row in range(B):
        assert not jacobian[:, row, :, :, 1 - row].any(), "a row depends on its own history only"
        assert jacobian[:, row, :, :, row].abs().amin((0, 2)).shape == (D,)
        assert all(jacobian[i, row, i, :, row].all() for i in range(D)), "the row depends on its whole history"


@MODELS
def test_the_weights_of_a_neuron_affect_that_neuron_only(deep):
    models = make_random_nlms(deep, False)
    for i in range(D):
        models.zero_grad()
        activate(prepare_nlms(models), make_window())[i].sum().backward()
        for layer in get_linear_layers(models):
            for name, neuron_axis in (("w1", 2), ("b1", 1)):
                has_gradient = getattr(layer, name).grad.movedim(neuron_axis, 0).flatten(1).any(1)
                assert has_gradient.tolist() == [j == i for j in range(D)], name


# --- layout ----------------------------------------------------------------------------------------------------------


def is_neuron_major(model):
    weights = [parameter for name, parameter in model.named_parameters() if name.endswith("w1")]
    assert len(weights) == 2
    return all(weight.permute(2, 1, 0).is_contiguous() and not weight.is_contiguous() for weight in weights)


def reload_from_checkpoint(model, make_model):
    state_dict = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    new_model = make_model(seed=5)
    new_model.load_state_dict(state_dict)
    return new_model


CONVERSIONS = {
    "initial": lambda model, _: model,
    "state dict": reload_from_checkpoint,
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "float64 and back": lambda model, _: copy.deepcopy(model).to(torch.float64).to(torch.float32),
    "float": lambda model, _: copy.deepcopy(model).float().requires_grad_(),
}


@pytest.mark.parametrize("conversion", list(CONVERSIONS))
def test_weights_stay_neuron_major_and_have_the_same_gradients(conversion, make_model, make_inputs):
    model = make_model()
    inputs = make_inputs(model)
    neuron_major_model = CONVERSIONS[conversion](model, make_model)
    assert is_neuron_major(neuron_major_model)
    contiguous_model = copy.deepcopy(model)  # the same numbers, in the published order in memory
    for name, parameter in contiguous_model.named_parameters():
        if name.endswith("w1"):
            parameter.data = parameter.data.contiguous()
    assert not is_neuron_major(contiguous_model)
    for each_model in (neuron_major_model, contiguous_model):
        each_model(inputs).answers.sin().sum().backward()
    assert is_neuron_major(neuron_major_model)
    pairs = zip(neuron_major_model.named_parameters(), contiguous_model.parameters(), strict=True)
    for (name, parameter), expected in pairs:
        assert torch.equal(parameter, expected), name
        assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_a_step_of_the_optimiser_keeps_the_layout(make_model, make_inputs):
    model = make_model()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = model.trace_processor[0][0].w1.detach().clone()
    model(make_inputs(model)).answers.sum().backward()
    optimiser.step()
    assert is_neuron_major(model)
    assert (model.trace_processor[0][0].w1 != before).all()
