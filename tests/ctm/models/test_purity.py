"""State is an argument: ticking changes nothing that was there before, in the module, in old states, in the world."""

import copy
from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ctm import ContinuousThoughtMachine, CTMConfig

RAW = {"heads": 0, "n_synch_action": 0, "backbone_type": "none"}
SEES = pytest.mark.parametrize("changes", [{}, RAW], ids=["attention", "raw"])
GRADIENTS = pytest.mark.parametrize("gradients", [True, False], ids=["with gradients", "without gradients"])


def tensors_of(value, path=""):
    """Path -> tensor, for all tensors that can be read from a state: its fields, and what its properties say."""
    if isinstance(value, Tensor):
        return {path: value.detach().clone()}
    if not is_dataclass(value):
        return {}
    parts = {field.name: getattr(value, field.name) for field in fields(value) if field.name != "buffer"}
    parts |= {name: getattr(value, name) for name, kind in vars(type(value)).items() if isinstance(kind, property)}
    return {name: tensor for key, part in parts.items() for name, tensor in tensors_of(part, f"{path}.{key}").items()}


def assert_same_state(one, other):
    one, other = tensors_of(one), tensors_of(other)
    assert one.keys() == other.keys() and ".pre_activation_history.window" in one and ".activations" in one
    for name, tensor in one.items():
        close = torch.isclose(tensor, other[name], rtol=1e-4, atol=5e-5, equal_nan=True)
        assert close.all(), f"{name} differs by {(tensor - other[name]).abs().max()}"


def think(machine, state, features, ticks):
    for _ in range(ticks):
        state, output = machine.tick(state, features)
    return state, output


# --- old states ------------------------------------------------------------------------------------------------------


@SEES
@GRADIENTS
def test_a_state_can_be_thought_on_in_two_ways(changes, gradients, machine_of, inputs_for):
    """A trace slides over a shared buffer: the second way must not write over the first, nor over what they share."""
    machine = machine_of(**changes)
    with torch.set_grad_enabled(gradients):
        one, other = (machine.encode(inputs_for(machine, seed=seed)) for seed in (0, 1))
        shared, _ = think(machine, machine.initial_state(one), one, 2)
        before = tensors_of(shared)
        first, second = shared, shared
        for _ in range(3):  # turn by turn, so that each would write where the other reads
            first, said_first = machine.tick(first, one)
            second, said_second = machine.tick(second, other)
        alone_first, alone_said_first = think(machine, think(machine, machine.initial_state(one), one, 2)[0], one, 3)
        alone_second, alone_said_second = think(
            machine, think(machine, machine.initial_state(one), one, 2)[0], other, 3
        )
    assert_same_state(first, alone_first)
    assert_same_state(second, alone_second)
    assert_close(said_first.answer, alone_said_first.answer, rtol=1e-4, atol=5e-5)
    assert_close(said_second.answer, alone_said_second.answer, rtol=1e-4, atol=5e-5)
    assert (said_first.answer - said_second.answer).abs().max() > 1e-2
    for name, tensor in tensors_of(shared).items():
        assert torch.equal(tensor, before[name]), f"{name} of the shared state was changed"


@GRADIENTS
def test_features_serve_many_thoughts(gradients, machine_of, inputs_for):
    machine = machine_of()
    with torch.set_grad_enabled(gradients):
        features = machine.encode(inputs_for(machine))
        first, _ = think(machine, machine.initial_state(features), features, 6)
        again, _ = think(machine, machine.initial_state(features), features, 6)
    for name, tensor in tensors_of(first).items():
        assert torch.equal(tensor, tensors_of(again)[name]), name


@pytest.mark.parametrize("changes", [{}, RAW, RAW | {"dropout": 1e-12}], ids=["attention", "raw", "raw, in training"])
@GRADIENTS
def test_taking_rows_and_ticking_is_ticking_and_taking_rows(changes, gradients, machine_of, inputs_for):
    machine = machine_of(**changes)
    machine.train("dropout" in changes)
    rows = torch.tensor([3, 1])
    with torch.set_grad_enabled(gradients):
        features = machine.encode(inputs_for(machine, 4))
        state, _ = think(machine, machine.initial_state(features), features, 2)
        few_features, few = features.select_rows(rows), state.select_rows(rows, reserve_ticks=2)
        assert_same_state(few, state.select_rows(rows))
        whole, said = think(machine, state, features, 4)
        few, few_said = think(machine, few, few_features, 4)
    assert few_features.batch_size == 2 and few.z.shape == (12, 2)
    assert_same_state(few, whole.select_rows(rows))
    assert_close(few_said.answer, said.answer[rows], rtol=1e-4, atol=5e-5)
    assert_close(few_said.certainty, said.certainty[rows], rtol=1e-4, atol=5e-5)


def test_taking_rows_leaves_the_whole_as_it_was(machine_of, inputs_for):
    machine = machine_of()
    with torch.no_grad():
        features = machine.encode(inputs_for(machine, 4))
        state, _ = think(machine, machine.initial_state(features), features, 1)
        before = tensors_of(state)
        think(machine, state.select_rows(torch.tensor([0])), features.select_rows(torch.tensor([0])), 5)
    for name, tensor in tensors_of(state).items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("room", [0, 1, 3, 50])
def test_a_thought_may_outlast_the_room_reserved_for_it(room, machine_of, inputs_for):
    machine = machine_of()
    inputs = inputs_for(machine)
    expected = machine_of(iterations=30)
    expected.load_state_dict(machine.state_dict())
    with torch.no_grad():
        features = machine.encode(inputs)
        _, said = think(machine, machine.initial_state(features, reserve_ticks=room), features, 30)
        assert_close(said.answer, expected(inputs).answers[..., -1], rtol=1e-4, atol=5e-5)


