"""Test the comparison of seeds."""

import json

import pytest

from benchmarks.seeds import add_models, format_figures, render_table
from tests.paths import ROOT


def test_checkpoints_are_added_under_recipe_and_seed_and_replaced():
    former = {"recipes": {"parity-16": [{"seed": 0, "n": 1}, {"seed": 7, "n": 2}], "other": [{"seed": 3}]}}
    figures = add_models(former, [ROOT / "checkpoints/parity-16"])
    assert list(figures["recipes"]) == ["other", "parity-16"] and figures["recipes"]["other"] == [{"seed": 3}]
    ours, kept = figures["recipes"]["parity-16"]
    metrics = json.loads((ROOT / "checkpoints/parity-16/metrics.json").read_text("utf-8"))
    evaluation = metrics["evaluations"][0]
    assert kept == {"seed": 7, "n": 2}
    assert (ours["seed"], ours["steps"], ours["n"]) == (0, metrics["training"]["steps"], evaluation["n"])
    assert ours["processor_seconds"] == metrics["training"]["processor_seconds"]
    for name in ("accuracy_certain", "accuracy_best", "accuracy_last"):
        assert ours[name] == pytest.approx(evaluation[name], abs=1e-3)


def test_the_table_has_mean_and_deviation():
    assert format_figures([0.5]) == "50.00% (50.00)"
    assert format_figures([0.5, 0.6, 0.7]) == "60.00% ± 10.00 (50.00, 60.00, 70.00)"
    model = {"n": 1_234, "accuracy_certain": 0.25, "accuracy_best": 0.5, "accuracy_last": 0.125}
    table = render_table(
        {"recipes": {"chain": [model | {"seed": 0}, model | {"seed": 4}]}, "command": "make", "date": "2026-01-02"}
    )
    assert (
        "| chain | 0, 4 | 1,234 | 25.00% ± 0.00 (25.00, 25.00) | 50.00% ± 0.00 (50.00, 50.00) | 12.50% ± 0.00 (12.50, 12.50) |"
        in table
    )
