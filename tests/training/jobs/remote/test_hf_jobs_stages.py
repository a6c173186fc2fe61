"""Tests of jobs on the Hub: stages, cancellation, and commands that the loopback hub runs as processes."""

import threading

import pytest
from huggingface_hub import HfApi

from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.hf_jobs_fixtures import (
    JOB_SPEC,
    get_permanent_error,
    hub,
    jobs_client,
    loopback_hub,
    submitted_job,
    wait_until,
)
from training.jobs.remote.hf_jobs import HfJobsClient

__all__ = ["hub", "jobs_client", "loopback_hub", "submitted_job"]


# --- inspect and cancel ------------------------------------------------------------------------------------------


def test_inspect_returns_the_current_stage(jobs_client, submitted_job):
    assert jobs_client.inspect("alice", submitted_job.job_id).stage == "waiting"
    submitted_job.start()
    assert jobs_client.inspect("alice", submitted_job.job_id).stage == "running"
    submitted_job.finish()
    assert jobs_client.inspect("alice", submitted_job.job_id).stage == "completed"


@pytest.mark.parametrize(
    ("hub_stage", "expected_stage", "is_finished"),
    [
        ("ERROR", "error", True),
        ("CANCELED", "cancelled", True),
        ("DELETED", "lost", True),
        ("PAUSED", "running", False),
    ],
)
def test_hub_stages_are_mapped_to_job_stages(jobs_client, submitted_job, hub_stage, expected_stage, is_finished):
    submitted_job.finish(hub_stage, "Job timeout")
    job = jobs_client.inspect("alice", submitted_job.job_id)
    assert (job.stage, job.message, job.is_finished) == (expected_stage, "Job timeout", is_finished)


def test_missing_job_is_reported(jobs_client):
    for call in (jobs_client.inspect, jobs_client.cancel):
        assert get_permanent_error(call, "alice", "687f") == "alice has no job 687f, or this token may not see it."


@pytest.mark.parametrize(("namespace", "job_id"), [("alice", "../x"), ("alice", "1/cancel"), ("", "1"), ("a/b", "1")])
def test_invalid_name_is_rejected_without_a_request(hub, jobs_client, namespace, job_id):
    assert "is not the name" in get_permanent_error(jobs_client.inspect, namespace, job_id)
    assert not hub.find_requests("/api/jobs/")


def test_cancel_cancels_the_job(jobs_client, submitted_job):
    jobs_client.cancel("alice", submitted_job.job_id)
    assert submitted_job.is_cancelled and jobs_client.inspect("alice", submitted_job.job_id).stage == "cancelled"


def test_cancelling_a_finished_job_changes_nothing(jobs_client, submitted_job):
    submitted_job.finish()
    jobs_client.cancel("alice", submitted_job.job_id)
    assert jobs_client.inspect("alice", submitted_job.job_id).stage == "completed"


def test_requests_without_permission_are_rejected(hub, submitted_job):
    jobs = HfJobsClient("hf_alice_read", hub.url)
    assert "the right to run jobs" in get_permanent_error(jobs.cancel, "alice", submitted_job.job_id)
    assert "the right to run jobs" in get_permanent_error(
        HfJobsClient("hf_bob_write", hub.url).inspect, "alice", submitted_job.job_id
    )


def test_cancellation_with_a_lost_response_succeeds(hub, jobs_client, submitted_job):
    hub.add_fault("lost_reply", "cancel")
    jobs_client.cancel("alice", submitted_job.job_id)
    assert submitted_job.stage == "CANCELED"


# --- the loopback hub --------------------------------------------------------------------------------------------


def test_loopback_hub_is_compatible_with_huggingface_hub(hub, submitted_job):
    api, job_arguments = HfApi(endpoint=hub.url, token=TOKEN), {"job_id": submitted_job.job_id, "namespace": "alice"}
    assert [hardware.name for hardware in api.list_jobs_hardware()][:2] == ["a100-large", "cpu-basic"]
    submitted_job.start()
    submitted_job.append_log("one", "two")
    assert api.inspect_job(**job_arguments).status.stage == "RUNNING"
    submitted_job.finish()
    assert list(api.fetch_job_logs(**job_arguments, follow=True)) == ["one", "two"]
    assert list(api.fetch_job_logs(**job_arguments, tail=1)) == ["two"]
    assert [job.id for job in api.list_jobs(namespace="alice", labels={"name": "parity-1"}, status="COMPLETED")] == [
        submitted_job.job_id
    ]
    assert list(api.list_jobs(namespace="alice", status="RUNNING")) == []


def make_python_job(code: str, **more) -> dict:
    return JOB_SPEC | {"command": ["python", "-c", code], **more}


def test_loopback_hub_runs_the_command_of_a_job(hub, jobs_client):
    hub.jobs.run_commands = True
    code = "import os, training; print(os.environ['CTM_RUN'], os.environ['HF_TOKEN'], os.environ['HF_ENDPOINT'], flush=True)"
    job = jobs_client.submit(**make_python_job(code + "; open('new', 'w'); print(sorted(os.listdir('configs'))[0])"))
    lines = list(jobs_client.follow("alice", job.job_id, threading.Event()))
    assert lines[0] == f"parity-1 {TOKEN} {hub.url}" and lines[1].endswith(".yaml")
    assert jobs_client.inspect("alice", job.job_id).stage == "completed"


def test_failing_command_fails_its_job(hub, jobs_client):
    hub.jobs.run_commands = True
    job = jobs_client.submit(**make_python_job("raise SystemExit(3)"))
    assert list(jobs_client.follow("alice", job.job_id, threading.Event())) == []
    assert (
        failed_job := jobs_client.inspect("alice", job.job_id)
    ).stage == "error" and failed_job.message == "Job failed with exit code: 3"
    job = jobs_client.submit(**JOB_SPEC | {"command": ["/no/such/program"], "name": "none"})
    wait_until(lambda: jobs_client.inspect("alice", job.job_id).stage == "error")


def test_cancellation_sends_sigterm_to_the_command(hub, jobs_client):
    hub.jobs.run_commands = True
    code = """
import signal, sys, time
def end(*_): print("asked to end", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    job = jobs_client.submit(**make_python_job(code))
    lines = jobs_client.follow("alice", job.job_id, threading.Event())
    assert next(lines) == "ready"
    jobs_client.cancel("alice", job.job_id)
    assert list(lines) == ["asked to end"]
    assert jobs_client.inspect("alice", job.job_id).stage == "cancelled"


def test_closing_the_loopback_hub_ends_its_commands(hub, jobs_client):
    hub.jobs.run_commands = True
    jobs_client.submit(**make_python_job("import time; time.sleep(60)"))
    job = hub.jobs.latest
    wait_until(lambda: job.process is not None)
    hub.close()
    assert job.process.poll() is not None
