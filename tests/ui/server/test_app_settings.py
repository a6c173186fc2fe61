"""Test settings from environment variables: each invalid value is reported in one line with its variable."""

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
    settings = AppSettings.from_environment({}, root)
    assert (settings.host, settings.port, settings.home_dir, settings.checkpoints_dir) == (
        "127.0.0.1",
        None,
        root,
        root / "checkpoints",
    )
    assert (
        settings.hub_models
        and not settings.resume_interrupted
        and settings.max_batch_size > 1
        and not settings.space_id
    )


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
    settings = AppSettings.from_environment(environ, root)
    assert (settings.host, settings.port, settings.hub_models) == ("0.0.0.0", 0, ("a/b", "c/d@main"))
    assert settings.resume_interrupted and settings.max_batch_size == 1 and settings.space_id == "ann/ctm"
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
def test_an_invalid_value_is_rejected_with_the_name_of_its_variable(name, values, root, monkeypatch):
    monkeypatch.chdir(root)
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be .*: got {value!r}") as caught:
            AppSettings.from_environment({name: value}, root)
        assert str(caught.value).count("\n") == 0


def test_all_invalid_variables_are_reported_in_one_error(root):
    with pytest.raises(ValueError) as caught:
        AppSettings.from_environment({"CTM_RESUME": "maybe", "CTM_BATCH": "x" * 500}, root)
    assert [line[:12] for line in str(caught.value).splitlines()] == ["CTM_RESUME m", "CTM_BATCH mu"]
    assert len(str(caught.value)) < 300


def test_a_home_directory_that_is_not_writable_is_rejected(root, monkeypatch):
    (root / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"CTM_HOME is .*file, where this account .* may not write: mount a writable directory"
    ):
        AppSettings.from_environment({"CTM_HOME": str(root / "file")}, root)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"CTM_HOME is .*may not write"):
        AppSettings.from_environment({}, root)


def test_an_unknown_variable_is_reported_with_the_closest_known_name():
    assert describe_unknown_variables({"CTM_HOEM": "x", "HOME": "y", "CTM_HOME": "z", "CTM_XYZZY": ""}) == [
        "CTM_HOEM is not a variable of this app; did you mean CTM_HOME?",
        "CTM_XYZZY is not a variable of this app.",
    ]


def test_in_a_container_only_mounted_directories_are_persistent(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in ("/", str(tmp_path)))
    assert is_persistent(tmp_path / "runs", in_container=True)
    assert not is_persistent(tmp_path.parent, in_container=True)
    assert is_persistent(tmp_path.parent, in_container=False)


def test_a_space_without_a_mounted_volume_has_no_persistent_storage(root, monkeypatch):
    monkeypatch.setattr(module, "CONTAINER_MARKERS", ())
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == "/")
    assert (
        AppSettings.from_environment({}, root).has_persistent_storage
        and not AppSettings.from_environment({"SPACE_ID": "ann/ctm"}, root).has_persistent_storage
    )
