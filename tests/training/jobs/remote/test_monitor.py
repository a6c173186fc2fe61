"""Runs that were sent to Hugging Face Jobs: what becomes of them there is seen here."""

import json

import pytest

from ctm.checkpoint import load
from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.conftest import submit_job, wait_until
from tests.training.jobs.remote_fixtures import (
    ENTRY_PATH,
    FINISHED_OUTCOME,
    OUTBOX_ENTRY,
    REMOTE_TARGET,
    REPO,
    STOPPED_OUTCOME,
    format_event_line,
    format_step_event,
    hub,
    is_running,
    loopback_hub,
    make_remote_config,
    read_logged_steps,
    scheduler,
    start_scheduler,
    submit_remote_job,
    submitted_job,
    wait_for_job,
)
from training.jobs.scheduler import JobScheduler
from training.publishing.outbox import Outbox
from training.publishing.upload_worker import UploadWorker
from training.run_dir import EVENT_PREFIX

__all__ = ["hub", "loopback_hub", "scheduler", "start_scheduler", "submitted_job"]


# --- from beginning to end ---------------------------------------------------------------------------------------


def test_a_run_trains_there_and_its_checkpoint_comes_back(hub, scheduler):
    """Real processes: curves, state and publication arrive through what is printed, and the token nowhere."""
    hub.jobs.run_commands = True
    seen = []
    change = scheduler.store.update
    scheduler.store.update = lambda id, **values: seen.append(values.get("state")) or change(id, **values)
    id = submit_remote_job(scheduler)
    assert scheduler.store.get(id).state == "queued"
    job = wait_for_job(scheduler, id)
    folder = scheduler.get_run_dir(id)
    assert job.state == "succeeded", folder.log_file.read_text()
    assert [state for state in seen if state] == ["running", "succeeded"]
    assert job.sentence == "All 12 steps are done." and job.attempt == 1 and job.remote in job.url
    assert [line["step"] for line in folder.read_metrics() if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert folder.read_status()["phase"] == "finished" and folder.read_outcome()["reason"] == "finished"
    assert "step 12 of 12: loss" in folder.log_file.read_text() and EVENT_PREFIX not in folder.log_file.read_text()
    (entry,) = Outbox(folder.path).entries()
    assert entry.state == "published" and entry.url == f"{hub.url}/{REPO}/commit/{hub.list_commits(REPO)[0].oid}"
    assert id in hub.list_commits(REPO)[0].title, "the run is known by its name there, too"
    made = load(folder.final_checkpoint_dir)
    assert made.metrics["training"]["command"] == "python -m training train tiny.yaml"
    assert (folder.final_checkpoint_dir / "model.safetensors").read_bytes() == hub.read_files(REPO)["model.safetensors"]
    assert_no_token(hub, scheduler)


def assert_no_token(hub, scheduler: JobScheduler) -> None:
    spec = hub.jobs.latest.spec
    assert spec["secrets"] == {"HF_TOKEN": TOKEN}
    assert TOKEN not in json.dumps({name: value for name, value in spec.items() if name != "secrets"})
    files = [path for path in scheduler.runs_dir.rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_run_is_stopped_there(hub, scheduler):
    """It saves and says so; what it saved is gone, and that is said, too."""
    hub.jobs.run_commands = True
    id = submit_job(
        scheduler, make_remote_config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), **REMOTE_TARGET
    )
    wait_until(lambda: scheduler.get_run_dir(id).metrics_file.is_file())
    assert scheduler.stop(id).intent == "stop"
    job = wait_for_job(scheduler, id)
    assert job.state == "cancelled" and job.sentence.startswith("Stopped and saved at step ")
    assert job.sentence.endswith("Nothing was published, so what it had saved is gone with its machine.")
    assert hub.jobs.latest.stage == "CANCELED" and not hub.jobs.latest.process.returncode


def test_the_status_is_waiting_until_the_first_log_line(hub, scheduler):
    id = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, id))
    assert scheduler.store.get(id).sentence == "Sent to Hugging Face Jobs (cpu-basic); waits for a machine there."
    hub.jobs.latest.start()
    hub.jobs.latest.append_log("hello", format_step_event(2))
    wait_until(lambda: not scheduler.store.get(id).sentence)
    assert (
        read_logged_steps(scheduler.get_run_dir(id)) == [2]
        and scheduler.get_run_dir(id).log_file.read_text() == "hello\n"
    )


def test_other_runs_do_not_wait_for_it(hub, scheduler, submitted_job):
    """There and here are two machines."""
    another = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, another))
    assert len(hub.jobs.by_id) == 2 and len(scheduler.store.list_running()) == 2


