"""Jobs on the Hub: how far they are, how they are cancelled, and what becomes of commands that are really run."""

import threading

import pytest
from huggingface_hub import HfApi

from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.hf_jobs_fixtures import WHAT, here, hub, jobs, refusal, sent, wait_until
from training.jobs.remote.hf_jobs import HfJobsClient

__all__ = ["here", "hub", "jobs", "sent"]


# --- inspect and cancel ------------------------------------------------------------------------------------------


def test_a_job_goes_its_way(jobs, sent):
    assert jobs.inspect("alice", sent.id).stage == "waiting"
    sent.start()
    assert jobs.inspect("alice", sent.id).stage == "running"
    sent.finish()
    assert jobs.inspect("alice", sent.id).stage == "completed"


@pytest.mark.parametrize(
    ("theirs", "ours", "over"),
    [
        ("ERROR", "error", True),
        ("CANCELED", "cancelled", True),
        ("DELETED", "lost", True),
        ("PAUSED", "running", False),
    ],
)
def test_stages_are_told_apart(jobs, sent, theirs, ours, over):
    sent.finish(theirs, "Job timeout")
    job = jobs.inspect("alice", sent.id)
    assert (job.stage, job.message, job.is_finished) == (ours, "Job timeout", over)


def test_a_job_that_is_not_there(jobs):
    for call in (jobs.inspect, jobs.cancel):
        assert refusal(call, "alice", "687f") == "alice has no job 687f, or this token may not see it."


@pytest.mark.parametrize(("namespace", "id"), [("alice", "../x"), ("alice", "1/cancel"), ("", "1"), ("a/b", "1")])
def test_what_is_no_name_is_not_asked_for(hub, jobs, namespace, id):
    assert "is not the name" in refusal(jobs.inspect, namespace, id)
    assert not hub.seen("/api/jobs/")


def test_a_job_is_cancelled(jobs, sent):
    jobs.cancel("alice", sent.id)
    assert sent.cancelled and jobs.inspect("alice", sent.id).stage == "cancelled"


def test_a_job_that_is_over_stays_as_it_is(jobs, sent):
    sent.finish()
    jobs.cancel("alice", sent.id)
    assert jobs.inspect("alice", sent.id).stage == "completed"


def test_cancelling_is_refused_where_it_is_not_allowed(hub, sent):
    jobs = HfJobsClient("hf_alice_read", hub.url)
    assert "the right to run jobs" in refusal(jobs.cancel, "alice", sent.id)
    assert "the right to run jobs" in refusal(HfJobsClient("hf_bob_write", hub.url).inspect, "alice", sent.id)


def test_a_lost_answer_does_not_undo_the_cancelling(hub, jobs, sent):
    hub.fault("lost_reply", "cancel")
    jobs.cancel("alice", sent.id)
    assert sent.stage == "CANCELED"


# --- the hub of these tests --------------------------------------------------------------------------------------


def test_the_real_client_finds_what_it_expects(hub, sent):
    api, asked = HfApi(endpoint=hub.url, token=TOKEN), {"job_id": sent.id, "namespace": "alice"}
    assert [hardware.name for hardware in api.list_jobs_hardware()][:2] == ["a100-large", "cpu-basic"]
    sent.start()
    sent.say("one", "two")
    assert api.inspect_job(**asked).status.stage == "RUNNING"
    sent.finish()
    assert list(api.fetch_job_logs(**asked, follow=True)) == ["one", "two"]
    assert list(api.fetch_job_logs(**asked, tail=1)) == ["two"]
    assert [job.id for job in api.list_jobs(namespace="alice", labels={"name": "parity-1"}, status="COMPLETED")] == [
        sent.id
    ]
    assert list(api.list_jobs(namespace="alice", status="RUNNING")) == []


def python(code: str, **more) -> dict:
    return WHAT | {"command": ["python", "-c", code], **more}


def test_a_command_can_really_be_run(hub, jobs):
    hub.jobs.executes = True
    code = "import os, training; print(os.environ['CTM_RUN'], os.environ['HF_TOKEN'], os.environ['HF_ENDPOINT'], flush=True)"
    job = jobs.submit(**python(code + "; open('new', 'w'); print(sorted(os.listdir('configs'))[0])"))
    lines = list(jobs.follow("alice", job.id, threading.Event()))
    assert lines[0] == f"parity-1 {TOKEN} {hub.url}" and lines[1].endswith(".yaml")
    assert jobs.inspect("alice", job.id).stage == "completed"


def test_a_command_that_fails_is_a_failed_job(hub, jobs):
    hub.jobs.executes = True
    job = jobs.submit(**python("raise SystemExit(3)"))
    assert list(jobs.follow("alice", job.id, threading.Event())) == []
    assert (found := jobs.inspect("alice", job.id)).stage == "error" and found.message == "Job failed with exit code: 3"
    job = jobs.submit(**WHAT | {"command": ["/no/such/program"], "name": "none"})
    wait_until(lambda: jobs.inspect("alice", job.id).stage == "error")


def test_a_command_is_asked_to_end_when_its_job_is_cancelled(hub, jobs):
    hub.jobs.executes = True
    code = """
import signal, sys, time
def end(*_): print("asked to end", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    job = jobs.submit(**python(code))
    lines = jobs.follow("alice", job.id, threading.Event())
    assert next(lines) == "ready"
    jobs.cancel("alice", job.id)
    assert list(lines) == ["asked to end"]
    assert jobs.inspect("alice", job.id).stage == "cancelled"


def test_a_command_ends_with_its_hub(hub, jobs):
    hub.jobs.executes = True
    jobs.submit(**python("import time; time.sleep(60)"))
    job = hub.jobs.newest
    wait_until(lambda: job.process is not None)
    hub.close()
    assert job.process.poll() is not None
