"""Tests that inconsistent or damaged checkpoint directories are rejected with one sentence that names the problem."""

import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm.checkpoint import Checkpoint, load, save

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def get_error_message(checkpoint_dir):
    """Return the message with which a directory is rejected."""
    with pytest.raises(ValueError) as exc_info:
        load(checkpoint_dir)
    message = str(exc_info.value)
    assert type(exc_info.value) is ValueError, f"{type(exc_info.value)}: {message}"
    assert exc_info.value.__cause__ is None
    assert exc_info.value.__context__ is None or exc_info.value.__suppress_context__
    assert message.endswith((".", "?")) and "\n" not in message
    return message


def change_weights(checkpoint_dir, **changes):
    """Rewrite the weights with some tensors changed, added or (None) removed; `__` stands for a dot."""
    tensors = load_file(checkpoint_dir / WEIGHTS) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in tensors.items() if value is not None}, checkpoint_dir / WEIGHTS)


def change_config(checkpoint_dir, **changes):
    values = json.loads((checkpoint_dir / CONFIG).read_text()) | changes
    (checkpoint_dir / CONFIG).write_text(json.dumps(values))


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
def test_mismatching_weights_are_rejected_by_name(changes, words, checkpoint_dir):
    change_weights(checkpoint_dir, **changes)
    message = get_error_message(checkpoint_dir)
    assert WEIGHTS in message
    assert [word for word in words if word not in message] == [], message


def test_a_config_of_another_model_is_rejected(checkpoint_dir):
    change_config(checkpoint_dir, d_model=24)
    assert "does not fit config.json" in get_error_message(checkpoint_dir)


def test_an_error_about_many_tensors_is_short(checkpoint_dir):
    change_config(checkpoint_dir, d_model=24, memory_length=9, d_input=4)
    assert len(get_error_message(checkpoint_dir)) < 4_000


@pytest.mark.parametrize("columns", [8, 12])
@pytest.mark.parametrize("depth", [1, 3])
def test_weights_without_a_raw_input_projection_are_rejected(columns, depth, tmp_path, make_model, raw_input_changes):
    checkpoint_dir = save(Checkpoint(make_model(synapse_depth=depth, **raw_input_changes)), tmp_path / "c")
    name = "synapses.1.weight" if depth == 1 else "synapses.first_projection.0.weight"
    change_weights(checkpoint_dir, **{name: load_file(checkpoint_dir / WEIGHTS)[name][:, :columns].contiguous()})
    assert name in get_error_message(checkpoint_dir)


@pytest.mark.parametrize("name", ["initial_rgb.weight", "kv_proj.0.weight"])
def test_weights_from_which_the_input_size_cannot_be_inferred_are_rejected(name, tmp_path, make_model):
    changes = {"backbone_type": "resnet18-1" if name.startswith("initial") else "none"}
    checkpoint_dir = save(Checkpoint(make_model(**changes)), tmp_path / "c")
    change_weights(checkpoint_dir, **{name: torch.zeros(3)})
    assert f"`{name}`" in get_error_message(checkpoint_dir)


# --- inconsistent files --------------------------------------------------------------------------------------------------