# --- how it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "message", "ending", "state", "says"),
    [
        ("ERROR", "Job timeout", None, "failed", "The Hub says: Job timeout."),
        (
            "ERROR",
            "Job timeout",
            STOPPED_OUTCOME,
            "failed",
            "The Hub says: Job timeout. Stopped and saved at step 8 of 12.",
        ),
        ("ERROR", "exit code: 1", {"reason": "nan", "sentence": "Lower optim.lr."}, "failed", "Lower optim.lr."),
        ("DELETED", None, None, "failed", "The Hub says: the job is not known there any more."),
        ("CANCELED", None, None, "cancelled", "It was cancelled on the Hub's page."),
        ("COMPLETED", None, STOPPED_OUTCOME, "cancelled", "Stopped and saved at step 8 of 12."),
        ("COMPLETED", None, {"reason": "time", "sentence": "Its time was over."}, "cancelled", "Its time was over."),
        ("COMPLETED", None, None, "failed", "It ended without saying that it had finished."),
    ],
)
def test_an_end_that_was_not_requested_is_reported(scheduler, submitted_job, stage, message, ending, state, says):
    id, there = submitted_job
    there.append_log(format_step_event(2), *([format_event_line("ending.json", ending)] if ending else []))
    there.finish(stage, message)
    job = wait_for_job(scheduler, id)
    assert job.state == state and job.sentence.startswith(says), job.sentence
    assert job.ended and scheduler.get_run_dir(id).log_file.exists() is False


def test_the_outcome_names_what_is_lost_with_the_remote_machine(scheduler, submitted_job):
    id, there = submitted_job
    there.append_log(format_event_line("status.json", {"phase": "training", "step": 8, "steps": 12}))
    there.append_log(
        format_event_line(
            ENTRY_PATH, OUTBOX_ENTRY | {"state": "published", "revision": "0" * 40, "url": "https://hub/commit/0"}
        )
    )
    there.finish("ERROR", "Out of memory")
    assert (
        wait_for_job(scheduler, id).sentence
        == "The Hub says: Out of memory. What it published last: https://hub/commit/0"
    )


def test_a_pending_publication_is_abandoned_with_its_remote_machine(scheduler, submitted_job):
    """The entry is all there is of it here, so nobody tries to send it."""
    id, there = submitted_job
    there.append_log(
        format_event_line(ENTRY_PATH, OUTBOX_ENTRY | {"state": "sending"}),
        format_event_line("ending.json", FINISHED_OUTCOME),
    )
    folder = scheduler.get_run_dir(id)
    wait_until(lambda: Outbox(folder.path).entries())
    courier = UploadWorker(scheduler.runs_dir, scheduler.remote_monitor.hub_store)
    assert Outbox(folder.path).deliver(courier.hub_store) is None
    assert Outbox(folder.path).entries()[0].state == "sending"
    there.finish()
    job = wait_for_job(scheduler, id)
    assert job.state == "succeeded" and job.sentence.endswith("so its checkpoint is gone with the machine.")
    assert Outbox(folder.path).entries()[0].format_status() == "Not published (given up): Its machine is gone."


def test_a_checkpoint_that_cannot_be_brought_here_is_no_failure_of_the_run(hub, scheduler, submitted_job):
    id, there = submitted_job
    there.append_log(
        format_event_line(ENTRY_PATH, OUTBOX_ENTRY | {"state": "published", "revision": "0" * 40}),
        format_event_line("ending.json", FINISHED_OUTCOME),
    )
    there.finish()
    job = wait_for_job(scheduler, id)
    assert job.state == "succeeded" and "is published but could not be brought here: There is no model" in job.sentence
    assert not scheduler.get_run_dir(id).final_checkpoint_dir.exists()


def test_a_run_that_was_stopped_here_is_cancelled(hub, scheduler, submitted_job):
    id, there = submitted_job
    there.append_log(format_step_event(2), format_step_event(4))
    wait_until(lambda: read_logged_steps(scheduler.get_run_dir(id)) == [2, 4])
    scheduler.stop(id)
    assert wait_for_job(scheduler, id).state == "cancelled" and there.is_cancelled
    with pytest.raises(ValueError, match="is over already: cancelled"):
        scheduler.kill(id)


def test_a_stop_that_the_hub_does_not_hear_changes_nothing(hub, scheduler, submitted_job):
    """It can be asked for again; until then the run goes on, and ends as it ends."""
    id, there = submitted_job
    deaf = hub.add_fault("drop", "/cancel|/api/jobs/alice/[0-9a-f]+$", max_count=None)
    with pytest.raises(ValueError, match="cannot be reached"):
        scheduler.stop(id)
    deaf.disable()
    assert is_running(scheduler, id) and not scheduler.store.get(id).intent
    scheduler.stop(id)
    assert wait_for_job(scheduler, id).state == "cancelled" and there.is_cancelled


def test_a_job_that_is_not_there_any_more_has_failed(hub, scheduler, submitted_job):
    id, there = submitted_job
    there.append_log(format_step_event(2))
    wait_until(lambda: scheduler.get_run_dir(id).metrics_file.exists())
    del hub.jobs.by_id[there.job_id]
    there.end_connections()
    job = wait_for_job(scheduler, id)
    assert job.state == "failed" and f"alice has no job {there.job_id}" in job.sentence
    assert read_logged_steps(scheduler.get_run_dir(id)) == [2], "what it said is kept"


def test_it_cannot_be_gone_on_with(scheduler, submitted_job):
    id, there = submitted_job
    there.finish("ERROR", "Job timeout")
    wait_for_job(scheduler, id)
    with pytest.raises(
        ValueError, match=r"was on a machine that is gone\. Begin a new one; init_from takes the weights"
    ):
        scheduler.resume(id)
