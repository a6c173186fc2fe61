"""Tests of the figures that are copied from training runs."""

import pytest

from benchmarks.compare_runs import collect_run, format_run, format_setting, render_table
from tests.training.test_trainer import make_tiny_config, read_metrics
from training.run_dir import RunDir
from training.training_loop import train


def test_figures_of_runs_are_those_of_their_files(tmp_path):
    for name, steps in (("short", 4), ("long", 8)):
        run_dir = RunDir(tmp_path / name)
        train(make_tiny_config(steps=steps), run_dir)
        run_dir.save_command(f"python -m training train {name}.yaml", replace=True)
    short, long = (collect_run(tmp_path / name) for name in ("short", "long"))
    logged = [line for line in read_metrics(RunDir(tmp_path / "long")) if "validation_accuracy_best" in line]
    assert [line["step"] for line in long["validations"]] == [4, 8]
    assert long["validations"][1]["accuracy_last"] == logged[1]["validation_accuracy_last"]
    thinned = collect_run(tmp_path / "long", every=8)
    assert thinned["validations"] == long["validations"][1:] and thinned["steps"] == 8
    text = render_table({"runs": [short, long]})
    assert text.splitlines()[0] == "| step | `short` | `long` |"
    assert (
        "| 8 | - | " in text and "figures up to step 4 of 4" in text and "`python -m training train long.yaml`" in text
    )


def test_the_accuracy_on_every_held_out_split_is_stated():
    test = {
        "split": "test",
        "n": 4_096,
        "mean_ticks": 7.25,
        "policy": "energy<-1",
        "accuracy_halted": 0.5,
        "accuracy_best": 0.75,
    }
    run = {
        "name": "run",
        "command": "train run.yaml",
        "changes": [],
        "steps": 8,
        "batch_size": 32,
        "seed": 1,
        "validations": [],
        "tests": [test, test | {"split": "longest", "accuracy_halted": 0.25}],
    }
    assert format_run(run) == (
        "- `run`: test: 50.00% on 4,096 samples in 7.2 ticks, best fixed tick 75.00%; longest: 25.00% on 4,096 samples in 7.2 ticks, "
        "best fixed tick 75.00%; policy `energy<-1`; batches of 32, seed 1. `train run.yaml`"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (True, "true"),
        (None, "null"),
        ("energy", "energy"),
        ({"train": {"steps": 6000}, "optim": {"lr": 0.001}}, "{train: {steps: 6000}, optim: {lr: 0.001}}"),
    ],
)
def test_changed_settings_are_stated_as_in_a_recipe(value, text):
    assert format_setting(value) == text
