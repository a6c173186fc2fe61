"""Checkpoints in a folder."""

import json
import shutil

import pytest

from ctm.checkpoint import load
from ctm.stores import LocalStore


@pytest.fixture
def store(folder):
    return LocalStore(folder.parent)


def test_a_folder_is_described_without_loading_its_weights(store, folder):
    (folder / "model.safetensors").write_bytes(b"not read")
    about = store.describe("mine")
    assert (about.name, about.revision, about.is_downloaded, about.weight_bytes) == ("mine", None, True, 8)
    assert about.config["d_model"] == 12 and about.task == {"task": "parity"} and about.card == "# Parity\n"
    assert len(about.last_modified) == 10


def test_names_are_those_with_a_config(store, folder):
    (folder.parent / "empty").mkdir()
    shutil.copytree(folder, folder.parent / "a")
    shutil.copytree(folder, folder.parent / ".draft")
    assert store.names() == ["a", "mine"]
    with pytest.raises(ValueError, match=r"no checkpoint called '\.draft'"):
        store.fetch(".draft")
    assert LocalStore(folder / "nowhere").names() == []


def test_finished_runs_are_found_below_their_folders(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "runs" / "parity-1" / "checkpoint")
    (tmp_path / "runs" / "parity-2").mkdir()
    store = LocalStore(tmp_path / "runs", "*/checkpoint")
    assert store.names() == ["parity-1"]
    assert store.fetch("parity-1") == tmp_path / "runs" / "parity-1" / "checkpoint"


@pytest.mark.parametrize("name", ["x", "", "..", "../home", "mine/..", "."])
def test_a_name_that_is_not_there_is_refused(store, name):
    with pytest.raises(ValueError, match=r"There is no checkpoint called .*; there are: mine\."):
        store.fetch(name)


def test_a_checkpoint_without_weights_is_not_here(store, folder):
    (folder / "model.safetensors").unlink()
    assert not store.describe("mine").is_downloaded


def test_notes_far_too_large_are_refused(store, folder):
    (folder / "README.md").write_text("x" * 2_000_000)
    with pytest.raises(ValueError, match=r"README.md has 2,000,000 bytes"):
        store.describe("mine")


def test_publishing_copies_a_whole_checkpoint_and_replaces(store, folder, tmp_path):
    shelf = LocalStore(tmp_path / "shelf")
    shelf.publish(folder, "digits", "first")
    values = json.loads((folder / "task.json").read_text())
    (folder / "task.json").write_text(json.dumps(values | {"more": 1}))
    shelf.publish(folder, "digits", "second")
    assert load(shelf.fetch("digits")).task["more"] == 1
    assert sorted(path.name for path in (tmp_path / "shelf").iterdir()) == ["digits"]


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a"])
def test_publishing_under_a_name_that_is_no_folder_is_refused(folder, tmp_path, name):
    with pytest.raises(ValueError, match="plain folder name"):
        LocalStore(tmp_path / "shelf").publish(folder, name, "")
    assert not (tmp_path / "shelf").exists()


def test_half_a_checkpoint_is_not_published(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no whole checkpoint"):
        LocalStore(tmp_path / "shelf").publish(folder, "a", "")
