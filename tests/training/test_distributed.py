"""Several processes train what one trains that accumulates their batches: one writes, one publishes, all end together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator

from ctm.checkpoint import load
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.server import LoopbackHub
from tests.paths import ROOT
from tests.training.jobs.conftest import end, environment, submit, trains, until
from tests.training.test_trainer import TINY, figures, weights
from training.config import RunConfig
from training.jobs.scheduler import JobScheduler
from training.run_dir import RunFolder
from training.trainer import train

REPO = "alice/new"
LAUNCHER = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
SURROUNDINGS = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
EXACT = {"model": TINY["model"] | {"dropout": 0.0}, "finish": {"fit_samples": 0}}  # dropout draws anew in each process


def config(**train_settings) -> RunConfig:
    return RunConfig.parse(TINY | EXACT | {"train": TINY["train"] | train_settings})


def alone(folder: Path, **train_settings) -> RunFolder:
    """The same run in this process, which takes the batches of both in turn."""
    made = RunFolder(folder)
    assert train(config(accumulate=2, **train_settings), made)
    return made


def start(recipe: RunConfig, run: Path, *words: str, program: str = "", more: dict[str, str] | None = None):
    """Begin a run in two processes; `program` is Python to run before it in each of them."""
    settings, script = run.with_suffix(".yaml"), run.with_suffix(".py")
    settings.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    script.write_text(f"import sys\nfrom training.__main__ import main\n{program}\nmain(sys.argv[1:])\n")
    return subprocess.Popen(
        [sys.executable, "-m", *LAUNCHER, str(script), "train", str(settings), "--folder", str(run), *words],
        cwd=ROOT,
        env=environment(**{**SURROUNDINGS, "PYTHONPATH": str(ROOT), **(more or {})}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def losses(folder: RunFolder) -> dict[int, float]:
    lines = [(line["step"], line["loss"]) for line in figures(folder) if "loss" in line]
    assert len(dict(lines)) == len(lines), "a step is written once"
    return dict(lines)


def assert_the_same(ours: RunFolder, theirs: RunFolder) -> None:
    """Losses by step, and the weights at the end; sums are taken in another order, so to a tolerance."""
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-3)
    step = theirs.steps()[-1]
    there = weights(theirs, step)
    for name, tensor in weights(ours, step).items():
        torch.testing.assert_close(tensor, there[name], rtol=1e-2, atol=1e-3)


def test_two_processes_train_what_one_trains_with_the_doubled_batch(tmp_path):
    """The same curve; one of them writes, and one publishes."""
    one = alone(tmp_path / "one")
    with LoopbackHub() as hub:
        hub.add_user("alice", TOKEN)
        two, home = RunFolder(tmp_path / "two"), hub.environment(tmp_path / "home", TOKEN, xet=False)
        told = {name: value for name, value in home.items() if name.startswith("HF_")}
        code, said = ended(start(config(), two.path, f"publish.repo={REPO}", more=told))
        assert code == 0, said
        assert len(hub.commits(REPO)) == 2, "the Hub's own, and one of the run"
        assert hub.files(REPO)["model.safetensors"] == (two.finished / "model.safetensors").read_bytes()
    assert_the_same(two, one)
    assert said.count("step 12 of 12") == said.count("/commit/") == 1
    assert two.status()["phase"] == "finished" and two.ending()["reason"] == "finished"
    load(two.finished)


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_on_one_process_ends_all(tmp_path):
    """The second process alone sees it in the ninth step; the sixth was saved."""
    run = RunFolder(tmp_path / "run")
    program = (
        "import os, training.decoding as reading; real, count = reading.trunk_loss, iter(range(99))\n"
        "spoilt = os.environ['RANK'] == '1'\n"
        "reading.trunk_loss = lambda *a: real(*a) * (float('nan') if next(count) == 8 and spoilt else 1)"
    )
    code, said = ended(start(config(), run.path, program=program))
    assert code == 1 and run.ending()["reason"] == "nan", said
    assert "optim.lr" in run.ending()["sentence"] and "Error: loss is nan" in said
    assert run.steps() == [6] and not run.finished.exists()
    assert all(torch.isfinite(value).all() for value in load(run.checkpoint(6)).model.state_dict().values())


@pytest.mark.slow
def test_sigterm_to_the_group_saves_and_going_on_ends_like_straight_through(tmp_path):
    settings = {"steps": 120, "save_every": 120, "eval_every": 60}
    one, run = alone(tmp_path / "one", **settings), RunFolder(tmp_path / "run")
    process = start(config(**settings), run.path)
    until(run.metrics.is_file)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = ended(process)
    (step,) = run.steps()
    assert 0 < step < 120, said
    assert run.ending()["sentence"] == f"Stopped and saved at step {step} of 120."
    code, said = ended(start(config(**settings), run.path))
    assert code == 0, said
    assert run.steps() == [step, 120]
    assert_the_same(run, one)


@pytest.fixture
def runner(tmp_path):
    made = JobScheduler(tmp_path / "runs", environment=environment(CPU_CORES="2"))
    made.start()
    yield made
    end(made)


def test_a_job_of_two_processes_is_killed_with_both(runner):
    """The launcher begins them in sessions of their own, where a signal to its group does not reach them."""
    id = submit(runner, config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), devices=2)
    until(lambda: trains(runner, id))
    group = runner._get_process_group(runner.store.get(id))
    assert len(group.list_members()) == 4  # shepherd, launcher, two that train
    runner.kill(id)
    until(lambda: runner.store.get(id).is_finished, 20)
    assert runner.store.get(id).state == "cancelled" and runner.store.get(id).sentence.startswith("Killed.")
    assert not group.list_members()


@pytest.mark.slow
def test_a_job_of_two_processes_is_stopped_and_gone_on_with(runner, tmp_path):
    settings = {"steps": 120, "save_every": 120, "eval_every": 60}
    one = alone(tmp_path / "one", **settings)
    id = submit(runner, config(**settings), devices=2)
    until(lambda: trains(runner, id))
    group = runner._get_process_group(runner.store.get(id))
    runner.stop(id)
    until(lambda: runner.store.get(id).is_finished)
    job, folder = runner.store.get(id), runner.get_run_dir(id)
    assert job.state == "cancelled" and job.sentence == f"Stopped and saved at step {folder.steps()[-1]} of 120."
    assert not group.list_members()
    runner.resume(id)
    until(lambda: runner.store.get(id).is_finished)
    assert runner.store.get(id).state == "succeeded", folder.log_file.read_text()
    assert not group.list_members()
    assert_the_same(folder, one)


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch, tmp_path):
    """As Accelerate's launcher begins them where there are fewer accelerators: each would be the first of one."""
    Accelerator(cpu=True)  # this process has found out that it is alone
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started that do not know of each other"):
        train(config(), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
