"""Tests of the monitor of remote jobs: mirrored status, outcomes, cancellation and download of the checkpoint."""

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
from training.event_stream import EVENT_PREFIX
from training.jobs.scheduler import JobScheduler
from training.publishing.outbox import Outbox
from training.publishing.upload_worker import UploadWorker, list_run_outboxes

__all__ = ["hub", "loopback_hub", "scheduler", "start_scheduler", "submitted_job"]


# --- complete runs -----------------------------------------------------------------------------------------------


def test_remote_run_trains_and_its_checkpoint_is_downloaded(hub, scheduler):
    """Curves, status and publication arrive through the event stream of a real process; the token does not."""
    hub.jobs.run_commands = True
    states = []
    update = scheduler.store.update
    scheduler.store.update = lambda job_id, **values: states.append(values.get("state")) or update(job_id, **values)
    job_id = submit_remote_job(scheduler)
    assert scheduler.store.get(job_id).state == "queued"
    job = wait_for_job(scheduler, job_id)
    run_dir = scheduler.get_run_dir(job_id)
    assert job.state == "succeeded", run_dir.log_file.read_text()
    assert [state for state in states if state] == ["running", "succeeded"]
    assert job.status_message == "All 12 steps are done." and job.attempt == 1 and job.remote_job_id in job.url
    assert [line["step"] for line in run_dir.read_metrics() if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert run_dir.read_status()["phase"] == "finished" and run_dir.read_outcome()["reason"] == "finished"
    assert "step 12 of 12: loss" in run_dir.log_file.read_text() and EVENT_PREFIX not in run_dir.log_file.read_text()
    (entry,) = Outbox(run_dir.path).entries()
    assert entry.state == "published" and entry.url == f"{hub.url}/{REPO}/commit/{hub.list_commits(REPO)[0].oid}"
    assert job_id in hub.list_commits(REPO)[0].title, "the commit names the run"
    checkpoint = load(run_dir.final_checkpoint_dir)
    assert checkpoint.metrics["training"]["command"] == "python -m training train tiny.yaml"
    assert (run_dir.final_checkpoint_dir / "model.safetensors").read_bytes() == hub.read_files(REPO)[
        "model.safetensors"
    ]
    assert_no_token(hub, scheduler)


def assert_no_token(hub, scheduler: JobScheduler) -> None:
    spec = hub.jobs.latest.spec
    assert spec["secrets"] == {"HF_TOKEN": TOKEN}
    assert TOKEN not in json.dumps({name: value for name, value in spec.items() if name != "secrets"})
    files = [path for path in scheduler.runs_dir.rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow
def test_remote_run_saves_when_it_is_stopped(hub, scheduler):
    """The run saves a step; the status message says that the saved files are lost."""
    hub.jobs.run_commands = True
    job_id = submit_job(
        scheduler, make_remote_config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), **REMOTE_TARGET
    )
    wait_until(lambda: scheduler.get_run_dir(job_id).metrics_file.is_file())
    assert scheduler.stop(job_id).requested_action == "stop"
    job = wait_for_job(scheduler, job_id)
    assert job.state == "cancelled" and job.status_message.startswith("Stopped and saved at step ")
    assert job.status_message.endswith("Nothing was published, so what it had saved is gone with its machine.")
    assert hub.jobs.latest.stage == "CANCELED" and not hub.jobs.latest.process.returncode


def test_status_is_waiting_until_the_first_log_line(hub, scheduler):
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, job_id))
    assert (
        scheduler.store.get(job_id).status_message
        == "Sent to Hugging Face Jobs (cpu-basic); waits for a machine there."
    )
    hub.jobs.latest.start()
    hub.jobs.latest.append_log("hello", format_step_event(2))
    wait_until(lambda: not scheduler.store.get(job_id).status_message)
    assert (
        read_logged_steps(scheduler.get_run_dir(job_id)) == [2]
        and scheduler.get_run_dir(job_id).log_file.read_text() == "hello\n"
    )


def test_other_runs_do_not_wait_for_a_remote_run(hub, scheduler, submitted_job):
    """A remote job does not occupy this host."""
    other_job_id = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, other_job_id))
    assert len(hub.jobs.by_id) == 2 and len(scheduler.store.list_running()) == 2


