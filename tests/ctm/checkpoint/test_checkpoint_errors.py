"""Checkpoint folders that do not fit, lie or are broken: each is refused in one sentence that names what is wrong."""

import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm.checkpoint import Checkpoint, load, save

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def refusal(folder):
    """The sentence with which a folder is refused."""
    with pytest.raises(ValueError) as caught:
        load(folder)
    sentence = str(caught.value)
    assert type(caught.value) is ValueError, f"{type(caught.value)}: {sentence}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert sentence.endswith((".", "?")) and "\n" not in sentence
    return sentence


def change_weights(folder, **changes):
    """Rewrite the weights with some tensors changed, added, or (None) left out; `__` stands for a dot."""
    tensors = load_file(folder / WEIGHTS) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in tensors.items() if value is not None}, folder / WEIGHTS)


def change_config(folder, **changes):
    values = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(values))


# --- weights that do not fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start_trace": None}, ["missing: start_trace"]),
        ({"extra": torch.zeros(2)}, ["not known: extra"]),
        ({"start_trace": None, "extra": torch.zeros(2)}, ["missing: start_trace", "not known: extra"]),
        ({f"extra{i}": torch.zeros(1) for i in range(9)}, ["not known: extra0", "and 4 more"]),
        ({"start_trace": torch.zeros(12, 9)}, ["`start_trace` should be [12, 5], is [12, 9]"]),
        ({"start_trace": torch.zeros(5, 12)}, ["`start_trace` should be [12, 5], is [5, 12]"]),
        ({"start_trace": torch.zeros(12, 5, dtype=torch.float64)}, ["`start_trace`", "F64"]),
        ({"start_trace": torch.zeros(12, 5, dtype=torch.int64)}, ["`start_trace`", "I64"]),
        ({"start_trace": torch.zeros(12, 5, dtype=torch.bool)}, ["`start_trace`", "BOOL"]),
        ({"out_neuron_indices_left": torch.zeros(5)}, ["`out_neuron_indices_left`", "F32"]),
        ({"out_neuron_indices_left": torch.zeros(5, dtype=torch.int32)}, ["`out_neuron_indices_left`", "I32"]),
        ({"start_trace": torch.full((12, 5), float("nan"))}, ["NaN or infinity", "`start_trace`"]),
        ({"decay_params_out": torch.tensor([0.0, 0, 0, 0, float("inf")])}, ["NaN or infinity", "`decay_params_out`"]),
        ({"energy_proj__2__bias": torch.tensor([float("-inf")])}, ["NaN or infinity", "`energy_proj.2.bias`"]),
        ({"out_neuron_indices_left": torch.tensor([0, 1, 2, 3, 12])}, ["d_model=12", "`out_neuron_indices_left`"]),
        ({"action_neuron_indices_right": torch.tensor([0, 1, 2, -1])}, ["d_model=12", "`action_neuron_indices_right`"]),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(changes, words, folder):
    change_weights(folder, **changes)
    sentence = refusal(folder)
    assert WEIGHTS in sentence
    assert [word for word in words if word not in sentence] == [], sentence


def test_a_config_of_another_machine_is_refused(folder):
    change_config(folder, d_model=24)
    assert "does not fit config.json" in refusal(folder)


def test_a_refusal_of_many_tensors_stays_readable(folder):
    change_config(folder, d_model=24, memory_length=9, d_input=4)
    assert len(refusal(folder)) < 4_000


@pytest.mark.parametrize("columns", [8, 12])
@pytest.mark.parametrize("depth", [1, 3])
def test_weights_without_room_for_a_raw_input_are_refused(columns, depth, tmp_path, machine_of, raw):
    folder = save(Checkpoint(machine_of(synapse_depth=depth, **raw)), tmp_path / "c")
    name = "synapses.1.weight" if depth == 1 else "synapses.first_projection.0.weight"
    change_weights(folder, **{name: load_file(folder / WEIGHTS)[name][:, :columns].contiguous()})
    assert name in refusal(folder)


@pytest.mark.parametrize("name", ["initial_rgb.weight", "kv_proj.0.weight"])
def test_weights_from_which_the_input_size_cannot_be_read_are_refused(name, tmp_path, machine_of):
    changes = {"backbone_type": "resnet18-1" if name.startswith("initial") else "none"}
    folder = save(Checkpoint(machine_of(**changes)), tmp_path / "c")
    change_weights(folder, **{name: torch.zeros(3)})
    assert f"`{name}`" in refusal(folder)


# --- files that lie --------------------------------------------------------------------------------------------------


