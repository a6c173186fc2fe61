"""Tests of the job scheduler: start, poll, stop, kill and resume jobs in real processes."""

import signal
import sys
import time

import pytest
import torch

from ctm.checkpoint import load, load_weights
from tests.training.jobs.conftest import (
    build_environment,
    has_logged_steps,
    is_finished,
    make_tiny_config,
    stop_scheduler,
    submit_job,
    wait_until,
)
from tests.training.test_trainer import load_step_weights, read_metrics
from training.jobs.job import Job
from training.jobs.process_group import JOB_TAG_ENV, ProcessGroup
from training.jobs.scheduler import JobScheduler
from training.jobs.store import JobStore
from training.run_dir import RunDir
from training.training_loop import train


def test_job_trains_and_writes_its_final_checkpoint(scheduler):
    job_id = submit_job(scheduler, make_tiny_config())
    wait_until(lambda: is_finished(scheduler, job_id))
    job, run_dir = scheduler.store.get(job_id), scheduler.get_run_dir(job_id)
    assert (job.state, job.exit_code, job.attempt) == ("succeeded", 0, 1), run_dir.log_file.read_text()
    assert job.status_message == "All 12 steps are done."
    assert load(run_dir.final_checkpoint_dir).metrics["training"]["command"] == "python -m training train tiny.yaml"
    assert "step 12 of 12: loss" in run_dir.log_file.read_text()
    assert run_dir.read_status()["phase"] == "finished"


def test_resumed_run_equals_an_uninterrupted_run(scheduler, tmp_path):
    config = make_tiny_config(steps=150, save_every=150, eval_every=50)
    reference = RunDir(tmp_path / "reference")
    assert train(config, reference)
    job_id = submit_job(scheduler, config)
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    scheduler.stop(job_id)
    wait_until(lambda: is_finished(scheduler, job_id))
    job = scheduler.store.get(job_id)
    assert job.state == "cancelled" and "Stopped and saved at step" in job.status_message
    saved_step = scheduler.get_run_dir(job_id).list_steps()[-1]
    assert 0 < saved_step < 150
    assert scheduler.resume(job_id).status_message == f"Goes on from step {saved_step:,}."
    wait_until(lambda: is_finished(scheduler, job_id))
    assert scheduler.store.get(job_id).state == "succeeded" and scheduler.store.get(job_id).attempt == 2
    resumed_weights, reference_weights = (
        load_step_weights(scheduler.get_run_dir(job_id), 150),
        load_step_weights(reference, 150),
    )
    assert all(torch.equal(resumed_weights[name], reference_weights[name]) for name in reference_weights)
    assert read_metrics(scheduler.get_run_dir(job_id)) == read_metrics(reference)


def test_local_jobs_run_one_after_the_other(scheduler):
    first, second = submit_job(scheduler, make_tiny_config(endless=True)), submit_job(scheduler, make_tiny_config())
    assert first != second
    wait_until(lambda: has_logged_steps(scheduler, first))
    assert [job.id for job in scheduler.store.list_running()] == [first]
    assert scheduler.store.get(second).state == "queued"
    scheduler.kill(first)
    wait_until(lambda: is_finished(scheduler, second))
    assert scheduler.store.get(first).state == "cancelled" and scheduler.store.get(first).status_message.startswith(
        "Killed."
    )
    assert scheduler.store.get(second).state == "succeeded"
    assert scheduler.store.get(second).started_at >= scheduler.store.get(first).ended_at


def test_job_whose_processes_are_not_listed_is_running_while_its_supervisor_runs(scheduler, monkeypatch):
    """The environment of a process that was started just now cannot be read yet, so it is not listed."""
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    with monkeypatch.context() as patch:
        patch.setattr(ProcessGroup, "list_members", lambda self: [])
        assert not scheduler.local_jobs.poll(scheduler.store.get(job_id))
    assert scheduler.store.get(job_id).state == "running"
    scheduler.kill(job_id)
    wait_until(lambda: is_finished(scheduler, job_id))
    assert scheduler.store.get(job_id).state == "cancelled"


