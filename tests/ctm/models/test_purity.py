"""Tests that state is an argument: a tick changes neither the module, nor old states, nor global state."""

import copy
from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ctm import ContinuousThoughtMachine, CTMConfig

RAW_INPUT_CHANGES = {"heads": 0, "n_synch_action": 0, "backbone_type": "none"}
EACH_INPUT = pytest.mark.parametrize("changes", [{}, RAW_INPUT_CHANGES], ids=["attention", "raw"])
GRADIENTS = pytest.mark.parametrize("gradients", [True, False], ids=["with gradients", "without gradients"])


def collect_tensors(value, path=""):
    """Return path -> tensor for all tensors of a state: its fields and its properties."""
    if isinstance(value, Tensor):
        return {path: value.detach().clone()}
    if not is_dataclass(value):
        return {}
    parts = {field.name: getattr(value, field.name) for field in fields(value) if field.name != "buffer"}
    parts |= {name: getattr(value, name) for name, kind in vars(type(value)).items() if isinstance(kind, property)}
    return {
        name: tensor for key, part in parts.items() for name, tensor in collect_tensors(part, f"{path}.{key}").items()
    }


def assert_same_state(first, second):
    first, second = collect_tensors(first), collect_tensors(second)
    assert first.keys() == second.keys() and ".pre_activation_history.window" in first and ".activations" in first
    for name, tensor in first.items():
        close = torch.isclose(tensor, second[name], rtol=1e-4, atol=5e-5, equal_nan=True)
        assert close.all(), f"{name} differs by {(tensor - second[name]).abs().max()}"


def run_ticks(model, state, encoded, ticks):
    """Return the state and the output after some ticks."""
    for _ in range(ticks):
        state, output = model.tick(state, encoded)
    return state, output


# --- old states ------------------------------------------------------------------------------------------------------


@EACH_INPUT
@GRADIENTS
def test_a_state_can_be_continued_twice(changes, gradients, make_model, make_inputs):
    """Two continuations of one history share its buffer and must not overwrite each other."""
    model = make_model(**changes)
    with torch.set_grad_enabled(gradients):
        first_encoded, second_encoded = (model.encode(make_inputs(model, seed=seed)) for seed in (0, 1))

        def run_common_ticks():
            return run_ticks(model, model.initial_state(first_encoded), first_encoded, 2)[0]

        common_state = run_common_ticks()
        before = collect_tensors(common_state)
        first_state = second_state = common_state
        for _ in range(3):  # alternating, so that each would write where the other reads
            first_state, first_output = model.tick(first_state, first_encoded)
            second_state, second_output = model.tick(second_state, second_encoded)
        expected_first_state, expected_first_output = run_ticks(model, run_common_ticks(), first_encoded, 3)
        expected_second_state, expected_second_output = run_ticks(model, run_common_ticks(), second_encoded, 3)
    assert_same_state(first_state, expected_first_state)
    assert_same_state(second_state, expected_second_state)
    assert_close(first_output.answer, expected_first_output.answer, rtol=1e-4, atol=5e-5)
    assert_close(second_output.answer, expected_second_output.answer, rtol=1e-4, atol=5e-5)
    assert (first_output.answer - second_output.answer).abs().max() > 1e-2
    for name, tensor in collect_tensors(common_state).items():
        assert torch.equal(tensor, before[name]), f"{name} of the common state was changed"


@GRADIENTS
def test_one_encoded_input_serves_many_unrolls(gradients, make_model, make_inputs):
    model = make_model()
    with torch.set_grad_enabled(gradients):
        encoded = model.encode(make_inputs(model))
        first, _ = run_ticks(model, model.initial_state(encoded), encoded, 6)
        second, _ = run_ticks(model, model.initial_state(encoded), encoded, 6)
    for name, tensor in collect_tensors(first).items():
        assert torch.equal(tensor, collect_tensors(second)[name]), name


