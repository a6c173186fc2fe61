"""Tests that the config inferred from the weights is the config of the model."""

import json

import pytest
import torch

from ctm import ContinuousThoughtMachine, CTMConfig, build_model
from ctm.config import BACKBONES, IMAGE_POSITIONAL_EMBEDDINGS, SCHEDULE_KEYS
from ctm.conversion.infer_config import infer_config, is_consistent, map_to_published_names
from tests.ctm.models.test_published import CASES, GOLDEN_DIR, SUPPORTED_CLASSES, load_case

UNINFERABLE_KEYS = {"iterations", "prediction_reshaper", "dropout", "dropout_nlm"}


def infer_from_model(model):
    state = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return infer_config(shapes, {name: tensor for name, tensor in state.items() if "neuron_indices" in name})


def assert_config_inferred(model):
    """Check that every key that can be inferred is inferred correctly."""
    config = model.config
    known, unknown = infer_from_model(model)
    expected_unknown = UNINFERABLE_KEYS | ({*SCHEDULE_KEYS} if config.has_input_schedule else set())
    expected_unknown |= {"heads"} if config.heads else {"d_input"}
    expected_unknown |= (
        set() if config.energy_head_enabled else {"energy_hidden_dim", "energy_sees_certainty", "energy_sees_neurons"}
    )
    if isinstance(config, CTMConfig):
        expected_unknown |= set() if config.deep_nlms else {"memory_hidden_dims"}
        expected_unknown |= set() if config.neuron_select_type == "random-pairing" else {"n_random_pairing_self"}
    assert unknown == expected_unknown & type(config).model_fields.keys()
    # More pairs may be equal by chance.
    assert known.pop("n_random_pairing_self", 0) >= getattr(config, "n_random_pairing_self", 0)
    assert known.pop("kind") == config.model_type
    assert known == {key: getattr(config, key) for key in known}


@pytest.mark.parametrize("name", CASES)
def test_golden_configs_are_inferred_or_rejected(name):
    if json.loads((GOLDEN_DIR / f"{name}.json").read_text())["class"] in SUPPORTED_CLASSES:
        _, _, model = load_case(name)
        assert_config_inferred(build_model(model.config, model.in_features, seed=1))
        return
    case = json.loads((GOLDEN_DIR / f"{name}.json").read_text())
    with pytest.raises(ValueError, match=r"These are (weights of|not the weights of a Continuous)"):
        infer_config({entry["name"]: tuple(entry["shape"]) for entry in case["state_dict"]})


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("kind", ["random", "random-pairing", "first-last"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"heads": 0, "n_synch_action": 0, "backbone_type": "none"},
        {"backbone_type": "none", "heads": 1},
        {"energy_head_enabled": True, "energy_hidden_dim": 7, "do_layernorm_nlm": True},
        {"energy_head_enabled": True, "energy_sees_certainty": True},
        {"energy_head_enabled": True, "energy_sees_neurons": True},
        {"energy_head_enabled": True, "energy_sees_certainty": True, "energy_sees_neurons": True},
        {"deep_nlms": False, "backbone_type": "parity_backbone", "positional_embedding_type": "custom-rotational-1d"},
    ],
)
def test_configs_are_inferred(changes, depth, kind, tiny_config):
    config = CTMConfig.parse(
        tiny_config | changes | {"synapse_depth": depth, "neuron_select_type": kind, "d_model": 40}
    )
    assert_config_inferred(ContinuousThoughtMachine(config, 5, seed=depth))


@pytest.mark.parametrize("num_self_pairs", [0, 1, 3])
def test_neurons_paired_with_themselves_are_counted(num_self_pairs, make_model):
    known, _ = infer_from_model(
        make_model(d_model=500, n_random_pairing_self=num_self_pairs, neuron_select_type="random-pairing")
    )
    assert known["n_random_pairing_self"] == num_self_pairs


