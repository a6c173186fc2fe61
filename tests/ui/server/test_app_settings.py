"""Test settings from environment variables: each invalid one is named in a sentence."""

import os
from pathlib import Path

import pytest

from ui.server import app_settings as module
from ui.server.app_settings import AppSettings, describe_unknown_variables, is_persistent


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def test_every_variable_is_optional(root):
    read = AppSettings.from_environment({}, root)
    assert (read.host, read.port, read.home_dir, read.checkpoints_dir) == (
        "127.0.0.1",
        None,
        root,
        root / "checkpoints",
    )
    assert read.hub_models and not read.resume_interrupted and read.max_batch_size > 1 and not read.space_id


def test_every_variable_is_read(root, tmp_path):
    environ = {
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": "0",
        "CTM_HOME": str(tmp_path / "a"),
        "CTM_RESUME": "1",
        "CTM_MODELS": "a/b, c/d@main",
        "CTM_BATCH": "1",
        "SPACE_ID": "ann/ctm",
    }
    read = AppSettings.from_environment(environ, root)
    assert (read.host, read.port, read.hub_models) == ("0.0.0.0", 0, ("a/b", "c/d@main"))
    assert read.resume_interrupted and read.max_batch_size == 1 and read.space_id == "ann/ctm"
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize(
    "name, values",
    {
        "GRADIO_SERVER_PORT": ["", "abc", "-1", "65536", "7860.5", "78 60", "٣"],
        "CTM_CHECKPOINTS": ["nowhere/at/all"],
        "CTM_RESUME": ["yes", "2", " "],
        "CTM_BATCH": ["", "0", "65", "many", "1e1"],
    }.items(),
)
def test_a_wrong_one_is_named(name, values, root, monkeypatch):
    monkeypatch.chdir(root)
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be .*: got {value!r}") as caught:
            AppSettings.from_environment({name: value}, root)
        assert str(caught.value).count("\n") == 0


def test_all_wrong_ones_are_named(root):
    with pytest.raises(ValueError) as caught:
        AppSettings.from_environment({"CTM_RESUME": "maybe", "CTM_BATCH": "x" * 500}, root)
    assert [line[:12] for line in str(caught.value).splitlines()] == ["CTM_RESUME m", "CTM_BATCH mu"]
    assert len(str(caught.value)) < 300


def test_a_home_that_cannot_be_written_is_named(root, monkeypatch):
    (root / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"CTM_HOME is .*file, where this account .* may not write: mount a writable directory"
    ):
        AppSettings.from_environment({"CTM_HOME": str(root / "file")}, root)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"CTM_HOME is .*may not write"):
        AppSettings.from_environment({}, root)


def test_a_slip_of_the_keyboard_is_seen():
    assert describe_unknown_variables({"CTM_HOEM": "x", "HOME": "y", "CTM_HOME": "z", "CTM_XYZZY": ""}) == [
        "CTM_HOEM is not a variable of this app; did you mean CTM_HOME?",
        "CTM_XYZZY is not a variable of this app.",
    ]


def test_in_a_container_only_what_is_mounted_lasts(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda place: str(place) in ("/", str(tmp_path)))
    assert is_persistent(tmp_path / "runs", in_container=True)
    assert not is_persistent(tmp_path.parent, in_container=True)
    assert is_persistent(tmp_path.parent, in_container=False)


def test_a_space_is_a_container(root, monkeypatch):
    monkeypatch.setattr(module, "CONTAINER_MARKERS", ())
    monkeypatch.setattr(os.path, "ismount", lambda place: str(place) == "/")
    assert (
        AppSettings.from_environment({}, root).has_persistent_storage
        and not AppSettings.from_environment({"SPACE_ID": "ann/ctm"}, root).has_persistent_storage
    )
