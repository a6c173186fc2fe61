"""Tests of the store in a local directory."""

import json
import shutil

import pytest

from ctm.stores import LocalStore


@pytest.fixture
def store(checkpoint_dir):
    return LocalStore(checkpoint_dir.parent)


def test_a_checkpoint_is_described_without_loading_its_weights(store, checkpoint_dir):
    (checkpoint_dir / "model.safetensors").write_bytes(b"not read")
    description = store.describe("mine")
    assert (description.name, description.revision, description.is_downloaded, description.size_bytes) == (
        "mine",
        None,
        True,
        8,
    )
    assert (
        description.config["d_model"] == 12
        and description.task == {"task": "parity"}
        and description.card == "# Parity\n"
    )
    assert len(description.last_modified) == 10


@pytest.mark.parametrize(("date", "is_known"), [("2026-11-23", True), ("yesterday", False), (7, False)])
def test_the_date_of_a_checkpoint_is_that_of_its_metrics(store, checkpoint_dir, date, is_known):
    """The times of the files are those of the clone."""
    (checkpoint_dir / "metrics.json").write_text(json.dumps({"date": date, "evaluations": []}))
    assert (store.describe("mine").last_modified == "2026-11-23") is is_known


def test_only_directories_with_a_config_are_listed(store, checkpoint_dir):
    (checkpoint_dir.parent / "empty").mkdir()
    shutil.copytree(checkpoint_dir, checkpoint_dir.parent / "a")
    shutil.copytree(checkpoint_dir, checkpoint_dir.parent / ".draft")
    assert store.list_names() == ["a", "mine"]
    with pytest.raises(ValueError, match=r"no checkpoint called '\.draft'"):
        store.fetch(".draft")
    assert LocalStore(checkpoint_dir / "nowhere").list_names() == []


def test_finished_runs_are_found_below_their_run_directories(checkpoint_dir, tmp_path):
    shutil.copytree(checkpoint_dir, tmp_path / "runs" / "parity-1" / "checkpoint")
    (tmp_path / "runs" / "parity-2").mkdir()
    store = LocalStore(tmp_path / "runs", "*/checkpoint")
    assert store.list_names() == ["parity-1"]
    assert store.fetch("parity-1") == tmp_path / "runs" / "parity-1" / "checkpoint"


@pytest.mark.parametrize("name", ["x", "", "..", "../home", "mine/..", "."])
def test_an_unknown_name_is_rejected(store, name):
    with pytest.raises(ValueError, match=r"There is no checkpoint called .*; there are: mine\."):
        store.fetch(name)


def test_a_checkpoint_without_weights_is_not_downloaded(store, checkpoint_dir):
    (checkpoint_dir / "model.safetensors").unlink()
    assert not store.describe("mine").is_downloaded


def test_oversized_metadata_is_rejected(store, checkpoint_dir):
    (checkpoint_dir / "README.md").write_text("x" * 2_000_000)
    with pytest.raises(ValueError, match=r"README.md has 2,000,000 bytes"):
        store.describe("mine")
