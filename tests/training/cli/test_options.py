"""Tests of commands that read a checkpoint from a directory or from the Hub."""

import json

import pytest
from huggingface_hub import constants

from ctm.checkpoint import load
from tests.fake_hub.fixtures import hub, read_dir_files
from tests.ui.conftest import make_checkpoint
from training.__main__ import main

__all__ = ["hub"]


def test_fit_energy_of_a_hub_checkpoint_writes_a_local_copy_with_an_energy_head(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    checkpoint_dir = make_checkpoint(tmp_path / "headless", "parity", energy_head_enabled=False)
    hub.add_repo("alice/headless", read_dir_files(checkpoint_dir))
    with pytest.raises(SystemExit, match=r"cannot be changed in place.*--out DIRECTORY"):
        main(["fit-energy", "hub:alice/headless", "--samples", "64", "--steps", "20"])
    assert not hub.requests, "the output directory is checked before the download"
    out = tmp_path / "new"
    main(["fit-energy", "hub:alice/headless", "--samples", "64", "--steps", "20", "--out", str(out)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["n"] <= 64
    before = load(checkpoint_dir)
    after = load(out)
    assert not before.model.config.energy_head_enabled and after.model.config.energy_head_enabled
    assert after.halting["energy"]["fitted_on"]["n"] <= 64 and after.halting["default"] in after.halting["policies"]
    weights = before.model.state_dict()
    assert all(weights[name].equal(after.model.state_dict()[name]) for name in weights)


def test_data_files_are_rejected_by_a_task_without_files(tmp_path):
    checkpoint_dir = make_checkpoint(tmp_path / "bits", "parity")
    with pytest.raises(SystemExit, match="files"):
        main(["evaluate", str(checkpoint_dir), "--data-files", str(tmp_path)])
    with pytest.raises(SystemExit, match="namespace/name"):
        main(["evaluate", "hub:no"])
