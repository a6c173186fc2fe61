"""Weights in several files with an index, as the Hub's libraries part large ones."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctm.checkpoint import WEIGHTS_INDEX_NAME, WEIGHTS_NAME, load
from tests.ctm.conftest import PARTS

A, B = PARTS


def refusal(folder) -> str:
    with pytest.raises(ValueError) as caught:
        load(folder)
    assert type(caught.value) is ValueError and "\n" not in str(caught.value)
    return str(caught.value)


def point(folder, name) -> None:
    """Let the index name another file for the tensors of the second part."""
    index = json.loads((folder / WEIGHTS_INDEX_NAME).read_text())
    index["weight_map"] = {tensor: name if part == B else part for tensor, part in index["weight_map"].items()}
    (folder / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))


def test_parted_weights_make_the_same_machine(folder, request):
    whole = load(folder).model.state_dict()
    parts = load(request.getfixturevalue("parted")).model.state_dict()
    assert not (folder / WEIGHTS_NAME).exists() and parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_one_file_comes_before_an_index(parted):
    save_file({"x": torch.zeros(1)}, parted / WEIGHTS_NAME)
    assert "not known: x" in refusal(parted)


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
def test_an_index_that_leaves_the_folder_is_refused(parted, name):
    (parted.parent / "model.safetensors").write_bytes(b"outside")
    point(parted, name)
    assert "only plain .safetensors files beside it are read" in refusal(parted)


def test_a_missing_part_is_named(parted):
    (parted / B).unlink()
    assert f"{B} is missing" in refusal(parted)


def test_a_part_cut_off_is_refused(parted):
    (parted / B).write_bytes((parted / B).read_bytes()[:-10])
    assert f"{B} is not a whole safetensors file" in refusal(parted)


def test_a_tensor_in_two_parts_is_refused(parted):
    tensors = load_file(parted / B) | {"start_trace": load_file(parted / A).get("start_trace", torch.zeros(1))}
    twice = load_file(parted / A) | {"start_trace": tensors["start_trace"]}
    save_file(tensors, parted / B)
    save_file(twice, parted / A)
    assert f"{B} holds `start_trace`, which another file holds, too" in refusal(parted)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": [A]}, {"weight_map": "x"}])
def test_an_index_that_is_none_is_refused(parted, index):
    (parted / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert "must hold a `weight_map`" in refusal(parted)


def test_an_index_of_very_many_parts_is_refused(parted):
    (parted / WEIGHTS_INDEX_NAME).write_text(
        json.dumps({"weight_map": {str(i): f"p{i}.safetensors" for i in range(1001)}})
    )
    assert "names 1001 files" in refusal(parted)


def test_nan_in_a_part_is_refused(parted):
    tensors = load_file(parted / B)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, parted / B)
    assert f"{B} holds NaN or infinity in `{name}`" in refusal(parted)
