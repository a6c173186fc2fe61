"""Tests that converted legacy files give the same outputs."""

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

EXTRA_CONFIG = {"iterations": 4, "heads": 2, "prediction_reshaper": [-1]}  # cannot be inferred from the weights


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


def assert_same_outputs(first_model, second_model, inputs):
    """Check that two models give equal outputs."""
    with torch.no_grad():
        first = first_model(inputs)
        second = second_model(inputs)
    assert torch.equal(first.answers, second.answers) and torch.equal(first.certainties, second.certainties)
    assert (first.energies is None) == (second.energies is None)
    assert first.energies is None or torch.equal(first.energies, second.energies)


# --- converted files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_golden_weights_give_the_published_numbers(name, tmp_path):
    if json.loads((GOLDEN_DIR / f"{name}.json").read_text())["class"] not in SUPPORTED_CLASSES:
        pytest.skip("an unsupported class, which test_infer_config.py tests")
    case, tensors, model = load_case(name)
    if getattr(model.config, "neuron_select_type", "") == "first-last":
        # The indices of the golden files are random, those of real files are in order.
        initial_state_dict = type(model)(model.config, model.in_features).state_dict()
        model.load_state_dict({k: v for k, v in initial_state_dict.items() if "indices" in k}, strict=False)
    settings = {
        key: case["config"][key]
        for key in case["config"].keys() & {"iterations", "heads", "prediction_reshaper", *SCHEDULE_KEYS}
    }
    torch.save({"model_state_dict": model.state_dict(), "config": settings}, tmp_path / "a.pt")
    converted_model = convert(tmp_path / "a.pt", tmp_path / "out").model
    loaded_model = load(tmp_path / "out").model
    with torch.inference_mode():
        inputs = load_inputs(model.config, tensors)
        answers = converted_model(inputs).answers
        loaded_answers = loaded_model(inputs).answers
    assert torch.equal(answers, loaded_answers)
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
    model = make_model(**changes)
    inputs = make_inputs(model)
    args = argparse.Namespace(**model.config.model_dump(mode="json"), lr=1e-4, model="ctm")
    convert(write_legacy_checkpoint(tmp_path / "a.pt", model, args=args), tmp_path / "new" / "out")
    checkpoint = load(tmp_path / "new" / "out")
    assert_same_outputs(model, checkpoint.model, inputs)
    assert checkpoint.task == {} and {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
        "model.safetensors",
        "config.json",
    }


