"""Tests of config.json files of other tools: their keys change nothing, unknown keys stay errors, a byte order mark is skipped."""

import json

import pytest

from ctm.checkpoint import Checkpoint, load, save
from ctm.config import CONFIG_CLASSES, FOREIGN_KEYS, read_config, read_published_config
from ctm.io.json_files import read_json, read_text
from ctm.io.yaml import read_yaml_file
from ctm.stores.base import describe_checkpoint_dir
from training.config import RunConfig, read_recipe
from training.model_card import render_checkpoint_card

FOREIGN_VALUES = {
    "model_type": "ctm",
    "torch_dtype": "float32",
    "dtype": "bfloat16",
    "architectures": ["ContinuousThoughtMachine"],
    "transformers_version": "4.57.1",
    "_name_or_path": "alice/ctm",
    "_commit_hash": None,
    "auto_map": {"AutoModel": "modeling.CTM"},
    "id2label": {"0": "invalid", "1": "valid"},
    "use_cache": True,
}


@pytest.fixture
def folder(tmp_path, make_model):
    """Provide a checkpoint whose config.json has keys of other tools and a byte order mark."""
    folder = save(Checkpoint(make_model(), {"task": "brackets"}), tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | FOREIGN_VALUES), "utf-8-sig")
    return folder


def test_keys_of_other_tools_change_nothing(folder, make_model):
    assert load(folder).model.config == make_model().config
    assert describe_checkpoint_dir(folder, "x").config == make_model().config.to_dict()


@pytest.mark.parametrize("kind", ["ctm", "lstm", "ff"])
def test_the_model_type_follows_from_the_keys_of_the_model(kind, tiny_config):
    values = {
        "ctm": tiny_config,
        "lstm": {**{key: tiny_config[key] for key in ("iterations", "d_model", "d_input", "heads", "out_dims")}}
        | {"backbone_type": "tokens-7x6", "num_layers": 2},
        "ff": {"d_model": 8, "out_dims": 6, "backbone_type": "tokens-7x6"},
    }[kind]
    config = read_published_config(values | FOREIGN_VALUES | {"model_type": "bert"})
    assert config == read_config(values) and config.model_type == kind


def test_no_setting_of_a_model_is_taken_for_a_foreign_key():
    fields = {name for config_class in CONFIG_CLASSES.values() for name in config_class.model_fields}
    assert not fields & FOREIGN_KEYS and not any(name.startswith("_") for name in fields)


def test_unknown_keys_stay_errors_with_a_suggestion(tiny_config):
    with pytest.raises(ValueError, match=r"Unknown setting `config.json.d_modle`; did you mean `d_model`"):
        read_published_config(tiny_config | {"d_modle": 4}, "config.json")
    with pytest.raises(ValueError, match=r"Unknown setting `model\.torch_dtype`"):
        RunConfig.parse({"task": {"kind": "parity", "length": 9}, "model": tiny_model() | {"torch_dtype": "float32"}})


def tiny_model():
    """Return the settings of a model for a recipe."""
    names = "iterations d_model d_input heads n_synch_out n_synch_action synapse_depth memory_length memory_hidden_dims"
    return dict(zip(names.split(), (4, 16, 8, 2, 8, 8, 1, 3, 2), strict=True))


def test_every_file_of_text_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "file"
    path.write_text('{"a": 1}', "utf-8-sig")
    assert read_json(path) == read_yaml_file(path) == {"a": 1} and read_text(path) == '{"a": 1}'
    values = {"task": {"kind": "parity", "length": 9}, "model": tiny_model()}
    path.write_text(json.dumps(values), "utf-8-sig")
    assert read_recipe(path) == RunConfig.parse(values)


def test_the_card_of_such_a_checkpoint_is_rendered(folder):
    (folder / "task.json").write_text('{"task": "brackets"}', "utf-8-sig")
    metrics = {
        "evaluations": [],
        "training": {"steps": 3, "command": "python -m training train x"},
        "date": "2026-01-01",
    }
    assert "on the task *brackets*" in render_checkpoint_card(folder, metrics=metrics)
