"""Tests of the messages for legacy files that are incomplete or wrong."""

import pytest
import torch
import yaml

from ctm.conversion.convert import convert
from ctm.io.yaml import read_yaml_file
from tests.ctm.conversion.test_convert import EXTRA_CONFIG, write_extra_config, write_legacy_checkpoint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "does not say heads, iterations, prediction_reshaper; write them .*`heads: 8`"),
        ({"heads": 2, "iterations": 4}, r"does not say prediction_reshaper; write it .*`prediction_reshaper: \[-1\]`"),
        (EXTRA_CONFIG | {"d_model": 13}, "have d_model=12, not 13"),
        (EXTRA_CONFIG | {"synapse_depth": 4}, "have synapse_depth=1, not 4"),
        (EXTRA_CONFIG | {"backbone_type": "parity_backbone"}, "have backbone_type=tokens-7x6, not 'parity_backbone'"),
        (EXTRA_CONFIG | {"neuron_select_type": "random"}, "have neuron_select_type=random-pairing, not 'random'"),
        (EXTRA_CONFIG | {"energy_head_enabled": True}, "have energy_head_enabled=False, not True"),
        (EXTRA_CONFIG | {"heads": 3}, "d_input must be a multiple of heads"),
        (EXTRA_CONFIG | {"prediction_reshaper": [5, 2]}, "does not fit out_dims=6"),
        ({"heds": 2}, "Unknown setting `heds`; did you mean `heads`"),
        (EXTRA_CONFIG | {"task": "digits"}, "`task` must be a group"),
        (EXTRA_CONFIG | {"task": {"share": float("nan")}}, "`task` may hold text, numbers"),
    ],
)
def test_missing_and_wrong_settings_are_named(settings, message, tmp_path, make_model):
    torch.save(make_model().state_dict(), tmp_path / "a.pt")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml")
    assert not (tmp_path / "out").exists()


def test_a_task_with_a_timestamp_is_rejected(tmp_path, make_model):
    torch.save(make_model().state_dict(), tmp_path / "a.pt")
    task = "task: {day: !!timestamp 2025-11-28}"  # without the tag it is a string
    (tmp_path / "a.yaml").write_text(f"{yaml.safe_dump(EXTRA_CONFIG)}{task}\n")
    with pytest.raises(ValueError, match="`task` may hold text, numbers"):
        convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["- 1", "heads: [", "heads: !!python/object/apply:os.getcwd []", "\x00", "7"])
def test_an_invalid_yaml_file_is_rejected(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml"):
        read_yaml_file(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="is not a YAML file that can be read"):
        read_yaml_file(tmp_path / "missing.yaml")


def test_an_existing_directory_is_not_overwritten(tmp_path, make_model):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        convert(write_legacy_checkpoint(tmp_path / "a.pt", make_model()), tmp_path)
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("start_trace", lambda t: t.index_fill(1, torch.tensor([2]), float("nan")), "NaN or infinity in `start_trace`"),
        ("q_proj.bias", lambda t: t.double() + 1e300, "NaN or infinity in `q_proj.bias`"),
        ("q_proj.bias", lambda t: t[:-1], r"`q_proj.bias` should be \[8\], is \[7\]"),
        ("q_proj.bias", lambda t: t.long(), "`q_proj.bias` should be torch.float32, is torch.int64"),
        ("q_proj.bias", lambda t: t + 1j, "holds `q_proj.bias` as torch.complex64"),
        ("q_proj.bias", lambda t: t.to_sparse(), "torch.sparse_coo"),
        ("q_proj.bias", lambda t: t.to("meta"), "holds `q_proj.bias`"),
        ("q_proj.bias", lambda t: None, "holds a NoneType as 'q_proj.bias' among the weights"),
        ("out_neuron_indices_left", lambda t: t + 12, "names neurons beyond d_model=12"),
        ("start_activated_state", lambda t: t[:1].expand(10**12), "more than is stored of it"),
    ],
)
def test_wrong_tensors_are_named(name, change, message, tmp_path, make_model):
    state = make_model().state_dict()
    torch.save(state | {name: change(state[name])}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml"))
    assert not (tmp_path / "out").exists()


def test_extra_and_missing_tensors_are_named(tmp_path, make_model):
    state = make_model().state_dict()
    torch.save(state | {"gate.weight": torch.zeros(3)}, tmp_path / "more.pt")
    torch.save({key: value for key, value in state.items() if key != "q_proj.bias"}, tmp_path / "fewer.pt")
    torch.save({key: value for key, value in state.items() if "indices" not in key}, tmp_path / "random.pt")
    extra_config = {"neuron_select_type": "random-pairing", "n_synch_out": 5, "n_synch_action": 4}
    for name, message in (
        ("more", "`gate.weight`"),
        ("fewer", "lacks `q_proj.bias`"),
        ("random", "_neuron_indices_left"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / f"{name}.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", **extra_config))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a dictionary"),
        (7, "holds an int, not a dictionary"),
        ({"epoch": 3, "lr": 0.1}, r"holds no weights: none of .* among its keys \(epoch, lr\)"),
        ({}, "holds no weights"),
        ({"model_state_dict": {}}, "not the weights of a Continuous Thought Machine"),
        ({"model_state_dict": {1: torch.zeros(1)}}, "holds a Tensor as 1 among the weights"),
        ({"layer.weight": torch.zeros(2, 2)}, "not the weights of a Continuous Thought Machine"),
    ],
)
def test_files_without_a_model_are_rejected(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "a.pt", tmp_path / "out")


def test_an_oversized_model_is_rejected_before_it_is_built(tmp_path, make_model, allocation_tracker):
    state = make_model().state_dict()
    sizes = {"out_neuron_indices_left": 60_000, "out_neuron_indices_right": 60_000, "decay_params_out": 60_000}
    state |= {name: torch.zeros(size, dtype=state[name].dtype) for name, size in sizes.items()}
    state["output_projector.0.weight"] = torch.zeros(60_000, 1)
    torch.save(state, tmp_path / "a.pt")
    with allocation_tracker() as tracker, pytest.raises(ValueError, match="billion parameters"):
        convert(tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml"))
    assert tracker.max_bytes < 10_000_000
