"""Tests that follow the advice of messages literally: after it, the run goes on.

Each test provokes a failure, takes the settings or commands out of the message, and runs them.
"""

import collections
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState

from ctm.checkpoint import load
from tests.training.test_trainer import TINY_RECIPE, make_tiny_config
from training import failures, trainer
from training.__main__ import main
from training.config import TrainConfig
from training.failures import classify_failure, format_memory_remedy
from training.jobs.outcome import derive_job_outcome
from training.run_dir import RunDir
from training.tasks.parity import Parity
from training.trainer import Trainer
from training.trainer_state import format_bytes
from training.training_loop import train

SETTING_PATTERN = re.compile(r"\b(?:train|optim|finalize|task|model)\.\w+=[^\s,;]+")
COMMAND_PATTERN = re.compile(r"python -m training [^;`\n]*")
DiskUsage = collections.namedtuple("DiskUsage", "total used free")


@pytest.fixture
def recipe(tmp_path) -> Path:
    """Provide a recipe whose run has saved step 6 of 12 when it fails at step 9, and is finalized without a fit."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY_RECIPE | {"finalize": {"fit_samples": 0}}))
    return path


@pytest.fixture
def run_dir(tmp_path) -> RunDir:
    return RunDir(tmp_path / "run")


def run_training(recipe: Path, run_dir: RunDir, *words: str) -> str:
    """Train, and return the message of the failure."""
    with pytest.raises(SystemExit) as error:
        main(["train", str(recipe), "--run-dir", str(run_dir.path), *words])
    message = str(error.value)
    assert message.endswith(run_dir.read_outcome()["sentence"]), "the page shows the same sentence"
    return message


@pytest.fixture(autouse=True)
def reset_accelerator() -> Iterator[None]:
    """Forget the precision of a run, as a new process would."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def resume(run_dir: RunDir, *words: str) -> None:
    """Resume a run without its recipe, and check that it reaches its last step."""
    main(["train", "--run-dir", str(run_dir.path), *words])
    assert run_dir.read_outcome()["reason"] == "finished"
    assert run_dir.read_final_step() == run_dir.load_config().train.steps


def find_settings(message: str) -> list[str]:
    """Return the settings that a message states as `name=value`."""
    return [word.rstrip(".") for word in SETTING_PATTERN.findall(message)]


def fail_at(step: int, error: Exception, monkeypatch) -> None:
    """Let the training raise an error once, in the step after `step`."""
    original = Trainer._accumulate_gradients
    pending = [error]

    def accumulate(self, batches):
        if self.state.step == step and pending:
            raise pending.pop()
        return original(self, batches)

    monkeypatch.setattr(Trainer, "_accumulate_gradients", accumulate)


# --- disk ------------------------------------------------------------------------------------------------------------