@pytest.mark.parametrize("backbone", [*BACKBONES, "resnet-64x1", "resnet-64x10", "tokens-2x9", "tokens-31x4"])
def test_backbones_are_inferred(backbone, tiny_config):
    config = CTMConfig.parse(tiny_config | {"backbone_type": backbone})
    with torch.device("meta"):
        model = ContinuousThoughtMachine(config, 3)
    known, _ = infer_config({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    assert is_consistent("backbone_type", backbone, known["backbone_type"])
    is_ambiguous = backbone in {"resnet101-1", "resnet101-2", "resnet152-1", "resnet152-2"}
    assert (known["backbone_type"] == backbone) != is_ambiguous


@pytest.mark.parametrize("positions", [*IMAGE_POSITIONAL_EMBEDDINGS, "none"])
@pytest.mark.parametrize("backbone", ["resnet18-1", "mnist_backbone"])
def test_positional_encodings_are_inferred(positions, backbone, make_model):
    assert_config_inferred(make_model(backbone_type=backbone, positional_embedding_type=positions))


def test_without_index_buffers_the_selection_is_unknown(tiny_config):
    state = ContinuousThoughtMachine(CTMConfig.parse(tiny_config)).state_dict()
    _, unknown = infer_config({name: tuple(t.shape) for name, t in state.items() if "indices" not in name})
    assert unknown >= {"neuron_select_type", "n_synch_out", "n_synch_action"}


def test_an_embedding_of_symbols_without_positions_does_not_determine_the_backbone(tiny_config):
    state = ContinuousThoughtMachine(CTMConfig.parse(tiny_config)).state_dict()
    _, unknown = infer_config({name: tuple(t.shape) for name, t in state.items() if name != "backbone.positions"})
    assert "backbone_type" in unknown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_trace": None}, "not the weights of a Continuous Thought Machine: `start_trace` is missing"),
        ({"start_trace": (12,)}, "`start_trace` should have 2 dimensions"),
        ({"synapses.1.weight": None}, "have no synapses"),
        (
            {"backbone.embedding.weight": None, "backbone.positions": None, "backbone.stem.weight": (3, 3)},
            "backbone.stem",
        ),
        ({"backbone.embedding.weight": ()}, "lack `backbone.embedding.weight` with 1 dimension"),
        ({"attention.in_proj_weight": (3,)}, "lack `attention.in_proj_weight` with 2 dimensions"),
        ({"positional_embedding.table": (3, 3)}, "positional_embedding.table"),
        ({"decay_params_out": (6,)}, "No neuron_select_type makes"),
        ({"start_activated_trace": (12, 5)}, "ContinuousThoughtMachineRL"),
        ({"lstm_cell.bias_hh": (12,)}, "LSTMBaseline that sees in phases"),
    ],
)
def test_invalid_weights_are_rejected_in_one_sentence(change, message, tiny_config):
    state = ContinuousThoughtMachine(CTMConfig.parse(tiny_config)).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()} | change
    with pytest.raises(ValueError, match=message):
        infer_config({name: shape for name, shape in shapes.items() if shape is not None})


def test_a_resnet_with_other_blocks_is_rejected(make_model):
    shapes = {n: tuple(t.shape) for n, t in make_model(backbone_type="resnet18-1").state_dict().items()}
    extra_shapes = {name.replace("layer1.1", "layer1.9"): shape for name, shape in shapes.items()}
    with pytest.raises(ValueError, match="No backbone_type has the backbone"):
        infer_config(
            shapes
            | extra_shapes
            | {name.replace("layer1.9", "layer1.8"): shape for name, shape in extra_shapes.items()}
        )


# --- settings that agree with the weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "setting", "inferred", "expected"),
    [
        ("d_model", 8, 8, True),
        ("d_model", 8, 9, False),
        ("d_model", "8", 8, False),
        ("backbone_type", "resnet152-2", "resnet50-2", True),
        ("backbone_type", "resnet152-3", "resnet50-3", False),
        ("neuron_select_type", "random", "first-last", True),
        ("neuron_select_type", "first-last", "random", False),
        ("n_random_pairing_self", 2, 3, True),
        ("n_random_pairing_self", 4, 3, False),
        ("n_random_pairing_self", "none", 3, False),
    ],
)
def test_a_setting_is_consistent_with_the_inferred_value_only_if_the_weights_allow_it(key, setting, inferred, expected):
    assert is_consistent(key, setting, inferred) is expected


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_prefixes_of_wrappers_are_removed(prefix):
    names = ["start_trace", "synapses.1.weight", "trace_processor.0.0.w1"]
    assert list(map_to_published_names(prefix + name for name in names).values()) == names


def test_prefixes_of_compiled_modules_are_removed():
    assert map_to_published_names(["backbone._orig_mod.conv1.weight"]) == {
        "backbone._orig_mod.conv1.weight": "backbone.conv1.weight"
    }


def test_published_names_are_unchanged(make_model):
    for changes in ({}, {"synapse_depth": 4}, {"deep_nlms": False}, {"backbone_type": "resnet18-1"}):
        names = list(make_model(**changes).state_dict())
        assert map_to_published_names(names) == dict(zip(names, names, strict=True))


def test_names_that_become_equal_are_rejected():
    with pytest.raises(ValueError, match="Several tensors would be `start_trace`"):
        map_to_published_names(["start_trace", "module.start_trace"])