def test_queued_job_can_be_stopped_and_removed(scheduler):
    first, second = submit_job(scheduler, make_tiny_config(endless=True)), submit_job(scheduler, make_tiny_config())
    scheduler.stop(second)
    assert scheduler.store.get(second).state == "cancelled"
    with pytest.raises(ValueError, match="over already: cancelled"):
        scheduler.stop(second)
    with pytest.raises(ValueError, match=r"(queued|running): stop it first"):
        scheduler.remove(first)
    scheduler.remove(second)
    assert not (scheduler.runs_dir / second).exists()
    with pytest.raises(ValueError, match="no run called"):
        scheduler.store.get(second)


def test_job_that_ignores_sigterm_is_killed_with_all_its_processes(scheduler, monkeypatch):
    """The training ignores SIGTERM and has a child process; both are killed."""
    program = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)']);"
        "print('ready', flush=True); time.sleep(600)"
    )
    monkeypatch.setattr(
        "training.jobs.launcher.build_training_command", lambda *_, **__: [sys.executable, "-c", program]
    )
    scheduler.local_jobs.stop_timeout_s = 1.0
    job_id = submit_job(scheduler, make_tiny_config())
    wait_until(lambda: (log := scheduler.runs_dir / job_id / "log.txt").is_file() and "ready" in log.read_text())
    job = scheduler.store.get(job_id)
    group = scheduler.launcher.get_process_group(job)
    assert len(group.list_members()) == 3  # supervisor, training, child of the training
    scheduler.stop(job_id)
    wait_until(lambda: is_finished(scheduler, job_id), 20)
    assert (
        scheduler.store.get(job_id).status_message == "It did not stop in time and was killed. No step had been saved."
    )
    assert not group.list_members()


def test_job_killed_by_the_system_has_failed(scheduler):
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    scheduler.launcher.get_process_group(scheduler.store.get(job_id)).send_signal(signal.SIGKILL)
    wait_until(lambda: is_finished(scheduler, job_id))
    job = scheduler.store.get(job_id)
    assert (job.state, job.exit_code) == ("failed", -9) and "for want of memory" in job.status_message


def test_equal_run_names_in_two_runs_directories_are_independent(tmp_path):
    schedulers = [JobScheduler(tmp_path / name, environment=build_environment()) for name in ("a", "b")]
    try:
        for scheduler in schedulers:
            scheduler.start()
            submit_job(scheduler, make_tiny_config(endless=True))
        ids = [scheduler.store.list_jobs()[0].id for scheduler in schedulers]
        wait_until(
            lambda: all(has_logged_steps(scheduler, job_id) for scheduler, job_id in zip(schedulers, ids, strict=True))
        )
        schedulers[0].kill(ids[0])
        wait_until(lambda: is_finished(schedulers[0], ids[0]))
        time.sleep(1.0)
        assert schedulers[1].store.get(ids[1]).state == "running"
    finally:
        for scheduler in schedulers:
            stop_scheduler(scheduler)


def test_job_is_stopped_although_the_disk_is_full(scheduler, monkeypatch):
    """The job store cannot be written at first; the state of the job is written when there is space."""
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))

    def raise_full_disk(self, *_, **__):
        raise ValueError("The job store cannot be written just now: No space left on device.")

    monkeypatch.setattr(JobStore, "update", raise_full_disk)
    assert scheduler.stop(job_id).requested_action == "stop"
    wait_until(lambda: RunDir(scheduler.runs_dir / job_id).read_outcome().get("reason") == "stopped")
    assert scheduler.store.get(job_id).state == "running", "the store could not be written"
    monkeypatch.undo()
    wait_until(lambda: is_finished(scheduler, job_id))
    assert scheduler.store.get(job_id).state == "cancelled"


def test_run_directory_is_deleted_before_its_store_entry(scheduler, monkeypatch):
    job_id = submit_job(scheduler, make_tiny_config())
    wait_until(lambda: is_finished(scheduler, job_id))
    remove = JobStore.remove

    def check_directory_is_gone(self, job_id):
        assert not list(scheduler.runs_dir.glob(f"*{job_id}*")), "the run directory still exists"
        remove(self, job_id)

    monkeypatch.setattr(JobStore, "remove", check_directory_is_gone)
    scheduler.remove(job_id)
    assert scheduler.store.list_jobs() == []


