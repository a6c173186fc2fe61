"""Tests of the process that exports a static Space."""

import pytest

from tests.paths import ROOT
from training.jobs.export_process import export_static_space
from training.jobs.process_group import JOB_TAG_ENV, list_tagged_processes

PARITY = ROOT / "checkpoints" / "parity-16"
TAG = "test-export-process"


def test_the_process_gets_no_token_and_its_error_is_one_sentence(tmp_path, monkeypatch):
    """The command prints its arguments and its environment instead of exporting."""
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\necho more lines\necho Error: $* $(env)\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setattr("training.jobs.export_process.sys.executable", str(command))
    environment = {"HF_TOKEN": "hf_secret", "CTM_ADMIN_TOKEN": "admin_secret", "PATH": "/usr/bin:/bin"}
    with pytest.raises(ValueError) as caught:
        export_static_space(PARITY, tmp_path, "me/x", environment)
    message = str(caught.value)
    assert message.startswith("-m ui.export space ") and "--model-repo me/x" in message
    assert "HF_HUB_OFFLINE=1" in message
    assert "secret" not in message and "\n" not in message


def test_a_checkpoint_that_cannot_be_exported_gives_the_message_of_the_export(tmp_path):
    with pytest.raises(ValueError, match=r"^There is no checkpoint at .*gone"):
        export_static_space(tmp_path / "gone", tmp_path / "out", "me/x")


def test_a_slow_export_is_killed(tmp_path):
    with pytest.raises(ValueError, match=r"takes more than 0 seconds"):
        export_static_space(PARITY, tmp_path, "me/x", {JOB_TAG_ENV: TAG, "PATH": "/usr/bin:/bin"}, timeout_s=0.1)
    assert list_tagged_processes(TAG) == [] and not list(tmp_path.iterdir())
