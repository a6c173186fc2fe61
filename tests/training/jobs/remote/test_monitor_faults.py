"""Runs elsewhere, whatever fails on the way: none is lost, none is paid for twice, and none is sent in vain."""

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
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job

__all__ = ["hub", "loopback_hub", "scheduler", "start_scheduler", "submitted_job"]


# --- the Hub, which fails ----------------------------------------------------------------------------------------


def test_without_credit_it_fails_with_the_remedy(hub, scheduler):
    hub.jobs.accounts_without_credit.add("alice")
    job = wait_for_job(scheduler, submit_remote_job(scheduler))
    assert job.state == "failed" and "no credit for the jobs of alice" in job.sentence and "billing" in job.sentence
    assert not hub.jobs.by_id and not job.remote


def test_an_unavailable_hub_is_polled_again(hub, scheduler):
    gone = hub.add_fault("answer", "/api/jobs/", status=503, max_count=None)
    id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(id).sentence)
    assert scheduler.store.get(id).state == "queued" and not hub.jobs.by_id
    gone.disable()
    wait_until(lambda: is_running(scheduler, id))
    assert len(hub.jobs.by_id) == 1


def test_an_answer_that_got_lost_starts_no_second_job(hub, scheduler):
    hub.add_fault("lost_reply", "alice$", "POST")
    hub.add_fault("drop", r"alice\?label", "GET", skip_count=1)
    id = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, id))
    assert len(hub.jobs.by_id) == 1 and scheduler.store.get(id).remote == hub.jobs.latest.job_id


def test_a_hub_outage_does_not_end_a_run(hub, scheduler, submitted_job):
    """More failures than one following bears; what was told stays meanwhile, and nothing is there twice."""
    id, there = submitted_job
    there.append_log(format_step_event(2))
    wait_until(lambda: scheduler.get_run_dir(id).metrics_file.exists())
    gone = hub.add_fault("answer", "/api/jobs/", status=503, max_count=None)
    there.break_connections()
    wait_until(lambda: "the Hub is asked again" in scheduler.store.get(id).sentence)
    assert is_running(scheduler, id) and read_logged_steps(scheduler.get_run_dir(id)) == [2]
    gone.disable()
    there.append_log(
        format_step_event(4), format_event_line("ending.json", {"reason": "data", "sentence": "Put it back."})
    )
    there.finish("ERROR", "exit code: 1")
    assert wait_for_job(scheduler, id).sentence.startswith("Put it back.")
    assert read_logged_steps(scheduler.get_run_dir(id)) == [2, 4]


# --- the app, which ends and begins ------------------------------------------------------------------------------


def test_another_app_goes_on_following(hub, start_scheduler, scheduler, submitted_job):
    id, there = submitted_job
    there.append_log(format_step_event(2), format_step_event(4))
    wait_until(lambda: read_logged_steps(scheduler.get_run_dir(id)) == [2, 4])
    scheduler.close()
    assert is_running(scheduler, id) and not there.is_finished, "it needs no app"
    there.append_log(format_step_event(6))
    other = start_scheduler()
    wait_until(lambda: read_logged_steps(other.get_run_dir(id)) == [2, 4, 6])
    there.append_log(format_step_event(8), format_event_line("ending.json", STOPPED_OUTCOME))
    there.finish()
    assert wait_for_job(other, id).state == "cancelled"
    assert read_logged_steps(other.get_run_dir(id)) == [2, 4, 6, 8] and len(hub.jobs.by_id) == 1


def test_a_job_that_ended_without_an_app_is_reported_to_the_next_one(start_scheduler, scheduler, submitted_job):
    id, there = submitted_job
    scheduler.close()
    there.append_log(
        format_step_event(2),
        "a line",
        format_event_line("ending.json", {"reason": "nan", "sentence": "Lower optim.lr."}),
    )
    there.finish("ERROR", "exit code: 1")
    other = start_scheduler()
    assert wait_for_job(other, id).sentence == "Lower optim.lr."
    assert read_logged_steps(other.get_run_dir(id)) == [2] and other.get_run_dir(id).log_file.read_text() == "a line\n"