def test_an_unreachable_remote_job_can_be_abandoned(scheduler):
    scheduler.store.add(Job("gone", "running", target="a10g-small", namespace="alice", remote_job_id="123"))
    with pytest.raises(ValueError, match="Hugging Face Jobs needs a Space"):
        scheduler.stop("gone")
    assert "may still run there" in scheduler.kill("gone").status_message
    scheduler.remove("gone")


def test_job_with_more_devices_than_available_fails(scheduler, monkeypatch):
    job_id = submit_job(scheduler, make_tiny_config(device="auto"), devices=64)
    wait_until(lambda: is_finished(scheduler, job_id))
    assert scheduler.store.get(job_id).state == "failed" and "devices" in scheduler.store.get(job_id).status_message


def test_job_process_has_no_app_secrets_and_a_low_priority(tmp_path):
    app_environment = {
        "OMP_NUM_THREADS": "3500m",
        "CPU_CORES": "3500m",
        "OAUTH_CLIENT_SECRET": "s3cret",
        "CTM_ADMIN_TOKEN": "s3cret",
        "GRADIO_SERVER_PORT": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_of_the_app",
    }
    scheduler = JobScheduler(tmp_path / "runs", token="hf_for_jobs", environment=build_environment(**app_environment))
    scheduler.start()
    try:
        job_id = submit_job(scheduler, make_tiny_config(endless=True))
        wait_until(lambda: has_logged_steps(scheduler, job_id))
        members = scheduler.launcher.get_process_group(scheduler.store.get(job_id)).list_members()
        assert len(members) == 2
        for process in members:
            process_env = process.environ()
            assert (
                process_env[JOB_TAG_ENV] == str(scheduler.runs_dir / job_id)
                and process_env["OMP_NUM_THREADS"] in {"1", "2"}
                and process_env["HF_TOKEN"] == "hf_for_jobs"
            )
            assert process_env["HF_HOME"] == app_environment["HF_HOME"]
            assert not {"OAUTH_CLIENT_SECRET", "CTM_ADMIN_TOKEN", "GRADIO_SERVER_PORT"} & process_env.keys()
            assert "hf_for_jobs" not in " ".join(process.cmdline()), "every user of the host can read arguments"
            assert process.nice() >= 10, "the app has a higher priority than jobs"
        scheduler.stop(job_id)
        wait_until(lambda: is_finished(scheduler, job_id))
        assert "hf_" not in scheduler.get_run_dir(job_id).log_file.read_text()
    finally:
        stop_scheduler(scheduler)


@pytest.mark.parametrize("name", ["", "Ä", "../up", "-x", "a b", "x" * 41, "a;b", "A"])
def test_invalid_run_names_are_rejected(scheduler, name):
    with pytest.raises(ValueError, match="small letters, digits and hyphens"):
        submit_job(scheduler, make_tiny_config(), name)
    assert not [path for path in scheduler.runs_dir.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_newest_checkpoint_loads_after_kills_at_random_times(scheduler):
    """Kill a job that saves at every step six times; each time the newest checkpoint loads and the job resumes."""
    config = make_tiny_config(endless=True, save_every=1, save_total_limit=1)
    delays_s = torch.rand(6, generator=torch.Generator().manual_seed(0)).tolist()
    job_id = submit_job(scheduler, config)
    last_step = 0
    for delay_s in delays_s:
        wait_until(
            lambda before=last_step: (steps := scheduler.get_run_dir(job_id).list_steps()) and steps[-1] > before
        )
        time.sleep(delay_s)
        scheduler.kill(job_id)
        wait_until(lambda: is_finished(scheduler, job_id))
        run_dir = scheduler.get_run_dir(job_id)
        step = run_dir.list_steps()[-1]
        assert step > last_step
        load_weights(run_dir.checkpoint_dir(step), load(run_dir.checkpoint_dir(step)).model.config)
        assert run_dir.load_trainer_state(step)["loop"]["step"] == step
        last_step = step
        scheduler.resume(job_id)