@pytest.mark.parametrize(
    "changes",
    [{}, RAW_INPUT_CHANGES, RAW_INPUT_CHANGES | {"dropout": 1e-12}],
    ids=["attention", "raw", "raw, in training"],
)
@GRADIENTS
def test_selecting_rows_then_ticking_equals_ticking_then_selecting_rows(changes, gradients, make_model, make_inputs):
    model = make_model(**changes)
    model.train("dropout" in changes)
    rows = torch.tensor([3, 1])
    with torch.set_grad_enabled(gradients):
        encoded = model.encode(make_inputs(model, 4))
        state, _ = run_ticks(model, model.initial_state(encoded), encoded, 2)
        selected_encoded = encoded.select_rows(rows)
        selected_state = state.select_rows(rows, reserve_ticks=2)
        assert_same_state(selected_state, state.select_rows(rows))
        next_state, output = run_ticks(model, state, encoded, 4)
        selected_state, selected_output = run_ticks(model, selected_state, selected_encoded, 4)
    assert selected_encoded.batch_size == 2 and selected_state.activations.shape == (12, 2)
    assert_same_state(selected_state, next_state.select_rows(rows))
    assert_close(selected_output.answer, output.answer[rows], rtol=1e-4, atol=5e-5)
    assert_close(selected_output.certainty, output.certainty[rows], rtol=1e-4, atol=5e-5)


def test_selecting_rows_does_not_change_the_original_state(make_model, make_inputs):
    model = make_model()
    with torch.no_grad():
        encoded = model.encode(make_inputs(model, 4))
        state, _ = run_ticks(model, model.initial_state(encoded), encoded, 1)
        before = collect_tensors(state)
        run_ticks(model, state.select_rows(torch.tensor([0])), encoded.select_rows(torch.tensor([0])), 5)
    for name, tensor in collect_tensors(state).items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("reserve_ticks", [0, 1, 3, 50])
def test_an_unroll_may_exceed_its_preallocated_buffer(reserve_ticks, make_model, make_inputs):
    model = make_model()
    inputs = make_inputs(model)
    reference_model = make_model(iterations=30)
    reference_model.load_state_dict(model.state_dict())
    with torch.no_grad():
        encoded = model.encode(inputs)
        _, output = run_ticks(model, model.initial_state(encoded, reserve_ticks=reserve_ticks), encoded, 30)
        assert_close(output.answer, reference_model(inputs).answers[..., -1], rtol=1e-4, atol=5e-5)


@GRADIENTS
def test_gradients_may_be_switched_within_an_unroll(gradients, make_model, make_inputs):
    model = make_model()
    inputs = make_inputs(model)
    with torch.set_grad_enabled(gradients):
        encoded = model.encode(inputs)
        state, _ = run_ticks(model, model.initial_state(encoded), encoded, 2)
    with torch.set_grad_enabled(not gradients):
        _, output = run_ticks(model, state, encoded, 2)
    assert_close(output.answer, model(inputs).answers[..., -1], rtol=1e-4, atol=5e-5)


# --- the module ------------------------------------------------------------------------------------------------------


def collect_module_values(model):
    """Return everything that the modules of a model hold."""
    values = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            is_registry = isinstance(value, dict) and key in ("_parameters", "_buffers", "_modules")
            values |= {(path, key, name): part for name, part in (value if is_registry else {"": value}).items()}
    return values


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_head_enabled": True},
        RAW_INPUT_CHANGES,
        {"backbone_type": "resnet18-1", "synapse_depth": 4},
        {"dropout": 0.5},
    ],
)
@pytest.mark.parametrize("training", [False, True])
@GRADIENTS
def test_an_unroll_stores_nothing_on_the_module(changes, training, gradients, make_model, make_inputs):
    model = make_model(**changes).train(training)
    model.decay_params_out.data[:2] = torch.tensor([-0.5, 20.0])  # the published code writes these back into bounds
    before = collect_module_values(model)
    weights = copy.deepcopy(model.state_dict())
    versions = {name: tensor._version for name, tensor in model.state_dict().items()}
    with torch.set_grad_enabled(gradients):
        model(make_inputs(model))
        encoded = model.encode(make_inputs(model))
        run_ticks(model, model.initial_state(encoded), encoded, 2)
    after = collect_module_values(model)
    assert after.keys() == before.keys()
    assert [key for key in after if after[key] is not before[key]] == []
    # Batch norms update their statistics in training.
    batch_statistics = ("running_mean", "running_var", "num_batches_tracked") if training else ()
    for name, tensor in model.state_dict().items():
        if not name.endswith(batch_statistics):
            assert tensor._version == versions[name], f"{name} was written to"
            assert torch.equal(tensor, weights[name]), f"{name} was changed"


