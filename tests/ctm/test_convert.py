"""Legacy files become checkpoint folders that think the same thoughts; everything else is refused in a sentence."""

import argparse
import collections
import datetime
import json
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from ctm import convert as converting
from ctm.checkpoint import load
from ctm.convert import convert, main, read_file, read_settings, spoken
from tests.ctm.test_published import BUILT, CASES, GOLDEN, load_case

ROOT = Path(__file__).parents[2]
COMMUNITY = ROOT / "configs" / "community"
REST = {"iterations": 4, "heads": 2, "prediction_reshaper": [-1]}  # what the weights of `tiny` do not tell


class Marker:
    """An object that ours never unpickle."""


def legacy(path, machine, **changes):
    """A file as the original training loop writes it."""
    optimizer = torch.optim.AdamW(machine.parameters())
    content = {
        "model_state_dict": machine.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": {"milestones": collections.Counter([8000]), "base_lrs": [1e-4]},
        "iteration": 3,
        "train_losses": [np.float64(0.5), np.float32(0.25)],
        "test_accuracies": [np.linspace(0, 1, 4), np.array([True]), np.arange(3)],
        "args": argparse.Namespace(iterations=machine.config.iterations, heads=machine.config.heads, device=[-1]),
        "torch_rng_state": torch.get_rng_state(),
        "numpy_rng_state": np.random.RandomState(0).get_state(),
        "random_rng_state": random.Random(0).getstate(),
    }
    torch.save(content | changes, path)
    return path


def rest(path, **changes):
    path.write_text(yaml.safe_dump(REST | changes))
    return path


def assert_same_thoughts(one, other, inputs):
    with torch.no_grad():
        first, second = one(inputs), other(inputs)
    assert torch.equal(first.answers, second.answers) and torch.equal(first.certainties, second.certainties)
    assert (first.energies is None) == (second.energies is None)
    assert first.energies is None or torch.equal(first.energies, second.energies)


# --- what is converted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_golden_weights_give_the_published_numbers(name, tmp_path):
    if json.loads((GOLDEN / f"{name}.json").read_text())["class"] not in BUILT:
        pytest.skip("refused: see test_legacy.py")
    case, tensors, machine = load_case(name)
    if machine.config.neuron_select_type == "first-last":  # the golden rule draws what a real file holds in order
        fresh = type(machine)(machine.config, machine.in_features).state_dict()
        machine.load_state_dict({k: v for k, v in fresh.items() if "indices" in k}, strict=False)
    said = {key: case["config"].get(key) for key in ("iterations", "heads", "prediction_reshaper")}
    torch.save({"model_state_dict": machine.state_dict(), "config": said}, tmp_path / "a.pt")
    read = convert(tmp_path / "a.pt", tmp_path / "out").machine
    loaded = load(tmp_path / "out").machine
    with torch.inference_mode():
        answers, again = read(tensors["in.x"]).answers, loaded(tensors["in.x"]).answers
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
def test_a_file_of_the_original_training_loop_is_converted(changes, tmp_path, machine_of, inputs_for):
    machine = machine_of(**changes)
    inputs = inputs_for(machine)
    args = argparse.Namespace(**machine.config.model_dump(mode="json"), lr=1e-4, model="ctm")
    convert(legacy(tmp_path / "a.pt", machine, args=args), tmp_path / "new" / "out")
    read = load(tmp_path / "new" / "out")
    assert_same_thoughts(machine, read.machine, inputs)
    assert read.task == {} and {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
        "model.safetensors", "config.json",
    }  # fmt: skip


