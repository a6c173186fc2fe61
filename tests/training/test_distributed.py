"""Tests of training in two processes: the result equals that of one process, and only rank 0 writes files."""

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
from training.training_loop import train

REPO = "alice/new"
LAUNCH_ARGUMENTS = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
LAUNCH_ENV = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
EXACT_SETTINGS = {
    "model": TINY_RECIPE["model"] | {"dropout": 0.0},
    "finalize": {"fit_samples": 0},
}  # dropout would differ between the processes


def make_config(**train_settings) -> RunConfig:
    """Build the settings of a tiny run without dropout."""
    return RunConfig.parse(TINY_RECIPE | EXACT_SETTINGS | {"train": TINY_RECIPE["train"] | train_settings})


def train_in_one_process(path: Path, **train_settings) -> RunDir:
    """Train the same run in this process, which accumulates the batches of both processes."""
    run_dir = RunDir(path)
    assert train(make_config(gradient_accumulation_steps=2, **train_settings), run_dir)
    return run_dir


def start_two_processes(
    config: RunConfig, run_path: Path, *overrides: str, program: str = "", environment: dict[str, str] | None = None
):
    """Start a run in two processes; each first executes the Python code `program`."""
    recipe_path, script_path = run_path.with_suffix(".yaml"), run_path.with_suffix(".py")
    recipe_path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    script_path.write_text(f"import sys\nfrom training.__main__ import main\n{program}\nmain(sys.argv[1:])\n")
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *LAUNCH_ARGUMENTS,
            str(script_path),
            "train",
            str(recipe_path),
            "--run-dir",
            str(run_path),
            *overrides,
        ],
        cwd=ROOT,
        env=build_environment(**{**LAUNCH_ENV, "PYTHONPATH": str(ROOT), **(environment or {})}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for_exit(process: subprocess.Popen) -> tuple[int, str]:
    """Wait for a process; return exit code and output."""
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def read_losses(run_dir: RunDir) -> dict[int, float]:
    """Read the logged losses by step."""
    lines = [(line["step"], line["loss"]) for line in read_metrics(run_dir) if "loss" in line]
    assert len(dict(lines)) == len(lines), "each step is logged once"
    return dict(lines)


def assert_same_training(first: RunDir, second: RunDir) -> None:
    """Compare losses by step and final weights, with a tolerance because sums have another order."""
    assert read_losses(first) == pytest.approx(read_losses(second), rel=1e-3)
    step = second.list_steps()[-1]
    expected = load_step_weights(second, step)
    for name, tensor in load_step_weights(first, step).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=1e-3)


def test_two_processes_equal_one_process_with_gradient_accumulation(tmp_path):
    """Losses and weights are equal; only one process writes and publishes."""
    reference = train_in_one_process(tmp_path / "reference")
    with LoopbackHub() as hub:
        hub.add_user("alice", TOKEN)
        run_dir = RunDir(tmp_path / "run")
        home = hub.build_environment(tmp_path / "home", TOKEN, xet=False)
        hub_environment = {name: value for name, value in home.items() if name.startswith("HF_")}
        code, output = wait_for_exit(
            start_two_processes(make_config(), run_dir.path, f"publish.repo={REPO}", environment=hub_environment)
        )
        assert code == 0, output
        assert len(hub.list_commits(REPO)) == 2, "the initial commit of the Hub, and one of the run"
        assert (
            hub.read_files(REPO)["model.safetensors"]
            == (run_dir.final_checkpoint_dir / "model.safetensors").read_bytes()
        )
    assert_same_training(run_dir, reference)
    assert output.count("step 12 of 12") == output.count("/commit/") == 1
    assert run_dir.read_status()["phase"] == "finished" and run_dir.read_outcome()["reason"] == "finished"
    load(run_dir.final_checkpoint_dir)


