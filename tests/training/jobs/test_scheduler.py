"""Jobs: begun, watched, stopped, killed, gone on with."""

import signal
import sys
import time

import pytest
import torch

from ctm.checkpoint import load, load_weights
from tests.training.jobs.conftest import end, environment, over, submit, tiny, trains, until
from tests.training.test_trainer import figures, weights
from training.jobs.process_group import JOB_TAG_ENV
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job, JobStore
from training.run_dir import RunFolder
from training.trainer import train


def test_a_job_runs_to_its_checkpoint(runner):
    id = submit(runner, tiny())
    until(lambda: over(runner, id))
    job, folder = runner.store.get(id), runner.get_run_dir(id)
    assert (job.state, job.exit_code, job.attempt) == ("succeeded", 0, 1), folder.log_file.read_text()
    assert job.sentence == "All 12 steps are done."
    assert load(folder.finished).metrics["training"]["command"] == "python -m training train tiny.yaml"
    assert "step 12 of 12: loss" in folder.log_file.read_text()
    assert folder.status()["phase"] == "finished"


def test_stopped_and_gone_on_with_equals_uninterrupted(runner, tmp_path):
    config = tiny(steps=150, save_every=150, eval_every=50)
    straight = RunFolder(tmp_path / "straight")
    assert train(config, straight)
    id = submit(runner, config)
    until(lambda: trains(runner, id))
    runner.stop(id)
    until(lambda: over(runner, id))
    job = runner.store.get(id)
    assert job.state == "cancelled" and "Stopped and saved at step" in job.sentence
    stopped_at = runner.get_run_dir(id).steps()[-1]
    assert 0 < stopped_at < 150
    assert runner.resume(id).sentence == f"Goes on from step {stopped_at:,}."
    until(lambda: over(runner, id))
    assert runner.store.get(id).state == "succeeded" and runner.store.get(id).attempt == 2
    ours, theirs = weights(runner.get_run_dir(id), 150), weights(straight, 150)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert figures(runner.get_run_dir(id)) == figures(straight)


def test_two_starts_at_once_run_one_after_the_other(runner):
    first, second = submit(runner, tiny(endless=True)), submit(runner, tiny())
    assert first != second
    until(lambda: trains(runner, first))
    assert [job.id for job in runner.store.list_running()] == [first]
    assert runner.store.get(second).state == "queued"
    runner.kill(first)
    until(lambda: over(runner, second))
    assert runner.store.get(first).state == "cancelled" and runner.store.get(first).sentence.startswith("Killed.")
    assert runner.store.get(second).state == "succeeded"
    assert runner.store.get(second).started >= runner.store.get(first).ended


def test_one_that_waits_leaves_the_line(runner):
    first, second = submit(runner, tiny(endless=True)), submit(runner, tiny())
    runner.stop(second)
    assert runner.store.get(second).state == "cancelled"
    with pytest.raises(ValueError, match="over already: cancelled"):
        runner.stop(second)
    with pytest.raises(ValueError, match=r"(queued|running): stop it first"):
        runner.remove(first)
    runner.remove(second)
    assert not (runner.runs_dir / second).exists()
    with pytest.raises(ValueError, match="no run called"):
        runner.store.get(second)


def test_one_that_does_not_stop_is_killed_with_all_its_processes(runner, monkeypatch):
    """The training ignores SIGTERM and has a child of its own; nothing is left of either."""
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)']);"
        "print('ready', flush=True); time.sleep(600)"
    )
    monkeypatch.setattr("training.jobs.scheduler.training_command", lambda *_: [sys.executable, "-c", stubborn])
    runner.patience = 1.0
    id = submit(runner, tiny())
    until(lambda: (log := runner.runs_dir / id / "log.txt").is_file() and "ready" in log.read_text())
    job = runner.store.get(id)
    group = runner._get_process_group(job)
    assert len(group.list_members()) == 3  # shepherd, training, its child
    runner.stop(id)
    until(lambda: over(runner, id), 20)
    assert runner.store.get(id).sentence == "It did not stop in time and was killed. No step had been saved."
    assert not group.list_members()


def test_killed_by_the_system_is_not_a_restart_of_the_app(runner):
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    runner._get_process_group(runner.store.get(id)).send_signal(signal.SIGKILL)
    until(lambda: over(runner, id))
    job = runner.store.get(id)
    assert (job.state, job.exit_code) == ("failed", -9) and "for want of memory" in job.sentence


def test_two_folders_may_have_runs_of_one_name(tmp_path):
    runners = [JobScheduler(tmp_path / name, environment=environment()) for name in ("a", "b")]
    try:
        for one in runners:
            one.start()
            submit(one, tiny(endless=True))
        ids = [one.store.list_jobs()[0].id for one in runners]
        until(lambda: all(trains(one, id) for one, id in zip(runners, ids, strict=True)))
        runners[0].kill(ids[0])
        until(lambda: over(runners[0], ids[0]))
        time.sleep(1.0)
        assert runners[1].store.get(ids[1]).state == "running"
    finally:
        for one in runners:
            end(one)


