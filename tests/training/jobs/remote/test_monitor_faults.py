"""Tests of faults during the monitoring of remote jobs: none is lost, started twice or started after cancellation."""

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.conftest import build_environment, submit_job, wait_until
from tests.training.jobs.remote_fixtures import (
    REMOTE_TARGET,
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
from training.jobs.job import Job
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler

__all__ = ["hub", "loopback_hub", "scheduler", "start_scheduler", "submitted_job"]


# --- failures of the Hub -----------------------------------------------------------------------------------------


def test_job_of_an_account_without_credit_fails_with_a_remedy(hub, scheduler):
    hub.jobs.accounts_without_credit.add("alice")
    job = wait_for_job(scheduler, submit_remote_job(scheduler))
    assert (
        job.state == "failed"
        and "no credit for the jobs of alice" in job.status_message
        and "billing" in job.status_message
    )
    assert not hub.jobs.by_id and not job.remote_job_id


def test_unavailable_hub_is_polled_again(hub, scheduler):
    outage = hub.add_fault("answer", "/api/jobs/", status=503, max_count=None)
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(job_id).status_message)
    assert scheduler.store.get(job_id).state == "queued" and not hub.jobs.by_id
    outage.disable()
    wait_until(lambda: is_running(scheduler, job_id))
    assert len(hub.jobs.by_id) == 1


def test_lost_response_starts_no_second_job(hub, scheduler):
    hub.add_fault("lost_reply", "alice$", "POST")
    hub.add_fault("drop", r"alice\?label", "GET", skip_count=1)
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, job_id))
    assert len(hub.jobs.by_id) == 1 and scheduler.store.get(job_id).remote_job_id == hub.jobs.latest.job_id


def test_hub_outage_does_not_end_a_run(hub, scheduler, submitted_job):
    """The outage exceeds the retries of one stream; mirrored lines stay, and no line is duplicated."""
    job_id, hub_job = submitted_job
    hub_job.append_log(format_step_event(2))
    wait_until(lambda: scheduler.get_run_dir(job_id).metrics_file.exists())
    outage = hub.add_fault("answer", "/api/jobs/", status=503, max_count=None)
    hub_job.break_connections()
    wait_until(lambda: "the Hub is asked again" in scheduler.store.get(job_id).status_message)
    assert is_running(scheduler, job_id) and read_logged_steps(scheduler.get_run_dir(job_id)) == [2]
    outage.disable()
    hub_job.append_log(
        format_step_event(4), format_event_line("ending.json", {"reason": "data", "sentence": "Put it back."})
    )
    hub_job.finish("ERROR", "exit code: 1")
    assert wait_for_job(scheduler, job_id).status_message.startswith("Put it back.")
    assert read_logged_steps(scheduler.get_run_dir(job_id)) == [2, 4]


# --- restarts of the app -----------------------------------------------------------------------------------------


def test_next_app_continues_to_follow_the_log(hub, start_scheduler, scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.append_log(format_step_event(2), format_step_event(4))
    wait_until(lambda: read_logged_steps(scheduler.get_run_dir(job_id)) == [2, 4])
    scheduler.close()
    assert is_running(scheduler, job_id) and not hub_job.is_finished, "the job continues without an app"
    hub_job.append_log(format_step_event(6))
    other = start_scheduler()
    wait_until(lambda: read_logged_steps(other.get_run_dir(job_id)) == [2, 4, 6])
    hub_job.append_log(format_step_event(8), format_event_line("ending.json", STOPPED_OUTCOME))
    hub_job.finish()
    assert wait_for_job(other, job_id).state == "cancelled"
    assert read_logged_steps(other.get_run_dir(job_id)) == [2, 4, 6, 8] and len(hub.jobs.by_id) == 1


def test_job_that_ended_without_an_app_is_reported_to_the_next_app(start_scheduler, scheduler, submitted_job):
    job_id, hub_job = submitted_job
    scheduler.close()
    hub_job.append_log(
        format_step_event(2),
        "a line",
        format_event_line("ending.json", {"reason": "nan", "sentence": "Lower optim.lr."}),
    )
    hub_job.finish("ERROR", "exit code: 1")
    other = start_scheduler()
    assert wait_for_job(other, job_id).status_message == "Lower optim.lr."
    assert (
        read_logged_steps(other.get_run_dir(job_id)) == [2]
        and other.get_run_dir(job_id).log_file.read_text() == "a line\n"
    )


def test_app_that_ended_during_a_submission_starts_no_second_job(hub, start_scheduler, scheduler):
    """The submission succeeded, its response was lost, and the app ended before it could query the job."""
    hub.add_fault("lost_reply", "alice$", "POST")
    fault = hub.add_fault("drop", r"alice\?label", "GET", skip_count=1, max_count=None)
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(job_id).status_message)
    scheduler.close()
    assert scheduler.store.get(job_id).state == "queued" and len(hub.jobs.by_id) == 1
    fault.disable()
    other = start_scheduler()
    wait_until(lambda: is_running(other, job_id))
    assert len(hub.jobs.by_id) == 1 and other.store.get(job_id).remote_job_id == hub.jobs.latest.job_id


