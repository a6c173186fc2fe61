"""Test the measured cost of training."""

from benchmarks.training_cost import load_run_config, measure_checkpoint, render_training_cost
from tests.paths import ROOT


def test_a_training_step_costs_about_three_times_a_forward_pass_over_its_batch():
    row = measure_checkpoint(ROOT / "checkpoints" / "brackets-ff", num_steps=1)
    forward_passes = row["flops_per_step"] / (row["batch_size"] * row["flops_per_prediction"])
    assert 2.5 < forward_passes <= 3.3  # forward, and the gradients of inputs and weights
    assert row["cpu_s_per_step"] > 0
    figures = {
        "rows": [row],
        "command": "a command",
        "num_timed_steps": 1,
        "date": "2026-11-30",
        "hardware": {"processor": "a processor"},
        "torch": "2.13.0",
        "skipped": [],
    }
    assert f"| brackets-ff | {row['steps']:,} | {row['batch_size']} |" in render_training_cost(figures)


def test_the_settings_of_a_checkpoint_without_recorded_settings_come_from_its_recipe():
    config = load_run_config(ROOT / "checkpoints" / "parity-16")
    assert config.task["kind"] == "parity" and config.train.device == "cpu"