def crafted(header, body=b"", length=None):
    """A safetensors file as bytes: eight bytes that tell the header's length, the header, the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def header_and_body(folder):
    data = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, -1])
def test_truncated_weights_are_refused(kept, folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    assert f"{WEIGHTS} is not a whole safetensors file" in refusal(folder)


def test_weights_with_a_tail_are_refused(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"tail")
    assert f"{WEIGHTS} is not a whole safetensors file" in refusal(folder)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_that_lies_about_its_length_is_refused(length, folder):
    header, body = header_and_body(folder)
    (folder / WEIGHTS).write_bytes(crafted(header, body, length))
    assert WEIGHTS in refusal(folder)


@pytest.mark.parametrize(
    "lie",
    [
        {"data_offsets": [0, 2**63]},
        {"data_offsets": [0, 4]},
        {"data_offsets": [240, 0]},
        {"data_offsets": [-1, 239]},
        {"data_offsets": None},
        {"shape": [2**63, 2**63]},
        {"shape": [2**40, 2**40]},
        {"shape": [12, -5]},
        {"shape": "12x5"},
        {"shape": [60]},
        {"shape": [12, 5, 1]},
        {"dtype": "F64"},
        {"dtype": "X7"},
        {"dtype": None},
    ],
    ids=str,
)
def test_a_header_that_lies_about_a_tensor_is_refused(lie, folder):
    header, body = header_and_body(folder)
    header["start_trace"] |= lie
    (folder / WEIGHTS).write_bytes(crafted(header, body))
    assert WEIGHTS in refusal(folder)


@pytest.mark.parametrize(
    "header", [b"{}", b"[]", b"null", b"not JSON", b"\xff\xfe", b"[" * 50_000 + b"]" * 50_000, b'{"__metadata__": 5}']
)
def test_a_header_that_is_no_header_is_refused(header, folder):
    (folder / WEIGHTS).write_bytes(crafted(header))
    assert WEIGHTS in refusal(folder)


def test_any_damage_to_the_header_is_refused_or_harmless(folder):
    """Never another exception, for any byte of the header changed at random."""
    data, draws = (folder / WEIGHTS).read_bytes(), torch.Generator().manual_seed(0)
    (length,) = struct.unpack("<Q", data[:8])
    places = torch.randint(8 + length, (150,), generator=draws).tolist()
    refused = 0
    for place, value in zip(places, torch.randint(256, (150,), generator=draws).tolist(), strict=True):
        damaged = bytearray(data)
        damaged[place] = value
        (folder / WEIGHTS).write_bytes(damaged)
        try:
            load(folder)
        except ValueError as error:
            assert type(error) is ValueError
            refused += 1
    assert refused > 100


def test_a_pickle_is_refused_and_not_opened(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for name in (WEIGHTS, CONFIG):
        (folder / name).write_bytes(pickle.dumps(Trap()))
        assert name in refusal(folder)
    torch.save({"x": Trap()}, folder / WEIGHTS)
    refusal(folder)
    assert not (tmp_path / "sprung").exists()


# --- other files of the folder ---------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert refusal(tmp_path / "nowhere") == f"There is no checkpoint at {tmp_path / 'nowhere'}."
    (tmp_path / "file").write_text("")
    assert refusal(str(tmp_path / "file")) == f"There is no checkpoint at {tmp_path / 'file'}."


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_folder_without_a_needed_file_is_refused(name, folder):
    (folder / name).unlink()
    assert refusal(folder) == f"{name} is missing in {folder}."


@pytest.mark.parametrize("name", [CONFIG, "task.json", "halting.json", "metrics.json"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"d_model: 12", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"a":' * 200_000, "is not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b"[1, 2]", "must hold a JSON object, got list"),
        (b'"text"', "must hold a JSON object, got str"),
        (b"null", "must hold a JSON object, got NoneType"),
    ],
    ids=["empty", "cut", "YAML", "binary", "nested lists", "nested objects", "a long number", "list", "text", "null"],
)
def test_a_file_that_is_no_json_object_is_refused(name, text, words, folder):
    (folder / name).write_bytes(text)
    sentence = refusal(folder)
    assert name in sentence and words in sentence and len(sentence) < 300


@pytest.mark.parametrize("depth", [10, 500, 900, 990])
def test_a_setting_nested_deeply_is_refused(depth, folder):
    text = (folder / CONFIG).read_text().replace('"iterations": 4', '"iterations": ' + "[" * depth + "]" * depth)
    assert text.count("[") > depth
    (folder / CONFIG).write_text(text)
    assert "iterations" in (sentence := refusal(folder)) or "is not JSON" in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d_modle": 3}, ["config.json.d_modle", "did you mean `d_model`?"]),
        ({"iterations": 0}, ["config.json.iterations", "(got 0)"]),
        ({"iterations": float("nan")}, ["config.json.iterations"]),
        ({"heads": 3}, ["d_input must be a multiple of heads"]),
        (
            {"d_model": 20_000, "memory_length": 4_096, "memory_hidden_dims": 4_096},
            ["billion parameters", "Lower d_model"],
        ),
    ],
)
def test_a_config_with_a_wrong_setting_is_refused(changes, words, folder, allocations):
    change_config(folder, **changes)
    with allocations() as seen:
        sentence = refusal(folder)
    assert [word for word in words if word not in sentence] == [], sentence
    assert seen.largest < 2**21


def test_a_card_that_is_no_text_is_refused(folder):
    (folder / "README.md").write_bytes(b"\xff\xfe\x00")
    assert "README.md" in refusal(folder)