def test_the_yaml_file_adds_what_is_missing_and_the_task(tmp_path, machine_of, inputs_for):
    machine = machine_of()
    torch.save(machine.state_dict(), tmp_path / "bare.pt")
    task = {"task": "brackets", "labels": ["invalid", "valid"]}
    convert(tmp_path / "bare.pt", tmp_path / "out", rest(tmp_path / "a.yaml", dropout=0.25, task=task))
    read = load(tmp_path / "out")
    assert read.machine.config.dropout == 0.25 and read.task == task
    assert_same_thoughts(machine, read.machine, inputs_for(machine))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_wrappers_and_prefixes_are_taken_off(wrapper, prefix, tmp_path, machine_of, inputs_for):
    machine = machine_of()
    state = {prefix + name: tensor for name, tensor in machine.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "a.pt")
    read = convert(tmp_path / "a.pt", tmp_path / "out", rest(tmp_path / "a.yaml"))
    assert_same_thoughts(machine, read.machine, inputs_for(machine))


@pytest.mark.parametrize("old", [{"_use_new_zipfile_serialization": False}, {}])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_and_precisions_are_read(old, dtype, tmp_path, machine_of):
    machine = machine_of()
    state = {k: v.to(dtype) if v.is_floating_point() else v.int() for k, v in machine.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt", **old)
    read = convert(tmp_path / "a.pt", tmp_path / "out", rest(tmp_path / "a.yaml")).machine.state_dict()
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor.to(read[name].dtype)), name


def test_what_old_files_lack_is_put_in(tmp_path, machine_of):
    machine = machine_of(backbone_type="resnet18-1", neuron_select_type="first-last")
    left_out = ("num_batches_tracked", "neuron_indices_left", "neuron_indices_right")
    torch.save({k: v for k, v in machine.state_dict().items() if not k.endswith(left_out)}, tmp_path / "a.pt")
    said = {"neuron_select_type": "first-last", "n_synch_out": 5, "n_synch_action": 4}
    read = convert(tmp_path / "a.pt", tmp_path / "out", rest(tmp_path / "a.yaml", **said)).machine
    for name, tensor in machine.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name


def test_an_embedding_without_places_is_one_whose_places_add_nothing(tmp_path, machine_of, inputs_for):
    machine = machine_of(positional_embedding_type="custom-rotational-1d")
    with torch.no_grad():
        machine.backbone.positions.zero_()
    torch.save({k: v for k, v in machine.state_dict().items() if k != "backbone.positions"}, tmp_path / "a.pt")
    read = convert(tmp_path / "a.pt", tmp_path / "out", rest(tmp_path / "a.yaml", backbone_type="tokens-7x6"))
    assert_same_thoughts(machine, read.machine, inputs_for(machine))


def test_the_layout_of_the_tutorial_becomes_the_published_one(tmp_path):
    """A machine as the MNIST tutorial builds it, thinking by its own plain code."""
    torch.manual_seed(0)
    neurons, width, memory, hidden, count, ticks = 12, 8, 5, 3, 4, 3
    backbone = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2, 2),
    )  # fmt: skip
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
        "start_activated_state": torch.randn(neurons), "start_trace": torch.randn(neurons, memory),
        "trace_processor.0.w1": torch.randn(memory, 2 * hidden, neurons), "decay_params_out": torch.rand(10),
        "trace_processor.0.b1": torch.randn(1, neurons, 2 * hidden), "decay_params_action": torch.rand(10),
        "trace_processor.2.w1": torch.randn(hidden, 2, neurons), "trace_processor.2.b1": torch.randn(1, neurons, 2),
    }  # fmt: skip
    first, last = torch.arange(count), torch.arange(neurons - count, neurons)
    chosen = {f"{place}_neuron_indices_{side}": index for place, index in (("out", first), ("action", last))
              for side in ("left", "right")}  # fmt: skip
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
        read = convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml").machine
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
        ({"dataset": "cifar10", "prediction_reshaper": [2, 5]}, {"prediction_reshaper": [2, 5]}),
        ({"dataset": ["cifar10"]}, {}),
        (None, {}),
        ([1], {}),
    ],
)
def test_what_arguments_of_the_original_scripts_say(values, said):
    assert spoken(values) == said


