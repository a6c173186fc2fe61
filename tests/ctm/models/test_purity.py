"""Test that state is an argument: a tick changes neither the module, nor old states, nor global state."""

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


def run_ticks(model, state, features, ticks):
    for _ in range(ticks):
        state, output = model.tick(state, features)
    return state, output


# --- old states ------------------------------------------------------------------------------------------------------


@EACH_INPUT
@GRADIENTS
def test_a_state_can_be_continued_twice(changes, gradients, make_model, make_inputs):
    """Two continuations of one history share its buffer and must not overwrite each other."""
    machine = make_model(**changes)
    with torch.set_grad_enabled(gradients):
        one, other = (machine.encode(make_inputs(machine, seed=seed)) for seed in (0, 1))
        shared, _ = run_ticks(machine, machine.initial_state(one), one, 2)
        before = collect_tensors(shared)
        first, second = shared, shared
        for _ in range(3):  # turn by turn, so that each would write where the other reads
            first, said_first = machine.tick(first, one)
            second, said_second = machine.tick(second, other)
        alone_first, alone_said_first = run_ticks(
            machine, run_ticks(machine, machine.initial_state(one), one, 2)[0], one, 3
        )
        alone_second, alone_said_second = run_ticks(
            machine, run_ticks(machine, machine.initial_state(one), one, 2)[0], other, 3
        )
    assert_same_state(first, alone_first)
    assert_same_state(second, alone_second)
    assert_close(said_first.answer, alone_said_first.answer, rtol=1e-4, atol=5e-5)
    assert_close(said_second.answer, alone_said_second.answer, rtol=1e-4, atol=5e-5)
    assert (said_first.answer - said_second.answer).abs().max() > 1e-2
    for name, tensor in collect_tensors(shared).items():
        assert torch.equal(tensor, before[name]), f"{name} of the shared state was changed"


@GRADIENTS
def test_one_encoded_input_serves_many_unrolls(gradients, make_model, make_inputs):
    machine = make_model()
    with torch.set_grad_enabled(gradients):
        features = machine.encode(make_inputs(machine))
        first, _ = run_ticks(machine, machine.initial_state(features), features, 6)
        again, _ = run_ticks(machine, machine.initial_state(features), features, 6)
    for name, tensor in collect_tensors(first).items():
        assert torch.equal(tensor, collect_tensors(again)[name]), name


@pytest.mark.parametrize(
    "changes",
    [{}, RAW_INPUT_CHANGES, RAW_INPUT_CHANGES | {"dropout": 1e-12}],
    ids=["attention", "raw", "raw, in training"],
)
@GRADIENTS
def test_selecting_rows_then_ticking_equals_ticking_then_selecting_rows(changes, gradients, make_model, make_inputs):
    machine = make_model(**changes)
    machine.train("dropout" in changes)
    rows = torch.tensor([3, 1])
    with torch.set_grad_enabled(gradients):
        features = machine.encode(make_inputs(machine, 4))
        state, _ = run_ticks(machine, machine.initial_state(features), features, 2)
        few_features, few = features.select_rows(rows), state.select_rows(rows, reserve_ticks=2)
        assert_same_state(few, state.select_rows(rows))
        whole, said = run_ticks(machine, state, features, 4)
        few, few_said = run_ticks(machine, few, few_features, 4)
    assert few_features.batch_size == 2 and few.activations.shape == (12, 2)
    assert_same_state(few, whole.select_rows(rows))
    assert_close(few_said.answer, said.answer[rows], rtol=1e-4, atol=5e-5)
    assert_close(few_said.certainty, said.certainty[rows], rtol=1e-4, atol=5e-5)


def test_selecting_rows_does_not_change_the_original_state(make_model, make_inputs):
    machine = make_model()
    with torch.no_grad():
        features = machine.encode(make_inputs(machine, 4))
        state, _ = run_ticks(machine, machine.initial_state(features), features, 1)
        before = collect_tensors(state)
        run_ticks(machine, state.select_rows(torch.tensor([0])), features.select_rows(torch.tensor([0])), 5)
    for name, tensor in collect_tensors(state).items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("room", [0, 1, 3, 50])
def test_an_unroll_may_exceed_its_preallocated_buffer(room, make_model, make_inputs):
    machine = make_model()
    inputs = make_inputs(machine)
    expected = make_model(iterations=30)
    expected.load_state_dict(machine.state_dict())
    with torch.no_grad():
        features = machine.encode(inputs)
        _, said = run_ticks(machine, machine.initial_state(features, reserve_ticks=room), features, 30)
        assert_close(said.answer, expected(inputs).answers[..., -1], rtol=1e-4, atol=5e-5)


@GRADIENTS
def test_gradients_may_be_switched_within_an_unroll(gradients, make_model, make_inputs):
    machine = make_model()
    inputs = make_inputs(machine)
    with torch.set_grad_enabled(gradients):
        features = machine.encode(inputs)
        state, _ = run_ticks(machine, machine.initial_state(features), features, 2)
    with torch.set_grad_enabled(not gradients):
        _, said = run_ticks(machine, state, features, 2)
    assert_close(said.answer, machine(inputs).answers[..., -1], rtol=1e-4, atol=5e-5)


# --- the module ------------------------------------------------------------------------------------------------------


