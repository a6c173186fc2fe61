"""Tests of the initial weights that keep symbols and positions apart."""

import math

import pytest
import torch

from ctm import build_model
from tests.training.test_trainer import TINY_RECIPE, make_tiny_config
from training.config import RunConfig
from training.token_init import compute_sine_positions
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