def craft_safetensors(header, body=b"", length=None):
    """Return a safetensors file as bytes: eight bytes for the header length, the header, the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def read_header_and_body(checkpoint_dir):
    data = (checkpoint_dir / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.mark.parametrize("num_bytes_or_share", [0, 1, 7, 8, 9, 100, 0.5, -1])
def test_truncated_weights_are_rejected(num_bytes_or_share, checkpoint_dir):
    data = (checkpoint_dir / WEIGHTS).read_bytes()
    (checkpoint_dir / WEIGHTS).write_bytes(
        data[: int(num_bytes_or_share * len(data)) if isinstance(num_bytes_or_share, float) else num_bytes_or_share]
    )
    assert f"{WEIGHTS} is not a whole safetensors file" in get_error_message(checkpoint_dir)


def test_weights_with_trailing_bytes_are_rejected(checkpoint_dir):
    (checkpoint_dir / WEIGHTS).write_bytes((checkpoint_dir / WEIGHTS).read_bytes() + b"tail")
    assert f"{WEIGHTS} is not a whole safetensors file" in get_error_message(checkpoint_dir)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_with_a_wrong_length_is_rejected(length, checkpoint_dir):
    header, body = read_header_and_body(checkpoint_dir)
    (checkpoint_dir / WEIGHTS).write_bytes(craft_safetensors(header, body, length))
    assert WEIGHTS in get_error_message(checkpoint_dir)


@pytest.mark.parametrize(
    "entry",
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
def test_a_header_with_a_wrong_tensor_entry_is_rejected(entry, checkpoint_dir):
    header, body = read_header_and_body(checkpoint_dir)
    header["start_trace"] |= entry
    (checkpoint_dir / WEIGHTS).write_bytes(craft_safetensors(header, body))
    assert WEIGHTS in get_error_message(checkpoint_dir)


@pytest.mark.parametrize(
    "header", [b"{}", b"[]", b"null", b"not JSON", b"\xff\xfe", b"[" * 50_000 + b"]" * 50_000, b'{"__metadata__": 5}']
)
def test_an_invalid_header_is_rejected(header, checkpoint_dir):
    (checkpoint_dir / WEIGHTS).write_bytes(craft_safetensors(header))
    assert WEIGHTS in get_error_message(checkpoint_dir)


def test_any_damage_to_the_header_is_rejected_or_harmless(checkpoint_dir):
    """Any changed header byte raises the same type of exception."""
    data = (checkpoint_dir / WEIGHTS).read_bytes()
    generator = torch.Generator().manual_seed(0)
    (length,) = struct.unpack("<Q", data[:8])
    positions = torch.randint(8 + length, (150,), generator=generator).tolist()
    values = torch.randint(256, (150,), generator=generator).tolist()
    num_rejected = 0
    for position, value in zip(positions, values, strict=True):
        damaged_data = bytearray(data)
        damaged_data[position] = value
        (checkpoint_dir / WEIGHTS).write_bytes(damaged_data)
        try:
            load(checkpoint_dir)
        except ValueError as error:
            assert type(error) is ValueError
            num_rejected += 1
    assert num_rejected > 100


def test_a_pickle_is_rejected_and_not_opened(checkpoint_dir, tmp_path):
    class MakesDirectory:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "unpickled"),))

    for name in (WEIGHTS, CONFIG):
        (checkpoint_dir / name).write_bytes(pickle.dumps(MakesDirectory()))
        assert name in get_error_message(checkpoint_dir)
    torch.save({"x": MakesDirectory()}, checkpoint_dir / WEIGHTS)
    get_error_message(checkpoint_dir)
    assert not (tmp_path / "unpickled").exists()


# --- other files of the directory ---------------------------------------------------------------------------------------


def test_a_missing_directory_is_rejected(tmp_path):
    assert get_error_message(tmp_path / "nowhere") == f"There is no checkpoint at {tmp_path / 'nowhere'}."
    (tmp_path / "file").write_text("")
    assert get_error_message(str(tmp_path / "file")) == f"There is no checkpoint at {tmp_path / 'file'}."


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_directory_without_a_required_file_is_rejected(name, checkpoint_dir):
    (checkpoint_dir / name).unlink()
    assert get_error_message(checkpoint_dir) == f"{name} is missing in {checkpoint_dir}."


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
def test_a_file_that_is_not_a_json_object_is_rejected(name, text, words, checkpoint_dir):
    (checkpoint_dir / name).write_bytes(text)
    message = get_error_message(checkpoint_dir)
    assert name in message and words in message and len(message) < 300


@pytest.mark.parametrize("depth", [10, 500, 900, 990])
def test_a_deeply_nested_setting_is_rejected(depth, checkpoint_dir):
    text = (
        (checkpoint_dir / CONFIG).read_text().replace('"iterations": 4', '"iterations": ' + "[" * depth + "]" * depth)
    )
    assert text.count("[") > depth
    (checkpoint_dir / CONFIG).write_text(text)
    assert "iterations" in (message := get_error_message(checkpoint_dir)) or "is not JSON" in message


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
def test_a_config_with_a_wrong_setting_is_rejected(changes, words, checkpoint_dir, allocation_tracker):
    change_config(checkpoint_dir, **changes)
    with allocation_tracker() as tracker:
        message = get_error_message(checkpoint_dir)
    assert [word for word in words if word not in message] == [], message
    assert tracker.max_bytes < 2**21


def test_a_card_that_is_not_text_is_rejected(checkpoint_dir):
    (checkpoint_dir / "README.md").write_bytes(b"\xff\xfe\x00")
    assert "README.md" in get_error_message(checkpoint_dir)
