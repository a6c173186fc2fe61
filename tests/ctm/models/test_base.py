"""Test that encoded inputs and states of all models implement the protocols of the inference engine."""

import inspect

import pytest
import torch
from torch.testing import assert_close

from ctm.models.base import STATE_CHANNELS, EncodedInput, ModelState
from ctm.models.registry import MODEL_TYPES

EACH_MODEL_TYPE = pytest.mark.parametrize("kind", sorted(MODEL_TYPES))


def list_members(protocol):
    """Return the names of the members that a protocol requires."""
    return sorted(name for name in vars(protocol) if not name.startswith("_"))


def build_parts(make_model, make_inputs, kind, batch=3, seed=0):
    """Return a model, an encoded input and a state after one tick."""
    model = make_model(kind=kind)
    with torch.no_grad():
        encoded = model.encode(make_inputs(model, batch, seed=seed))
        state, _ = model.tick(model.initial_state(encoded), encoded)
    return model, encoded, state


def run_tick(model, state, encoded):
    """Return the answer of the next tick."""
    with torch.no_grad():
        return model.tick(state, encoded)[1].answer


@EACH_MODEL_TYPE
def test_every_model_implements_the_protocols(kind, make_model, make_inputs):
    _, encoded, state = build_parts(make_model, make_inputs, kind)
    assert isinstance(encoded, EncodedInput) and isinstance(state, ModelState)
    assert encoded.batch_size == 3 and encoded.ticks >= 1
    assert len(state.latent) == len(state.neuron_activations) == 3


@EACH_MODEL_TYPE
@pytest.mark.parametrize("protocol", [EncodedInput, ModelState], ids=lambda protocol: protocol.__name__)
def test_methods_have_the_parameters_of_the_protocol(kind, protocol, make_model, make_inputs):
    _, encoded, state = build_parts(make_model, make_inputs, kind)
    implementation = type(encoded if protocol is EncodedInput else state)
    for name in list_members(protocol):
        if inspect.isfunction(expected := vars(protocol)[name]):
            parameters = inspect.signature(getattr(implementation, name)).parameters
            assert list(parameters) == list(inspect.signature(expected).parameters), f"{implementation}.{name}"


@pytest.mark.parametrize(
    "protocol, name", [(protocol, name) for protocol in (EncodedInput, ModelState) for name in list_members(protocol)]
)
@EACH_MODEL_TYPE
def test_a_class_without_a_member_does_not_implement_the_protocol(kind, protocol, name, make_model, make_inputs):
    _, encoded, state = build_parts(make_model, make_inputs, kind)
    complete = encoded if protocol is EncodedInput else state
    members = dict.fromkeys(list_members(protocol))
    assert members.keys() <= {*dir(complete)}
    assert isinstance(type("Complete", (), {member: getattr(complete, member) for member in members})(), protocol)
    del members[name]
    partial = type("Partial", (), {member: getattr(complete, member) for member in members})()
    assert not isinstance(partial, protocol)


@EACH_MODEL_TYPE
def test_channels_have_known_names_and_one_row_per_input(kind, make_model, make_inputs):
    _, _, state = build_parts(make_model, make_inputs, kind)
    channels = state.get_channels()
    assert channels and channels.keys() <= set(STATE_CHANNELS)
    assert all(len(values) == 3 for values in channels.values())


@EACH_MODEL_TYPE
def test_selected_and_compacted_rows_give_the_answers_of_the_whole_batch(kind, make_model, make_inputs):
    model, encoded, state = build_parts(make_model, make_inputs, kind)
    expected = run_tick(model, state, encoded)
    rows = torch.tensor([2, 1])
    selected_state = state.select_rows(rows, 4)
    assert_close(run_tick(model, selected_state, encoded.select_rows(rows)), expected[rows], rtol=1e-4, atol=1e-5)
    assert_close(run_tick(model, selected_state, encoded.compact_rows_(rows)), expected[rows], rtol=1e-4, atol=1e-5)


@EACH_MODEL_TYPE
def test_rows_that_are_written_into_slots_give_their_own_answers(kind, make_model, make_inputs):
    model, encoded, state = build_parts(make_model, make_inputs, kind)
    _, other_encoded, other_state = build_parts(make_model, make_inputs, kind, batch=2, seed=5)
    expected = run_tick(model, state, encoded)
    expected[torch.tensor([0, 2])] = run_tick(model, other_state, other_encoded)
    slots = torch.tensor([0, 2])
    answer = run_tick(model, state.write_rows_(other_state, slots), encoded.write_rows_(other_encoded, slots))
    assert_close(answer, expected, rtol=1e-4, atol=1e-5)
