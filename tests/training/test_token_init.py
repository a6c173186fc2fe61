"""Tests of the initial weights that keep symbols and positions apart."""

import math

import pytest
import torch

from ctm import build_model
from tests.training.test_trainer import TINY_RECIPE, make_tiny_config
from training.config import RunConfig
from training.token_init import compute_circular_symbols, compute_sine_positions
from training.trainer import Trainer

HALF = 4  # of d_input in the tiny recipe


def make_separate_config() -> RunConfig:
    return make_tiny_config().with_overrides({"train.token_init": "separate", "model.dropout": 0.0})


def test_keys_tell_positions_and_values_symbols_apart():
    model = Trainer(make_separate_config()).unwrapped_model
    symbols, positions = model.backbone.embedding.weight, model.backbone.positions
    assert (symbols[:, HALF:] == 0).all() and (positions[:HALF] == 0).all()
    assert (symbols[:, :HALF] != 0).all()
    width = positions.size(0)
    _, keys, values = model.attention.in_proj_weight.split(width)
    assert keys[:, :HALF].norm() < 0.2 * keys[:, HALF:].norm()
    assert values[:, HALF:].norm() < 0.2 * values[:, :HALF].norm()
    assert torch.equal(model.kv_proj[0].weight, torch.eye(width))


def test_neighbouring_positions_are_a_quarter_turn_apart_in_the_fastest_pair():
    positions = compute_sine_positions(16, 8)
    assert positions[0, :4].tolist() == pytest.approx([0, 1, 0, -1], abs=1e-6)
    assert positions[3, 1].item() == pytest.approx(math.sin(math.pi / 16), rel=1e-5)
    assert torch.allclose(positions[:4] ** 2 + positions[4:] ** 2, torch.ones(4, 16))


def test_equal_sums_modulo_ten_are_equal_rotations():
    features = compute_circular_symbols(10)
    assert features.shape == (10, 10)
    cosines, sines = features[:, :5], torch.cat((features[:, 5:9], torch.zeros(10, 1)), 1)
    points = torch.complex(cosines, sines)
    assert torch.allclose(points[7] * points[8], points[(7 + 8) % 10], atol=1e-5)
    assert features[:, 9].tolist() == pytest.approx([-1 + 2 * digit / 9 for digit in range(10)], abs=1e-6)


@pytest.mark.parametrize("num_symbols", [1, 2, 3, 10, 13])
def test_every_number_of_symbols_has_as_many_features_as_symbols(num_symbols):
    features = compute_circular_symbols(num_symbols)
    assert features.shape == (num_symbols, num_symbols)
    assert features.unique(dim=0).size(0) == num_symbols


def test_circular_symbols_fill_the_first_half_of_the_embedding():
    model = Trainer(make_separate_config().with_overrides({"train.token_init": "circular"})).unwrapped_model
    separate = Trainer(make_separate_config()).unwrapped_model
    symbols = model.backbone.embedding.weight
    num_symbols = len(symbols)
    assert torch.allclose(symbols[:, :num_symbols], math.sqrt(2) * compute_circular_symbols(num_symbols))
    assert (symbols[:, num_symbols:] == 0).all()
    assert torch.equal(model.backbone.positions, separate.backbone.positions)
    assert torch.equal(model.attention.in_proj_weight, separate.attention.in_proj_weight)


def test_a_width_that_is_too_small_for_the_symbols_is_rejected_in_one_sentence():
    chain = TINY_RECIPE | {"task": {"kind": "chain"}, "train": TINY_RECIPE["train"] | {"token_init": "circular"}}
    with pytest.raises(ValueError, match=r"at least twice.*28: got 8\. Set train\.token_init=separate\.") as error:
        RunConfig.parse(chain)
    assert "\n" not in str(error.value)
    RunConfig.parse(chain | {"train": chain["train"] | {"token_init": "separate"}})


def test_names_and_shapes_are_those_of_the_default_and_other_weights_are_equal():
    separate = Trainer(make_separate_config()).unwrapped_model.state_dict()
    default = Trainer(make_tiny_config()).unwrapped_model.state_dict()
    assert {name: value.shape for name, value in separate.items()} == {n: v.shape for n, v in default.items()}
    changed = {name for name in default if not torch.equal(default[name], separate[name])}
    assert changed == {
        "backbone.embedding.weight",
        "backbone.positions",
        "kv_proj.0.weight",
        "kv_proj.0.bias",
        "attention.in_proj_weight",
    }


def test_weights_of_init_from_replace_the_initial_ones():
    config = make_separate_config()
    source = build_model(config.build_model_config(config.make_task()), seed=7)
    model = Trainer(config, source).unwrapped_model
    assert torch.equal(model.backbone.positions, source.backbone.positions)


def test_models_without_tokens_are_rejected_in_one_sentence():
    recipe = TINY_RECIPE | {"task": {"kind": "digits"}, "train": TINY_RECIPE["train"] | {"token_init": "separate"}}
    with pytest.raises(ValueError, match=r"attends to token sequences.*Set train\.token_init=default\.") as error:
        RunConfig.parse(recipe)
    assert "\n" not in str(error.value)
