"""Tests that reading a legacy file never runs code from it, and that other files are rejected with one sentence."""

import argparse
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ctm.conversion import safe_unpickle
from ctm.conversion.convert import convert
from ctm.conversion.safe_unpickle import load_torch_file


class Marker:
    """Class whose objects are never unpickled."""


@pytest.mark.parametrize("save_options", [{"_use_new_zipfile_serialization": False}, {}])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"model_state_dict": {}, "args": value}])
def test_objects_are_never_unpickled_and_their_class_is_named(save_options, wrap, tmp_path):
    torch.save(wrap(Marker()), tmp_path / "a.pt", **save_options)
    with pytest.raises(ValueError, match=r"a\.pt holds objects of .*Marker, which are never unpickled; .*state_dict"):
        load_torch_file(tmp_path / "a.pt")


@pytest.mark.parametrize("save_options", [{"_use_new_zipfile_serialization": False}, {}])
def test_a_file_cannot_run_code(save_options, tmp_path):
    class TouchesFile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    class EvaluatesCode:
        def __reduce__(self):
            return eval, ("1 + 1",)

    for content in (TouchesFile(), EvaluatesCode(), {"args": argparse.Namespace(a=EvaluatesCode())}):
        torch.save(content, tmp_path / "a.pt", **save_options)
        with pytest.raises(ValueError, match="never unpickled"):
            load_torch_file(tmp_path / "a.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_of_either_numpy_version_become_placeholders(name, tmp_path):
    values = {
        "a": np.linspace(0, 1, 5),
        "b": np.float64(0.25),
        "c": np.arange(3, dtype=">u4"),
        "d": torch.ones(2),
        "e": [True],
    }
    torch.save(values, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        for entry, data in parts.items():
            archive.writestr(entry, data.replace(b"numpy._core.multiarray", name.encode()))
    loaded = load_torch_file(tmp_path / "b.pt")
    assert [repr(loaded[key]) for key in "abc"] == ["an array of NumPy"] * 3
    assert torch.equal(loaded["d"], torch.ones(2)) and loaded["e"] == [True]


@pytest.mark.parametrize("save_options", [{"_use_new_zipfile_serialization": False}, {}])
def test_bytes_are_never_interpreted_as_addresses(save_options, tmp_path):
    """NumPy would interpret bytes of the file as memory addresses, which could crash the process or run code."""

    class Array:
        def __reduce__(self):
            return np.ndarray, ((1,), "O", b"A" * 8)

    class Fields:
        def __reduce__(self):
            return np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 63)

    class Scalar:
        def __reduce__(self):
            return np.float64(0).__reduce__()[0], (Fields(), b"A" * 8)

    content = {
        "model_state_dict": {"a": torch.zeros(1)},
        "args": argparse.Namespace(dataset=[Array(), Fields(), Scalar()]),
    }
    torch.save(content, tmp_path / "a.pt", **save_options)
    loaded = load_torch_file(tmp_path / "a.pt")["args"].dataset
    assert [type(value) for value in loaded] == [safe_unpickle.NumpyPlaceholder] * 3
    with pytest.raises(ValueError, match="not the weights of a Continuous Thought Machine"):
        convert(tmp_path / "a.pt", tmp_path / "out")


@pytest.mark.parametrize("save_options", [{"_use_new_zipfile_serialization": False}, {}])
def test_truncated_files_are_rejected(save_options, tmp_path, make_model):
    torch.save(make_model().state_dict(), tmp_path / "a.pt", **save_options)
    data = (tmp_path / "a.pt").read_bytes()
    for share in (0.02, 0.5, 0.9, 0.999):
        (tmp_path / "b.pt").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match=r"b\.pt is (cut short|not a whole checkpoint of PyTorch)"):
            load_torch_file(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<!doctype html>",
        b"\x80\x02.",
        b"\x80\x04\x95",
        b"PK\x03\x04 and nothing more",
        bytes(1000),
        b"version https://git-lfs",
    ],
)
def test_files_that_are_not_checkpoints_are_rejected(data, tmp_path):
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pt is") as exc_info:
        load_torch_file(tmp_path / "a.pt")
    assert "weights_only=False" not in str(exc_info.value) and "Re-running" not in str(exc_info.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_rejected(protocol, tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"state_dict": [1, 2]}, protocol))
    with pytest.raises(ValueError, match=r"a\.pt is not a whole checkpoint"):
        load_torch_file(tmp_path / "a.pt")


def test_an_archive_that_expands_beyond_its_size_is_rejected(tmp_path, make_model):
    torch.save({"state_dict": {"a": torch.zeros(1_000_000)}}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive, zipfile.ZipFile(tmp_path / "b.pt", "w") as compressed_archive:
        for entry in archive.namelist():
            compressed_archive.writestr(entry, archive.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpacks to more than it is"):
        load_torch_file(tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive_without_weights:
        archive_without_weights.writestr("readme.txt", "no weights")
    with pytest.raises(ValueError, match=r"not one of `torch\.save`"):
        load_torch_file(tmp_path / "c.pt")


def test_a_large_file_of_the_old_format_is_rejected(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(9)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    monkeypatch.setattr(safe_unpickle, "MAX_UNMAPPED_BYTES", 10)
    with pytest.raises(ValueError, match="too large to be read whole"):
        load_torch_file(tmp_path / "a.pt")


def test_an_error_message_repeats_no_values_of_the_file(tmp_path):
    """The error of PyTorch's reader contains the call in the file, which may be anything."""
    pickled_call = (
        b"\x80\x02" + b"X\x09\x00\x00\x00Traceback" + b"K\x01\x86" + b"K\x03\x85" + b"R."
    )  # ("Traceback", 1)(3)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickled_call)
        archive.writestr("a/version", "3\n")
    with pytest.raises(
        ValueError, match=r"^a\.pt is not a whole checkpoint of PyTorch: Trying to call reduce for .* function\.$"
    ):
        load_torch_file(tmp_path / "a.pt")