def test_a_full_disk_does_not_keep_a_job_going(runner, monkeypatch):
    """The book cannot be written: a job is stopped all the same, and how it ended is written once there is room."""
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))

    def full(self, *_, **__):
        raise ValueError("The book of jobs cannot be used just now: database or disk is full.")

    monkeypatch.setattr(JobStore, "update", full)
    assert runner.stop(id).intent == "stop"
    until(lambda: RunFolder(runner.runs_dir / id).ending().get("reason") == "stopped")
    assert runner.store.get(id).state == "running", "nothing could be written"
    monkeypatch.undo()
    until(lambda: over(runner, id))
    assert runner.store.get(id).state == "cancelled"


def test_room_is_made_before_a_deletion_is_written_down(runner, monkeypatch):
    id = submit(runner, tiny())
    until(lambda: over(runner, id))
    remove = JobStore.remove

    def needs_room(self, id):
        assert not list(runner.runs_dir.glob(f"*{id}*")), "what was deleted still takes its room"
        remove(self, id)

    monkeypatch.setattr(JobStore, "remove", needs_room)
    runner.remove(id)
    assert runner.store.list_jobs() == []


def test_a_job_elsewhere_that_cannot_be_reached_any_more_can_be_given_up(runner):
    runner.store.add(Job("gone", "running", place="a10g-small", namespace="alice", remote="123"))
    with pytest.raises(ValueError, match="Hugging Face Jobs needs a Space"):
        runner.stop("gone")
    assert "may still run there" in runner.kill("gone").sentence
    runner.remove("gone")


def test_a_job_with_more_devices_than_there_are_says_so(runner, monkeypatch):
    id = submit(runner, tiny(device="auto"), devices=64)
    until(lambda: over(runner, id))
    assert runner.store.get(id).state == "failed" and "devices" in runner.store.get(id).sentence


def test_a_job_sees_a_clean_environment(tmp_path):
    nonsense = {
        "OMP_NUM_THREADS": "3500m",
        "CPU_CORES": "3500m",
        "OAUTH_CLIENT_SECRET": "s3cret",
        "CTM_ADMIN_TOKEN": "s3cret",
        "GRADIO_SERVER_PORT": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_of_the_app",
    }
    runner = JobScheduler(tmp_path / "runs", token="hf_for_jobs", environment=environment(**nonsense))
    runner.start()
    try:
        id = submit(runner, tiny(endless=True))
        until(lambda: trains(runner, id))
        members = runner._get_process_group(runner.store.get(id)).list_members()
        assert len(members) == 2
        for process in members:
            seen = process.environ()
            assert (
                seen[JOB_TAG_ENV] == str(runner.runs_dir / id)
                and seen["OMP_NUM_THREADS"] in {"1", "2"}
                and seen["HF_TOKEN"] == "hf_for_jobs"
            )
            assert seen["HF_HOME"] == nonsense["HF_HOME"]
            assert not {"OAUTH_CLIENT_SECRET", "CTM_ADMIN_TOKEN", "GRADIO_SERVER_PORT"} & seen.keys()
            assert "hf_for_jobs" not in " ".join(process.cmdline()), "anybody may read arguments"
            assert process.nice() >= 10, "the page goes first"
        runner.stop(id)
        until(lambda: over(runner, id))
        assert "hf_" not in runner.get_run_dir(id).log_file.read_text()
    finally:
        end(runner)


@pytest.mark.parametrize("name", ["", "Ä", "../up", "-x", "a b", "x" * 41, "a;b", "A"])
def test_odd_names_are_refused(runner, name):
    with pytest.raises(ValueError, match="small letters, digits and hyphens"):
        submit(runner, tiny(), name)
    assert not [path for path in runner.runs_dir.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_killed_at_any_moment_of_saving_the_last_checkpoint_loads(runner):
    """SIGKILL at ten random moments while it saves at every step; each time what is there loads, and it goes on."""
    config = tiny(endless=True, save_every=1, keep=1)
    moments = torch.rand(10, generator=torch.Generator().manual_seed(0)).tolist()
    id = submit(runner, config)
    reached = 0
    for moment in moments:
        until(lambda before=reached: (steps := runner.get_run_dir(id).steps()) and steps[-1] > before)
        time.sleep(moment)
        runner.kill(id)
        until(lambda: over(runner, id))
        folder = runner.get_run_dir(id)
        step = folder.steps()[-1]
        assert step > reached
        load_weights(folder.checkpoint(step), load(folder.checkpoint(step)).model.config)
        assert folder.progress(step)["loop"]["step"] == step
        reached = step
        runner.resume(id)
