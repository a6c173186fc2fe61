"""Test the figures of digits and their table, and the command of benchmarks without settings."""

import json
import sys

import pytest
import torch

from benchmarks.arithmetic_digits import count_tens, render_table
from benchmarks.paths import ROOT, run_benchmark, run_checkpoint_benchmark
from training.tasks import make_task
from training.tasks.splits import TRAIN


def test_tens_are_counted_between_the_fourth_and_the_fifth_number():
    task = make_task({"kind": "arithmetic"})
    batch = task.load_full_split("extrapolation")
    weights = torch.tensor([100, 10, 1])
    fourth, fifth = batch.inputs[:, -3:] @ weights, batch.targets @ weights
    assert torch.equal(count_tens(task, "extrapolation"), (fifth // 10 - fourth // 10).abs())
    assert count_tens(task, TRAIN).max() == 2 and count_tens(task, "extrapolation").unique().tolist() == [2, 3]


def test_more_tens_than_in_training_are_marked():
    rows = [
        {"split": "test", "tens": 2, "n": 1_000, "digits": [1.0, 0.5, 0.75], "accuracy": 0.5},
        {"split": "extrapolation", "tens": 3, "n": 1_000, "digits": [1.0, 0.25, 1.0], "accuracy": 0.25},
    ]
    table = render_table({"checkpoint": "a", "trained_tens": 2, "rows": rows, "command": "c", "date": "d"})
    assert "| test | 2 | 1,000 | 50.00% [46.91, 53.09] | 100.00% | 50.00% | 75.00% |" in table
    assert "| extrapolation | 3 (never trained) | 1,000 | 25.00%" in table


def test_a_benchmark_writes_its_figures_with_command_and_date(tmp_path, monkeypatch, capsys):
    path = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["x", "--json", str(path)])
    run_benchmark("x", "Measures x.\n\nMore.", lambda: {"value": 3}, lambda figures: f"table of {figures['value']}")
    figures = json.loads(path.read_text())
    assert figures["command"] == "python -m benchmarks.x" and figures["value"] == 3 and figures["date"].startswith("20")
    assert capsys.readouterr().out == "table of 3\n"


def test_a_benchmark_of_checkpoints_measures_those_given_or_the_bundled_ones(tmp_path, monkeypatch, capsys):
    path = tmp_path / "figures.json"
    for arguments, defaults, command, expected in (
        (["a/one", "two"], (), "python -m benchmarks.x CHECKPOINT_DIR ...", ["a/one", "two"]),
        ([], ("digits",), "python -m benchmarks.x", [str(ROOT / "checkpoints/digits")]),
    ):
        monkeypatch.setattr(sys, "argv", ["x", *arguments, "--json", str(path)])
        run_checkpoint_benchmark("x", "Measures x.", lambda directory: {"path": str(directory)}, str, defaults)
        figures = json.loads(path.read_text())
        assert figures["command"] == command and figures["date"].startswith("20")
        assert [model["path"] for model in figures["models"]] == expected
    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(SystemExit):
        run_checkpoint_benchmark("x", "Measures x.", lambda directory: {}, str)
    assert "CHECKPOINT_DIR" in capsys.readouterr().err
