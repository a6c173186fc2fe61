"""Tests that weights of training tools load with the same values, or that the command in the message makes them load."""

import json
import re
import shlex

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm.checkpoint import Checkpoint, count_weights, load, save
from ctm.checkpoint.wrapper_names import unwrap_names
from ctm.conversion.convert import main

TASK = {"task": "brackets", "labels": ["invalid", "valid"]}
PREFIXES = (
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "module.module.",
    "model.",
    "model._orig_mod.",
    "_orig_mod.model.module.",
    "ema_model.",
    "net.",
)


@pytest.fixture
def model(make_model):
    """Provide a small model with an energy head."""
    return make_model(energy_head_enabled=True)


@pytest.fixture
def folder(tmp_path, model):
    """Provide its checkpoint."""
    return save(Checkpoint(model, TASK, card="# A card\n"), tmp_path / "checkpoint")


def rewrite(folder, tensors):
    """Replace the weights of a checkpoint."""
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def read_weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(model, expected):
    state = model.state_dict()
    assert state.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("prefix", PREFIXES)
def test_names_inside_wrappers_load(prefix, folder, model):
    num_weights = count_weights(folder)
    rewrite(folder, {prefix + name: tensor for name, tensor in read_weights(folder).items()})
    assert_same_weights(load(folder).model, model)
    assert count_weights(folder) == num_weights


def test_a_compiled_part_loads(folder, model):
    weights = read_weights(folder)
    rewrite(folder, {name.replace("backbone.", "backbone._orig_mod."): tensor for name, tensor in weights.items()})
    assert_same_weights(load(folder).model, model)


def test_an_averaged_model_of_pytorch_loads(folder, model):
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    rewrite(folder, averaged.state_dict())
    assert "n_averaged" in read_weights(folder)
    assert_same_weights(load(folder).model, model)


def test_the_average_is_used_where_the_trained_weights_are_there_too(folder, model, caplog):
    weights = read_weights(folder)
    online = {f"online_model.{name}": torch.zeros_like(tensor) for name, tensor in weights.items()}
    average = {f"ema_model.{name}": tensor for name, tensor in weights.items()}
    counters = {"initted": torch.tensor([True]), "step": torch.tensor([4])}
    num_weights = count_weights(folder)
    rewrite(folder, {**online, **average, **counters})
    assert_same_weights(load(folder).model, model)
    assert "the average, ema_model, is used" in caplog.text and count_weights(folder) == num_weights


def test_other_parts_of_a_lightning_module_are_left_out(folder, model):
    weights = {f"model.{name}": tensor for name, tensor in read_weights(folder).items()}
    rewrite(folder, {**weights, "criterion.weight": torch.ones(2)})
    assert_same_weights(load(folder).model, model)


def test_several_models_are_not_chosen_from(folder):
    weights = read_weights(folder)
    rewrite(folder, {f"{part}.{name}": tensor for part in ("student", "teacher") for name, tensor in weights.items()})
    with pytest.raises(ValueError, match=r"several models \(student, teacher\); keep one"):
        load(folder)


def test_one_weight_under_two_names_is_an_error(folder):
    weights = read_weights(folder)
    rewrite(folder, {**weights, "module.start_trace": weights["start_trace"]})
    with pytest.raises(ValueError, match="Several tensors would be `start_trace`"):
        load(folder)


def test_names_of_the_model_stay():
    names = ["start_trace", "output_projector.0.weight", "step", "extra.weight"]
    assert unwrap_names(names) == {name: name for name in names}, "an unknown tensor without a wrapper is reported"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loads(dtype, folder, model):
    rewrite(folder, {n: t.to(dtype) if t.is_floating_point() else t for n, t in read_weights(folder).items()})
    for name, tensor in load(folder).model.state_dict().items():
        expected = model.state_dict()[name]
        assert torch.equal(tensor, expected.to(dtype).to(expected.dtype) if tensor.is_floating_point() else expected)


@pytest.mark.parametrize("prefix", ["", "module._orig_mod."])
@pytest.mark.parametrize("float_dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("integer_dtype", [torch.int32, torch.int16, torch.uint8])
def test_the_command_of_the_message_converts_other_types(prefix, float_dtype, integer_dtype, folder, model, tmp_path):
    weights = read_weights(folder)
    if float_dtype is torch.bfloat16:  # values that bfloat16 holds exactly
        model.load_state_dict({n: t.bfloat16().float() if t.is_floating_point() else t for n, t in weights.items()})
        weights = model.state_dict()
    rewrite(
        folder, {prefix + n: t.to(float_dtype if t.is_floating_point() else integer_dtype) for n, t in weights.items()}
    )
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "ctm", "_name_or_path": "x"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8-sig")
    with pytest.raises(ValueError, match=r"does not fit config\.json") as error:
        load(folder)
    (command,) = re.findall(r"`(python -m ctm\.convert [^`]*) NEW_DIRECTORY`", str(error.value))
    main([*shlex.split(command)[3:], str(tmp_path / "new")])
    checkpoint = load(tmp_path / "new")
    assert_same_weights(checkpoint.model, model)
    assert (checkpoint.task, checkpoint.card) == (TASK, "# A card\n")
    assert checkpoint.model.config == model.config


def test_a_number_that_is_too_large_is_an_error(folder, tmp_path):
    weights = {n: t.double() if t.is_floating_point() else t for n, t in read_weights(folder).items()}
    weights["start_trace"][0, 0] = 1e300
    rewrite(folder, weights)
    with pytest.raises(SystemExit, match="NaN or infinity in `start_trace`"):
        main([str(folder), "--out", str(tmp_path / "new")])


def test_a_config_that_contradicts_the_weights_is_an_error(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {"memory_length": 7}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit, match="have memory_length=5, not 7"):
        main([str(folder), "--out", str(tmp_path / "new")])


def test_a_damaged_file_is_an_error_of_one_sentence(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"none")
    with pytest.raises(SystemExit, match="not a whole safetensors file"):
        main([str(folder / "model.safetensors"), "--out", str(tmp_path / "new")])


def test_a_lightning_checkpoint_is_converted(model, tmp_path):
    content = {
        "epoch": 3,
        "global_step": 7,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()},
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, **model.config.to_dict()},
    }
    torch.save(content, tmp_path / "a.ckpt")
    main([str(tmp_path / "a.ckpt"), "--out", str(tmp_path / "new")])
    loaded = load(tmp_path / "new").model
    assert_same_weights(loaded, model)
    assert loaded.config == model.config


@pytest.mark.parametrize("key", ["ema_state_dict", "state_dict_ema", "model_ema"])
def test_the_average_of_a_training_file_is_converted(key, model, tmp_path):
    state = model.state_dict()
    trained = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    torch.save({"state_dict": trained, key: state, "config": model.config.to_dict()}, tmp_path / "a.pt")
    main([str(tmp_path / "a.pt"), "--out", str(tmp_path / "new")])
    assert_same_weights(load(tmp_path / "new").model, model)


def test_an_entry_without_weights_is_no_average(model, tmp_path):
    content = {"model": model.state_dict(), "ema": {"decay": 0.999}, "config": model.config.to_dict()}
    torch.save(content, tmp_path / "a.pt")
    main([str(tmp_path / "a.pt"), "--out", str(tmp_path / "new")])
    assert_same_weights(load(tmp_path / "new").model, model)