def test_weights_are_believed_rather_than_arguments(tmp_path, machine_of):
    """The published sorting class has no attention, whatever its script was told."""
    machine = machine_of(heads=0, n_synch_action=0, backbone_type="none")
    args = argparse.Namespace(iterations=4, heads=4, n_synch_action=32, d_model=999, N_to_sort=5)
    read = convert(legacy(tmp_path / "a.pt", machine, args=args), tmp_path / "out").machine.config
    assert (read.heads, read.n_synch_action, read.d_model) == (0, 0, 12)


# --- what is asked for, and what is contradicted ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "does not say heads, iterations, prediction_reshaper; write them .*`heads: 8`"),
        ({"heads": 2, "iterations": 4}, r"does not say prediction_reshaper; write it .*`prediction_reshaper: \[-1\]`"),
        (REST | {"d_model": 13}, "have d_model=12, not 13"),
        (REST | {"synapse_depth": 4}, "have synapse_depth=1, not 4"),
        (REST | {"backbone_type": "parity_backbone"}, "have backbone_type=tokens-7x6, not 'parity_backbone'"),
        (REST | {"neuron_select_type": "random"}, "have neuron_select_type=random-pairing, not 'random'"),
        (REST | {"energy_head_enabled": True}, "have energy_head_enabled=False, not True"),
        (REST | {"heads": 3}, "d_input must be a multiple of heads"),
        (REST | {"prediction_reshaper": [5, 2]}, "does not fit out_dims=6"),
        ({"heds": 2}, "Unknown setting `heds`; did you mean `heads`"),
        (REST | {"task": "digits"}, "`task` must be a group"),
        (REST | {"task": {"day": datetime.date(2025, 11, 28)}}, "`task` may hold text, numbers"),
        (REST | {"task": {"share": float("nan")}}, "`task` may hold text, numbers"),
    ],
)
def test_what_is_missing_or_wrong_is_named(given, words, tmp_path, machine_of):
    torch.save(machine_of().state_dict(), tmp_path / "a.pt")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ValueError, match=words):
        convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["- 1", "heads: [", "heads: !!python/object/apply:os.getcwd []", "\x00", "7"])
def test_a_yaml_file_of_another_kind_is_refused(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml"):
        read_settings(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="is not a YAML file that can be read"):
        read_settings(tmp_path / "missing.yaml")


def test_a_folder_that_is_there_is_left_alone(tmp_path, machine_of):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        convert(legacy(tmp_path / "a.pt", machine_of()), tmp_path)
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "change", "words"),
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
def test_wrong_tensors_are_named(name, change, words, tmp_path, machine_of):
    state = machine_of().state_dict()
    torch.save(state | {name: change(state[name])}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=words):
        convert(tmp_path / "a.pt", tmp_path / "out", rest(tmp_path / "a.yaml"))
    assert not (tmp_path / "out").exists()


def test_more_and_fewer_tensors_are_named(tmp_path, machine_of):
    state = machine_of().state_dict()
    torch.save(state | {"gate.weight": torch.zeros(3)}, tmp_path / "more.pt")
    torch.save({key: value for key, value in state.items() if key != "q_proj.bias"}, tmp_path / "fewer.pt")
    torch.save({key: value for key, value in state.items() if "indices" not in key}, tmp_path / "random.pt")
    said = {"neuron_select_type": "random-pairing", "n_synch_out": 5, "n_synch_action": 4}
    for name, words in (
        ("more", "`gate.weight`"),
        ("fewer", "lacks `q_proj.bias`"),
        ("random", "_neuron_indices_left"),
    ):
        with pytest.raises(ValueError, match=words):
            convert(tmp_path / f"{name}.pt", tmp_path / "out", rest(tmp_path / "a.yaml", **said))


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [{"_use_new_zipfile_serialization": False}, {}])
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"model_state_dict": {}, "args": it}])
def test_objects_are_never_unpickled_and_their_class_is_named(old, wrap, tmp_path):
    torch.save(wrap(Marker()), tmp_path / "a.pt", **old)
    with pytest.raises(ValueError, match=r"a\.pt holds objects of .*Marker, which are never unpickled; .*state_dict"):
        read_file(tmp_path / "a.pt")


