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
from tests.training.jobs.conftest import build_environment, has_logged_steps, stop_scheduler, submit_job, wait_until
from tests.training.test_trainer import TINY_RECIPE, load_step_weights, read_metrics
from training.config import RunConfig
from training.jobs.scheduler import JobScheduler
from training.run_dir import RunDir
from training.trainer import train

REPO = "alice/new"
LAUNCH_ARGUMENTS = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
LAUNCH_ENV = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
EXACT_SETTINGS = {
    "model": TINY_RECIPE["model"] | {"dropout": 0.0},
    "finish": {"fit_samples": 0},
}  # dropout draws anew in each process


def make_config(**train_settings) -> RunConfig:
    return RunConfig.parse(TINY_RECIPE | EXACT_SETTINGS | {"train": TINY_RECIPE["train"] | train_settings})


def train_in_one_process(path: Path, **train_settings) -> RunDir:
    """The same run in this process, which takes the batches of both in turn."""
    made = RunDir(path)
    assert train(make_config(accumulate=2, **train_settings), made)
    return made


def start_two_processes(
    recipe: RunConfig, run: Path, *words: str, program: str = "", environment: dict[str, str] | None = None
):
    """Begin a run in two processes; `program` is Python to run before it in each of them."""
    settings, script = run.with_suffix(".yaml"), run.with_suffix(".py")
    settings.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    script.write_text(f"import sys\nfrom training.__main__ import main\n{program}\nmain(sys.argv[1:])\n")
    return subprocess.Popen(
        [sys.executable, "-m", *LAUNCH_ARGUMENTS, str(script), "train", str(settings), "--folder", str(run), *words],
        cwd=ROOT,
        env=build_environment(**{**LAUNCH_ENV, "PYTHONPATH": str(ROOT), **(environment or {})}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for_exit(process: subprocess.Popen) -> tuple[int, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def read_losses(run_dir: RunDir) -> dict[int, float]:
    lines = [(line["step"], line["loss"]) for line in read_metrics(run_dir) if "loss" in line]
    assert len(dict(lines)) == len(lines), "a step is written once"
    return dict(lines)


def assert_same_training(first: RunDir, second: RunDir) -> None:
    """Losses by step, and the weights at the end; sums are taken in another order, so to a tolerance."""
    assert read_losses(first) == pytest.approx(read_losses(second), rel=1e-3)
    step = second.list_steps()[-1]
    there = load_step_weights(second, step)
    for name, tensor in load_step_weights(first, step).items():
        torch.testing.assert_close(tensor, there[name], rtol=1e-2, atol=1e-3)


def test_two_processes_train_what_one_trains_with_the_doubled_batch(tmp_path):
    """The same curve; one of them writes, and one publishes."""
    one = train_in_one_process(tmp_path / "one")
    with LoopbackHub() as hub:
        hub.add_user("alice", TOKEN)
        two, home = RunDir(tmp_path / "two"), hub.build_environment(tmp_path / "home", TOKEN, xet=False)
        told = {name: value for name, value in home.items() if name.startswith("HF_")}
        code, said = wait_for_exit(
            start_two_processes(make_config(), two.path, f"publish.repo={REPO}", environment=told)
        )
        assert code == 0, said
        assert len(hub.list_commits(REPO)) == 2, "the Hub's own, and one of the run"
        assert (
            hub.read_files(REPO)["model.safetensors"] == (two.final_checkpoint_dir / "model.safetensors").read_bytes()
        )
    assert_same_training(two, one)
    assert said.count("step 12 of 12") == said.count("/commit/") == 1
    assert two.read_status()["phase"] == "finished" and two.read_outcome()["reason"] == "finished"
    load(two.final_checkpoint_dir)


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_on_one_process_ends_all(tmp_path):
    """The second process alone sees it in the ninth step; the sixth was saved."""
    run = RunDir(tmp_path / "run")
    program = (
        "import os, training.decoding as decoding; real, count = decoding.reduce_tick_losses, iter(range(99))\n"
        "spoilt = os.environ['RANK'] == '1'\n"
        "decoding.reduce_tick_losses = lambda *a: real(*a) * (float('nan') if next(count) == 8 and spoilt else 1)"
    )
    code, said = wait_for_exit(start_two_processes(make_config(), run.path, program=program))
    assert code == 1 and run.read_outcome()["reason"] == "nan", said
    assert "optim.lr" in run.read_outcome()["sentence"] and "Error: loss is nan" in said
    assert run.list_steps() == [6] and not run.final_checkpoint_dir.exists()
    assert all(torch.isfinite(value).all() for value in load(run.checkpoint_dir(6)).model.state_dict().values())


@pytest.mark.slow
def test_sigterm_to_the_group_saves_and_going_on_ends_like_straight_through(tmp_path):
    settings = {"steps": 120, "save_every": 120, "eval_every": 60}
    one, run = train_in_one_process(tmp_path / "one", **settings), RunDir(tmp_path / "run")
    process = start_two_processes(make_config(**settings), run.path)
    wait_until(run.metrics_file.is_file)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = wait_for_exit(process)
    (step,) = run.list_steps()
    assert 0 < step < 120, said
    assert run.read_outcome()["sentence"] == f"Stopped and saved at step {step} of 120."
    code, said = wait_for_exit(start_two_processes(make_config(**settings), run.path))
    assert code == 0, said
    assert run.list_steps() == [step, 120]
    assert_same_training(run, one)


@pytest.fixture
def scheduler(tmp_path):
    made = JobScheduler(tmp_path / "runs", environment=build_environment(CPU_CORES="2"))
    made.start()
    yield made
    stop_scheduler(made)


def test_a_job_of_two_processes_is_killed_with_both(scheduler):
    """The launcher begins them in sessions of their own, where a signal to its group does not reach them."""
    id = submit_job(scheduler, make_config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), devices=2)
    wait_until(lambda: has_logged_steps(scheduler, id))
    group = scheduler._get_process_group(scheduler.store.get(id))
    assert len(group.list_members()) == 4  # shepherd, launcher, two that train
    scheduler.kill(id)
    wait_until(lambda: scheduler.store.get(id).is_finished, 20)
    assert scheduler.store.get(id).state == "cancelled" and scheduler.store.get(id).sentence.startswith("Killed.")
    assert not group.list_members()


@pytest.mark.slow
def test_a_job_of_two_processes_is_stopped_and_gone_on_with(scheduler, tmp_path):
    settings = {"steps": 120, "save_every": 120, "eval_every": 60}
    one = train_in_one_process(tmp_path / "one", **settings)
    id = submit_job(scheduler, make_config(**settings), devices=2)
    wait_until(lambda: has_logged_steps(scheduler, id))
    group = scheduler._get_process_group(scheduler.store.get(id))
    scheduler.stop(id)
    wait_until(lambda: scheduler.store.get(id).is_finished)
    job, folder = scheduler.store.get(id), scheduler.get_run_dir(id)
    assert job.state == "cancelled" and job.sentence == f"Stopped and saved at step {folder.list_steps()[-1]} of 120."
    assert not group.list_members()
    scheduler.resume(id)
    wait_until(lambda: scheduler.store.get(id).is_finished)
    assert scheduler.store.get(id).state == "succeeded", folder.log_file.read_text()
    assert not group.list_members()
    assert_same_training(folder, one)


def test_processes_without_a_process_group_are_rejected(monkeypatch, tmp_path):
    """As Accelerate's launcher begins them where there are fewer accelerators: each would be the first of one."""
    Accelerator(cpu=True)  # this process has found out that it is alone
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started that do not know of each other"):
        train(make_config(), RunDir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
