"""Tests of failure reasons: each has a message with a remedy, and the last saved checkpoint is kept."""

import errno
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError

from ctm.checkpoint import load
from tests.command_process import CommandProcess
from tests.training.test_trainer import TINY_RECIPE
from training.failures import classify_failure
from training.run_dir import RunDir
from training.trainer_state import DiskAlmostFull


@pytest.mark.parametrize(
    "error, reason, message",
    [
        (FloatingPointError("loss is nan: lower optim.lr."), "nan", "lower optim.lr"),
        (MemoryError(), "memory", "The computer ran out of memory"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            "memory",
            "The accelerator ran out of memory",
        ),
        (RuntimeError("CUDA error: out of memory"), "memory", "The accelerator"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "memory",
            "The computer",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "Free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk", "Free some space"),
        (DiskAlmostFull(errno.ENOSPC, "0.1 GB are free: stopped and saved"), "disk", "stopped and saved."),
        (SafetensorError("Error while serializing: IoError(No space left on device)"), "disk", "The disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "disk", "The disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/train.parquet"), "data", "train.parquet"),
        (ValueError("Setting `x` is odd."), "refused", "Setting `x` is odd."),
        (KeyError("x"), "crash", "KeyError: 'x'"),
        (RuntimeError("expected 3 channels"), "crash", "expected 3 channels"),
    ],
)
def test_classify_failure_returns_reason_and_message(error, reason, message):
    actual_reason, sentence = classify_failure(error)
    assert actual_reason == reason and message in sentence


def train(tmp_path: Path, *overrides: str, prelude: str = "") -> tuple[RunDir, int, str]:
    """Train a tiny run in a separate process.

    Args:
        tmp_path: Directory of the test.
        *overrides: Settings on the command line.
        prelude: Python code that the process runs first.

    Returns:
        The run directory, the exit code, and the output of the process.
    """
    recipe = tmp_path / "tiny.yaml"
    run = tmp_path / "run"
    recipe.write_text(yaml.safe_dump(TINY_RECIPE | {"finalize": {"fit_samples": 0}}))
    code, output = CommandProcess("train", recipe, "--run-dir", run, *overrides, prelude=prelude).wait()
    return RunDir(run), code, output


def test_finished_run_records_its_outcome(tmp_path):
    run_dir, exit_code, output = train(tmp_path)
    assert (exit_code, run_dir.read_outcome()["reason"]) == (0, "finished"), output


def test_nan_loss_fails_the_run_and_keeps_the_last_saved_step(tmp_path):
    """The loss of the ninth step is NaN; its effect on the weights is not saved."""
    prelude = (
        "import training.losses as losses; real = losses.reduce_tick_losses; count = iter(range(99))\n"
        "losses.reduce_tick_losses = lambda *a: real(*a) * (float('nan') if next(count) == 8 else 1)"
    )
    run_dir, exit_code, output = train(tmp_path, prelude=prelude)
    outcome = run_dir.read_outcome()
    assert (exit_code, outcome["reason"]) == (1, "nan") and "optim.lr" in outcome["sentence"]
    assert run_dir.list_steps() == [6]
    load(run_dir.checkpoint_dir(6))
    assert "Traceback" not in output


def test_infinite_gradient_norm_fails_the_run_and_keeps_the_last_saved_step(tmp_path):
    """The loss is finite and the norm of its gradient is infinite."""
    prelude = (
        "import training.trainer as trainer; real = trainer.clip_gradients; count = iter(range(99))\n"
        "trainer.clip_gradients = lambda *a: real(*a) | ({'grad_norm': float('inf')} if next(count) == 8 else {})"
    )
    run_dir, exit_code, _ = train(tmp_path, prelude=prelude)
    assert (exit_code, run_dir.read_outcome()["reason"]) == (1, "nan")
    assert run_dir.list_steps() == [6]


def test_full_disk_during_a_save_keeps_the_last_saved_step(tmp_path):
    """After step 6 files may not exceed 2,000 bytes: the next save fails."""
    prelude = (
        "import training.run_dir as run_dir, resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "real = run_dir.RunDir.save\n"
        "def save(self, step, *rest):\n"
        "    step > 6 and resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); real(self, step, *rest)\n"
        "run_dir.RunDir.save = save"
    )
    run_dir, exit_code, output = train(tmp_path, prelude=prelude)
    assert exit_code == 1 and run_dir.read_outcome()["reason"] == "disk", output
    assert run_dir.list_steps() == [6]
    load(run_dir.checkpoint_dir(6))


def test_run_saves_and_stops_if_free_disk_space_is_low(tmp_path):
    prelude = (
        "import shutil; real = shutil.disk_usage; free = iter([50, 50, 0.5, 0.5])\n"
        "shutil.disk_usage = lambda path: real(path)._replace(free=int(next(free) * 2**30))"
    )
    run_dir, exit_code, output = train(tmp_path, prelude=prelude)
    outcome = run_dir.read_outcome()
    assert (exit_code, outcome["reason"]) == (1, "disk"), output
    assert "stopped and saved at step 6" in outcome["sentence"] and "train.min_free_disk_gb" in outcome["sentence"]
    assert run_dir.list_steps() == [6]


def test_run_does_not_start_on_a_full_disk(tmp_path):
    run_dir, exit_code, output = train(tmp_path, "train.min_free_disk_gb=100000000")
    assert exit_code == 1 and run_dir.read_outcome()["reason"] == "disk" and "nothing was trained" in output
    assert run_dir.list_steps() == []


def test_missing_data_file_is_named_in_the_output(tmp_path):
    prelude = (
        "import training.tasks.parity as p\n"
        "def sample(*a): raise FileNotFoundError(2, 'No such file or directory', '/data/train.parquet')\n"
        "p.Parity.sample = sample"
    )
    run_dir, exit_code, output = train(tmp_path, prelude=prelude)
    assert exit_code == 1 and run_dir.read_outcome()["reason"] == "data" and "/data/train.parquet" in output


def test_crash_writes_its_traceback_to_the_log(tmp_path):
    run_dir, exit_code, output = train(
        tmp_path, prelude="import training.trainer as trainer\ntrainer.clip_gradients = lambda *a: 1 / 0"
    )
    assert exit_code == 1 and run_dir.read_outcome()["reason"] == "crash"
    assert "ZeroDivisionError" in run_dir.read_outcome()["sentence"] and "Traceback" in output


def test_time_limit_is_recorded_as_the_outcome(tmp_path):
    run_dir, exit_code, _ = train(tmp_path, "train.steps=100000", "train.max_minutes=0.02")
    assert exit_code == 0 and run_dir.read_outcome()["reason"] == "time" and run_dir.list_steps()
    assert "train.max_minutes" in run_dir.read_outcome()["sentence"]


def test_locked_run_directory_rejects_a_second_training(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    with run_dir.exclusive():
        assert run_dir.is_locked
        _, exit_code, output = train(tmp_path)
        assert exit_code == 1 and "Another process is training in" in output
    assert not run_dir.is_locked


def test_first_recorded_outcome_is_kept(tmp_path):
    run_dir = RunDir(tmp_path)
    run_dir.write_outcome("nan", "first")
    run_dir.write_outcome("crash", "second, because of the first")
    assert json.loads((tmp_path / "ending.json").read_text())["sentence"] == "first"
