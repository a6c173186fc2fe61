"""Checkpoint folders: what is saved comes back, and a save is all or nothing."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm import checkpoint
from ctm.checkpoint import Checkpoint, load, save
from ctm.io.atomic import write_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"
NOTES = {
    "task": {"task": "parity", "settings": {"length": 6}},
    "halting": {"policies": {"energy": {"policy": "energy<0.125"}}},
    "metrics": {"accuracy": [0.5, 0.75], "samples": 100, "seed": 0},
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
def test_what_is_saved_comes_back(changes, tmp_path, machine_of, inputs_for):
    machine = machine_of(seed=3, **changes)
    card = "# Card, with an e-acute: \u00e9\n"
    read = load(save(Checkpoint(machine, **NOTES, card=card), tmp_path / "new" / "deep" / "c"))
    assert {name: getattr(read, name) for name in NOTES} == NOTES
    assert read.card == card
    assert read.model.config == machine.config
    assert not read.model.training
    for name, tensor in machine.state_dict().items():
        assert torch.equal(read.model.state_dict()[name], tensor), name
    inputs = inputs_for(machine)
    with torch.no_grad():
        one, other = machine(inputs), read.model(inputs)
    assert torch.equal(one.answers, other.answers) and torch.equal(one.certainties, other.certainties)
    assert one.energies is None or torch.equal(one.energies, other.energies)


def test_a_checkpoint_without_notes_is_weights_and_config_only(tmp_path, machine_of):
    folder = save(Checkpoint(machine_of()), tmp_path / "bare")
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIG}
    read = load(folder)
    assert (read.task, read.halting, read.metrics, read.card) == ({}, {}, {}, "")


def test_a_checkpoint_holds_published_names_and_keys_only(folder, machine_of):
    machine = machine_of(energy_head_enabled=True)
    assert load_file(folder / WEIGHTS).keys() == machine.state_dict().keys()
    assert json.loads((folder / CONFIG).read_text()) == machine.config.to_dict()
    assert {path.name for path in folder.iterdir()} == {
        WEIGHTS,
        CONFIG,
        "task.json",
        "halting.json",
        "metrics.json",
        "README.md",
    }


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    assert contents(save(load(folder), tmp_path / "again")) == contents(folder)


def test_a_machine_in_training_is_saved_as_it_is_and_stays_in_training(tmp_path, machine_of):
    machine = machine_of().train()
    read = load(save(Checkpoint(machine), tmp_path / "c"))
    assert machine.training and not read.model.training


def test_loading_leaves_the_global_random_state_alone(folder):
    before = torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_read_as_float32(dtype, folder):
    tensors = load_file(folder / WEIGHTS)
    halves = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    save_file(halves, folder / WEIGHTS)
    for name, tensor in load(folder).model.state_dict().items():
        assert torch.equal(tensor, halves[name].float() if halves[name].is_floating_point() else halves[name])
        assert tensor.dtype == tensors[name].dtype


# --- saving is all or nothing ----------------------------------------------------------------------------------------


def breaks(monkeypatch, what, call):
    """Let the so-manyth call of a function fail as a full disk does."""
    owner, name = (os, what.removeprefix("os.")) if what.startswith("os.") else (checkpoint, what)
    real, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            if name == "save_file":
                args[1].write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return calls


MOMENTS = [
    ("save_file", 1),
    ("write_json", 1),
    ("write_json", 2),
    ("os.fsync", 1),
    ("os.fsync", 6),
    ("os.replace", 1),
    ("os.rename", 1),
]
AFTER_THE_OLD_IS_GONE = ("os.rename", 2)


@pytest.mark.parametrize(("what", "call"), [*MOMENTS, AFTER_THE_OLD_IS_GONE])
def test_a_save_that_breaks_leaves_the_old_checkpoint_whole(what, call, folder, machine_of, monkeypatch):
    before = contents(folder)
    calls = breaks(monkeypatch, what, call)
    with pytest.raises(OSError, match="No space left"):
        save(Checkpoint(machine_of(seed=9), **NOTES), folder)
    assert len(calls) >= call
    monkeypatch.undo()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "a draft was left behind"
    assert contents(folder) == before


@pytest.mark.parametrize(("what", "call"), MOMENTS)
def test_a_first_save_that_breaks_leaves_nothing(what, call, tmp_path, machine_of, monkeypatch):
    breaks(monkeypatch, what, call)
    with pytest.raises(OSError, match="No space left"):
        save(Checkpoint(machine_of(), **NOTES), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_no_draft(folder, machine_of, monkeypatch):
    before = contents(folder)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(Checkpoint(machine_of(seed=9)), folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert contents(folder) == before


def test_a_save_replaces_the_whole_folder(folder, machine_of):
    for name in ("metrics.json", "model-00001-of-00002.safetensors"):
        (folder / name).write_text("from before")
    machine = machine_of(seed=9)
    save(Checkpoint(machine, task={"name": "other"}), folder)
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIG, "task.json"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    read = load(folder)
    assert read.task == {"name": "other"}
    assert torch.equal(read.model.start_trace, machine.start_trace)


def test_notes_with_nan_are_refused_and_nothing_is_saved(tmp_path, machine_of):
    with pytest.raises(ValueError):
        save(Checkpoint(machine_of(), metrics={"loss": float("nan")}), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_that_cannot_be_written_leaves_the_old_file(value, tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"step": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"step": value})
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("what", ["os.fsync", "os.replace"])
def test_json_half_written_is_never_seen(what, tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_json(path, {"step": 1})
    breaks(monkeypatch, what, 1)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"step": 2})
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
    write_json(path, {"step": 3})
    assert json.loads(path.read_text()) == {"step": 3}


def test_lists_of_numbers_stand_on_one_line_and_texts_stay_as_they_are(tmp_path):
    values = {"by_tick": [0.5, -1e-05, 3], "corners": [[1.0, 2.0], []], "text": "[\n 1,\n   2\n]", "mixed": [1, "a"]}
    write_json(tmp_path / "some.json", values)
    text = (tmp_path / "some.json").read_text("utf-8")
    assert json.loads(text) == values
    assert '"by_tick": [0.5, -1e-05, 3]' in text and "[1.0, 2.0]" in text
