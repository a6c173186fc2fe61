"""Test that converted legacy files give the same outputs."""

import argparse
import collections
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from ctm.checkpoint import load
from ctm.config import SCHEDULE_KEYS
from ctm.conversion.convert import convert, extract_legacy_config, main
from tests.ctm.models.test_published import CASES, GOLDEN_DIR, SUPPORTED_CLASSES, load_case, load_inputs
from tests.paths import ROOT

EXTRA_CONFIG = {"iterations": 4, "heads": 2, "prediction_reshaper": [-1]}  # what the weights of `tiny` do not tell


def write_legacy_checkpoint(path, model, **changes):
    """Write a file as the original training loop does."""
    optimizer = torch.optim.AdamW(model.parameters())
    content = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": {"milestones": collections.Counter([8000]), "base_lrs": [1e-4]},
        "iteration": 3,
        "train_losses": [np.float64(0.5), np.float32(0.25)],
        "test_accuracies": [np.linspace(0, 1, 4), np.array([True]), np.arange(3)],
        "args": argparse.Namespace(iterations=model.config.iterations, heads=model.config.heads, device=[-1]),
        "torch_rng_state": torch.get_rng_state(),
        "numpy_rng_state": np.random.RandomState(0).get_state(),
        "random_rng_state": random.Random(0).getstate(),
    }
    torch.save(content | changes, path)
    return path


def write_extra_config(path, **changes):
    path.write_text(yaml.safe_dump(EXTRA_CONFIG | changes))
    return path


def assert_same_outputs(first, second, inputs):
    with torch.no_grad():
        first, second = first(inputs), second(inputs)
    assert torch.equal(first.answers, second.answers) and torch.equal(first.certainties, second.certainties)
    assert (first.energies is None) == (second.energies is None)
    assert first.energies is None or torch.equal(first.energies, second.energies)


# --- what is converted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_golden_weights_give_the_published_numbers(name, tmp_path):
    if json.loads((GOLDEN_DIR / f"{name}.json").read_text())["class"] not in SUPPORTED_CLASSES:
        pytest.skip("refused: see test_legacy.py")
    case, tensors, machine = load_case(name)
    if (
        getattr(machine.config, "neuron_select_type", "") == "first-last"
    ):  # golden rules draw these, in files they are in order
        fresh = type(machine)(machine.config, machine.in_features).state_dict()
        machine.load_state_dict({k: v for k, v in fresh.items() if "indices" in k}, strict=False)
    said = {
        key: case["config"][key]
        for key in case["config"].keys() & {"iterations", "heads", "prediction_reshaper", *SCHEDULE_KEYS}
    }
    torch.save({"model_state_dict": machine.state_dict(), "config": said}, tmp_path / "a.pt")
    read = convert(tmp_path / "a.pt", tmp_path / "out").model
    loaded = load(tmp_path / "out").model
    with torch.inference_mode():
        inputs = load_inputs(machine.config, tensors)
        answers, again = read(inputs).answers, loaded(inputs).answers
    assert torch.equal(answers, again)
    tolerance = 1e-4 if "resnet" in case["config"].get("backbone_type", "") else 1e-5
    expected = tensors["out.predictions"]
    assert (answers.reshape(expected.shape) - expected).abs().max() <= tolerance


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"energy_head_enabled": True, "synapse_depth": 3, "do_layernorm_nlm": True},
        {"heads": 0, "n_synch_action": 0, "backbone_type": "none", "deep_nlms": False},
        {"backbone_type": "resnet18-1", "positional_embedding_type": "custom-rotational"},
        {"backbone_type": "parity_backbone", "neuron_select_type": "first-last"},
    ],
)
def test_a_file_of_the_original_training_loop_is_converted(changes, tmp_path, make_model, make_inputs):
    machine = make_model(**changes)
    inputs = make_inputs(machine)
    args = argparse.Namespace(**machine.config.model_dump(mode="json"), lr=1e-4, model="ctm")
    convert(write_legacy_checkpoint(tmp_path / "a.pt", machine, args=args), tmp_path / "new" / "out")
    read = load(tmp_path / "new" / "out")
    assert_same_outputs(machine, read.model, inputs)
    assert read.task == {} and {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
        "model.safetensors",
        "config.json",
    }


