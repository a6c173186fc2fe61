"""Tests of checkpoint directories: a saved checkpoint is loaded unchanged, and saving is atomic."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm import checkpoint as checkpoint_module
from ctm.checkpoint import Checkpoint, load, save
from ctm.io.json_files import write_json

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
METADATA = {
    "task": {"task": "parity", "settings": {"length": 6}},
    "halting": {"policies": {"energy": {"policy": "energy<0.125"}}},
    "metrics": {"accuracy": [0.5, 0.75], "samples": 100, "seed": 0},
}


def read_contents(directory):
    """Return the content of each file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# --- the round trip --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_head_enabled": True, "synapse_depth": 4, "do_layernorm_nlm": True},
        {
            "heads": 0,
            "n_synch_action": 0,
            "backbone_type": "none",
            "deep_nlms": False,
            "neuron_select_type": "first-last",
        },
        {"heads": 0, "n_synch_action": 0, "backbone_type": "none", "synapse_depth": 3},
        {
            "backbone_type": "resnet18-1",
            "positional_embedding_type": "learnable-fourier",
            "neuron_select_type": "random",
        },
        {"backbone_type": "parity_backbone", "positional_embedding_type": "custom-rotational-1d"},
    ],
)
def test_a_saved_checkpoint_is_loaded_unchanged(changes, tmp_path, make_model, make_inputs):
    model = make_model(seed=3, **changes)
    card = "# Card, with an e-acute: \u00e9\n"
    checkpoint = load(save(Checkpoint(model, **METADATA, card=card), tmp_path / "new" / "deep" / "c"))
    assert {name: getattr(checkpoint, name) for name in METADATA} == METADATA
    assert checkpoint.card == card
    assert checkpoint.model.config == model.config
    assert not checkpoint.model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(checkpoint.model.state_dict()[name], tensor), name
    inputs = make_inputs(model)
    with torch.no_grad():
        expected = model(inputs)
        unrolled = checkpoint.model(inputs)
    assert torch.equal(expected.answers, unrolled.answers) and torch.equal(expected.certainties, unrolled.certainties)
    assert expected.energies is None or torch.equal(expected.energies, unrolled.energies)


def test_a_checkpoint_without_metadata_is_weights_and_config_only(tmp_path, make_model):
    checkpoint_dir = save(Checkpoint(make_model()), tmp_path / "bare")
    assert {path.name for path in checkpoint_dir.iterdir()} == {WEIGHTS, CONFIG}
    checkpoint = load(checkpoint_dir)
    assert (checkpoint.task, checkpoint.halting, checkpoint.metrics, checkpoint.card) == ({}, {}, {}, "")


def test_a_checkpoint_has_published_names_and_keys_only(checkpoint_dir, make_model):
    model = make_model(energy_head_enabled=True)
    assert load_file(checkpoint_dir / WEIGHTS).keys() == model.state_dict().keys()
    assert json.loads((checkpoint_dir / CONFIG).read_text()) == model.config.to_dict()
    assert {path.name for path in checkpoint_dir.iterdir()} == {
        WEIGHTS,
        CONFIG,
        "task.json",
        "halting.json",
        "metrics.json",
        "README.md",
    }


def test_saving_twice_gives_the_same_bytes(checkpoint_dir, tmp_path):
    assert read_contents(save(load(checkpoint_dir), tmp_path / "again")) == read_contents(checkpoint_dir)


def test_a_model_in_training_mode_is_saved_unchanged_and_stays_in_training_mode(tmp_path, make_model):
    model = make_model().train()
    checkpoint = load(save(Checkpoint(model), tmp_path / "c"))
    assert model.training and not checkpoint.model.training


def test_loading_does_not_change_the_global_random_state(checkpoint_dir):
    before = torch.get_rng_state()
    load(checkpoint_dir)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_read_as_float32(dtype, checkpoint_dir):
    tensors = load_file(checkpoint_dir / WEIGHTS)
    half_tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    save_file(half_tensors, checkpoint_dir / WEIGHTS)
    for name, tensor in load(checkpoint_dir).model.state_dict().items():
        assert torch.equal(
            tensor, half_tensors[name].float() if half_tensors[name].is_floating_point() else half_tensors[name]
        )
        assert tensor.dtype == tensors[name].dtype