# --- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "message", "outcome", "state", "expected_text"),
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
def test_unrequested_end_of_a_remote_job_is_reported(
    scheduler, submitted_job, stage, message, outcome, state, expected_text
):
    job_id, hub_job = submitted_job
    hub_job.append_log(format_step_event(2), *([format_event_line("ending.json", outcome)] if outcome else []))
    hub_job.finish(stage, message)
    job = wait_for_job(scheduler, job_id)
    assert job.state == state and job.status_message.startswith(expected_text), job.status_message
    assert job.ended_at and scheduler.get_run_dir(job_id).log_file.exists() is False


def test_status_message_of_a_failed_job_has_its_last_publication(scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.append_log(format_event_line("status.json", {"phase": "training", "step": 8, "steps": 12}))
    hub_job.append_log(
        format_event_line(
            ENTRY_PATH, OUTBOX_ENTRY | {"state": "published", "revision": "0" * 40, "url": "https://hub/commit/0"}
        )
    )
    hub_job.finish("ERROR", "Out of memory")
    assert (
        wait_for_job(scheduler, job_id).status_message
        == "The Hub says: Out of memory. What it published last: https://hub/commit/0"
    )


def test_pending_publication_of_a_finished_remote_job_is_abandoned(scheduler, submitted_job):
    """Only the entry exists on this host, without its files, so the upload worker does not send it."""
    job_id, hub_job = submitted_job
    hub_job.append_log(
        format_event_line(ENTRY_PATH, OUTBOX_ENTRY | {"state": "sending"}),
        format_event_line("ending.json", FINISHED_OUTCOME),
    )
    run_dir = scheduler.get_run_dir(job_id)
    wait_until(lambda: Outbox(run_dir.path).entries())
    upload_worker = UploadWorker(lambda: list_run_outboxes(scheduler.runs_dir), scheduler.remote_monitor.hub_store)
    assert Outbox(run_dir.path).deliver(upload_worker.store) is None
    assert Outbox(run_dir.path).entries()[0].state == "sending"
    hub_job.finish()
    job = wait_for_job(scheduler, job_id)
    assert job.state == "succeeded" and job.status_message.endswith("so its checkpoint is gone with the machine.")
    assert Outbox(run_dir.path).entries()[0].format_status() == "Not published (given up): Its machine is gone."


def test_failed_download_does_not_fail_the_run(hub, scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.append_log(
        format_event_line(ENTRY_PATH, OUTBOX_ENTRY | {"state": "published", "revision": "0" * 40}),
        format_event_line("ending.json", FINISHED_OUTCOME),
    )
    hub_job.finish()
    job = wait_for_job(scheduler, job_id)
    assert (
        job.state == "succeeded"
        and "is published but could not be brought here: There is no model" in job.status_message
    )
    assert not scheduler.get_run_dir(job_id).final_checkpoint_dir.exists()


def test_stopped_remote_run_is_cancelled(hub, scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.append_log(format_step_event(2), format_step_event(4))
    wait_until(lambda: read_logged_steps(scheduler.get_run_dir(job_id)) == [2, 4])
    scheduler.stop(job_id)
    assert wait_for_job(scheduler, job_id).state == "cancelled" and hub_job.is_cancelled
    with pytest.raises(ValueError, match="is over already: cancelled"):
        scheduler.kill(job_id)


def test_stop_that_does_not_reach_the_hub_changes_nothing(hub, scheduler, submitted_job):
    """The stop can be requested again; until then the run continues."""
    job_id, hub_job = submitted_job
    fault = hub.add_fault("drop", "/cancel|/api/jobs/alice/[0-9a-f]+$", max_count=None)
    with pytest.raises(ValueError, match="cannot be reached"):
        scheduler.stop(job_id)
    fault.disable()
    assert is_running(scheduler, job_id) and not scheduler.store.get(job_id).requested_action
    scheduler.stop(job_id)
    assert wait_for_job(scheduler, job_id).state == "cancelled" and hub_job.is_cancelled


def test_job_that_disappeared_from_the_hub_has_failed(hub, scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.append_log(format_step_event(2))
    wait_until(lambda: scheduler.get_run_dir(job_id).metrics_file.exists())
    del hub.jobs.by_id[hub_job.job_id]
    hub_job.end_connections()
    job = wait_for_job(scheduler, job_id)
    assert job.state == "failed" and f"alice has no job {hub_job.job_id}" in job.status_message
    assert read_logged_steps(scheduler.get_run_dir(job_id)) == [2], "the mirrored lines are kept"


def test_remote_run_cannot_be_resumed(scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.finish("ERROR", "Job timeout")
    wait_for_job(scheduler, job_id)
    with pytest.raises(
        ValueError, match=r"was on a machine that is gone\. Begin a new one; init_from takes the weights"
    ):
        scheduler.resume(job_id)
