"""Tests of the training loop: a resumed run equals an uninterrupted one, a stop signal saves, NaN does not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.command_process import CommandProcess
from tests.paths import ROOT
from training import losses, trainer
from training.config import RunConfig, read_recipe
from training.optimization import compute_lr
from training.run_dir import RunDir
from training.training_loop import train

TINY_RECIPE = {
    "task": {"kind": "parity", "length": 9},
    "model": {
        "iterations": 4,
        "d_model": 16,
        "d_input": 8,
        "heads": 2,
        "n_synch_out": 8,
        "n_synch_action": 8,
        "synapse_depth": 1,
        "memory_length": 3,
        "memory_hidden_dims": 2,
        "dropout": 0.1,
    },
    "optim": {"warmup_steps": 3, "lr": 3e-3},
    "train": {
        "steps": 12,
        "batch_size": 8,
        "log_every": 2,
        "eval_every": 4,
        "eval_samples": 30,
        "save_every": 6,
        "device": "cpu",
    },
}


def make_tiny_config(**train_settings) -> RunConfig:
    """Build the settings of a tiny run."""
    return RunConfig.parse(TINY_RECIPE | {"train": TINY_RECIPE["train"] | train_settings})


def load_step_weights(run_dir: RunDir, step: int) -> dict[str, torch.Tensor]:
    """Load the weights of a saved step."""
    return load_file(run_dir.checkpoint_dir(step) / "model.safetensors")


def read_metrics(run_dir: RunDir) -> list[dict]:
    """Read the logged metrics, without those that depend on the computer."""
    lines = [json.loads(line) for line in run_dir.metrics_file.read_text().splitlines()]
    return [{key: line[key] for key in line.keys() - {"steps_per_second", "memory_gb", "seconds"}} for line in lines]


def test_resumed_run_equals_uninterrupted_run(tmp_path, monkeypatch):
    """Compare parameters and metrics, with dropout and accumulation, after a SIGTERM between two saved steps."""
    config = make_tiny_config(gradient_accumulation_steps=2)
    reference, resumed = RunDir(tmp_path / "reference"), RunDir(tmp_path / "resumed")
    assert train(config, reference)

    log = RunDir.log_metrics

    def stop_at_step_8(self, values):
        log(self, values)
        if values["step"] == 8 and "loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunDir, "log_metrics", stop_at_step_8)
    assert not train(config, resumed)
    monkeypatch.undo()
    assert resumed.list_steps()[-1] == 8 and resumed.read_status()["phase"] == "stopped"
    assert train(config, resumed)

    resumed_weights, reference_weights = load_step_weights(resumed, 12), load_step_weights(reference, 12)
    assert resumed_weights.keys() == reference_weights.keys()
    assert all(torch.equal(resumed_weights[name], reference_weights[name]) for name in resumed_weights)
    assert read_metrics(resumed) == read_metrics(reference)


@pytest.mark.parametrize("kind", ["lstm", "ff"])
def test_baselines_reduce_their_loss_and_resume_exactly(kind, tmp_path):
    model = {"kind": kind, "d_model": 16, "dropout": 0.1}
    model |= {"iterations": 3, "d_input": 8, "heads": 2, "num_layers": 2} if kind == "lstm" else {}
    config = RunConfig.parse(TINY_RECIPE | {"task": {"kind": "parity", "length": 2}, "model": model}).with_overrides(
        {"train.steps": 60, "train.save_every": 30, "train.batch_size": 32, "train.eval_every": 60, "optim.lr": 0.02}
    )
    reference, resumed = RunDir(tmp_path / "reference"), RunDir(tmp_path / "resumed")
    assert train(config, reference)
    losses = [line["loss"] for line in read_metrics(reference) if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    shutil.copytree(reference.path, resumed.path)
    shutil.rmtree(resumed.checkpoint_dir(60).parent / resumed.checkpoint_dir(60).name)
    assert resumed.list_steps() == [30] and train(config, resumed)
    resumed_weights, reference_weights = load_step_weights(resumed, 60), load_step_weights(reference, 60)
    assert all(torch.equal(resumed_weights[name], reference_weights[name]) for name in reference_weights)


def test_model_kind_without_a_setting_that_the_task_needs_is_rejected():
    values = {"task": {"kind": "sorting"}, "model": {"kind": "ff", "d_model": 8}}
    with pytest.raises(ValueError, match=r"The task sorting needs model.heads, which model.kind=ff does not have"):
        RunConfig.parse(values)


def test_second_stop_request_does_not_interrupt_the_save(tmp_path, monkeypatch):
    run_dir = RunDir(tmp_path / "run")
    log, save = RunDir.log_metrics, RunDir.save

    def log_and_stop(self, values):
        log(self, values)
        os.kill(os.getpid(), signal.SIGTERM)

    def save_slowly(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        save(self, *args)

    monkeypatch.setattr(RunDir, "log_metrics", log_and_stop)
    monkeypatch.setattr(RunDir, "save", save_slowly)
    assert not train(make_tiny_config(), run_dir)
    assert run_dir.list_steps() == [2]


def test_best_saved_step_is_kept(tmp_path, monkeypatch):
    """The latest evaluation before a save is the accuracy of the saved step."""
    accuracies = iter([0.2, 0.9, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(trainer, "summarise_curves", lambda curves: {"accuracy_best": next(accuracies)})
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(steps=24, eval_every=4, save_every=5, save_total_limit=1), run_dir)
    assert run_dir.list_steps() == [10, 24]


def test_restart_deletes_steps_and_metrics_of_the_earlier_training(tmp_path, monkeypatch):
    """The restarted run is stopped at its first logged step, and has no steps of the earlier run."""
    run_dir, config = RunDir(tmp_path / "run"), make_tiny_config(save_every=4, save_total_limit=9)
    train(config, run_dir)
    assert run_dir.list_steps() == [4, 8, 12]
    log = RunDir.log_metrics
    monkeypatch.setattr(
        RunDir, "log_metrics", lambda self, values: (log(self, values), os.kill(os.getpid(), signal.SIGTERM))
    )
    train(config, run_dir, resume=False)
    assert run_dir.list_steps() == [2] and [line["step"] for line in read_metrics(run_dir)] == [2]


def test_resume_without_a_saved_step_deletes_the_metrics(tmp_path, monkeypatch):
    run_dir = RunDir(tmp_path / "run")
    save = RunDir.save
    monkeypatch.setattr(RunDir, "save", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(make_tiny_config(), run_dir)
    monkeypatch.setattr(RunDir, "save", save)
    train(make_tiny_config(), run_dir)
    assert [line["step"] for line in read_metrics(run_dir) if "loss" in line] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_resume_starts_from_the_previous_step_if_the_newest_is_unreadable(tmp_path, content):
    config = make_tiny_config()
    reference, resumed = RunDir(tmp_path / "reference"), RunDir(tmp_path / "resumed")
    train(config, reference)
    train(config, resumed)
    path = resumed.trainer_state_dir(12) / "progress.pt"
    path.write_bytes(content if content is not None else path.read_bytes()[:-100])
    assert train(config, resumed)
    assert all(
        torch.equal(load_step_weights(resumed, 12)[name], value)
        for name, value in load_step_weights(reference, 12).items()
    )


def test_resume_without_a_readable_step_is_an_error(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(), run_dir)
    for step in run_dir.list_steps():
        (run_dir.trainer_state_dir(step) / "progress.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot resume: step 6 cannot be read"):
        train(make_tiny_config(), run_dir)


def test_run_resumed_after_a_crash_equals_uninterrupted_run(tmp_path, monkeypatch):
    config = make_tiny_config()
    reference, resumed = RunDir(tmp_path / "reference"), RunDir(tmp_path / "resumed")
    train(config, reference)

    log = RunDir.log_metrics

    def crash(self, values):
        log(self, values)
        if values["step"] == 10:
            with self.metrics_file.open("a") as file:
                file.write('{"step": 10, "cut o')
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDir, "log_metrics", crash)
    with pytest.raises(KeyboardInterrupt):
        train(config, resumed)
    monkeypatch.undo()
    assert resumed.list_steps() == [6]
    train(config, resumed)
    assert all(
        torch.equal(a, b)
        for a, b in zip(load_step_weights(resumed, 12).values(), load_step_weights(reference, 12).values(), strict=True)
    )
    assert read_metrics(resumed) == read_metrics(reference)


def test_nan_loss_stops_training_before_a_save(tmp_path, monkeypatch):
    run_dir = RunDir(tmp_path / "run")
    config = make_tiny_config()
    count, reduce_tick_losses = iter(range(100)), losses.reduce_tick_losses
    monkeypatch.setattr(
        losses,
        "reduce_tick_losses",
        lambda *args: reduce_tick_losses(*args) * (float("nan") if next(count) == 8 else 1),
    )
    with pytest.raises(FloatingPointError, match=r"Lower optim\.lr"):
        train(config, run_dir)
    assert run_dir.list_steps() == [6]
    assert all(
        torch.isfinite(value).all() for value in load_step_weights(run_dir, 6).values() if value.is_floating_point()
    )


def test_sigterm_saves_a_step_and_exits_with_code_0(tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        yaml.safe_dump(TINY_RECIPE | {"train": TINY_RECIPE["train"] | {"steps": 1_000_000, "save_every": 1_000_000}})
    )
    run_path = tmp_path / "run"
    process = CommandProcess("train", recipe, "--run-dir", run_path)
    deadline = time.monotonic() + 60
    while not (run_path / "metrics.jsonl").exists() and time.monotonic() < deadline and process.is_running():
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    code, output = process.wait(60)
    assert code == 0, output
    assert "Stopped and saved" in output and len(RunDir(run_path).list_steps()) == 1


@pytest.mark.slow
def test_accelerate_launch_runs_the_train_command(tmp_path):
    """`test_distributed.py` covers runs in several processes."""
    recipe, run_path = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(TINY_RECIPE | {"finalize": {"fit_samples": 0}}))
    launcher = [
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "-m",
    ]
    command = [
        sys.executable,
        "-m",
        *launcher,
        "training",
        "train",
        str(recipe),
        "--run-dir",
        str(run_path),
        "train.steps=6",
    ]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-3000:]
    run_dir = RunDir(run_path)
    assert run_dir.list_steps() == [6] and run_dir.read_status()["phase"] == "finished"
    assert [line["step"] for line in read_metrics(run_dir) if "loss" in line] == [2, 4, 6]


def test_only_the_newest_and_the_best_steps_are_kept_on_disk(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(steps=10, save_every=1, eval_every=2, save_total_limit=2), run_dir)
    steps = run_dir.list_steps()
    assert steps[-2:] == [9, 10] and len(steps) <= 3
    assert len(list((run_dir.path / "trainer").iterdir())) == len(steps)


def test_run_directory_with_other_settings_is_rejected(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(steps=2), run_dir)
    with pytest.raises(ValueError, match="other settings"):
        train(make_tiny_config(steps=3, seed=1), run_dir)


def test_learning_rate_warms_up_and_decays_to_its_minimum():
    config = make_tiny_config().optim
    rates = [compute_lr(step, 100, config) for step in range(100)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(config.lr)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(config.lr * config.min_lr_ratio, rel=0.1)


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.stps=5", "did you mean `steps`"),
        ("train.steps=0", "train.steps"),
        ("model.d_modle=5", "d_model"),
        ("model.out_dims=5", "follows from the task"),
        ("task.kind=chess", "task.kind"),
        ("steps=5", "group.setting=value"),
        ("train.steps", "group.setting=value"),
        ("train.steps.x=1", "not a group"),
        ("loss.energy_kind=magic", "loss.energy_kind"),
        ("optim.lr=.inf", "optim.lr"),
        ("task.length=999", "length"),
        ("model.heads=3", "multiple of heads"),
    ],
)
def test_invalid_override_is_rejected_with_the_name_of_the_setting(tmp_path, override, message):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump(TINY_RECIPE))
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        read_recipe(recipe, [override])


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "task: [", "just words"])
def test_invalid_recipe_is_rejected(tmp_path, content):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(content)
    with pytest.raises(ValueError):
        read_recipe(recipe)