def test_an_app_that_ended_while_it_sent_starts_no_second_job(hub, start_scheduler, scheduler):
    """The start came through, its answer did not, and the app was closed before it could ask."""
    hub.add_fault("lost_reply", "alice$", "POST")
    deaf = hub.add_fault("drop", r"alice\?label", "GET", skip_count=1, max_count=None)
    id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(id).sentence)
    scheduler.close()
    assert scheduler.store.get(id).state == "queued" and len(hub.jobs.by_id) == 1
    deaf.disable()
    other = start_scheduler()
    wait_until(lambda: is_running(other, id))
    assert len(hub.jobs.by_id) == 1 and other.store.get(id).remote == hub.jobs.latest.job_id


def test_a_run_that_cannot_go_on_does_not_keep_the_app_from_starting(start_scheduler, scheduler, submitted_job):
    """An app that goes on with interrupted runs by itself leaves one that was elsewhere, and one whose folder is gone."""
    id, _ = submitted_job
    scheduler.store.update(id, state="interrupted")
    scheduler.store.add(Job("gone", "interrupted", attempt=1))
    scheduler.close()
    other = start_scheduler(resume_interrupted=True)
    assert {other.store.get(one).state for one in (id, "gone")} == {"interrupted"}


# --- taken back --------------------------------------------------------------------------------------------------


def test_a_job_cancelled_before_submission_is_never_submitted(hub, scheduler):
    gone = hub.add_fault("drop", "/api/jobs/", max_count=None)
    id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(id).sentence)
    assert scheduler.stop(id).sentence == "Removed from the queue."
    gone.disable()
    wait_until(lambda: not scheduler.remote_monitor._threads[id].is_alive(), 10)
    assert not hub.jobs.by_id and scheduler.store.get(id).state == "cancelled"


def test_a_job_cancelled_during_submission_is_cancelled_remotely(hub, scheduler):
    """Nobody would know of it, and somebody would pay."""
    hub.add_fault("stall", "alice$", "POST", stall_s=0.7)
    id = submit_remote_job(scheduler)
    wait_until(lambda: hub.find_requests("hardware"))
    scheduler.stop(id)
    wait_until(lambda: hub.jobs.by_id and hub.jobs.latest.is_finished, 10)
    assert hub.jobs.latest.is_cancelled and scheduler.store.get(id).state == "cancelled"


def test_a_job_cancelled_after_an_unconfirmed_submission_is_cancelled_remotely(hub, scheduler):
    hub.add_fault("lost_reply", "alice$", "POST")
    deaf = hub.add_fault("drop", r"alice\?label", "GET", skip_count=1, max_count=None)
    id = submit_remote_job(scheduler)
    wait_until(lambda: "It is tried again." in scheduler.store.get(id).sentence)
    scheduler.stop(id)
    scheduler.remove(id)
    deaf.disable()
    wait_until(lambda: hub.jobs.latest.is_finished, 10)
    assert hub.jobs.latest.is_cancelled and len(hub.jobs.by_id) == 1


# --- where there is nothing to send to ---------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["jobs_client", "hub_store", "space_id"])
def test_without_a_space_and_a_token_it_is_rejected_at_once(hub, tmp_path, missing):
    parts = {
        "jobs_client": HfJobsClient(TOKEN, hub.url),
        "hub_store": HubStore(token=TOKEN, cache_dir=tmp_path),
        "space_id": "alice/space",
    }
    made = JobScheduler(
        tmp_path / "runs", environment=build_environment(), **{name: parts[name] for name in parts if name != missing}
    )
    made.start()
    try:
        with pytest.raises(ValueError, match=r"needs a Space, whose image runs there, and a token \(HF_TOKEN\)"):
            submit_remote_job(made)
        assert made.store.list_jobs() == [] and not list(made.runs_dir.glob("*/config.yaml"))
    finally:
        made.close()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"place": "moon"}, "There is no hardware 'moon' for jobs"),
        ({"timeout": 1}, "A job is given 10 to"),
        ({"namespace": "bob"}, "the right to run jobs"),
        ({"namespace": "../x"}, "is not the name"),
    ],
)
def test_what_the_hub_would_not_do_fails_with_its_sentence(hub, scheduler, place, says):
    job = wait_for_job(scheduler, submit_job(scheduler, make_remote_config(), **REMOTE_TARGET | place))
    assert job.state == "failed" and says in job.sentence and not hub.jobs.by_id
