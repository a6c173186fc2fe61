"""Tests of log streams of remote jobs: every line arrives once despite lost connections, and the stream ends."""

import threading
import time

import pytest

from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.hf_jobs_fixtures import (
    check_one_sentence,
    hub,
    jobs_client,
    loopback_hub,
    submitted_job,
    wait_until,
)
from training.jobs.remote import hf_jobs, log_follower
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.remote.log_stream import LogLine, parse_log_lines

__all__ = ["hub", "jobs_client", "loopback_hub", "submitted_job"]


def list_open_log_requests(hub) -> list:
    """Return the successful log requests so far."""
    return [request for request in hub.find_requests("/logs") if request.status == 200]


class FollowerThread:
    """Thread that follows a log and collects its lines."""

    def __init__(self, jobs, job):
        self.cancel_event, self.lines, self.error = threading.Event(), [], None
        self.thread = threading.Thread(target=self.run, args=(jobs, job), daemon=True)
        self.thread.start()

    def run(self, jobs, job) -> None:
        try:
            for line in jobs.follow(job.namespace, job.job_id, self.cancel_event):
                self.lines.append(line)
        except ValueError as error:
            self.error = error

    def wait_for_lines(self, *lines: str) -> None:
        wait_until(lambda: self.lines == list(lines) or self.error, self)
        assert self.lines == list(lines) and self.error is None

    def wait_until_done(self) -> list[str]:
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.lines


def test_log_is_followed_to_its_end(jobs_client, submitted_job):
    follower = FollowerThread(jobs_client, submitted_job)
    submitted_job.start()
    submitted_job.append_log("step 1", "", "step 2")
    follower.wait_for_lines("step 1", "", "step 2")
    submitted_job.append_log("a line\u2028of one\x85piece: \u00fc")
    submitted_job.finish()
    assert follower.wait_until_done() == ["step 1", "", "step 2", "a line\u2028of one\x85piece: \u00fc"]


def test_log_of_a_finished_job_is_streamed(jobs_client, submitted_job):
    submitted_job.start()
    submitted_job.append_log(*(f"step {number}" for number in range(5000)))
    submitted_job.finish("ERROR")
    assert FollowerThread(jobs_client, submitted_job).wait_until_done() == [f"step {number}" for number in range(5000)]


@pytest.mark.parametrize("broken", ["break_connections", "end_connections"])
def test_log_is_resumed_after_a_lost_connection(hub, jobs_client, submitted_job, broken):
    follower = FollowerThread(jobs_client, submitted_job)
    submitted_job.start()
    lines = []
    for number in range(3):
        lines += [f"step {number}", "the same", "the same"]
        submitted_job.append_log(*lines[-3:])
        follower.wait_for_lines(*lines)
        getattr(submitted_job, broken)()
        wait_until(lambda number=number: len(hub.find_requests("/logs")) > number + 1)
    submitted_job.append_log("last")
    submitted_job.finish()
    assert follower.wait_until_done() == [*lines, "last"]


def test_lines_written_between_connections_are_streamed(hub, jobs_client, submitted_job):
    follower = FollowerThread(jobs_client, submitted_job)
    submitted_job.start()
    submitted_job.append_log("one")
    follower.wait_for_lines("one")
    fault = hub.add_fault("answer", "/logs", max_count=2, status=502)
    submitted_job.break_connections()
    submitted_job.append_log("two", "three")
    wait_until(lambda: fault.num_triggered == 2)
    submitted_job.append_log("four")
    submitted_job.finish()
    assert follower.wait_until_done() == ["one", "two", "three", "four"]


def test_last_lines_are_streamed_after_a_lost_connection(jobs_client, submitted_job):
    follower = FollowerThread(jobs_client, submitted_job)
    submitted_job.start()
    submitted_job.append_log("one")
    follower.wait_for_lines("one")
    with submitted_job.condition:
        submitted_job.break_connections()
        submitted_job.log_lines += [(submitted_job.log_lines[-1][0], "two"), (submitted_job.log_lines[-1][0], "three")]
        submitted_job.stage = "COMPLETED"
    assert follower.wait_until_done() == ["one", "two", "three"]


def test_truncated_log_is_streamed_from_its_first_remaining_line(jobs_client, submitted_job):
    follower = FollowerThread(jobs_client, submitted_job)
    submitted_job.start()
    submitted_job.append_log("one", "two", "three")
    follower.wait_for_lines("one", "two", "three")
    time.sleep(0.005)  # the next lines get a later timestamp
    with submitted_job.condition:
        del submitted_job.log_lines[:3]
        submitted_job.break_connections()
    submitted_job.append_log("four", "five")
    submitted_job.finish()
    assert follower.wait_until_done() == ["one", "two", "three", "four", "five"]


def test_open_log_without_new_lines_ends_with_its_job(hub, submitted_job):
    hub.jobs.keep_alive_s = 0.05
    jobs = HfJobsClient(TOKEN, hub.url, timeout_s=0.3)
    submitted_job.keep_log_open = True
    follower = FollowerThread(jobs, submitted_job)
    submitted_job.start()
    submitted_job.append_log("one")
    submitted_job.finish("ERROR", "Job failed with exit code: 1")
    assert follower.wait_until_done() == ["one"] and follower.error is None
    assert len(hub.find_requests("/logs")) == 1


