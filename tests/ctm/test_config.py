"""Tests of configs: rejected values and their messages, the published form, structured answers, excessive sizes."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctm import ContinuousThoughtMachine, CTMConfig
from ctm.config import SCHEDULE_KEYS, SCHEDULED_BACKBONE, get_backbone_type
from ctm.models.registry import check_parameter_limit, count_parameters

SCHEDULE_TICKS = dict.fromkeys(SCHEDULE_KEYS, 2)
IMAGE_CONFIG = {"backbone_type": "resnet18-2"}
BOUNDS = {
    "iterations": (1, 2_000),
    "d_model": (1, 65_536),
    "d_input": (1, 65_536),
    "heads": (0, 1_024),
    "n_synch_out": (1, 65_536),
    "n_synch_action": (0, 65_536),
    "synapse_depth": (1, 64),
    "memory_length": (1, 4_096),
    "memory_hidden_dims": (1, 4_096),
    "out_dims": (1, 1_000_000),
    "n_random_pairing_self": (0, 65_536),
    "energy_hidden_dim": (1, 65_536),
}


def get_error_message(values):
    """Return the message with which settings are rejected."""
    with pytest.raises(ValueError) as exc_info:
        CTMConfig.parse(values)
    assert type(exc_info.value) is ValueError
    message = str(exc_info.value)
    assert "\n" not in message, "one problem gives one sentence"
    assert message.endswith((".", "?")) and "Value error" not in message
    return message


# --- rejected values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", list(BOUNDS))
def test_numbers_out_of_bounds_are_rejected_with_name_bound_and_value(key, tiny_config):
    low, high = BOUNDS[key]
    for value, bound in ((low - 1, low), (high + 1, high)):
        message = get_error_message(tiny_config | {key: value})
        assert f"`{key}`" in message and f"equal to {bound}" in message and f"(got {value})" in message


@pytest.mark.parametrize("key", ["dropout", "dropout_nlm"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), float("inf"), "much"])
def test_a_dropout_outside_0_and_1_is_rejected(key, value, tiny_config):
    assert f"`{key}`" in get_error_message(tiny_config | {key: value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 3}, ["d_input", "multiple of heads", "d_input=8", "heads=3"]),
        ({"n_synch_action": 0}, ["n_synch_action above 0", "heads to 0"]),
        ({"heads": 0}, ["heads=0", "backbone_type", "none", "tokens-7x6"]),
        (
            {"backbone_type": "none", "positional_embedding_type": "custom-rotational-1d"},
            ["Without a backbone", "positional_embedding_type to none"],
        ),
        ({"positional_embedding_type": "learnable-fourier"}, ["learnable-fourier", "images"]),
        ({"positional_embedding_type": "multi-learnable-fourier"}, ["multi-learnable-fourier", "images"]),
        ({"positional_embedding_type": "custom-rotational"}, ["custom-rotational needs", "images"]),
        (IMAGE_CONFIG | {"positional_embedding_type": "custom-rotational-1d"}, ["custom-rotational-1d", "sequences"]),
        ({"neuron_select_type": "first-last", "d_model": 8}, ["first-last", "d_model", "8 < 5 + 4"]),
        ({"n_random_pairing_self": 5, "n_synch_action": 9}, ["n_synch_out must exceed n_random_pairing_self", "5, 5"]),
        ({"n_random_pairing_self": 4}, ["n_synch_action must exceed n_random_pairing_self", "4, 4"]),
        ({"neuron_select_type": "random", "n_synch_out": 1_025}, ["random pairs all with all", "1024"]),
        (
            {"neuron_select_type": "first-last", "n_synch_action": 5_000, "d_model": 60_000},
            ["first-last pairs all with all", "1024"],
        ),
        ({"backbone_type": SCHEDULED_BACKBONE}, [SCHEDULED_BACKBONE, "need each other", *SCHEDULE_KEYS]),
        (SCHEDULE_TICKS, [SCHEDULED_BACKBONE, "need each other"]),
        ({"backbone_type": SCHEDULED_BACKBONE, "iterations_per_digit": 2}, ["set all of them or none"]),
        (SCHEDULE_TICKS | {"backbone_type": SCHEDULED_BACKBONE, "d_input": 7, "heads": 1}, ["even d_input", "7"]),
        (
            SCHEDULE_TICKS | {"backbone_type": SCHEDULED_BACKBONE, "positional_embedding_type": "custom-rotational-1d"},
            ["no positions"],
        ),
        ({"backbone_type": "resnet-64x0"}, ["`backbone_type`", "resnet-64x{1..64}", "resnet-64x0"]),
        ({"backbone_type": "resnet-64x65"}, ["`backbone_type`", "resnet-64x{1..64}", "resnet-64x65"]),
        ({"backbone_type": "resnet18-5"}, ["`backbone_type`", "resnet{18,34,50,101,152}-{1..4}", "resnet18-5"]),
        ({"backbone_type": "tokens-7"}, ["`backbone_type`", "tokens-VxL"]),
        ({"backbone_type": "tokens-7x6 "}, ["`backbone_type`", "tokens-VxL"]),
        ({"backbone_type": "tokens-999999x6"}, ["`backbone_type`", "tokens-VxL"]),
        ({"backbone_type": 18}, ["`backbone_type`", "string"]),
        ({"positional_embedding_type": "fourier"}, ["`positional_embedding_type`", "'learnable-fourier'"]),
        ({"neuron_select_type": "all"}, ["`neuron_select_type`", "'random-pairing'"]),
        ({"iterations": 4.5}, ["`iterations`", "integer", "4.5"]),
        ({"iterations": None}, ["`iterations`", "integer"]),
        ({"deep_nlms": "perhaps"}, ["`deep_nlms`", "boolean"]),
        ({"prediction_reshaper": []}, ["`prediction_reshaper`", "at least 1"]),
        ({"prediction_reshaper": [2] * 5, "out_dims": 32}, ["`prediction_reshaper`", "at most 4"]),
        ({"iterations": "9" * 500}, ["`iterations`", "..."]),
    ],
)
def test_contradictory_and_invalid_values_are_rejected_in_one_sentence(changes, words, tiny_config):
    message = get_error_message(tiny_config | changes)
    assert [word for word in words if word not in message] == [], message
    assert len(message) < 400


@pytest.mark.parametrize("backbone", ["tokens-0x6", "tokens-7x0", "tokens-00x00", "tokens-\u0667x\u0666"])
def test_a_tokens_backbone_needs_positive_sizes_in_ascii_digits(backbone, tiny_config):
    assert "`backbone_type`" in get_error_message(tiny_config | {"backbone_type": backbone})


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("d_modle", "d_model"), ("iteration", "iterations"), ("out_dim", "out_dims"), ("n_sync_out", "n_synch_out")],
)
def test_an_unknown_key_is_rejected_with_its_closest_match(wrong, near, tiny_config):
    message = get_error_message(tiny_config | {wrong: 3})
    assert f"`{wrong}`" in message and f"did you mean `{near}`?" in message


def test_a_key_without_a_close_match_is_rejected_with_all_known_keys(tiny_config):
    message = get_error_message(tiny_config | {"zzz": 3})
    assert "`zzz`" in message and all(name in message for name in CTMConfig.model_fields)


def test_every_missing_key_is_named():
    with pytest.raises(ValueError) as exc_info:
        CTMConfig.parse({}, "model")
    lines = str(exc_info.value).split("\n")
    required = [name for name, field in CTMConfig.model_fields.items() if field.is_required()]
    assert lines == [f"Setting `model.{name}` is missing." for name in required] and len(required) > 8


@pytest.mark.parametrize("values", [None, [], "iterations", 3, [("iterations", 3)]])
def test_settings_that_are_not_a_mapping_are_rejected(values):
    with pytest.raises(ValueError, match="Model must be a group of `name: value` lines"):
        CTMConfig.parse(values, "Model")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from([*CTMConfig.model_fields, "d_modle"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=5,
        ),
    )
)
def test_any_values_are_a_config_or_raise_a_value_error(values):
    base = {"iterations": 2, "d_model": 4, "d_input": 4, "heads": 0, "n_synch_out": 2, "n_synch_action": 0}
    base |= {"synapse_depth": 1, "memory_length": 2, "memory_hidden_dims": 2, "backbone_type": "none", "out_dims": 2}
    try:
        config = CTMConfig.parse(base | values)
    except ValueError as error:
        assert type(error) is ValueError and str(error)
    else:
        assert CTMConfig.parse(config.to_dict()).to_dict() == config.to_dict()


def test_a_config_cannot_be_changed(tiny_config):
    config = CTMConfig.parse(tiny_config)
    with pytest.raises(ValueError, match="frozen"):
        config.d_model = 7
    assert config.d_model == 12


# --- the published form ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"energy_head_enabled": True, "energy_hidden_dim": 7},
        {"energy_head_enabled": True, "energy_sees_certainty": True},
        {"energy_head_enabled": True, "energy_sees_neurons": True},
        {"prediction_reshaper": [3, 2], "dropout": 0.1, "dropout_nlm": 0.0, "deep_nlms": False},
        IMAGE_CONFIG | {"positional_embedding_type": "multi-learnable-fourier", "neuron_select_type": "random"},
    ],
)
def test_the_published_form_reads_back_as_the_same_config(changes, tiny_config):
    config = CTMConfig.parse(tiny_config | changes)
    assert CTMConfig.parse(json.loads(json.dumps(config.to_dict()))) == config
    assert config.to_dict().items() >= (tiny_config | changes).items()


def test_the_published_form_holds_every_key_flat(tiny_config):
    energy = dict.fromkeys(("energy_head_enabled", "energy_sees_certainty", "energy_sees_neurons"), True)
    published = CTMConfig.parse(tiny_config | energy).to_dict()
    assert published.keys() == CTMConfig.model_fields.keys() - set(SCHEDULE_KEYS)


def test_the_published_form_omits_the_energy_keys_without_a_head(tiny_config):
    energy = {"energy_head_enabled", "energy_hidden_dim", "energy_sees_certainty", "energy_sees_neurons"}
    published = CTMConfig.parse(tiny_config | {"energy_hidden_dim": 9, "energy_sees_certainty": True}).to_dict()
    assert published.keys() == CTMConfig.model_fields.keys() - energy - set(SCHEDULE_KEYS)
    forks = CTMConfig.parse(tiny_config | {"energy_head_enabled": True}).to_dict()
    assert forks.keys() & energy == {"energy_head_enabled", "energy_hidden_dim"}, "the energy keys of the fork"
    assert forks["energy_hidden_dim"] == 64, "the default of the fork, which files without the key use"


def test_the_published_class_with_an_input_schedule_has_no_backbone_argument(tiny_config):
    config = CTMConfig.parse(tiny_config | {"backbone_type": SCHEDULED_BACKBONE} | SCHEDULE_TICKS)
    published = config.to_dict()
    assert not published.keys() & {"backbone_type", "positional_embedding_type", "dropout_nlm"}
    assert (
        CTMConfig.parse(json.loads(json.dumps(published))) == config
        and get_backbone_type(published) == SCHEDULED_BACKBONE
    )


# --- the shape of an answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out_dims", "reshaper", "shape"),
    [
        (10, [-1], (1, 10)),
        (10, [10], (1, 10)),
        (32, [16, 2], (16, 2)),
        (32, [-1, 2], (16, 2)),
        (32, [16, -1], (16, 2)),
        (60, [3, 4, 5], (12, 5)),
        (60, [3, -1, 5], (12, 5)),
        (60, [3, 4, -1], (12, 5)),
        (500, [1, 100, 5], (100, 5)),
        (2, [-1], (1, 2)),
    ],
)
def test_an_answer_is_read_as_positions_and_classes(out_dims, reshaper, shape, tiny_config):
    assert CTMConfig.parse(tiny_config | {"out_dims": out_dims, "prediction_reshaper": reshaper}).answer_shape == shape


@pytest.mark.parametrize(
    ("out_dims", "reshaper", "words"),
    [
        (32, [16, 3], "does not fit out_dims=32"),
        (32, [16], "does not fit out_dims=32"),
        (32, [-1, 3], "does not fit out_dims=32"),
        (32, [-1, -1], "does not fit out_dims=32"),
        (32, [64, -1], "does not fit out_dims=32"),
        (32, [10**30], "does not fit out_dims=32"),
        (32, [0, 2], "got 0"),
        (32, [-2, 16], "got -2"),
        (32, [32, 1], "at least 2 classes"),
        (32, [32, -1], "at least 2 classes"),
        (1, [-1], "at least 2 classes"),
    ],
)
def test_an_answer_shape_that_does_not_fit_is_rejected(out_dims, reshaper, words, tiny_config):
    assert words in get_error_message(tiny_config | {"out_dims": out_dims, "prediction_reshaper": reshaper})


# --- excessive sizes ----------------------------------------------------------------------------------------------------

OVERSIZED_CONFIGS = {
    "neurons": {"d_model": 20_000, "memory_length": 4_096, "memory_hidden_dims": 4_096},
    "U-Net": {"d_model": 65_536, "synapse_depth": 64},
    "all pairs": {"n_synch_out": 1_024, "neuron_select_type": "random", "out_dims": 1_000_000},
}


@pytest.mark.parametrize("changes", list(OVERSIZED_CONFIGS.values()), ids=list(OVERSIZED_CONFIGS))
def test_an_excessive_size_is_rejected_before_anything_is_allocated(changes, tiny_config, allocation_tracker):
    config = CTMConfig.parse(tiny_config | changes)
    start = time.perf_counter()
    for build in (ContinuousThoughtMachine, check_parameter_limit):
        with (
            allocation_tracker() as tracker,
            pytest.raises(ValueError, match=r"billion parameters.*Lower .*d_model") as exc_info,
        ):
            build(config, None)
        assert tracker.max_bytes < 2**21, "more than neuron numbers was allocated"
        assert "\n" not in str(exc_info.value)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("changes", [{"d_input": 65_536}, {"backbone_type": "tokens-99999x99999", "d_input": 8_000}])
def test_the_error_about_an_excessive_size_names_the_cause(changes, tiny_config):
    with pytest.raises(ValueError, match=r"Lower .*d_input"):
        ContinuousThoughtMachine(CTMConfig.parse(tiny_config | changes))


def test_the_allocation_tracker_records_the_construction_of_a_model(tiny_config, allocation_tracker):
    """Check that the tests above can fail."""
    with allocation_tracker() as tracker:
        ContinuousThoughtMachine(
            CTMConfig.parse(tiny_config | {"d_model": 512, "memory_length": 32, "memory_hidden_dims": 32})
        )
    assert tracker.max_bytes == 512 * 32 * 64 * 4


def test_the_parameter_count_is_that_of_the_model(make_model, allocation_tracker):
    model = make_model(energy_head_enabled=True, synapse_depth=4, neuron_select_type="random")
    with allocation_tracker() as tracker:
        count = count_parameters(model.config)
    assert count == sum(tensor.numel() for tensor in model.state_dict().values() if tensor.is_floating_point())
    assert tracker.max_bytes < 10_000
