"""Jobs whose app ends: they are saved or go on, and the next app finds them again."""

import signal
import subprocess
import sys
import threading

import pytest

from tests.paths import ROOT
from tests.training.jobs.conftest import end, environment, over, submit, tiny, trains, until
from training.jobs.process_group import ProcessGroup
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job
from training.run_dir import RunFolder
from training.trainer import train


def let_go(runner: JobScheduler) -> None:
    """Take note of the end of processes whose runner is gone, as the system would."""
    for child in runner._children.values():
        threading.Thread(target=child.wait, daemon=True).start()


def end_without_jobs(runner: JobScheduler) -> None:
    """As if the app were killed: its jobs go on."""
    let_go(runner)
    runner._stop_event.set()
    runner._thread.join()
    runner._lease._lock_stack.close()
    runner.is_leader = False


def test_an_app_that_is_killed_finds_its_job_again(tmp_path):
    """SIGKILL the app while its job trains, again just after it began one; the next app stops the job as its own."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", APP, str(runs)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as app:
        id = app.stdout.readline().strip()  # type: ignore[union-attr]
        until(lambda: (runs / id / "metrics.jsonl").is_file())
        app.kill()
    runner = JobScheduler(runs, environment=environment())
    runner.start()
    try:
        job = runner.store.get(id)
        assert job.state == "running" and runner._get_process_group(job).list_members(), "it was found alive"
        runner.stop(id)
        until(lambda: over(runner, id))
        job = runner.store.get(id)
        assert (job.state, job.exit_code) == ("cancelled", 0), (
            "the exit code is known though another app had started it"
        )
        assert RunFolder(runs / id).steps()
    finally:
        end(runner)


APP = """
import sys, time
from pathlib import Path
from tests.training.jobs.conftest import environment, submit, tiny
from training.jobs.runner import Runner
runner = Runner(Path(sys.argv[1]), environment=environment())
runner.start()
print(submit(runner, tiny(endless=True)), flush=True)
time.sleep(600)
"""


def test_a_job_whose_number_was_not_written_down_is_found_by_its_mark(runner):
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    pid = runner.store.get(id).pid
    end_without_jobs(runner)
    runner.store.update(id, pid=0)
    other = JobScheduler(runner.runs_dir, environment=environment())
    other.start()
    try:
        assert other.store.get(id).pid == pid and other.store.get(id).state == "running"
    finally:
        end(other)


def test_a_job_that_died_with_its_app_is_interrupted_and_goes_on(runner):
    id = submit(runner, tiny(endless=True, save_every=5))
    until(lambda: runner.get_run_dir(id).steps())
    group = runner._get_process_group(runner.store.get(id))
    end_without_jobs(runner)
    group.send_signal(signal.SIGKILL)
    until(lambda: not group.list_members())
    other = JobScheduler(runner.runs_dir, environment=environment(), resume_interrupted=True)
    other.start()
    try:
        until(lambda: trains(other, id) and other.store.get(id).state == "running")
        job = other.store.get(id)
        assert job.attempt == 2 and job.from_step >= 5
    finally:
        end(other)


def test_a_number_that_was_given_to_somebody_else_is_not_taken_for_a_job(runner):
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    group = runner._get_process_group(runner.store.get(id))
    end_without_jobs(runner)
    group.send_signal(signal.SIGKILL)
    until(lambda: not group.list_members())
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        runner.store.update(id, pid=stranger.pid)
        other = JobScheduler(runner.runs_dir, environment=environment())
        other.start()
        try:
            job = other.store.get(id)
            assert job.state == "interrupted" and "was restarted while it ran" in job.sentence
            assert stranger.poll() is None
        finally:
            end(other)
            stranger.kill()


def test_the_end_of_the_app_saves_its_job(runner):
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    runner.close(timeout_s=60.0)
    job = runner.store.get(id)
    assert job.state == "interrupted" and job.sentence.startswith("The app ended. Stopped and saved at step")
    assert RunFolder(runner.runs_dir / id).steps()


def test_a_second_app_on_the_same_folder_only_reads_until_the_first_has_ended(runner, monkeypatch):
    monkeypatch.setattr("training.jobs.scheduler.LEASE_RETRY_INTERVAL_S", 0.1)
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    other = JobScheduler(runner.runs_dir, environment=environment())
    other.start()
    try:
        assert not other.is_leader and other.store.get(id).id == id
        for ask in (other.stop, other.kill, other.resume, other.remove):
            with pytest.raises(ValueError, match="Another app looks after"):
                ask(id)
        end_without_jobs(runner)
        until(lambda: other.is_leader, 10)
        other.stop(id)
        until(lambda: over(other, id))
        assert other.store.get(id).state == "cancelled"
    finally:
        end(other)


def test_a_job_that_still_saves_when_the_next_app_begins_goes_on_by_itself(runner):
    """The usual quick restart: the app ended, its job is told to save and is not done yet."""
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    runner.close(timeout_s=0.0)
    let_go(runner)
    assert runner.store.get(id).state == "running" and runner.store.get(id).intent == "leave"
    other = JobScheduler(runner.runs_dir, environment=environment(), resume_interrupted=True)
    other.start()
    try:
        until(lambda: other.store.get(id).attempt == 2 and other.store.get(id).state == "running")
    finally:
        end(other)


def test_the_end_of_the_app_leaves_a_stopping_job_to_its_save(runner, monkeypatch):
    signals = []
    id = submit(runner, tiny(endless=True))
    until(lambda: trains(runner, id))
    monkeypatch.setattr(ProcessGroup, "send_signal", lambda self, number: signals.append(number))
    runner.stop(id)
    runner.close(timeout_s=0.0)
    assert signals == [signal.SIGTERM]
    let_go(runner)
    monkeypatch.undo()
    other = JobScheduler(runner.runs_dir, environment=environment())
    other.start()
    end(other)


def test_runs_of_the_command_line_are_entered(tmp_path):
    runs = tmp_path / "runs"
    train(tiny(), RunFolder(runs / "by-hand"))
    runner = JobScheduler(runs, environment=environment())
    runner.start()
    try:
        job = runner.store.get("by-hand")
        assert job.state == "interrupted" and "before its last step" in job.sentence
        runner.resume("by-hand")  # only its end is missing
        until(lambda: over(runner, "by-hand"))
        assert runner.store.get("by-hand").state == "succeeded"
    finally:
        end(runner)


def test_a_broken_book_is_begun_anew_from_the_folders(runner):
    id = submit(runner, tiny())
    until(lambda: over(runner, id))
    end(runner)
    (runner.runs_dir / "jobs.sqlite").write_bytes(b"not a database " * 300)
    other = JobScheduler(runner.runs_dir, environment=environment())
    other.start()
    try:
        assert other.store.get(id).state == "succeeded"
    finally:
        end(other)


def test_what_was_interrupted_goes_on_before_what_waits(tmp_path):
    runner = JobScheduler(tmp_path, resume_interrupted=True)
    for id, state, queued in (("later", "queued", 2.0), ("begun", "interrupted", 1.0)):
        RunFolder(tmp_path / id).begin(tiny())
        runner.store.add(Job(id, state, queued=queued, attempt=1))
    runner._recover()
    assert [job.id for job in runner.store.list_queued()] == ["begun", "later"]