def test_run_that_cannot_be_resumed_does_not_block_the_start_of_the_app(start_scheduler, scheduler, submitted_job):
    """An app that resumes interrupted runs skips a remote run and a run without a directory."""
    job_id, _ = submitted_job
    scheduler.store.update(job_id, state="interrupted")
    scheduler.store.add(Job("gone", "interrupted", attempt=1))
    scheduler.close()
    other = start_scheduler(resume_interrupted=True)
    assert {other.store.get(each_id).state for each_id in (job_id, "gone")} == {"interrupted"}


# --- cancellation ------------------------------------------------------------------------------------------------


def test_job_cancelled_before_submission_is_never_submitted(hub, scheduler):
    outage = hub.add_fault("drop", "/api/jobs/", max_count=None)
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(job_id).status_message)
    assert scheduler.stop(job_id).status_message == "Removed from the queue."
    outage.disable()
    wait_until(lambda: not scheduler.remote_monitor._threads[job_id].is_alive(), 10)
    assert not hub.jobs.by_id and scheduler.store.get(job_id).state == "cancelled"


def test_job_cancelled_during_submission_is_cancelled_remotely(hub, scheduler):
    """Otherwise the remote job would run and cost money without a monitor."""
    hub.add_fault("stall", "alice$", "POST", stall_s=0.7)
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: hub.find_requests("hardware"))
    scheduler.stop(job_id)
    wait_until(lambda: hub.jobs.by_id and hub.jobs.latest.is_finished, 10)
    assert hub.jobs.latest.is_cancelled and scheduler.store.get(job_id).state == "cancelled"


def test_job_cancelled_after_an_unconfirmed_submission_is_cancelled_remotely(hub, scheduler):
    hub.add_fault("lost_reply", "alice$", "POST")
    fault = hub.add_fault("drop", r"alice\?label", "GET", skip_count=1, max_count=None)
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(job_id).status_message)
    scheduler.stop(job_id)
    scheduler.remove(job_id)
    fault.disable()
    wait_until(lambda: hub.jobs.latest.is_finished, 10)
    assert hub.jobs.latest.is_cancelled and len(hub.jobs.by_id) == 1


# --- missing and invalid targets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["jobs_client", "hub_store", "space_id"])
def test_remote_job_without_a_space_or_a_token_is_rejected(hub, tmp_path, missing):
    parts = {
        "jobs_client": HfJobsClient(TOKEN, hub.url),
        "hub_store": HubStore(token=TOKEN, cache_dir=tmp_path),
        "space_id": "alice/space",
    }
    scheduler = JobScheduler(
        tmp_path / "runs", environment=build_environment(), **{name: parts[name] for name in parts if name != missing}
    )
    scheduler.start()
    try:
        with pytest.raises(ValueError, match=r"needs a Space, whose image runs there, and a token \(HF_TOKEN\)"):
            submit_remote_job(scheduler)
        assert scheduler.store.list_jobs() == [] and not list(scheduler.runs_dir.glob("*/config.yaml"))
    finally:
        scheduler.close()


@pytest.mark.parametrize(
    ("target", "expected_text"),
    [
        ({"target": "moon"}, "There is no hardware 'moon' for jobs"),
        ({"timeout_minutes": 1}, "A job is given 10 to"),
        ({"namespace": "bob"}, "the right to run jobs"),
        ({"namespace": "../x"}, "is not the name"),
    ],
)
def test_job_with_an_invalid_target_fails_with_the_message_of_the_client(hub, scheduler, target, expected_text):
    job = wait_for_job(scheduler, submit_job(scheduler, make_remote_config(), **REMOTE_TARGET | target))
    assert job.state == "failed" and expected_text in job.status_message and not hub.jobs.by_id