# --- saving is atomic ----------------------------------------------------------------------------------------


def fail_on_call(monkeypatch, function, call):
    """Make one call of a function raise the error of a full disk. Return the list of calls."""
    module, name = (os, function.removeprefix("os.")) if function.startswith("os.") else (checkpoint_module, function)
    original = getattr(module, name)
    calls = []

    def fail_or_call(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            if name == "save_file":
                args[1].write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, fail_or_call)
    return calls


FAILURE_POINTS = [
    ("save_file", 1),
    ("write_json", 1),
    ("write_json", 2),
    ("os.fsync", 1),
    ("os.fsync", 6),
    ("os.replace", 1),
    ("os.rename", 1),
]
FAILURE_AFTER_REMOVAL = ("os.rename", 2)


@pytest.mark.parametrize(("function", "call"), [*FAILURE_POINTS, FAILURE_AFTER_REMOVAL])
def test_a_failed_save_keeps_the_old_checkpoint_intact(function, call, checkpoint_dir, make_model, monkeypatch):
    before = read_contents(checkpoint_dir)
    calls = fail_on_call(monkeypatch, function, call)
    with pytest.raises(OSError, match="No space left"):
        save(Checkpoint(make_model(seed=9), **METADATA), checkpoint_dir)
    assert len(calls) >= call
    monkeypatch.undo()
    assert [path.name for path in checkpoint_dir.parent.iterdir()] == [checkpoint_dir.name], (
        "a temporary directory remains"
    )
    assert read_contents(checkpoint_dir) == before


@pytest.mark.parametrize(("function", "call"), FAILURE_POINTS)
def test_a_failed_first_save_keeps_nothing(function, call, tmp_path, make_model, monkeypatch):
    fail_on_call(monkeypatch, function, call)
    with pytest.raises(OSError, match="No space left"):
        save(Checkpoint(make_model(), **METADATA), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_keeps_no_temporary_file(checkpoint_dir, make_model, monkeypatch):
    before = read_contents(checkpoint_dir)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(Checkpoint(make_model(seed=9)), checkpoint_dir)
    assert [path.name for path in checkpoint_dir.parent.iterdir()] == [checkpoint_dir.name]
    assert read_contents(checkpoint_dir) == before


def test_a_save_replaces_the_whole_directory(checkpoint_dir, make_model):
    for name in ("metrics.json", "model-00001-of-00002.safetensors"):
        (checkpoint_dir / name).write_text("of an earlier checkpoint")
    model = make_model(seed=9)
    save(Checkpoint(model, task={"name": "other"}), checkpoint_dir)
    assert {path.name for path in checkpoint_dir.iterdir()} == {WEIGHTS, CONFIG, "task.json"}
    assert [path.name for path in checkpoint_dir.parent.iterdir()] == [checkpoint_dir.name]
    checkpoint = load(checkpoint_dir)
    assert checkpoint.task == {"name": "other"}
    assert torch.equal(checkpoint.model.start_trace, model.start_trace)


def test_metadata_with_nan_is_rejected_and_nothing_is_saved(tmp_path, make_model):
    with pytest.raises(ValueError):
        save(Checkpoint(make_model(), metrics={"loss": float("nan")}), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_that_cannot_be_written_keeps_the_old_file(value, tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"step": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"step": value})
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["os.fsync", "os.replace"])
def test_a_failed_json_write_keeps_the_old_file(function, tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_json(path, {"step": 1})
    fail_on_call(monkeypatch, function, 1)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"step": 2})
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
    write_json(path, {"step": 3})
    assert json.loads(path.read_text()) == {"step": 3}


def test_json_lists_of_numbers_are_on_one_line_and_texts_are_unchanged(tmp_path):
    values = {"by_tick": [0.5, -1e-05, 3], "corners": [[1.0, 2.0], []], "text": "[\n 1,\n   2\n]", "mixed": [1, "a"]}
    write_json(tmp_path / "some.json", values)
    text = (tmp_path / "some.json").read_text("utf-8")
    assert json.loads(text) == values
    assert '"by_tick": [0.5, -1e-05, 3]' in text and "[1.0, 2.0]" in text
