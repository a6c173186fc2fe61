"""Tests of the settings for community files: each names its source, and converts models of the sizes in its card."""

import json

import pytest
import torch

from ctm.config import SCHEDULE_KEYS, SCHEDULED_BACKBONE, CTMConfig
from ctm.conversion.convert import convert
from ctm.io.yaml import read_yaml_file
from tests.ctm.conversion.test_convert import write_legacy_checkpoint
from tests.paths import ROOT

COMMUNITY = ROOT / "configs" / "community"


def test_there_are_eight_community_files():
    assert len(list(COMMUNITY.glob("*.yaml"))) == 8


@pytest.mark.parametrize("path", sorted(COMMUNITY.glob("*.yaml")), ids=lambda path: path.stem)
def test_community_settings_name_their_source_and_known_keys(path):
    text = path.read_text("utf-8")
    assert "vincentoh/ctm-experiments" in text and "python -m ctm.convert" in text
    assert read_yaml_file(path).keys() <= CTMConfig.model_fields.keys()


PARITY = {
    "d_model": 256,
    "d_input": 32,
    "memory_length": 25,
    "memory_hidden_dims": 16,
    "synapse_depth": 8,
    "n_synch_out": 256,
    "n_synch_action": 256,
    "backbone_type": "parity_backbone",
    "out_dims": 32,
    "positional_embedding_type": "custom-rotational-1d",
    "heads": 8,
    "prediction_reshaper": [16, 2],
}
DIGITS = {
    "d_model": 128,
    "d_input": 128,
    "memory_length": 10,
    "memory_hidden_dims": 8,
    "n_synch_out": 16,
    "n_synch_action": 16,
    "backbone_type": "mnist_backbone",
    "out_dims": 10,
    "neuron_select_type": "first-last",
}


@pytest.mark.parametrize(("stem", "changes"), [("ctm-mnist", DIGITS), ("ctm-parity-16", PARITY)])
def test_community_files_of_the_stated_sizes_are_converted(stem, changes, tmp_path, make_model):
    """Build models of the tutorials with the sizes in their card."""
    torch.save(make_model(**changes).state_dict(), tmp_path / "a.pt")
    config = convert(tmp_path / "a.pt", tmp_path / "out", COMMUNITY / f"{stem}.yaml").model.config
    assert config.iterations == {"ctm-mnist": 15, "ctm-parity-16": 50}[stem]
    assert {key: getattr(config, key) for key in changes if key != "prediction_reshaper"} == {
        key: value for key, value in changes.items() if key != "prediction_reshaper"
    }


SEQUENCES = {"d_model": 256, "d_input": 64, "memory_length": 15, "n_synch_out": 32, "n_synch_action": 32, "heads": 4}


@pytest.mark.parametrize(
    ("stem", "outputs", "backbone", "iterations"),
    [
        ("ctm-brackets", 2, "tokens-4x24", 30),
        ("ctm-tracking-quadrant", 4, "tokens-256x8", 20),
        ("ctm-tracking-position", 256, "tokens-256x8", 20),
    ],
)
def test_community_files_with_ticks_and_heads_in_the_card_need_only_the_backbone(
    stem, outputs, backbone, iterations, tmp_path, make_model
):
    model = make_model(**SEQUENCES, out_dims=outputs, backbone_type=backbone)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    settings = (COMMUNITY / f"{stem}.yaml").read_text("utf-8")
    (tmp_path / "complete.yaml").write_text(f"{settings}\nbackbone_type: {backbone}\n")
    config = convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "complete.yaml").model.config
    assert (config.iterations, config.heads, config.out_dims) == (iterations, 4, outputs)


@pytest.mark.parametrize(("stem", "outputs"), [("ctm-parity-64", 128), ("ctm-transfer-parity-brackets", 2)])
def test_community_files_with_an_incomplete_card_need_more_settings(stem, outputs, tmp_path, make_model):
    model = make_model(out_dims=outputs)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="does not say heads, iterations; write them"):
        convert(tmp_path / "a.pt", tmp_path / "out", COMMUNITY / f"{stem}.yaml")
    training_checkpoint = write_legacy_checkpoint(tmp_path / "b.pt", model)  # it contains the settings
    assert convert(training_checkpoint, tmp_path / "out", COMMUNITY / f"{stem}.yaml").model.config.heads == 2


def test_the_error_names_the_missing_ticks_of_the_input_schedule(tmp_path, make_model):
    changes = {"backbone_type": SCHEDULED_BACKBONE, **dict.fromkeys(SCHEDULE_KEYS, 3)}
    torch.save(make_model(**changes).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=f"does not say {', '.join(sorted(SCHEDULE_KEYS))}; write them"):
        convert(tmp_path / "a.pt", tmp_path / "out", COMMUNITY / "ctm-qamnist.yaml")
    lines = [(COMMUNITY / "ctm-qamnist.yaml").read_text("utf-8")]
    (tmp_path / "complete.yaml").write_text("\n".join([*lines, *(f"{key}: 3" for key in SCHEDULE_KEYS)]))
    config = convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "complete.yaml").model.config
    assert config.has_input_schedule and config.iterations_per_digit == 3 and config.heads == 4
    assert "backbone_type" not in json.loads((tmp_path / "out" / "config.json").read_text())
