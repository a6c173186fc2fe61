"""Tests of the comparison of two versions."""

import json

import pytest

from benchmarks.compare_versions import main
from benchmarks.paths import ROOT


@pytest.mark.slow
def test_comparison_of_a_version_with_itself_reports_times_of_each_case(tmp_path, capsys):
    path = tmp_path / "speed.json"
    main([str(ROOT), "--repeats", "2", "--only", "digits unroll 1", "parity-16 engine 1", "--json", str(path)])
    cases = json.loads(path.read_text("utf-8"))["cases"]
    assert [case["case"] for case in cases] == ["digits unroll 1", "parity-16 engine 1"]
    assert all(case["current_ms"] > 0 and case["low"] <= case["ratio"] <= case["high"] for case in cases)
    assert capsys.readouterr().out.count("ratio") == 2