def collect_module_values(model):
    """Return everything that the modules of a model hold."""
    seen = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            held = value if isinstance(value, dict) and key in ("_parameters", "_buffers", "_modules") else {"": value}
            seen |= {(path, key, name): part for name, part in held.items()}
    return seen


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
    machine = make_model(**changes).train(training)
    machine.decay_params_out.data[:2] = torch.tensor([-0.5, 20.0])  # the published code writes these back into bounds
    before, weights = collect_module_values(machine), copy.deepcopy(machine.state_dict())
    versions = {name: tensor._version for name, tensor in machine.state_dict().items()}
    with torch.set_grad_enabled(gradients):
        machine(make_inputs(machine))
        features = machine.encode(make_inputs(machine))
        run_ticks(machine, machine.initial_state(features), features, 2)
    after = collect_module_values(machine)
    assert after.keys() == before.keys()
    assert [key for key in after if after[key] is not before[key]] == []
    counts = (
        ("running_mean", "running_var", "num_batches_tracked") if training else ()
    )  # batch norms do count in training
    for name, tensor in machine.state_dict().items():
        if not name.endswith(counts):
            assert tensor._version == versions[name], f"{name} was written to"
            assert torch.equal(tensor, weights[name]), f"{name} was changed"


# --- the world -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"backbone_type": "resnet18-1", "positional_embedding_type": "learnable-fourier"}]
)
def test_building_and_unrolling_do_not_change_the_global_random_state(changes, tiny_config):
    config = CTMConfig.parse(tiny_config | changes)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    machine = ContinuousThoughtMachine(config, 3, seed=7).eval()
    assert torch.equal(torch.get_rng_state(), before)
    inputs = torch.zeros(2, 3, 8, 8) if "backbone_type" in changes else torch.zeros(2, 6, dtype=torch.int64)
    machine(inputs)
    assert torch.equal(torch.get_rng_state(), before)


ALWAYS_EQUAL_AT_START = ("in_proj_bias", "out_proj.bias", ".T", ".b1", "decay_params_action", "decay_params_out")


@pytest.mark.parametrize(
    "changes",
    [{"energy_head_enabled": True}, {"backbone_type": "resnet18-1", "positional_embedding_type": "learnable-fourier"}],
)
def test_the_seed_alone_decides_the_start_weights(changes, tiny_config):
    config = CTMConfig.parse(tiny_config | changes)
    torch.manual_seed(1)
    machine = ContinuousThoughtMachine(config, 3, seed=7)
    torch.manual_seed(2)
    again = ContinuousThoughtMachine(config, 3, seed=7).state_dict()
    other = ContinuousThoughtMachine(config, 3, seed=8).state_dict()
    norms = tuple(path for path, module in machine.named_modules() if isinstance(module, nn.LayerNorm | nn.BatchNorm2d))
    for name, tensor in machine.state_dict().items():
        assert torch.equal(tensor, again[name]), f"{name} differs with the same seed"
        if not name.startswith(norms) and not name.endswith(ALWAYS_EQUAL_AT_START):
            assert not torch.equal(tensor, other[name]), f"{name} does not depend on the seed"


def test_nothing_is_printed(make_model, make_inputs, capfd):
    machine = make_model(energy_head_enabled=True, synapse_depth=4)
    machine.train()(make_inputs(machine)).answers.sum().backward()
    machine.eval()(make_inputs(machine))
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
    ids=["one layer, raw", "U-Net, raw", "one layer, attention", "neurons, deep", "neurons, linear"],
)
def test_dropout_differs_from_call_to_call_in_training_and_is_off_in_eval(changes, make_model, make_inputs):
    machine = make_model(**changes)
    inputs = make_inputs(machine)
    plain = make_model(**(changes | {"dropout": 0.0, "dropout_nlm": 0.0}))
    torch.manual_seed(0)
    with torch.no_grad():
        expected = machine(inputs).answers
        assert torch.equal(machine(inputs).answers, expected)
        assert torch.equal(plain(inputs).answers, expected)
        machine.train()
        first = machine(inputs).answers
        assert (machine(inputs).answers - first).abs().max() > 1e-3
        torch.manual_seed(0)
        assert torch.equal(machine(inputs).answers, first), "dropout draws from torch's random state alone"
        assert torch.equal(machine.eval()(inputs).answers, expected)


@pytest.mark.parametrize(("given", "used"), [(None, 0.25), (0.0, 0.0), (0.5, 0.5)])
def test_dropout_on_histories_is_dropout_where_it_is_not_given(given, used, make_model):
    machine = make_model(dropout=0.25, dropout_nlm=given).train()
    features = machine.encode(torch.zeros(1, 6, dtype=torch.int64))
    assert [layer.dropout for layer in features.neuron_layers] == [used, used]


def test_attention_dropout_does_not_change_the_returned_attention_weights(make_model, make_inputs):
    machine = make_model(dropout=0.5).train()
    scene = machine.encode(make_inputs(machine)).observation.cache
    sync = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    (seen, where), (seen_again, where_again) = scene.attend(sync), scene.attend(sync)
    assert torch.equal(where, where_again)
    assert_close(where.sum(-1), torch.ones(3, 2))
    assert not torch.equal(seen, seen_again)
