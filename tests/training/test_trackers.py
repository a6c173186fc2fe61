"""Test experiment trackers: what they receive equals the run directory, and no failure of theirs ends a run."""

import json
import os
import sqlite3
from pathlib import Path

import pytest
import yaml
from accelerate.tracking import GeneralTracker

from tests.command_process import CommandProcess
from tests.training.test_trainer import TINY_RECIPE, make_tiny_config, read_metrics
from training import trackers
from training.run_dir import RunDir
from training.training_loop import train

INTERNAL_TRACKIO_KEYS = {"timestamp", "step"}


def train_in_process(tmp_path: Path, report_to: str) -> RunDir:
    """Train a tiny run with a tracker in a process of its own."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY_RECIPE | {"finalize": {"fit_samples": 0}}))
    run_dir = RunDir(tmp_path / "a-run")
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    settings = ("--run-dir", run_dir.path, f"train.report_to={report_to}")
    code, output = CommandProcess("train", recipe, *settings, environment=environment).wait()
    assert code == 0, output
    return run_dir


def list_expected_figures(run_dir: RunDir) -> dict[tuple[int, str], float]:
    """Return the figures of a run directory by step and by their name in a tracker."""
    return {
        (line["step"], name): value
        for line in map(json.loads, run_dir.metrics_file.read_text().splitlines())
        for name, value in trackers.name_figures(line).items()
    }


def test_tensorboard_receives_the_figures_of_the_run(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_dir = train_in_process(tmp_path, "tensorboard")
    accumulator = events.EventAccumulator(str(run_dir.path / "tensorboard")).Reload()
    scalars = {(e.step, tag): e.value for tag in accumulator.Tags()["scalars"] for e in accumulator.Scalars(tag)}
    expected = list_expected_figures(run_dir)
    assert scalars.keys() == expected.keys()
    assert all(scalars[key] == pytest.approx(value, rel=1e-6) for key, value in expected.items())


def test_trackio_receives_the_figures_and_the_settings_of_the_run(tmp_path):
    pytest.importorskip("trackio")
    run_dir = train_in_process(tmp_path, "trackio")
    with sqlite3.connect(tmp_path / "trackio" / "ctm.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
        configs = database.execute("SELECT config FROM configs").fetchall()
    database.close()
    assert {name for name, _, _ in rows} == {"a-run"}
    figures = {
        (step, name): value
        for _, step, metrics in rows
        for name, value in json.loads(metrics).items()
        if name not in INTERNAL_TRACKIO_KEYS
    }
    expected = list_expected_figures(run_dir)
    assert figures.keys() == expected.keys()
    assert all(figures[key] == pytest.approx(value) for key, value in expected.items())
    assert json.loads(configs[0][0])["optim.lr"] == TINY_RECIPE["optim"]["lr"]


class FailingTracker(GeneralTracker):
    """A tracker that starts, and fails whenever it reports."""

    name = "failing"
    requires_logging_directory = False
    tracker = None

    def __init__(self, *_, **__):
        super().__init__()

    def store_init_configuration(self, values):
        assert values["train.steps"] == 12

    def log(self, values, step):
        raise ConnectionError("the server is gone")

    def finish(self):
        raise ConnectionError("the server is still gone")


def test_a_run_goes_on_without_a_tracker_that_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, "tensorboard", FailingTracker)
    monkeypatch.setattr(trackers, "is_installed", lambda name: True)
    assert train(make_tiny_config(report_to="tensorboard"), RunDir(tmp_path / "tracked"))
    output = capsys.readouterr().out
    assert output.count("tensorboard reports nothing from step 2 on: the server is gone. The run goes on.") == 1
    assert train(make_tiny_config(), RunDir(tmp_path / "untracked"))
    assert read_metrics(RunDir(tmp_path / "tracked")) == read_metrics(RunDir(tmp_path / "untracked"))


def test_a_tracker_that_cannot_start_is_reported_and_the_advice_works(tmp_path, monkeypatch):
    def fail(self):
        raise PermissionError("no API key")

    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, "wandb", FailingTracker)
    monkeypatch.setattr(FailingTracker, "start", fail)
    monkeypatch.setattr(trackers, "is_installed", lambda name: True)
    with pytest.raises(ValueError, match=r"wandb cannot start: no API key\. Set train\.report_to=none to train"):
        train(make_tiny_config(report_to="wandb"), RunDir(tmp_path / "run"))
    assert train(make_tiny_config(report_to="none"), RunDir(tmp_path / "run"))


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "is_installed", lambda name: False)
    with pytest.raises(ValueError, match=r"needs the package trackio: run `pip install trackio`"):
        train(make_tiny_config(report_to="trackio"), RunDir(tmp_path / "run"))


def test_settings_are_flat_and_hold_no_private_ones():
    config = make_tiny_config().with_overrides({"publish.repo": "me/secret-project"})
    flat = trackers.flatten_settings(config)
    assert flat["train.steps"] == 12 and flat["task.length"] == 9
    assert not any("publish" in name for name in flat)
    assert all(isinstance(value, str | int | float | bool) for value in flat.values())
