"""Runs elsewhere, whatever fails on the way: none is lost, none is paid for twice, and none is sent in vain."""

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.conftest import environment, submit, until
from tests.training.jobs.remote_fixtures import (
    PLACE,
    STOPPED,
    app,
    config,
    echoed,
    here,
    hub,
    runner,
    running,
    send,
    sent,
    step,
    steps,
    wait,
)
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job

__all__ = ["app", "here", "hub", "runner", "sent"]


# --- the Hub, which fails ----------------------------------------------------------------------------------------


def test_without_credit_it_fails_with_the_remedy(hub, runner):
    hub.jobs.without_credit.add("alice")
    job = wait(runner, send(runner))
    assert job.state == "failed" and "no credit for the jobs of alice" in job.sentence and "billing" in job.sentence
    assert not hub.jobs.table and not job.remote


def test_a_hub_that_is_away_is_asked_again(hub, runner):
    gone = hub.fault("answer", "/api/jobs/", status=503, times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.store.get(id).sentence)
    assert runner.store.get(id).state == "queued" and not hub.jobs.table
    gone.lift()
    until(lambda: running(runner, id))
    assert len(hub.jobs.table) == 1


def test_an_answer_that_got_lost_starts_no_second_job(hub, runner):
    hub.fault("lost_reply", "alice$", "POST")
    hub.fault("drop", r"alice\?label", "GET", after=1)
    id = send(runner)
    until(lambda: running(runner, id))
    assert len(hub.jobs.table) == 1 and runner.store.get(id).remote == hub.jobs.newest.id


def test_a_hub_that_is_away_for_long_does_not_end_a_run(hub, runner, sent):
    """More failures than one following bears; what was told stays meanwhile, and nothing is there twice."""
    id, there = sent
    there.say(step(2))
    until(lambda: runner.get_run_dir(id).metrics.exists())
    gone = hub.fault("answer", "/api/jobs/", status=503, times=None)
    there.cut()
    until(lambda: "is looked for again" in runner.store.get(id).sentence)
    assert running(runner, id) and steps(runner.get_run_dir(id)) == [2]
    gone.lift()
    there.say(step(4), echoed("ending.json", {"reason": "data", "sentence": "Put it back."}))
    there.finish("ERROR", "exit code: 1")
    assert wait(runner, id).sentence.startswith("Put it back.")
    assert steps(runner.get_run_dir(id)) == [2, 4]


# --- the app, which ends and begins ------------------------------------------------------------------------------


def test_another_app_goes_on_following(hub, app, runner, sent):
    id, there = sent
    there.say(step(2), step(4))
    until(lambda: steps(runner.get_run_dir(id)) == [2, 4])
    runner.close()
    assert running(runner, id) and not there.is_over, "it needs no app"
    there.say(step(6))
    other = app()
    until(lambda: steps(other.get_run_dir(id)) == [2, 4, 6])
    there.say(step(8), echoed("ending.json", STOPPED))
    there.finish()
    assert wait(other, id).state == "cancelled"
    assert steps(other.get_run_dir(id)) == [2, 4, 6, 8] and len(hub.jobs.table) == 1


def test_what_ended_while_there_was_no_app_is_told_to_the_next_one(app, runner, sent):
    id, there = sent
    runner.close()
    there.say(step(2), "a line", echoed("ending.json", {"reason": "nan", "sentence": "Lower optim.lr."}))
    there.finish("ERROR", "exit code: 1")
    other = app()
    assert wait(other, id).sentence == "Lower optim.lr."
    assert steps(other.get_run_dir(id)) == [2] and other.get_run_dir(id).log_file.read_text() == "a line\n"


def test_an_app_that_ended_while_it_sent_starts_no_second_job(hub, app, runner):
    """The start came through, its answer did not, and the app was closed before it could ask."""
    hub.fault("lost_reply", "alice$", "POST")
    deaf = hub.fault("drop", r"alice\?label", "GET", after=1, times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.store.get(id).sentence)
    runner.close()
    assert runner.store.get(id).state == "queued" and len(hub.jobs.table) == 1
    deaf.lift()
    other = app()
    until(lambda: running(other, id))
    assert len(hub.jobs.table) == 1 and other.book.get(id).remote == hub.jobs.newest.id


def test_a_run_that_cannot_go_on_does_not_keep_the_app_from_starting(app, runner, sent):
    """An app that goes on with interrupted runs by itself leaves one that was elsewhere, and one whose folder is gone."""
    id, _ = sent
    runner.store.update(id, state="interrupted")
    runner.store.add(Job("gone", "interrupted", attempt=1))
    runner.close()
    other = app(resumes=True)
    assert {other.book.get(one).state for one in (id, "gone")} == {"interrupted"}


# --- taken back --------------------------------------------------------------------------------------------------


def test_one_that_is_taken_back_before_it_is_sent_is_never_sent(hub, runner):
    gone = hub.fault("drop", "/api/jobs/", times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.store.get(id).sentence)
    assert runner.stop(id).sentence == "Taken out of the line."
    gone.lift()
    until(lambda: not runner.remote_monitor._threads[id].is_alive(), 10)
    assert not hub.jobs.table and runner.store.get(id).state == "cancelled"


def test_one_that_is_taken_back_while_it_is_sent_is_ended_there(hub, runner):
    """Nobody would know of it, and somebody would pay."""
    hub.fault("stall", "alice$", "POST", seconds=0.7)
    id = send(runner)
    until(lambda: hub.seen("hardware"))
    runner.stop(id)
    until(lambda: hub.jobs.table and hub.jobs.newest.is_over, 10)
    assert hub.jobs.newest.cancelled and runner.store.get(id).state == "cancelled"


def test_one_that_is_taken_back_though_its_start_came_through_unseen_is_ended_there(hub, runner):
    hub.fault("lost_reply", "alice$", "POST")
    deaf = hub.fault("drop", r"alice\?label", "GET", after=1, times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.store.get(id).sentence)
    runner.stop(id)
    runner.remove(id)
    deaf.lift()
    until(lambda: hub.jobs.newest.is_over, 10)
    assert hub.jobs.newest.cancelled and len(hub.jobs.table) == 1


# --- where there is nothing to send to ---------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["remote", "hub", "space"])
def test_without_a_space_and_a_token_it_is_refused_at_once(hub, tmp_path, missing):
    parts = {
        "remote": HfJobsClient(TOKEN, hub.url),
        "hub": HubStore(token=TOKEN, cache_dir=tmp_path),
        "space": "alice/space",
    }
    made = JobScheduler(
        tmp_path / "runs", environment=environment(), **{name: parts[name] for name in parts if name != missing}
    )
    made.start()
    try:
        with pytest.raises(ValueError, match=r"needs a Space, whose image runs there, and a token \(HF_TOKEN\)"):
            send(made)
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
def test_what_the_hub_would_not_do_fails_with_its_sentence(hub, runner, place, says):
    job = wait(runner, submit(runner, config(), **PLACE | place))
    assert job.state == "failed" and says in job.sentence and not hub.jobs.table
