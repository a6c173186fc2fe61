"""Jobs whose app ends: they are saved or go on, and the next app finds them again."""

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
from training.jobs.process_group import ProcessGroup
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job
from training.run_dir import RunDir
from training.trainer import train


def reap_processes(scheduler: JobScheduler) -> None:
    """Take note of the end of processes whose runner is gone, as the system would."""
    for child in scheduler._children.values():
        threading.Thread(target=child.wait, daemon=True).start()


def stop_scheduler_only(scheduler: JobScheduler) -> None:
    """As if the app were killed: its jobs go on."""
    reap_processes(scheduler)
    scheduler._stop_event.set()
    scheduler._thread.join()
    scheduler._lease._lock_stack.close()
    scheduler.is_leader = False


def test_an_app_that_is_killed_finds_its_job_again(tmp_path):
    """SIGKILL the app while its job trains, again just after it began one; the next app stops the job as its own."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", APP_PROGRAM, str(runs)]
    with subprocess.Popen(command, cwd=ROOT, env=build_environment(), stdout=subprocess.PIPE, text=True) as app:
        id = app.stdout.readline().strip()  # type: ignore[union-attr]
        wait_until(lambda: (runs / id / "metrics.jsonl").is_file())
        app.kill()
    runner = JobScheduler(runs, environment=build_environment())
    runner.start()
    try:
        job = runner.store.get(id)
        assert job.state == "running" and runner._get_process_group(job).list_members(), "it was found alive"
        runner.stop(id)
        wait_until(lambda: is_finished(runner, id))
        job = runner.store.get(id)
        assert (job.state, job.exit_code) == ("cancelled", 0), (
            "the exit code is known though another app had started it"
        )
        assert RunDir(runs / id).list_steps()
    finally:
        stop_scheduler(runner)


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


def test_a_job_whose_number_was_not_written_down_is_found_by_its_mark(scheduler):
    id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, id))
    pid = scheduler.store.get(id).pid
    stop_scheduler_only(scheduler)
    scheduler.store.update(id, pid=0)
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    try:
        assert other.store.get(id).pid == pid and other.store.get(id).state == "running"
    finally:
        stop_scheduler(other)


def test_a_job_that_died_with_its_app_is_interrupted_and_goes_on(scheduler):
    id = submit_job(scheduler, make_tiny_config(endless=True, save_every=5))
    wait_until(lambda: scheduler.get_run_dir(id).list_steps())
    group = scheduler._get_process_group(scheduler.store.get(id))
    stop_scheduler_only(scheduler)
    group.send_signal(signal.SIGKILL)
    wait_until(lambda: not group.list_members())
    other = JobScheduler(scheduler.runs_dir, environment=build_environment(), resume_interrupted=True)
    other.start()
    try:
        wait_until(lambda: has_logged_steps(other, id) and other.store.get(id).state == "running")
        job = other.store.get(id)
        assert job.attempt == 2 and job.from_step >= 5
    finally:
        stop_scheduler(other)


def test_a_reused_process_id_is_not_confused_with_a_job(scheduler):
    id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, id))
    group = scheduler._get_process_group(scheduler.store.get(id))
    stop_scheduler_only(scheduler)
    group.send_signal(signal.SIGKILL)
    wait_until(lambda: not group.list_members())
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        scheduler.store.update(id, pid=stranger.pid)
        other = JobScheduler(scheduler.runs_dir, environment=build_environment())
        other.start()
        try:
            job = other.store.get(id)
            assert job.state == "interrupted" and "was restarted while it ran" in job.sentence
            assert stranger.poll() is None
        finally:
            stop_scheduler(other)
            stranger.kill()


def test_the_end_of_the_app_saves_its_job(scheduler):
    id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, id))
    scheduler.close(timeout_s=60.0)
    job = scheduler.store.get(id)
    assert job.state == "interrupted" and job.sentence.startswith("The app ended. Stopped and saved at step")
    assert RunDir(scheduler.runs_dir / id).list_steps()


def test_a_second_app_on_the_same_runs_only_reads_until_the_first_has_ended(scheduler, monkeypatch):
    monkeypatch.setattr("training.jobs.scheduler.LEASE_RETRY_INTERVAL_S", 0.1)
    id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, id))
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    try:
        assert not other.is_leader and other.store.get(id).id == id
        for ask in (other.stop, other.kill, other.resume, other.remove):
            with pytest.raises(ValueError, match="Another app looks after"):
                ask(id)
        stop_scheduler_only(scheduler)
        wait_until(lambda: other.is_leader, 10)
        other.stop(id)
        wait_until(lambda: is_finished(other, id))
        assert other.store.get(id).state == "cancelled"
    finally:
        stop_scheduler(other)


def test_a_job_that_still_saves_when_the_next_app_begins_goes_on_by_itself(scheduler):
    """The usual quick restart: the app ended, its job is told to save and is not done yet."""
    id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, id))
    scheduler.close(timeout_s=0.0)
    reap_processes(scheduler)
    assert scheduler.store.get(id).state == "running" and scheduler.store.get(id).intent == "leave"
    other = JobScheduler(scheduler.runs_dir, environment=build_environment(), resume_interrupted=True)
    other.start()
    try:
        wait_until(lambda: other.store.get(id).attempt == 2 and other.store.get(id).state == "running")
    finally:
        stop_scheduler(other)


def test_the_end_of_the_app_lets_a_stopping_job_save(scheduler, monkeypatch):
    signals = []
    id = submit_job(scheduler, make_tiny_config(endless=True))
    wait_until(lambda: has_logged_steps(scheduler, id))
    monkeypatch.setattr(ProcessGroup, "send_signal", lambda self, number: signals.append(number))
    scheduler.stop(id)
    scheduler.close(timeout_s=0.0)
    assert signals == [signal.SIGTERM]
    reap_processes(scheduler)
    monkeypatch.undo()
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    stop_scheduler(other)


def test_runs_of_the_command_line_are_entered(tmp_path):
    runs = tmp_path / "runs"
    train(make_tiny_config(), RunDir(runs / "by-hand"))
    runner = JobScheduler(runs, environment=build_environment())
    runner.start()
    try:
        job = runner.store.get("by-hand")
        assert job.state == "interrupted" and "before its last step" in job.sentence
        runner.resume("by-hand")  # only its end is missing
        wait_until(lambda: is_finished(runner, "by-hand"))
        assert runner.store.get("by-hand").state == "succeeded"
    finally:
        stop_scheduler(runner)


def test_a_broken_job_store_is_rebuilt_from_the_run_directories(scheduler):
    id = submit_job(scheduler, make_tiny_config())
    wait_until(lambda: is_finished(scheduler, id))
    stop_scheduler(scheduler)
    (scheduler.runs_dir / "jobs.sqlite").write_bytes(b"not a database " * 300)
    other = JobScheduler(scheduler.runs_dir, environment=build_environment())
    other.start()
    try:
        assert other.store.get(id).state == "succeeded"
    finally:
        stop_scheduler(other)


def test_what_was_interrupted_goes_on_before_what_waits(tmp_path):
    runner = JobScheduler(tmp_path, resume_interrupted=True)
    for id, state, queued in (("later", "queued", 2.0), ("begun", "interrupted", 1.0)):
        RunDir(tmp_path / id).initialize(make_tiny_config())
        runner.store.add(Job(id, state, queued=queued, attempt=1))
    runner._recover()
    assert [job.id for job in runner.store.list_queued()] == ["begun", "later"]