def limit_disk(free_bytes: float, monkeypatch) -> None:
    """Let the disk have this much space."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(2**40, 0, int(free_bytes)))


def test_a_run_goes_on_with_the_lower_limit_of_the_message(recipe, run_dir, monkeypatch):
    limit_disk(0.5 * 2**30, monkeypatch)
    message = run_training(recipe, run_dir)
    assert "512 MB free" in message and "nothing was trained" in message
    assert find_settings(message) == ["train.min_free_disk_gb=0"]
    resume(run_dir, *find_settings(message))
    assert run_dir.history.read() == [], "nothing was trained with the former settings"


def test_a_run_that_stopped_for_the_disk_goes_on_with_the_lower_limit(recipe, run_dir, monkeypatch):
    free_gb = iter([50, 50, 0.3])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(2**40, 0, int(next(free_gb, 0.3) * 2**30)))
    message = run_training(recipe, run_dir)
    assert "stopped and saved at step 6" in message and "Free 716.9 MB and resume" in message
    resume(run_dir, *find_settings(message))
    (change,) = run_dir.history.read()
    assert (change["step"], change["setting"], change["new"]) == (6, "train.min_free_disk_gb", 0)


@pytest.mark.parametrize("words", [[], ["train.min_free_disk_gb=0"]])
def test_a_run_goes_on_when_the_space_of_the_message_is_free(words, recipe, run_dir, monkeypatch):
    """A limit of 0 cannot be lowered; a file that does not fit needs space."""
    limit_disk(20_000, monkeypatch)
    message = run_training(recipe, run_dir, *words)
    assert "19.6 KB free" in message and "0.00" not in message
    assert find_settings(message) == [], "a lower limit does not help"
    (amount, unit) = re.search(r"Free ([\d.,]+) (bytes|KB|MB|GB) and resume", message).groups()
    units = {"bytes": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
    needed_bytes = float(amount.replace(",", "")) * units[unit] * 1.001
    limit_disk(20_000 + needed_bytes, monkeypatch)
    resume(run_dir)


def test_a_full_disk_is_freed_and_the_run_resumes(recipe, run_dir, monkeypatch):
    original = RunDir.save

    def save_step(self, step, *rest):
        if step > 6:
            raise OSError(28, "No space left on device")
        original(self, step, *rest)

    monkeypatch.setattr(RunDir, "save", save_step)
    assert "Free some space, then resume." in run_training(recipe, run_dir)
    monkeypatch.setattr(RunDir, "save", original)
    resume(run_dir)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1 KB"),
        (1_300_000, "1.3 MB"),
        (2**30, "1 GB"),
        (5 * 2**40, "5,120 GB"),
    ],
)
def test_sizes_have_the_unit_that_fits(count, text):
    assert format_bytes(count) == text


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
@pytest.mark.parametrize("step", [0, 8])
def test_a_run_goes_on_with_the_smaller_batches_of_the_message(error, step, recipe, run_dir, monkeypatch):
    fail_at(step, error, monkeypatch)
    message = run_training(recipe, run_dir)
    assert find_settings(message) == ["train.batch_size=4", "train.gradient_accumulation_steps=2"]
    resume(run_dir, *find_settings(message))
    assert run_dir.load_config().train.batch_size == 4


def test_a_new_run_has_the_smaller_model_of_the_message(recipe, run_dir, tmp_path, monkeypatch):
    fail_at(8, MemoryError(), monkeypatch)
    message = run_training(recipe, run_dir, "train.batch_size=1")
    assert "A batch has one sample already" in message and find_settings(message) == []
    assert "start a new run with a smaller model.d_model or fewer model.iterations" in message
    words = ["model.d_model=12", "model.iterations=3", "train.batch_size=1", "train.steps=2"]
    main(["train", str(recipe), "--run-dir", str(tmp_path / "new"), *words])
    assert load(tmp_path / "new/checkpoint").model.config.d_model == 12


@pytest.mark.parametrize("batch_size", [2, 3, 9, 35, 64, 97])
def test_the_smaller_batches_have_as_many_samples(batch_size):
    settings = TrainConfig(batch_size=batch_size, gradient_accumulation_steps=3)
    values = dict(word.split("=") for word in find_settings(format_memory_remedy(settings)))
    smaller, steps = int(values["train.batch_size"]), int(values["train.gradient_accumulation_steps"])
    assert smaller * steps == 3 * batch_size and smaller < batch_size


def test_batches_are_not_accumulated_beyond_the_limit():
    settings = TrainConfig(batch_size=2, gradient_accumulation_steps=4_096)
    assert find_settings(format_memory_remedy(settings)) == []


def test_a_killed_job_resumes_with_smaller_batches(run_dir):
    _, message = derive_job_outcome(-9, {}, "", 6, out_of_memory=True)
    assert "Halve train.batch_size, double train.gradient_accumulation_steps and resume" in message
    train(make_tiny_config(steps=6), run_dir)
    run_dir.change_settings(["train.steps=8", "train.batch_size=4", "train.gradient_accumulation_steps=2"])
    assert train(run_dir.load_config(), run_dir)


# --- divergence, time, interruption ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "alternatives"), [("no", 1), ("bf16", 2)])
def test_a_diverged_run_goes_on_with_each_setting_of_the_message(
    precision, alternatives, recipe, run_dir, tmp_path, monkeypatch
):
    original = trainer.clip_gradients
    calls = iter(range(1_000))

    def clip(*arguments):
        return original(*arguments) | ({"grad_norm": float("nan")} if next(calls) == 8 else {})

    monkeypatch.setattr(trainer, "clip_gradients", clip)
    AcceleratorState._reset_state(reset_partial_state=True)
    message = run_training(recipe, run_dir, f"train.mixed_precision={precision}")
    assert run_dir.list_steps() == [6]
    settings = find_settings(message)
    assert settings == ["optim.lr=0.0003", "train.mixed_precision=no"][:alternatives]
    for number, word in enumerate(settings):
        AcceleratorState._reset_state(reset_partial_state=True)  # each run is a process of its own
        copy = RunDir(shutil.copytree(run_dir.path, tmp_path / f"copy{number}"))
        resume(copy, word)
        assert copy.history.read()[0]["setting"] == word.partition("=")[0]


def test_a_run_whose_time_is_over_resumes(recipe, run_dir):
    words = ["--run-dir", str(run_dir.path), "train.steps=100000", "train.max_minutes=0.005"]
    main(["train", str(recipe), *words])
    outcome = run_dir.read_outcome()
    assert outcome["reason"] == "time" and outcome["sentence"].endswith("Resume to continue.")
    resume(run_dir, "train.max_minutes=0", f"train.steps={run_dir.last_step + 2}")


def test_the_command_of_a_stopped_run_resumes_it(recipe, run_dir, monkeypatch, capsys):
    original = RunDir.log_metrics

    def stop(self, values):
        original(self, values)
        if values["step"] == 4:
            signal_self()

    monkeypatch.setattr(RunDir, "log_metrics", stop)
    main(["train", str(recipe), "--run-dir", str(run_dir.path)])
    monkeypatch.setattr(RunDir, "log_metrics", original)
    assert run_dir.read_outcome()["reason"] == "stopped"
    (command,) = COMMAND_PATTERN.findall(capsys.readouterr().out)
    main(shlex.split(command)[3:])
    assert run_dir.read_final_step() == 12


def signal_self() -> None:
    """Send SIGTERM to this process."""
    os.kill(os.getpid(), signal.SIGTERM)


# --- data ------------------------------------------------------------------------------------------------------------


def test_a_run_resumes_when_the_missing_file_is_restored(recipe, run_dir, monkeypatch):
    fail_at(8, FileNotFoundError(2, "No such file or directory", "/data/train.parquet"), monkeypatch)
    message = run_training(recipe, run_dir)
    assert run_dir.read_outcome()["reason"] == "data" and "Restore it, then resume" in message
    resume(run_dir)


def test_a_run_starts_over_when_no_saved_step_can_be_read(recipe, run_dir):
    train(make_tiny_config(steps=6), run_dir)
    (run_dir.trainer_state_dir(6) / "progress.pt").write_bytes(b"")
    message = run_training(recipe, run_dir)
    assert "start over with --restart" in message
    main(["train", str(recipe), "--run-dir", str(run_dir.path), "--restart"])
    assert run_dir.read_final_step() == 12


def test_a_run_starts_with_another_checkpoint_than_a_missing_one(recipe, run_dir, tmp_path):
    message = run_training(recipe, run_dir, f"init_from={tmp_path / 'none'}")
    assert "set init_from to another" in message
    other = RunDir(tmp_path / "other")
    train(make_tiny_config(steps=1), other)
    main(["train", str(recipe), "--run-dir", str(run_dir.path), f"init_from={other.checkpoint_dir(1)}"])
    assert run_dir.read_final_step() == 12


def test_a_run_starts_with_the_weights_that_fit(recipe, run_dir, tmp_path):
    other = RunDir(tmp_path / "other")
    train(make_tiny_config(steps=1).with_overrides({"model.memory_length": 4}), other)
    start = f"init_from={other.checkpoint_dir(1)}"
    message = run_training(recipe, run_dir, start)
    assert find_settings(message) == ["train.init_mode=matching"]
    main(["train", str(recipe), "--run-dir", str(run_dir.path), start, *find_settings(message)])
    assert run_dir.read_final_step() == 12 and "init_mode=matching" in run_dir.read_command()


# --- settings that do not fit ------------------------------------------------------------------------------------------


def test_each_way_out_of_other_settings_works(recipe, run_dir, tmp_path):
    train(make_tiny_config(steps=6), run_dir)
    words = ["model.d_model=12", "train.steps=8", "finalize.fit_samples=0"]
    with pytest.raises(SystemExit) as error:
        main(["train", str(recipe), "--run-dir", str(run_dir.path), *words])
    message = str(error.value)
    assert "Resume with the values of the run (model.d_model)" in message and "--restart" in message
    copies = [RunDir(shutil.copytree(run_dir.path, tmp_path / name)) for name in ("same", "restarted")]
    main(["train", str(recipe), "--run-dir", str(copies[0].path), *words[1:]])
    main(["train", str(recipe), "--run-dir", str(copies[1].path), *words, "--restart"])
    main(["train", str(recipe), "--run-dir", str(tmp_path / "another"), *words])
    widths = [load(path / "checkpoint").model.config.d_model for path in (copies[0].path, copies[1].path)]
    assert widths == [16, 12] and RunDir(tmp_path / "another").read_final_step() == 8


def test_a_product_of_batches_that_the_message_names_is_accepted(run_dir, recipe):
    train(make_tiny_config(steps=6), run_dir)
    with pytest.raises(SystemExit, match="choose values with the product 8"):
        main(["train", "--run-dir", str(run_dir.path), "train.steps=7", "train.batch_size=4"])
    resume(
        run_dir, "train.steps=7", "train.batch_size=4", "train.gradient_accumulation_steps=2", "finalize.fit_samples=0"
    )


def test_steps_that_the_message_names_are_accepted(run_dir):
    train(make_tiny_config(steps=6), run_dir)
    with pytest.raises(SystemExit) as error:
        main(["train", "--run-dir", str(run_dir.path), "train.steps=3", "finalize.fit_samples=0"])
    resume(run_dir, find_settings(str(error.value))[1], "finalize.fit_samples=0")


# --- finalize and publish ----------------------------------------------------------------------------------------------


def test_a_run_with_one_validation_sample_is_finalized_with_the_setting_of_the_message(recipe, run_dir, monkeypatch):
    original = Parity.sample

    def sample(self, split, count, generator):
        batch = original(self, split, count, generator)
        rows = slice(0, 1) if split == "validation" and count > 30 else slice(None)
        return type(batch)(batch.inputs[rows], batch.targets[rows], batch.difficulty[rows])

    monkeypatch.setattr(Parity, "sample", sample)
    message = run_training(recipe, run_dir, "finalize.fit_samples=64")
    assert "fitted on two samples at least" in message and run_dir.last_step == 12
    copy = RunDir(shutil.copytree(run_dir.path, run_dir.path.with_name("copy")))
    resume(run_dir, *find_settings(message))
    main(["finalize", str(copy.path), *find_settings(message)])
    assert copy.read_final_step() == 12


def test_the_command_for_a_run_without_a_saved_step_trains_it(recipe, run_dir, monkeypatch):
    run_dir.initialize(make_tiny_config().with_overrides({"finalize.fit_samples": 0}))
    with pytest.raises(SystemExit, match="no saved step yet") as error:
        main(["finalize", str(run_dir.path)])
    (command,) = COMMAND_PATTERN.findall(str(error.value))
    main(shlex.split(command.rstrip("."))[3:])
    assert run_dir.read_final_step() == 12


def test_the_command_for_a_run_without_a_final_checkpoint_makes_one(run_dir, monkeypatch):
    config = make_tiny_config(steps=2).with_overrides({"finalize.fit_samples": 0})
    train(config, run_dir)
    with pytest.raises(SystemExit, match="no finished checkpoint") as error:
        main(["publish", str(run_dir.path), "--repo", "alice/x"])
    (command,) = COMMAND_PATTERN.findall(str(error.value))
    main(shlex.split(command)[3:])
    assert run_dir.read_final_step() == 2


def test_advice_is_the_same_for_the_error_and_for_its_cause():
    cause = MemoryError()
    try:
        raise KeyError("cleanup") from cause
    except KeyError as error:
        assert classify_failure(error, TrainConfig()) == classify_failure(cause, TrainConfig())
    assert failures.RunFailed("memory", "a sentence").message == "a sentence"
