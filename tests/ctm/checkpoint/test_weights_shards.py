"""Tests of sharded weights with an index in the layout of the Hub's libraries."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm.checkpoint import WEIGHTS_INDEX_NAME, WEIGHTS_NAME, load
from tests.ctm.conftest import SHARD_NAMES

FIRST_SHARD, SECOND_SHARD = SHARD_NAMES


def get_error_message(checkpoint_dir) -> str:
    with pytest.raises(ValueError) as exc_info:
        load(checkpoint_dir)
    assert type(exc_info.value) is ValueError and "\n" not in str(exc_info.value)
    return str(exc_info.value)


def point_index_at(checkpoint_dir, name) -> None:
    """Change the file name that the index has for the tensors of the second shard."""
    index = json.loads((checkpoint_dir / WEIGHTS_INDEX_NAME).read_text())
    index["weight_map"] = {
        tensor: name if shard == SECOND_SHARD else shard for tensor, shard in index["weight_map"].items()
    }
    (checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))


def test_sharded_weights_load_the_same_model(checkpoint_dir, request):
    expected = load(checkpoint_dir).model.state_dict()
    state_dict = load(request.getfixturevalue("sharded_checkpoint_dir")).model.state_dict()
    assert not (checkpoint_dir / WEIGHTS_NAME).exists() and state_dict.keys() == expected.keys()
    assert all(torch.equal(state_dict[name], expected[name]) for name in expected)


def test_a_single_file_takes_precedence_over_an_index(sharded_checkpoint_dir):
    save_file({"x": torch.zeros(1)}, sharded_checkpoint_dir / WEIGHTS_NAME)
    assert "not known: x" in get_error_message(sharded_checkpoint_dir)


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/model.safetensors",
        "a/b.safetensors",
        "..",
        ".safetensors",
        "part.bin",
        "part.safetensors\n",
        "c:\\part.safetensors",
        "",
        "x" * 300 + ".safetensors",
    ],
)
def test_an_index_that_points_outside_the_directory_is_rejected(sharded_checkpoint_dir, name):
    (sharded_checkpoint_dir.parent / "model.safetensors").write_bytes(b"outside")
    point_index_at(sharded_checkpoint_dir, name)
    assert "only plain .safetensors files beside it are read" in get_error_message(sharded_checkpoint_dir)


def test_a_missing_shard_is_named(sharded_checkpoint_dir):
    (sharded_checkpoint_dir / SECOND_SHARD).unlink()
    assert f"{SECOND_SHARD} is missing" in get_error_message(sharded_checkpoint_dir)


def test_a_truncated_shard_is_rejected(sharded_checkpoint_dir):
    (sharded_checkpoint_dir / SECOND_SHARD).write_bytes((sharded_checkpoint_dir / SECOND_SHARD).read_bytes()[:-10])
    assert f"{SECOND_SHARD} is not a whole safetensors file" in get_error_message(sharded_checkpoint_dir)


def test_a_tensor_in_two_shards_is_rejected(sharded_checkpoint_dir):
    first_tensors = load_file(sharded_checkpoint_dir / FIRST_SHARD)
    second_tensors = load_file(sharded_checkpoint_dir / SECOND_SHARD)
    duplicate = {"start_trace": first_tensors.get("start_trace", torch.zeros(1))}
    save_file(second_tensors | duplicate, sharded_checkpoint_dir / SECOND_SHARD)
    save_file(first_tensors | duplicate, sharded_checkpoint_dir / FIRST_SHARD)
    message = get_error_message(sharded_checkpoint_dir)
    assert f"{SECOND_SHARD} holds `start_trace`, which another file holds, too" in message


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": [FIRST_SHARD]}, {"weight_map": "x"}])
def test_an_invalid_index_is_rejected(sharded_checkpoint_dir, index):
    (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert "must hold a `weight_map`" in get_error_message(sharded_checkpoint_dir)


def test_an_index_of_too_many_shards_is_rejected(sharded_checkpoint_dir):
    (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(
        json.dumps({"weight_map": {str(i): f"p{i}.safetensors" for i in range(1001)}})
    )
    assert "names 1001 files" in get_error_message(sharded_checkpoint_dir)


def test_nan_in_a_shard_is_rejected(sharded_checkpoint_dir):
    tensors = load_file(sharded_checkpoint_dir / SECOND_SHARD)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, sharded_checkpoint_dir / SECOND_SHARD)
    assert f"{SECOND_SHARD} holds NaN or infinity in `{name}`" in get_error_message(sharded_checkpoint_dir)
