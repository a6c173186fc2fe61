"""Why a training ended: every cause in its own sentence with a remedy, and the last good checkpoint kept."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError

from ctm.checkpoint import load
from tests.paths import ROOT
from tests.training.test_trainer import TINY_RECIPE
from training.failures import classify_failure
from training.run_dir import RunDir
from training.trainer_state import DiskAlmostFull


@pytest.mark.parametrize(
    "error, reason, says",
    [
        (FloatingPointError("loss is nan: lower optim.lr."), "nan", "lower optim.lr"),
        (MemoryError(), "memory", "The machine ran out of memory"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            "memory",
            "The accelerator ran out of memory",
        ),
        (RuntimeError("CUDA error: out of memory"), "memory", "The accelerator"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "memory",
            "The machine",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "Make room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk", "Make room"),
        (DiskAlmostFull(errno.ENOSPC, "0.1 GB are free: stopped and saved"), "disk", "stopped and saved."),
        (SafetensorError("Error while serializing: IoError(No space left on device)"), "disk", "The disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "disk", "The disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/train.parquet"), "data", "train.parquet"),
        (ValueError("Setting `x` is odd."), "refused", "Setting `x` is odd."),
        (KeyError("x"), "crash", "KeyError: 'x'"),
        (RuntimeError("expected 3 channels"), "crash", "expected 3 channels"),
    ],
)
def test_each_failure_reason_has_its_message(error, reason, says):
    got, sentence = classify_failure(error)
    assert got == reason and says in sentence


def train(tmp_path: Path, *words: str, prelude: str = "", limit: int | None = None) -> tuple[RunDir, int, str]:
    """Train a tiny run in a process of its own, after some preparation in it."""
    recipe, run = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(TINY_RECIPE | {"finish": {"fit_samples": 0}}))
    code = f"{prelude}\nimport sys\nfrom training.__main__ import main\nmain(sys.argv[1:])"
    command = [sys.executable, "-c", code, "train", str(recipe), "--folder", str(run), *words]
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))} if limit else {}
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ,
        **limits,
    )
    return RunDir(run), done.returncode, done.stdout + done.stderr


def test_finished_is_noted(tmp_path):
    folder, code, said = train(tmp_path)
    assert (code, folder.read_outcome()["reason"]) == (0, "finished"), said


def test_a_loss_that_is_not_a_number_keeps_the_last_good_step(tmp_path):
    """The rate is absurd; what it did to the weights is never saved."""
    prelude = (
        "import training.decoding as decoding; real = decoding.reduce_tick_losses; count = iter(range(99))\n"
        "decoding.reduce_tick_losses = lambda *a: real(*a) * (float('nan') if next(count) == 8 else 1)"
    )
    folder, code, said = train(tmp_path, prelude=prelude)
    ending = folder.read_outcome()
    assert (code, ending["reason"]) == (1, "nan") and "optim.lr" in ending["sentence"]
    assert folder.list_steps() == [6]
    load(folder.checkpoint_dir(6))
    assert "Traceback" not in said


def test_overflowing_gradients_are_skipped(tmp_path):
    """The loss is finite, its gradient is not: the weights stay good."""
    prelude = (
        "import training.trainer as trainer; real = trainer.clip_gradients; count = iter(range(99))\n"
        "trainer.clip_gradients = lambda *a: real(*a) | ({'grad_norm': float('inf')} if next(count) == 8 else {})"
    )
    folder, code, _ = train(tmp_path, prelude=prelude)
    assert (code, folder.read_outcome()["reason"]) == (1, "nan")
    assert folder.list_steps() == [6]


def test_a_disk_that_is_full_while_saving_keeps_the_last_step(tmp_path):
    """Files may grow to 300 kB only: the log fits, a later save does not."""
    prelude = (
        "import training.run_dir as run_dir, resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "real = run_dir.RunDir.save\n"
        "def save(self, step, *rest):\n"
        "    step > 6 and resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); real(self, step, *rest)\n"
        "run_dir.RunDir.save = save"
    )
    folder, code, said = train(tmp_path, prelude=prelude)
    assert code == 1 and folder.read_outcome()["reason"] == "disk", said
    assert folder.list_steps() == [6]
    load(folder.checkpoint_dir(6))


def test_a_run_ends_saved_before_the_disk_is_full(tmp_path):
    prelude = (
        "import shutil; real = shutil.disk_usage; free = iter([50, 50, 0.5, 0.5])\n"
        "shutil.disk_usage = lambda path: real(path)._replace(free=int(next(free) * 2**30))"
    )
    folder, code, said = train(tmp_path, prelude=prelude)
    ending = folder.read_outcome()
    assert (code, ending["reason"]) == (1, "disk"), said
    assert "stopped and saved at step 6" in ending["sentence"] and "train.spare_gb" in ending["sentence"]
    assert folder.list_steps() == [6]


def test_a_run_does_not_begin_on_a_full_disk(tmp_path):
    folder, code, said = train(tmp_path, "train.spare_gb=100000000")
    assert code == 1 and folder.read_outcome()["reason"] == "disk" and "nothing was trained" in said
    assert folder.list_steps() == []


def test_lost_data_is_named(tmp_path):
    prelude = (
        "import training.tasks.parity as p\n"
        "def sample(*a): raise FileNotFoundError(2, 'No such file or directory', '/data/train.parquet')\n"
        "p.Parity.sample = sample"
    )
    folder, code, said = train(tmp_path, prelude=prelude)
    assert code == 1 and folder.read_outcome()["reason"] == "data" and "/data/train.parquet" in said


def test_a_crash_writes_its_traceback_to_the_log(tmp_path):
    folder, code, said = train(tmp_path, prelude="import training.trainer as trainer\ntrainer.clip_gradients = lambda *a: 1 / 0")
    assert code == 1 and folder.read_outcome()["reason"] == "crash"
    assert "ZeroDivisionError" in folder.read_outcome()["sentence"] and "Traceback" in said


def test_time_is_up(tmp_path):
    folder, code, _ = train(tmp_path, "train.steps=100000", "train.minutes=0.02")
    assert code == 0 and folder.read_outcome()["reason"] == "time" and folder.list_steps()
    assert "train.minutes" in folder.read_outcome()["sentence"]


def test_two_trainings_do_not_share_a_run_directory(tmp_path):
    folder = RunDir(tmp_path / "run")
    with folder.exclusive():
        assert folder.is_locked
        _, code, said = train(tmp_path)
        assert code == 1 and "Another process is training in" in said
    assert not folder.is_locked


def test_the_first_recorded_reason_is_kept(tmp_path):
    folder = RunDir(tmp_path)
    folder.write_outcome("nan", "first")
    folder.write_outcome("crash", "second, because of the first")
    assert json.loads((tmp_path / "ending.json").read_text())["sentence"] == "first"