def test_the_yaml_file_adds_what_is_missing_and_the_task(tmp_path, make_model, make_inputs):
    machine = make_model()
    torch.save(machine.state_dict(), tmp_path / "bare.pt")
    task = {"task": "brackets", "labels": ["invalid", "valid"]}
    convert(tmp_path / "bare.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", dropout=0.25, task=task))
    read = load(tmp_path / "out")
    assert read.model.config.dropout == 0.25 and read.task == task
    assert_same_outputs(machine, read.model, make_inputs(machine))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_wrappers_and_prefixes_are_removed(wrapper, prefix, tmp_path, make_model, make_inputs):
    machine = make_model()
    state = {prefix + name: tensor for name, tensor in machine.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "a.pt")
    read = convert(tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml"))
    assert_same_outputs(machine, read.model, make_inputs(machine))


@pytest.mark.parametrize("old", [{"_use_new_zipfile_serialization": False}, {}])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_and_precisions_are_read(old, dtype, tmp_path, make_model):
    machine = make_model()
    state = {k: v.to(dtype) if v.is_floating_point() else v.int() for k, v in machine.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt", **old)
    read = convert(tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml")).model.state_dict()
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor.to(read[name].dtype)), name


def test_what_old_files_lack_is_put_in(tmp_path, make_model):
    machine = make_model(backbone_type="resnet18-1", neuron_select_type="first-last")
    left_out = ("num_batches_tracked", "neuron_indices_left", "neuron_indices_right")
    torch.save({k: v for k, v in machine.state_dict().items() if not k.endswith(left_out)}, tmp_path / "a.pt")
    said = {"neuron_select_type": "first-last", "n_synch_out": 5, "n_synch_action": 4}
    read = convert(tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", **said)).model
    for name, tensor in machine.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name


def test_an_embedding_without_places_is_one_whose_places_add_nothing(tmp_path, make_model, make_inputs):
    machine = make_model(positional_embedding_type="custom-rotational-1d")
    with torch.no_grad():
        machine.backbone.positions.zero_()
    torch.save({k: v for k, v in machine.state_dict().items() if k != "backbone.positions"}, tmp_path / "a.pt")
    read = convert(
        tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", backbone_type="tokens-7x6")
    )
    assert_same_outputs(machine, read.model, make_inputs(machine))


def test_the_layout_of_the_tutorial_becomes_the_published_one(tmp_path):
    """Build a model of the MNIST tutorial that computes with its own plain code."""
    torch.manual_seed(0)
    neurons, width, memory, hidden, count, ticks = 12, 8, 5, 3, 4, 3
    backbone = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
    )
    whole = nn.ModuleDict(
        {
            "backbone": backbone,
            "attention": nn.MultiheadAttention(width, 2, batch_first=True),
            "kv_proj": nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)),
            "q_proj": nn.Linear(10, width),
            "synapses": nn.Sequential(nn.Linear(width + neurons, 2 * neurons), nn.GLU(), nn.LayerNorm(neurons)),
            "output_projector": nn.Sequential(nn.Linear(10, 6)),
        }
    ).eval()
    own = {
        "start_activated_state": torch.randn(neurons),
        "start_trace": torch.randn(neurons, memory),
        "trace_processor.0.w1": torch.randn(memory, 2 * hidden, neurons),
        "decay_params_out": torch.rand(10),
        "trace_processor.0.b1": torch.randn(1, neurons, 2 * hidden),
        "decay_params_action": torch.rand(10),
        "trace_processor.2.w1": torch.randn(hidden, 2, neurons),
        "trace_processor.2.b1": torch.randn(1, neurons, 2),
    }
    first, last = torch.arange(count), torch.arange(neurons - count, neurons)
    chosen = {
        f"{place}_neuron_indices_{side}": index
        for place, index in (("out", first), ("action", last))
        for side in ("left", "right")
    }
    torch.save(whole.state_dict() | own | chosen, tmp_path / "a.pt")
    (tmp_path / "a.yaml").write_text(f"{{iterations: {ticks}, heads: 2, prediction_reshaper: [-1]}}")
    pictures = torch.randn(3, 1, 12, 12)

    def synchronise(z, sums, place):
        i, j = torch.triu_indices(count, count)
        chosen = z[:, :count] if place == "out" else z[:, -count:]
        product, kept = chosen[:, i] * chosen[:, j], torch.exp(-own[f"decay_params_{place}"])
        alpha, beta = (product, torch.ones(10)) if sums is None else (kept * sums[0] + product, kept * sums[1] + 1)
        return alpha / beta.sqrt(), (alpha, beta)

    with torch.no_grad():
        kv = whole["kv_proj"](backbone(pictures).flatten(2).transpose(1, 2))
        z, trace = own["start_activated_state"].expand(3, -1), own["start_trace"].expand(3, -1, -1)
        acted, expected = None, []
        _, said = synchronise(z, None, "out")
        for _ in range(ticks):
            sync, acted = synchronise(z, acted, "action")
            seen, _ = whole["attention"](whole["q_proj"](sync).unsqueeze(1), kv, kv)
            state = whole["synapses"](torch.cat((seen.squeeze(1), z), 1))
            trace = torch.cat((trace[:, :, 1:], state.unsqueeze(2)), 2)
            z = trace
            for place in (0, 2):
                weight, bias = own[f"trace_processor.{place}.w1"], own[f"trace_processor.{place}.b1"]
                z = F.glu(torch.einsum("bdm,mhd->bdh", z, weight) + bias, -1)
            z = z.squeeze(2)
            sync, said = synchronise(z, said, "out")
            expected.append(whole["output_projector"](sync))
        read = convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml").model
        thought = read(pictures)
    assert (read.config.backbone_type, read.config.neuron_select_type) == ("mnist_backbone", "first-last")
    torch.testing.assert_close(thought.answers, torch.stack(expected, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (argparse.Namespace(heads=4, deep_memory=False, lr=1), {"heads": 4, "deep_nlms": False}),
        ({"do_normalisation": True}, {"do_layernorm_nlm": True}),
        ({"model": {"heads": 2}, "heads": 1}, {"heads": 2}),
        ({"parity_sequence_length": 16, "out_dims": 32}, {"out_dims": 32, "prediction_reshaper": [16, 2]}),
        ({"maze_route_length": 50, "dataset": "mazes-small"}, {"prediction_reshaper": [50, 5]}),
        ({"dataset": "cifar10"}, {"prediction_reshaper": [-1]}),
        ({"N_to_sort": 30}, {"prediction_reshaper": [-1]}),
        (
            {"q_num_repeats_per_input": 3, "q_num_answer_steps": 7},
            {"prediction_reshaper": [-1], **dict(zip(SCHEDULE_KEYS, (3, 3, 7), strict=True))},
        ),
        ({"dataset": "cifar10", "prediction_reshaper": [2, 5]}, {"prediction_reshaper": [2, 5]}),
        ({"dataset": ["cifar10"]}, {}),
        (None, {}),
        ([1], {}),
    ],
)
def test_arguments_of_the_original_scripts_are_translated(values, said):
    assert extract_legacy_config(values) == said


def test_weights_take_precedence_over_arguments(tmp_path, make_model):
    """The published sorting class has no attention, whatever the options of its script."""
    machine = make_model(heads=0, n_synch_action=0, backbone_type="none")
    args = argparse.Namespace(iterations=4, heads=4, n_synch_action=32, d_model=999, N_to_sort=5)
    read = convert(write_legacy_checkpoint(tmp_path / "a.pt", machine, args=args), tmp_path / "out").model.config
    assert (read.heads, read.n_synch_action, read.d_model) == (0, 0, 12)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_converts(tmp_path, make_model):
    torch.save(make_model().state_dict(), tmp_path / "a.pt")
    words = [
        str(tmp_path / "a.pt"),
        "--out",
        str(tmp_path / "out"),
        "--config",
        str(write_extra_config(tmp_path / "a.yaml")),
    ]
    done = subprocess.run([sys.executable, "-m", "ctm.convert", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "d_model=12" in done.stdout and load(tmp_path / "out").model.config.iterations == 4


def test_the_command_reports_an_error_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "missing.pt"), "--out", str(tmp_path / "out")])
    assert str(stopped.value) == f"Error: There is no file {tmp_path / 'missing.pt'}."