@GRADIENTS
def test_gradients_may_be_switched_within_a_thought(gradients, machine_of, inputs_for):
    machine = machine_of()
    inputs = inputs_for(machine)
    with torch.set_grad_enabled(gradients):
        features = machine.encode(inputs)
        state, _ = think(machine, machine.initial_state(features), features, 2)
    with torch.set_grad_enabled(not gradients):
        _, said = think(machine, state, features, 2)
    assert_close(said.answer, machine(inputs).answers[..., -1], rtol=1e-4, atol=5e-5)


# --- the module ------------------------------------------------------------------------------------------------------


def inside(machine):
    """Everything that hangs on the modules of a machine."""
    seen = {}
    for path, module in machine.named_modules():
        for key, value in vars(module).items():
            held = value if isinstance(value, dict) and key in ("_parameters", "_buffers", "_modules") else {"": value}
            seen |= {(path, key, name): part for name, part in held.items()}
    return seen


@pytest.mark.parametrize(
    "changes",
    [{"energy_head_enabled": True}, RAW, {"backbone_type": "resnet18-1", "synapse_depth": 4}, {"dropout": 0.5}],
)
@pytest.mark.parametrize("training", [False, True])
@GRADIENTS
def test_a_thought_stores_nothing_on_the_module(changes, training, gradients, machine_of, inputs_for):
    machine = machine_of(**changes).train(training)
    machine.decay_params_out.data[:2] = torch.tensor([-0.5, 20.0])  # the published code writes these back into bounds
    before, weights = inside(machine), copy.deepcopy(machine.state_dict())
    versions = {name: tensor._version for name, tensor in machine.state_dict().items()}
    with torch.set_grad_enabled(gradients):
        machine(inputs_for(machine))
        features = machine.encode(inputs_for(machine))
        think(machine, machine.initial_state(features), features, 2)
    after = inside(machine)
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
def test_building_and_thinking_leave_the_global_random_state_alone(changes, tiny):
    config = CTMConfig.parse(tiny | changes)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    machine = ContinuousThoughtMachine(config, 3, seed=7).eval()
    assert torch.equal(torch.get_rng_state(), before)
    inputs = torch.zeros(2, 3, 8, 8) if "backbone_type" in changes else torch.zeros(2, 6, dtype=torch.int64)
    machine(inputs)
    assert torch.equal(torch.get_rng_state(), before)


START_EQUAL = ("in_proj_bias", "out_proj.bias", ".T", ".b1", "decay_params_action", "decay_params_out")


@pytest.mark.parametrize(
    "changes",
    [{"energy_head_enabled": True}, {"backbone_type": "resnet18-1", "positional_embedding_type": "learnable-fourier"}],
)
def test_the_seed_alone_decides_the_start_weights(changes, tiny):
    config = CTMConfig.parse(tiny | changes)
    torch.manual_seed(1)
    machine = ContinuousThoughtMachine(config, 3, seed=7)
    torch.manual_seed(2)
    again = ContinuousThoughtMachine(config, 3, seed=7).state_dict()
    other = ContinuousThoughtMachine(config, 3, seed=8).state_dict()
    norms = tuple(path for path, module in machine.named_modules() if isinstance(module, nn.LayerNorm | nn.BatchNorm2d))
    for name, tensor in machine.state_dict().items():
        assert torch.equal(tensor, again[name]), f"{name} differs with the same seed"
        if not name.startswith(norms) and not name.endswith(START_EQUAL):
            assert not torch.equal(tensor, other[name]), f"{name} does not depend on the seed"


def test_nothing_is_printed(machine_of, inputs_for, capfd):
    machine = machine_of(energy_head_enabled=True, synapse_depth=4)
    machine.train()(inputs_for(machine)).answers.sum().backward()
    machine.eval()(inputs_for(machine))
    assert capfd.readouterr() == ("", "")


# --- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        RAW | {"dropout": 0.5, "dropout_nlm": 0.0},
        RAW | {"dropout": 0.5, "dropout_nlm": 0.0, "synapse_depth": 4},
        {"dropout": 0.5, "dropout_nlm": 0.0},
        {"dropout": 0.0, "dropout_nlm": 0.5},
        {"dropout": 0.0, "dropout_nlm": 0.5, "deep_nlms": False, "do_layernorm_nlm": True},
    ],
    ids=["one layer, raw", "U-Net, raw", "one layer, attention", "neurons, deep", "neurons, linear"],
)
def test_dropout_differs_from_call_to_call_in_training_and_is_off_in_eval(changes, machine_of, inputs_for):
    machine = machine_of(**changes)
    inputs = inputs_for(machine)
    plain = machine_of(**(changes | {"dropout": 0.0, "dropout_nlm": 0.0}))
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
def test_dropout_on_histories_is_dropout_where_it_is_not_given(given, used, machine_of):
    machine = machine_of(dropout=0.25, dropout_nlm=given).train()
    features = machine.encode(torch.zeros(1, 6, dtype=torch.int64))
    assert [layer.dropout for layer in features.neuron_layers] == [used, used]


def test_dropout_on_attention_is_not_shown_in_where_it_looks(machine_of, inputs_for):
    machine = machine_of(dropout=0.5).train()
    scene = machine.encode(inputs_for(machine)).observation.cache
    sync = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    (seen, where), (seen_again, where_again) = scene.attend(sync), scene.attend(sync)
    assert torch.equal(where, where_again)
    assert_close(where.sum(-1), torch.ones(3, 2))
    assert not torch.equal(seen, seen_again)
