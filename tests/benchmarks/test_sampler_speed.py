"""Tests of the benchmark of the samplers."""

import pytest

from benchmarks.sampler_speed import CASES, measure_case, render_table


@pytest.mark.parametrize("name", CASES)
def test_both_samplers_are_compared_and_measured(name):
    row = measure_case(CASES[name], 0.001)
    assert all(rate > 100 for rate in row.values())
    assert ("single_samples_per_s" in row) == ("even" not in name)


def test_the_table_has_both_rates_and_their_ratio():
    cases = {"a": {"samples_per_s": 3_000.0, "single_samples_per_s": 1_500.0}, "b": {"samples_per_s": 7.0}}
    text = render_table({"cases": cases, "command": "python", "date": "today"})
    assert "| a | 1,500 | 3,000 | 2.0 |" in text and "| b | - | 7 | - |" in text
