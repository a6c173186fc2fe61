"""Test the samples and the time that each line of metrics.jsonl has, across an interruption."""

import itertools
import json

from tests.training.test_trainer import make_tiny_config
from training.run_dir import RunDir
from training.trainer import Trainer
from training.training_loop import train


def read_figures(run_dir: RunDir) -> list[tuple[int, int, float]]:
    """Return step, samples and seconds of every line."""
    lines = map(json.loads, run_dir.metrics_file.read_text().splitlines())
    return [(line["step"], line["samples"], line["seconds"]) for line in lines]


def test_every_line_has_the_samples_and_the_seconds_of_training(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(steps=6, gradient_accumulation_steps=2), run_dir)
    train(make_tiny_config(steps=12, gradient_accumulation_steps=2), run_dir)
    figures = read_figures(run_dir)
    assert [samples for _, samples, _ in figures] == [16 * step for step, _, _ in figures]
    assert {step for step, _, _ in figures} == {2, 4, 6, 8, 10, 12}
    seconds = [seconds for _, _, seconds in figures]
    assert all(before <= after for before, after in itertools.pairwise(seconds)) and seconds[0] > 0
    state = run_dir.load_trainer_state(12)["loop"]
    assert state["samples"] == 192 and state["seconds"] >= seconds[-1]


def test_a_step_of_version_0_1_0_has_the_samples_of_its_settings():
    trainer = Trainer(make_tiny_config())
    trainer.prepare()
    saved = trainer.collect_state()
    saved["loop"] = {"step": 5, "saved": 5, "accuracy": 0.5, "best_step": 5, "best_accuracy": 0.5}
    trainer.restore_state(saved)
    assert (trainer.state.step, trainer.state.samples, trainer.state.seconds) == (5, 40, 0.0)


def test_the_status_has_the_time_that_finalization_takes(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(log_every=4), run_dir)
    assert run_dir.read_status()["step"] == 12 and run_dir.read_status()["seconds_to_finalize"] > 0