@pytest.mark.parametrize("old", [{"_use_new_zipfile_serialization": False}, {}])
def test_a_file_cannot_run_anything(old, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    class Evaluate:
        def __reduce__(self):
            return eval, ("1 + 1",)

    for thing in (Touch(), Evaluate(), {"args": argparse.Namespace(a=Evaluate())}):
        torch.save(thing, tmp_path / "a.pt", **old)
        with pytest.raises(ValueError, match="never unpickled"):
            read_file(tmp_path / "a.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_of_either_numpy_are_read(name, tmp_path):
    values = {"a": np.linspace(0, 1, 5), "b": np.float64(0.25), "c": np.arange(3, dtype=np.uint32)}
    torch.save(values, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        for entry, data in parts.items():
            archive.writestr(entry, data.replace(b"numpy._core.multiarray", name.encode()))
    read = read_file(tmp_path / "b.pt")
    assert read["b"] == 0.25 and all(np.array_equal(read[key], values[key]) for key in "ac")


@pytest.mark.parametrize("old", [{"_use_new_zipfile_serialization": False}, {}])
def test_truncated_files_are_refused(old, tmp_path, machine_of):
    torch.save(machine_of().state_dict(), tmp_path / "a.pt", **old)
    data = (tmp_path / "a.pt").read_bytes()
    for share in (0.02, 0.5, 0.9, 0.999):
        (tmp_path / "b.pt").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match=r"b\.pt is (cut short|not a whole checkpoint of PyTorch)"):
            read_file(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "data",
    [b"", b"<!doctype html>", b"\x80\x02.", b"\x80\x04\x95", b"PK\x03\x04 and nothing more", bytes(1000), b"version https://git-lfs"],
)  # fmt: skip
def test_files_that_are_no_checkpoints_are_refused(data, tmp_path):
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pt is") as refused:
        read_file(tmp_path / "a.pt")
    assert "weights_only=False" not in str(refused.value) and "Re-running" not in str(refused.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_refused(protocol, tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"state_dict": [1, 2]}, protocol))
    with pytest.raises(ValueError, match=r"a\.pt is not a whole checkpoint"):
        read_file(tmp_path / "a.pt")


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path, machine_of):
    torch.save({"state_dict": {"a": torch.zeros(1_000_000)}}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive, zipfile.ZipFile(tmp_path / "b.pt", "w") as packed:
        for entry in archive.namelist():
            packed.writestr(entry, archive.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpacks to more than it is"):
        read_file(tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as other:
        other.writestr("readme.txt", "no weights")
    with pytest.raises(ValueError, match=r"not one of `torch\.save`"):
        read_file(tmp_path / "c.pt")


def test_a_large_file_of_the_old_format_is_refused(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(9)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    monkeypatch.setattr(converting, "MOST_BYTES_UNMAPPED", 10)
    with pytest.raises(ValueError, match="too large to be read whole"):
        read_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "words"),
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
def test_files_without_a_machine_are_refused(content, words, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=words):
        convert(tmp_path / "a.pt", tmp_path / "out")


def test_an_absurd_machine_is_refused_before_it_is_built(tmp_path, machine_of, allocations):
    state = machine_of().state_dict()
    out = {"out_neuron_indices_left": 60_000, "out_neuron_indices_right": 60_000, "decay_params_out": 60_000}
    state |= {name: torch.zeros(size, dtype=state[name].dtype) for name, size in out.items()}
    state["output_projector.0.weight"] = torch.zeros(60_000, 1)
    torch.save(state, tmp_path / "a.pt")
    with allocations() as watch, pytest.raises(ValueError, match="billion parameters"):
        convert(tmp_path / "a.pt", tmp_path / "out", rest(tmp_path / "a.yaml"))
    assert watch.largest < 10_000_000


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_converts(tmp_path, machine_of):
    torch.save(machine_of().state_dict(), tmp_path / "a.pt")
    words = [str(tmp_path / "a.pt"), "--out", str(tmp_path / "out"), "--config", str(rest(tmp_path / "a.yaml"))]
    done = subprocess.run([sys.executable, "-m", "ctm.convert", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "d_model=12" in done.stdout and load(tmp_path / "out").machine.config.iterations == 4


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "missing.pt"), "--out", str(tmp_path / "out")])
    assert str(stopped.value) == f"Error: There is no file {tmp_path / 'missing.pt'}."


# --- settings of the community's files -------------------------------------------------------------------------------


def test_there_are_eight_community_files():
    assert len(list(COMMUNITY.glob("*.yaml"))) == 8


@pytest.mark.parametrize("path", sorted(COMMUNITY.glob("*.yaml")), ids=lambda path: path.stem)
def test_community_settings_name_their_source_and_known_keys(path):
    text = path.read_text("utf-8")
    assert "vincentoh/ctm-experiments" in text and "python -m ctm.convert" in text
    assert read_settings(path).keys() <= converting.CTMConfig.model_fields.keys()


PARITY = {"d_model": 256, "d_input": 32, "memory_length": 25, "memory_hidden_dims": 16, "synapse_depth": 8,
          "n_synch_out": 256, "n_synch_action": 256, "backbone_type": "parity_backbone", "out_dims": 32,
          "positional_embedding_type": "custom-rotational-1d", "heads": 8, "prediction_reshaper": [16, 2]}  # fmt: skip
DIGITS = {"d_model": 128, "d_input": 128, "memory_length": 10, "memory_hidden_dims": 8, "n_synch_out": 16,
          "n_synch_action": 16, "backbone_type": "mnist_backbone", "out_dims": 10,
          "neuron_select_type": "first-last"}  # fmt: skip


@pytest.mark.parametrize(("stem", "changes"), [("ctm-mnist", DIGITS), ("ctm-parity-16", PARITY)])
def test_community_files_of_the_stated_sizes_are_converted(stem, changes, tmp_path, machine_of):
    """Machines as the tutorials build them, at the sizes that the card states."""
    torch.save(machine_of(**changes).state_dict(), tmp_path / "a.pt")
    config = convert(tmp_path / "a.pt", tmp_path / "out", COMMUNITY / f"{stem}.yaml").machine.config
    assert config.iterations == {"ctm-mnist": 15, "ctm-parity-16": 50}[stem]
    assert {key: getattr(config, key) for key in changes if key != "prediction_reshaper"} == {
        key: value for key, value in changes.items() if key != "prediction_reshaper"
    }


@pytest.mark.parametrize(
    ("stem", "outputs"),
    [
        ("ctm-parity-64", 128), ("ctm-brackets", 2), ("ctm-tracking-quadrant", 4), ("ctm-tracking-position", 256),
        ("ctm-transfer-parity-brackets", 2),
    ],
)  # fmt: skip
def test_community_files_whose_card_says_less_ask_for_it(stem, outputs, tmp_path, machine_of):
    machine = machine_of(out_dims=outputs)
    torch.save(machine.state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="does not say heads, iterations; write them"):
        convert(tmp_path / "a.pt", tmp_path / "out", COMMUNITY / f"{stem}.yaml")
    with_args = legacy(tmp_path / "b.pt", machine)  # a whole training checkpoint says it itself
    assert convert(with_args, tmp_path / "out", COMMUNITY / f"{stem}.yaml").machine.config.heads == 2


def test_the_machine_of_questions_about_digits_is_refused_by_name(tmp_path):
    case = json.loads((GOLDEN / "qamnist.json").read_text())
    torch.save({entry["name"]: torch.zeros(entry["shape"]) for entry in case["state_dict"]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"ContinuousThoughtMachineQAMNIST, which sees digits, .* in phases; only"):
        convert(tmp_path / "a.pt", tmp_path / "out", COMMUNITY / "ctm-qamnist.yaml")
