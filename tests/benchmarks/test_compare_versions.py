"""Tests of the comparison of two versions."""

import json

import pytest

from benchmarks.compare_versions import main, render_training_table
from benchmarks.paths import ROOT
from benchmarks.version_worker import build_case


@pytest.mark.slow
def test_comparison_of_a_version_with_itself_reports_times_of_each_case(tmp_path, capsys):
    path = tmp_path / "speed.json"
    main([str(ROOT), "--repeats", "2", "--only", "digits unroll 1", "parity-16 engine 1", "--json", str(path)])
    cases = json.loads(path.read_text("utf-8"))["cases"]
    assert [case["case"] for case in cases] == ["digits unroll 1", "parity-16 engine 1"]
    assert all(case["current_ms"] > 0 and case["low"] <= case["ratio"] <= case["high"] for case in cases)
    assert capsys.readouterr().out.count("ratio") == 2


def test_training_steps_are_a_row_each_with_samples_per_second():
    case = {"case": "digits train 64", "current_ms": 200.0, "other_ms": 400.0, "ratio": 0.5, "low": 0.4, "high": 0.625}
    figures = {"hardware": {"processor": "P", "threads": 1}, "repeats": 3, "date": "2026-01-02", "cases": [case]}
    assert "| digits, 64 | 320 | 160 | 0.50 [0.40, 0.62] |" in render_training_table(figures)


def test_a_training_step_of_the_former_recipe_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    step = build_case("sorting-10 train 4")
    assert step()["loss"] > 0
