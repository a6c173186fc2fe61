"""Tests of jobs whose app ends: they save or continue, and the next app manages them."""

import signal
import subprocess
import sys
import threading

import pytest

from tests.paths import ROOT
from tests.training.jobs.conftest import (
    build_environment,
    has_logged_steps,
    is_finished,
    make_tiny_config,
    stop_scheduler,
    submit_job,
    wait_until,
)
from training.jobs.job import Job
from training.jobs.process_group import ProcessGroup
from training.jobs.scheduler import JobScheduler
from training.run_dir import RunDir
from training.training_loop import train


def reap_processes(scheduler: JobScheduler) -> None:
    """Reap the child processes of a stopped scheduler, as the init process would."""
    for child in scheduler.launcher._children.values():
        threading.Thread(target=child.wait, daemon=True).start()


def stop_scheduler_only(scheduler: JobScheduler) -> None:
    """Stop a scheduler as if its app were killed: its jobs continue."""
    reap_processes(scheduler)
    scheduler._stop_event.set()
    scheduler._thread.join()
    scheduler._lease._lock_stack.close()
    scheduler.is_leader = False


def test_job_of_a_killed_app_is_taken_over(tmp_path):
    """Kill the app while its job trains; the next app takes the job over and stops it."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", APP_PROGRAM, str(runs)]
    with subprocess.Popen(command, cwd=ROOT, env=build_environment(), stdout=subprocess.PIPE, text=True) as app:
        job_id = app.stdout.readline().strip()  # type: ignore[union-attr]
        wait_until(lambda: (runs / job_id / "metrics.jsonl").is_file())
        app.kill()
    scheduler = JobScheduler(runs, environment=build_environment())
    scheduler.start()
    try:
        job = scheduler.store.get(job_id)
        assert job.state == "running" and scheduler.launcher.get_process_group(job).list_members(), "the job is alive"
        scheduler.stop(job_id)
        wait_until(lambda: is_finished(scheduler, job_id))
        job = scheduler.store.get(job_id)
        assert (job.state, job.exit_code) == ("cancelled", 0), (
            "the exit code is known although another app started the job"
        )
        assert RunDir(runs / job_id).list_steps()
    finally:
        stop_scheduler(scheduler)


APP_PROGRAM = """
import sys, time
from pathlib import Path
from tests.training.jobs.conftest import build_environment, make_tiny_config, submit_job
from training.jobs.scheduler import JobScheduler
scheduler = JobScheduler(Path(sys.argv[1]), environment=build_environment())
scheduler.start()
print(submit_job(scheduler, make_tiny_config(endless=True)), flush=True)
time.sleep(600)
"""


def test_job_without_a_recorded_process_id_is_found_by_its_tag(scheduler):
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    pid = scheduler.store.get(job_id).pid
    stop_scheduler_only(scheduler)
    scheduler.store.update(job_id, pid=0)
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    try:
        assert other.store.get(job_id).pid == pid and other.store.get(job_id).state == "running"
    finally:
        stop_scheduler(other)


def test_job_that_died_with_its_app_is_interrupted_and_resumed(scheduler):
    job_id = submit_job(scheduler, make_tiny_config(endless=True, save_every=5))
    wait_until(lambda: scheduler.get_run_dir(job_id).list_steps())
    group = scheduler.launcher.get_process_group(scheduler.store.get(job_id))
    stop_scheduler_only(scheduler)
    group.send_signal(signal.SIGKILL)
    wait_until(lambda: not group.list_members())
    other = JobScheduler(scheduler.runs_dir, environment=build_environment(), resume_interrupted=True)
    other.start()
    try:
        wait_until(lambda: has_logged_steps(other, job_id) and other.store.get(job_id).state == "running")
        job = other.store.get(job_id)
        assert job.attempt == 2 and job.resumed_from_step >= 5
    finally:
        stop_scheduler(other)


def test_unrelated_process_with_the_id_of_a_job_is_ignored(scheduler):
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    group = scheduler.launcher.get_process_group(scheduler.store.get(job_id))
    stop_scheduler_only(scheduler)
    group.send_signal(signal.SIGKILL)
    wait_until(lambda: not group.list_members())
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as unrelated_process:
        scheduler.store.update(job_id, pid=unrelated_process.pid)
        other = JobScheduler(scheduler.runs_dir, environment=build_environment())
        other.start()
        try:
            job = other.store.get(job_id)
            assert job.state == "interrupted" and "was restarted while it ran" in job.status_message
            assert unrelated_process.poll() is None
        finally:
            stop_scheduler(other)
            unrelated_process.kill()


def test_closing_the_scheduler_saves_its_job(scheduler):
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    scheduler.close(timeout_s=60.0)
    job = scheduler.store.get(job_id)
    assert job.state == "interrupted" and job.status_message.startswith("The app ended. Stopped and saved at step")
    assert RunDir(scheduler.runs_dir / job_id).list_steps()


def test_second_app_is_read_only_until_the_first_app_has_ended(scheduler, monkeypatch):
    monkeypatch.setattr("training.jobs.scheduler.LEASE_RETRY_INTERVAL_S", 0.1)
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    try:
        assert not other.is_leader and other.store.get(job_id).id == job_id
        for method in (other.stop, other.kill, other.resume, other.remove):
            with pytest.raises(ValueError, match="Another app looks after"):
                method(job_id)
        stop_scheduler_only(scheduler)
        wait_until(lambda: other.is_leader, 10)
        other.stop(job_id)
        wait_until(lambda: is_finished(other, job_id))
        assert other.store.get(job_id).state == "cancelled"
    finally:
        stop_scheduler(other)


def test_job_that_still_saves_when_the_next_app_starts_is_resumed(scheduler):
    """The previous app requested a save and was restarted before the job had saved."""
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    scheduler.close(timeout_s=0.0)
    reap_processes(scheduler)
    assert scheduler.store.get(job_id).state == "running" and scheduler.store.get(job_id).requested_action == "suspend"
    other = JobScheduler(scheduler.runs_dir, environment=build_environment(), resume_interrupted=True)
    other.start()
    try:
        wait_until(lambda: other.store.get(job_id).attempt == 2 and other.store.get(job_id).state == "running")
    finally:
        stop_scheduler(other)


def test_closing_the_scheduler_does_not_signal_a_stopping_job_again(scheduler, monkeypatch):
    signals = []
    job_id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, job_id))
    monkeypatch.setattr(ProcessGroup, "send_signal", lambda self, number: signals.append(number))
    scheduler.stop(job_id)
    scheduler.close(timeout_s=0.0)
    assert signals == [signal.SIGTERM]
    reap_processes(scheduler)
    monkeypatch.undo()
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    stop_scheduler(other)


def test_runs_started_on_the_command_line_are_discovered(tmp_path):
    runs = tmp_path / "runs"
    train(make_tiny_config(), RunDir(runs / "by-hand"))
    scheduler = JobScheduler(runs, environment=build_environment())
    scheduler.start()
    try:
        job = scheduler.store.get("by-hand")
        assert job.state == "interrupted" and "before its last step" in job.status_message
        scheduler.resume("by-hand")  # only the final evaluation is missing
        wait_until(lambda: is_finished(scheduler, "by-hand"))
        assert scheduler.store.get("by-hand").state == "succeeded"
    finally:
        stop_scheduler(scheduler)


def test_damaged_job_store_is_rebuilt_from_the_run_directories(scheduler):
    job_id = submit_job(scheduler, make_tiny_config())
    wait_until(lambda: is_finished(scheduler, job_id))
    stop_scheduler(scheduler)
    (scheduler.runs_dir / "jobs.json").write_bytes(b"not a database " * 300)
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    try:
        assert other.store.get(job_id).state == "succeeded"
    finally:
        stop_scheduler(other)


def test_interrupted_jobs_precede_queued_jobs(tmp_path):
    scheduler = JobScheduler(tmp_path, resume_interrupted=True)
    for job_id, state, queued in (("later", "queued", 2.0), ("begun", "interrupted", 1.0)):
        RunDir(tmp_path / job_id).initialize(make_tiny_config())
        scheduler.store.add(Job(job_id, state, queued_at=queued, attempt=1))
    scheduler._recover()
    assert [job.id for job in scheduler.store.list_queued()] == ["begun", "later"]