def test_log_that_opens_late_is_streamed_after_the_job_finished(hub, jobs_client, submitted_job, monkeypatch):
    monkeypatch.setattr(hf_jobs, "READ_TIMEOUT_S", 2.0)
    jobs_client.timeout_s = 0.4
    submitted_job.start()
    submitted_job.append_log("one")
    submitted_job.finish()
    hub.add_fault("stall", "/logs", stall_s=5.0)
    assert (
        FollowerThread(jobs_client, submitted_job).wait_until_done() == ["one"] and len(hub.find_requests("/logs")) >= 1
    )


def test_log_that_never_opens_is_abandoned_when_its_job_has_finished(hub, jobs_client, submitted_job, monkeypatch):
    monkeypatch.setattr(hf_jobs, "READ_TIMEOUT_S", 0.1)
    submitted_job.finish()
    hub.add_fault("stall", "/logs", max_count=None, stall_s=5.0)
    follower = FollowerThread(jobs_client, submitted_job)
    follower.wait_until_done()
    assert "does not open the log" in check_one_sentence(follower.error)


def test_log_of_a_waiting_job_is_followed_despite_lost_connections(hub, jobs_client, submitted_job):
    follower = FollowerThread(jobs_client, submitted_job)
    for connections in range(1, 8):
        wait_until(lambda n=connections: len(list_open_log_requests(hub)) >= n)
        hub.add_fault("drop", "/logs")
        submitted_job.end_connections()
    submitted_job.start()
    submitted_job.append_log("one")
    submitted_job.finish()
    assert follower.wait_until_done() == ["one"] and follower.error is None


@pytest.mark.parametrize("state", ["waiting", "silent", "stalled", "broken"])
def test_cancelling_ends_the_stream_soon(hub, jobs_client, submitted_job, state, monkeypatch):
    monkeypatch.setattr(log_follower, "RETRY_BACKOFF_S", (60.0,))
    if state in ("stalled", "broken"):
        fault = hub.add_fault("stall" if state == "stalled" else "drop", "/logs", max_count=None)
    if state == "silent":
        submitted_job.start()
    follower = FollowerThread(jobs_client, submitted_job)
    wait_until(lambda: fault.num_triggered if state in ("stalled", "broken") else hub.find_requests("/logs"))
    time.sleep(0.1)
    follower.cancel_event.set()
    start_time = time.monotonic()
    assert follower.wait_until_done() == [] and time.monotonic() - start_time < 5.0 and follower.error is None


def test_closing_the_stream_ends_its_thread(jobs_client, submitted_job):
    submitted_job.start()
    submitted_job.append_log("one", "two")
    lines = jobs_client.follow("alice", submitted_job.job_id, threading.Event())
    assert next(lines) == "one"
    lines.close()
    submitted_job.append_log("three")
    wait_until(lambda: not any(thread.name == "job-log" for thread in threading.enumerate()))


def test_unreachable_log_is_abandoned_after_all_retries(hub, jobs_client, submitted_job):
    fault = hub.add_fault("answer", "/logs", max_count=None, status=503)
    follower = FollowerThread(jobs_client, submitted_job)
    follower.wait_until_done()
    assert isinstance(follower.error, StoreUnavailable) and fault.num_triggered == 1 + len(log_follower.RETRY_BACKOFF_S)
    check_one_sentence(follower.error)


def test_new_lines_reset_the_number_of_retries(hub, jobs_client, submitted_job):
    follower = FollowerThread(jobs_client, submitted_job)
    submitted_job.start()
    for number in range(2 * len(log_follower.RETRY_BACKOFF_S)):
        submitted_job.append_log(f"step {number}")
        follower.wait_for_lines(*(f"step {before}" for before in range(number + 1)))
        fault = hub.add_fault("drop", "/logs", max_count=len(log_follower.RETRY_BACKOFF_S) - 1)
        submitted_job.break_connections()
        wait_until(lambda fault=fault: fault.num_triggered == fault.max_count, follower)
    submitted_job.finish()
    follower.wait_until_done()
    assert follower.error is None


@pytest.mark.parametrize(("status", "expected_text"), [(403, "the right to run jobs"), (404, "has no job")])
def test_permanent_error_ends_the_stream_at_once(hub, jobs_client, submitted_job, status, expected_text):
    fault = hub.add_fault("answer", "/logs", max_count=None, status=status)
    follower = FollowerThread(jobs_client, submitted_job)
    follower.wait_until_done()
    assert expected_text in check_one_sentence(follower.error) and fault.num_triggered == 1


def test_parse_log_lines_ignores_other_events():
    parts = [
        b": keep-alive\n\nda",
        b'ta: {"data":"===== Job started at 2026-05-12 14:57:43 =====","timestamp":"1"}\n\n',
        b'data: {"data":"one\\n","timestamp":"2"}\n',
        b'\nevent: x\ndata: {"data": 3}\n\ndata: {"data":"cut',
    ]
    assert list(parse_log_lines(iter(parts))) == [LogLine("one", "2"), LogLine("3", "")]