def test_the_yaml_file_adds_what_is_missing_and_the_task(tmp_path, make_model, make_inputs):
    model = make_model()
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    task = {"task": "brackets", "labels": ["invalid", "valid"]}
    convert(tmp_path / "bare.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", dropout=0.25, task=task))
    checkpoint = load(tmp_path / "out")
    assert checkpoint.model.config.dropout == 0.25 and checkpoint.task == task
    assert_same_outputs(model, checkpoint.model, make_inputs(model))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_wrappers_and_prefixes_are_removed(wrapper, prefix, tmp_path, make_model, make_inputs):
    model = make_model()
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "a.pt")
    checkpoint = convert(tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml"))
    assert_same_outputs(model, checkpoint.model, make_inputs(model))


@pytest.mark.parametrize("save_options", [{"_use_new_zipfile_serialization": False}, {}])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_and_precisions_are_read(save_options, dtype, tmp_path, make_model):
    model = make_model()
    state = {k: v.to(dtype) if v.is_floating_point() else v.int() for k, v in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt", **save_options)
    converted_state = convert(
        tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml")
    ).model.state_dict()
    for name, tensor in state.items():
        assert torch.equal(converted_state[name], tensor.to(converted_state[name].dtype)), name


def test_missing_buffers_of_old_files_are_added(tmp_path, make_model):
    model = make_model(backbone_type="resnet18-1", neuron_select_type="first-last")
    omitted_suffixes = ("num_batches_tracked", "neuron_indices_left", "neuron_indices_right")
    torch.save({k: v for k, v in model.state_dict().items() if not k.endswith(omitted_suffixes)}, tmp_path / "a.pt")
    extra_config = {"neuron_select_type": "first-last", "n_synch_out": 5, "n_synch_action": 4}
    converted_model = convert(
        tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", **extra_config)
    ).model
    for name, tensor in model.state_dict().items():
        assert torch.equal(converted_model.state_dict()[name], tensor), name


def test_an_embedding_without_positions_gets_zero_positions(tmp_path, make_model, make_inputs):
    model = make_model(positional_embedding_type="custom-rotational-1d")
    with torch.no_grad():
        model.backbone.positions.zero_()
    torch.save({k: v for k, v in model.state_dict().items() if k != "backbone.positions"}, tmp_path / "a.pt")
    checkpoint = convert(
        tmp_path / "a.pt", tmp_path / "out", write_extra_config(tmp_path / "a.yaml", backbone_type="tokens-7x6")
    )
    assert_same_outputs(model, checkpoint.model, make_inputs(model))


def test_the_layout_of_the_tutorial_is_converted_to_the_published_one(tmp_path):
    """Build a model of the MNIST tutorial that computes with its own plain code."""
    torch.manual_seed(0)
    neurons, width, memory, hidden = 12, 8, 5, 3
    num_synch_neurons = 4
    num_ticks = 3
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
    modules = nn.ModuleDict(
        {
            "backbone": backbone,
            "attention": nn.MultiheadAttention(width, 2, batch_first=True),
            "kv_proj": nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)),
            "q_proj": nn.Linear(10, width),
            "synapses": nn.Sequential(nn.Linear(width + neurons, 2 * neurons), nn.GLU(), nn.LayerNorm(neurons)),
            "output_projector": nn.Sequential(nn.Linear(10, 6)),
        }
    ).eval()
    parameters = {
        "start_activated_state": torch.randn(neurons),
        "start_trace": torch.randn(neurons, memory),
        "trace_processor.0.w1": torch.randn(memory, 2 * hidden, neurons),
        "decay_params_out": torch.rand(10),
        "trace_processor.0.b1": torch.randn(1, neurons, 2 * hidden),
        "decay_params_action": torch.rand(10),
        "trace_processor.2.w1": torch.randn(hidden, 2, neurons),
        "trace_processor.2.b1": torch.randn(1, neurons, 2),
    }
    first_neurons = torch.arange(num_synch_neurons)
    last_neurons = torch.arange(neurons - num_synch_neurons, neurons)
    indices = {
        f"{role}_neuron_indices_{side}": index
        for role, index in (("out", first_neurons), ("action", last_neurons))
        for side in ("left", "right")
    }
    torch.save(modules.state_dict() | parameters | indices, tmp_path / "a.pt")
    (tmp_path / "a.yaml").write_text(f"{{iterations: {num_ticks}, heads: 2, prediction_reshaper: [-1]}}")
    images = torch.randn(3, 1, 12, 12)

    def synchronise(z, sums, role):
        i, j = torch.triu_indices(num_synch_neurons, num_synch_neurons)
        activations = z[:, :num_synch_neurons] if role == "out" else z[:, -num_synch_neurons:]
        product = activations[:, i] * activations[:, j]
        retention = torch.exp(-parameters[f"decay_params_{role}"])
        alpha, beta = (
            (product, torch.ones(10)) if sums is None else (retention * sums[0] + product, retention * sums[1] + 1)
        )
        return alpha / beta.sqrt(), (alpha, beta)

    with torch.no_grad():
        kv = modules["kv_proj"](backbone(images).flatten(2).transpose(1, 2))
        z = parameters["start_activated_state"].expand(3, -1)
        trace = parameters["start_trace"].expand(3, -1, -1)
        expected_answers = []
        action_sums = None
        _, out_sums = synchronise(z, None, "out")
        for _ in range(num_ticks):
            sync, action_sums = synchronise(z, action_sums, "action")
            attention_output, _ = modules["attention"](modules["q_proj"](sync).unsqueeze(1), kv, kv)
            pre_activations = modules["synapses"](torch.cat((attention_output.squeeze(1), z), 1))
            trace = torch.cat((trace[:, :, 1:], pre_activations.unsqueeze(2)), 2)
            z = trace
            for layer in (0, 2):
                weight, bias = parameters[f"trace_processor.{layer}.w1"], parameters[f"trace_processor.{layer}.b1"]
                z = F.glu(torch.einsum("bdm,mhd->bdh", z, weight) + bias, -1)
            z = z.squeeze(2)
            sync, out_sums = synchronise(z, out_sums, "out")
            expected_answers.append(modules["output_projector"](sync))
        model = convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml").model
        unrolled = model(images)
    assert (model.config.backbone_type, model.config.neuron_select_type) == ("mnist_backbone", "first-last")
    torch.testing.assert_close(unrolled.answers, torch.stack(expected_answers, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
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
def test_arguments_of_the_original_scripts_are_translated(values, expected):
    assert extract_legacy_config(values) == expected


def test_weights_take_precedence_over_arguments(tmp_path, make_model):
    """The published sorting class has no attention, whatever the options of its script."""
    model = make_model(heads=0, n_synch_action=0, backbone_type="none")
    args = argparse.Namespace(iterations=4, heads=4, n_synch_action=32, d_model=999, N_to_sort=5)
    config = convert(write_legacy_checkpoint(tmp_path / "a.pt", model, args=args), tmp_path / "out").model.config
    assert (config.heads, config.n_synch_action, config.d_model) == (0, 0, 12)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_converts(tmp_path, make_model):
    torch.save(make_model().state_dict(), tmp_path / "a.pt")
    arguments = [
        str(tmp_path / "a.pt"),
        "--out",
        str(tmp_path / "out"),
        "--config",
        str(write_extra_config(tmp_path / "a.yaml")),
    ]
    process = subprocess.run(
        [sys.executable, "-m", "ctm.convert", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    assert "d_model=12" in process.stdout and load(tmp_path / "out").model.config.iterations == 4


def test_the_command_reports_an_error_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exc_info:
        main([str(tmp_path / "missing.pt"), "--out", str(tmp_path / "out")])
    assert str(exc_info.value) == f"Error: There is no file {tmp_path / 'missing.pt'}."