# --- global state -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"backbone_type": "resnet18-1", "positional_embedding_type": "learnable-fourier"}]
)
def test_building_and_unrolling_do_not_change_the_global_random_state(changes, tiny_config):
    config = CTMConfig.parse(tiny_config | changes)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    model = ContinuousThoughtMachine(config, 3, seed=7).eval()
    assert torch.equal(torch.get_rng_state(), before)
    inputs = torch.zeros(2, 3, 8, 8) if "backbone_type" in changes else torch.zeros(2, 6, dtype=torch.int64)
    model(inputs)
    assert torch.equal(torch.get_rng_state(), before)


ALWAYS_EQUAL_AT_START = ("in_proj_bias", "out_proj.bias", ".T", ".b1", "decay_params_action", "decay_params_out")


@pytest.mark.parametrize(
    "changes",
    [{"energy_head_enabled": True}, {"backbone_type": "resnet18-1", "positional_embedding_type": "learnable-fourier"}],
)
def test_initial_weights_depend_on_the_seed_alone(changes, tiny_config):
    config = CTMConfig.parse(tiny_config | changes)
    torch.manual_seed(1)
    model = ContinuousThoughtMachine(config, 3, seed=7)
    torch.manual_seed(2)
    same_seed = ContinuousThoughtMachine(config, 3, seed=7).state_dict()
    other_seed = ContinuousThoughtMachine(config, 3, seed=8).state_dict()
    norms = tuple(path for path, module in model.named_modules() if isinstance(module, nn.LayerNorm | nn.BatchNorm2d))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, same_seed[name]), f"{name} differs with the same seed"
        if not name.startswith(norms) and not name.endswith(ALWAYS_EQUAL_AT_START):
            assert not torch.equal(tensor, other_seed[name]), f"{name} does not depend on the seed"


def test_a_model_prints_nothing(make_model, make_inputs, capfd):
    model = make_model(energy_head_enabled=True, synapse_depth=4)
    model.train()(make_inputs(model)).answers.sum().backward()
    model.eval()(make_inputs(model))
    assert capfd.readouterr() == ("", "")


# --- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        RAW_INPUT_CHANGES | {"dropout": 0.5, "dropout_nlm": 0.0},
        RAW_INPUT_CHANGES | {"dropout": 0.5, "dropout_nlm": 0.0, "synapse_depth": 4},
        {"dropout": 0.5, "dropout_nlm": 0.0},
        {"dropout": 0.0, "dropout_nlm": 0.5},
        {"dropout": 0.0, "dropout_nlm": 0.5, "deep_nlms": False, "do_layernorm_nlm": True},
    ],
    ids=["one layer, raw", "U-Net, raw", "one layer, attention", "NLM, deep", "NLM, linear"],
)
def test_dropout_differs_from_call_to_call_in_training_and_is_off_in_eval(changes, make_model, make_inputs):
    model = make_model(**changes)
    inputs = make_inputs(model)
    model_without_dropout = make_model(**(changes | {"dropout": 0.0, "dropout_nlm": 0.0}))
    torch.manual_seed(0)
    with torch.no_grad():
        expected = model(inputs).answers
        assert torch.equal(model(inputs).answers, expected)
        assert torch.equal(model_without_dropout(inputs).answers, expected)
        model.train()
        first = model(inputs).answers
        assert (model(inputs).answers - first).abs().max() > 1e-3
        torch.manual_seed(0)
        assert torch.equal(model(inputs).answers, first), "dropout uses torch's random state alone"
        assert torch.equal(model.eval()(inputs).answers, expected)


@pytest.mark.parametrize(("dropout_nlm", "expected"), [(None, 0.25), (0.0, 0.0), (0.5, 0.5)])
def test_dropout_of_neuron_level_models_defaults_to_dropout(dropout_nlm, expected, make_model):
    model = make_model(dropout=0.25, dropout_nlm=dropout_nlm).train()
    encoded = model.encode(torch.zeros(1, 6, dtype=torch.int64))
    assert [layer.dropout for layer in encoded.neuron_layers] == [expected, expected]


def test_attention_dropout_does_not_change_the_returned_attention_weights(make_model, make_inputs):
    model = make_model(dropout=0.5).train()
    cache = model.encode(make_inputs(model)).observation.cache
    sync = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    first_output, first_weights = cache.attend(sync)
    second_output, second_weights = cache.attend(sync)
    assert torch.equal(first_weights, second_weights)
    assert_close(first_weights.sum(-1), torch.ones(3, 2))
    assert not torch.equal(first_output, second_output)