@pytest.mark.slow
def test_nan_loss_in_one_process_ends_all_processes(tmp_path):
    """The loss is NaN in the second process alone, at the ninth step; the sixth is saved."""
    run_dir = RunDir(tmp_path / "run")
    program = (
        "import os, training.losses as losses; real, count = losses.reduce_tick_losses, iter(range(99))\n"
        "is_second = os.environ['RANK'] == '1'\n"
        "losses.reduce_tick_losses = lambda *a: real(*a) * (float('nan') if next(count) == 8 and is_second else 1)"
    )
    code, output = wait_for_exit(start_two_processes(make_config(), run_dir.path, program=program))
    assert code == 1 and run_dir.read_outcome()["reason"] == "nan", output
    assert "optim.lr" in run_dir.read_outcome()["sentence"] and "Error: loss is nan" in output
    assert run_dir.list_steps() == [6] and not run_dir.final_checkpoint_dir.exists()
    assert all(torch.isfinite(value).all() for value in load(run_dir.checkpoint_dir(6)).model.state_dict().values())


@pytest.mark.slow
def test_sigterm_to_the_group_saves_and_the_resumed_run_equals_an_uninterrupted_run(tmp_path):
    settings = {"steps": 120, "save_every": 120, "eval_every": 60}
    reference = train_in_one_process(tmp_path / "reference", **settings)
    run_dir = RunDir(tmp_path / "run")
    process = start_two_processes(make_config(**settings), run_dir.path)
    wait_until(run_dir.metrics_file.is_file)
    os.killpg(process.pid, signal.SIGTERM)
    _, output = wait_for_exit(process)
    (step,) = run_dir.list_steps()
    assert 0 < step < 120, output
    assert run_dir.read_outcome()["sentence"] == f"Stopped and saved at step {step} of 120."
    code, output = wait_for_exit(start_two_processes(make_config(**settings), run_dir.path))
    assert code == 0, output
    assert run_dir.list_steps() == [step, 120]
    assert_same_training(run_dir, reference)


@pytest.fixture
def scheduler(tmp_path):
    job_scheduler = JobScheduler(tmp_path / "runs", environment=build_environment(CPU_CORES="2"))
    job_scheduler.start()
    yield job_scheduler
    stop_scheduler(job_scheduler)


@pytest.mark.slow
def test_killing_a_job_ends_all_its_processes(scheduler):
    """Each process has its own session, which a signal to the group of the launcher does not reach."""
    job_id = submit_job(scheduler, make_config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), devices=2)
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    group = scheduler.launcher.get_process_group(scheduler.store.get(job_id))
    assert len(group.list_members()) == 4  # supervisor, launcher, and two training processes
    scheduler.kill(job_id)
    wait_until(lambda: scheduler.store.get(job_id).is_finished, 20)
    assert scheduler.store.get(job_id).state == "cancelled" and scheduler.store.get(job_id).status_message.startswith(
        "Killed."
    )
    assert not group.list_members()


@pytest.mark.slow
@pytest.mark.slow
def test_job_of_two_processes_can_be_stopped_and_resumed(scheduler, tmp_path):
    settings = {"steps": 120, "save_every": 120, "eval_every": 60}
    reference = train_in_one_process(tmp_path / "reference", **settings)
    job_id = submit_job(scheduler, make_config(**settings), devices=2)
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    group = scheduler.launcher.get_process_group(scheduler.store.get(job_id))
    scheduler.stop(job_id)
    wait_until(lambda: scheduler.store.get(job_id).is_finished)
    job = scheduler.store.get(job_id)
    run_dir = scheduler.get_run_dir(job_id)
    assert (
        job.state == "cancelled"
        and job.status_message == f"Stopped and saved at step {run_dir.list_steps()[-1]} of 120."
    )
    assert not group.list_members()
    scheduler.resume(job_id)
    wait_until(lambda: scheduler.store.get(job_id).is_finished)
    assert scheduler.store.get(job_id).state == "succeeded", run_dir.log_file.read_text()
    assert not group.list_members()
    assert_same_training(run_dir, reference)


def test_processes_without_a_torch_process_group_are_rejected(monkeypatch, tmp_path):
    """Accelerate's launcher starts such processes if there are too few accelerators: each would be rank 0."""
    Accelerator(cpu=True)  # Accelerate caches that this process is alone
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started that do not know of each other"):
        train(make_config(), RunDir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
