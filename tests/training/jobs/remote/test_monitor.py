"""Runs that were sent to Hugging Face Jobs: what becomes of them there is seen here."""

import json

import pytest

from ctm.checkpoint import load
from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.conftest import submit, until
from tests.training.jobs.remote_fixtures import (
    ENTRY,
    FINISHED,
    OWN,
    PLACE,
    REPO,
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
from training.jobs.scheduler import JobScheduler
from training.publishing.outbox import Outbox
from training.publishing.upload_worker import UploadWorker
from training.run_dir import ECHOED

__all__ = ["app", "here", "hub", "runner", "sent"]


# --- from beginning to end ---------------------------------------------------------------------------------------


def test_a_run_trains_there_and_its_checkpoint_comes_back(hub, runner):
    """Real processes: curves, state and publication arrive through what is printed, and the token nowhere."""
    hub.jobs.executes = True
    seen = []
    change = runner.store.update
    runner.store.update = lambda id, **values: seen.append(values.get("state")) or change(id, **values)
    id = send(runner)
    assert runner.store.get(id).state == "queued"
    job = wait(runner, id)
    folder = runner.get_run_dir(id)
    assert job.state == "succeeded", folder.log_file.read_text()
    assert [state for state in seen if state] == ["running", "succeeded"]
    assert job.sentence == "All 12 steps are done." and job.attempt == 1 and job.remote in job.url
    assert [line["step"] for line in folder.read_metrics() if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert folder.status()["phase"] == "finished" and folder.ending()["reason"] == "finished"
    assert "step 12 of 12: loss" in folder.log_file.read_text() and ECHOED not in folder.log_file.read_text()
    (entry,) = Outbox(folder.path).entries()
    assert entry.state == "published" and entry.url == f"{hub.url}/{REPO}/commit/{hub.commits(REPO)[0].oid}"
    assert id in hub.commits(REPO)[0].title, "the run is known by its name there, too"
    made = load(folder.finished)
    assert made.metrics["training"]["command"] == "python -m training train tiny.yaml"
    assert (folder.finished / "model.safetensors").read_bytes() == hub.files(REPO)["model.safetensors"]
    assert_no_token(hub, runner)


def assert_no_token(hub, runner: JobScheduler) -> None:
    spec = hub.jobs.newest.spec
    assert spec["secrets"] == {"HF_TOKEN": TOKEN}
    assert TOKEN not in json.dumps({name: value for name, value in spec.items() if name != "secrets"})
    files = [path for path in runner.runs_dir.rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_run_is_stopped_there(hub, runner):
    """It saves and says so; what it saved is gone, and that is said, too."""
    hub.jobs.executes = True
    id = submit(runner, config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), **PLACE)
    until(lambda: runner.get_run_dir(id).metrics.is_file())
    assert runner.stop(id).intent == "stop"
    job = wait(runner, id)
    assert job.state == "cancelled" and job.sentence.startswith("Stopped and saved at step ")
    assert job.sentence.endswith("Nothing was published, so what it had saved is gone with its machine.")
    assert hub.jobs.newest.stage == "CANCELED" and not hub.jobs.newest.process.returncode


def test_it_is_said_that_it_waits_until_its_first_line(hub, runner):
    id = send(runner)
    until(lambda: running(runner, id))
    assert runner.store.get(id).sentence == "Sent to Hugging Face Jobs (cpu-basic); waits for a machine there."
    hub.jobs.newest.start()
    hub.jobs.newest.say("hello", step(2))
    until(lambda: not runner.store.get(id).sentence)
    assert steps(runner.get_run_dir(id)) == [2] and runner.get_run_dir(id).log_file.read_text() == "hello\n"


def test_other_runs_do_not_wait_for_it(hub, runner, sent):
    """There and here are two machines."""
    another = send(runner)
    until(lambda: running(runner, another))
    assert len(hub.jobs.table) == 2 and len(runner.store.list_running()) == 2


# --- how it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "message", "ending", "state", "says"),
    [
        ("ERROR", "Job timeout", None, "failed", "The Hub says: Job timeout."),
        ("ERROR", "Job timeout", STOPPED, "failed", "The Hub says: Job timeout. Stopped and saved at step 8 of 12."),
        ("ERROR", "exit code: 1", {"reason": "nan", "sentence": "Lower optim.lr."}, "failed", "Lower optim.lr."),
        ("DELETED", None, None, "failed", "The Hub says: the job is not known there any more."),
        ("CANCELED", None, None, "cancelled", "It was cancelled on the Hub's page."),
        ("COMPLETED", None, STOPPED, "cancelled", "Stopped and saved at step 8 of 12."),
        ("COMPLETED", None, {"reason": "time", "sentence": "Its time was over."}, "cancelled", "Its time was over."),
        ("COMPLETED", None, None, "failed", "It ended without saying that it had finished."),
    ],
)
def test_an_end_that_nobody_here_wanted_is_told(runner, sent, stage, message, ending, state, says):
    id, there = sent
    there.say(step(2), *([echoed("ending.json", ending)] if ending else []))
    there.finish(stage, message)
    job = wait(runner, id)
    assert job.state == state and job.sentence.startswith(says), job.sentence
    assert job.ended and runner.get_run_dir(id).log_file.exists() is False


def test_what_is_lost_with_the_machine_is_said_and_what_is_not(runner, sent):
    id, there = sent
    there.say(echoed("status.json", {"phase": "training", "step": 8, "steps": 12}))
    there.say(echoed(OWN, ENTRY | {"state": "published", "revision": "0" * 40, "url": "https://hub/commit/0"}))
    there.finish("ERROR", "Out of memory")
    assert wait(runner, id).sentence == "The Hub says: Out of memory. What it published last: https://hub/commit/0"


def test_a_publication_that_was_under_way_is_given_up_with_its_machine(runner, sent):
    """The entry is all there is of it here, so nobody tries to send it."""
    id, there = sent
    there.say(echoed(OWN, ENTRY | {"state": "sending"}), echoed("ending.json", FINISHED))
    folder = runner.get_run_dir(id)
    until(lambda: Outbox(folder.path).entries())
    courier = UploadWorker(runner.runs_dir, runner.remote_monitor.hub_store)
    assert Outbox(folder.path).deliver(courier.hub_store) is None
    assert Outbox(folder.path).entries()[0].state == "sending"
    there.finish()
    job = wait(runner, id)
    assert job.state == "succeeded" and job.sentence.endswith("so its checkpoint is gone with the machine.")
    assert Outbox(folder.path).entries()[0].say() == "Not published (given up): Its machine is gone."


def test_a_checkpoint_that_cannot_be_brought_here_is_no_failure_of_the_run(hub, runner, sent):
    id, there = sent
    there.say(echoed(OWN, ENTRY | {"state": "published", "revision": "0" * 40}), echoed("ending.json", FINISHED))
    there.finish()
    job = wait(runner, id)
    assert job.state == "succeeded" and "is published but could not be brought here: There is no model" in job.sentence
    assert not runner.get_run_dir(id).finished.exists()


def test_a_run_that_was_stopped_here_is_cancelled(hub, runner, sent):
    id, there = sent
    there.say(step(2), step(4))
    until(lambda: steps(runner.get_run_dir(id)) == [2, 4])
    runner.stop(id)
    assert wait(runner, id).state == "cancelled" and there.cancelled
    with pytest.raises(ValueError, match="is over already: cancelled"):
        runner.kill(id)


def test_a_stop_that_the_hub_does_not_hear_changes_nothing(hub, runner, sent):
    """It can be asked for again; until then the run goes on, and ends as it ends."""
    id, there = sent
    deaf = hub.fault("drop", "/cancel|/api/jobs/alice/[0-9a-f]+$", times=None)
    with pytest.raises(ValueError, match="cannot be reached"):
        runner.stop(id)
    deaf.lift()
    assert running(runner, id) and not runner.store.get(id).intent
    runner.stop(id)
    assert wait(runner, id).state == "cancelled" and there.cancelled


def test_a_job_that_is_not_there_any_more_has_failed(hub, runner, sent):
    id, there = sent
    there.say(step(2))
    until(lambda: runner.get_run_dir(id).metrics.exists())
    del hub.jobs.table[there.id]
    there.hang_up()
    job = wait(runner, id)
    assert job.state == "failed" and f"alice has no job {there.id}" in job.sentence
    assert steps(runner.get_run_dir(id)) == [2], "what it said is kept"


def test_it_cannot_be_gone_on_with(runner, sent):
    id, there = sent
    there.finish("ERROR", "Job timeout")
    wait(runner, id)
    with pytest.raises(
        ValueError, match=r"was on a machine that is gone\. Begin a new one; init_from takes the weights"
    ):
        runner.resume(id)
