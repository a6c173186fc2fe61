"""Logs of jobs on the Hub: every line is told once, however often the connection breaks, and the following ends."""

import threading
import time

import pytest

from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import TOKEN
from tests.training.jobs.hf_jobs_fixtures import here, hub, jobs, one_sentence, sent, wait_until
from training.jobs.remote import hf_jobs
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.remote.log_stream import LogLine, parse_log_lines

__all__ = ["here", "hub", "jobs", "sent"]


def opened(hub) -> list:
    """The logs that were opened so far."""
    return [seen for seen in hub.seen("/logs") if seen.status == 200]


class Follower:
    """Somebody who follows a log."""

    def __init__(self, jobs, job):
        self.give_up, self.lines, self.error = threading.Event(), [], None
        self.thread = threading.Thread(target=self.run, args=(jobs, job), daemon=True)
        self.thread.start()

    def run(self, jobs, job) -> None:
        try:
            for line in jobs.follow(job.namespace, job.id, self.give_up):
                self.lines.append(line)
        except ValueError as error:
            self.error = error

    def wait_for(self, *lines: str) -> None:
        wait_until(lambda: self.lines == list(lines) or self.error, self)
        assert self.lines == list(lines) and self.error is None

    def wait(self) -> list[str]:
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.lines


def test_a_log_is_followed_to_its_end(jobs, sent):
    follower = Follower(jobs, sent)
    sent.start()
    sent.say("step 1", "", "step 2")
    follower.wait_for("step 1", "", "step 2")
    sent.say("a line\u2028of one\x85piece: \u00fc")
    sent.finish()
    assert follower.wait() == ["step 1", "", "step 2", "a line\u2028of one\x85piece: \u00fc"]


def test_the_log_of_a_job_that_is_over_is_told(jobs, sent):
    sent.start()
    sent.say(*(f"step {number}" for number in range(5000)))
    sent.finish("ERROR")
    assert Follower(jobs, sent).wait() == [f"step {number}" for number in range(5000)]


@pytest.mark.parametrize("broken", ["cut", "hang_up"])
def test_a_broken_log_goes_on_where_it_was(hub, jobs, sent, broken):
    follower = Follower(jobs, sent)
    sent.start()
    said = []
    for number in range(3):
        said += [f"step {number}", "the same", "the same"]
        sent.say(*said[-3:])
        follower.wait_for(*said)
        getattr(sent, broken)()
        wait_until(lambda number=number: len(hub.seen("/logs")) > number + 1)
    sent.say("last")
    sent.finish()
    assert follower.wait() == [*said, "last"]


def test_what_was_said_while_nobody_listened_is_told(hub, jobs, sent):
    follower = Follower(jobs, sent)
    sent.start()
    sent.say("one")
    follower.wait_for("one")
    deaf = hub.fault("answer", "/logs", times=2, status=502)
    sent.cut()
    sent.say("two", "three")
    wait_until(lambda: deaf.struck == 2)
    sent.say("four")
    sent.finish()
    assert follower.wait() == ["one", "two", "three", "four"]


def test_what_was_said_last_is_told_though_the_connection_broke(jobs, sent):
    follower = Follower(jobs, sent)
    sent.start()
    sent.say("one")
    follower.wait_for("one")
    with sent.changed:
        sent.cut()
        sent.log += [(sent.log[-1][0], "two"), (sent.log[-1][0], "three")]
        sent.stage = "COMPLETED"
    assert follower.wait() == ["one", "two", "three"]


def test_a_hub_that_forgot_the_beginning_does_not_silence_the_rest(jobs, sent):
    follower = Follower(jobs, sent)
    sent.start()
    sent.say("one", "two", "three")
    follower.wait_for("one", "two", "three")
    time.sleep(0.005)  # lines of a later time
    with sent.changed:
        del sent.log[:3]
        sent.cut()
    sent.say("four", "five")
    sent.finish()
    assert follower.wait() == ["one", "two", "three", "four", "five"]


def test_a_silent_log_that_stays_open_ends_with_its_job(hub, sent):
    hub.jobs.keep_alive = 0.05
    jobs = HfJobsClient(TOKEN, hub.url, timeout_s=0.3)
    sent.lingers = True
    follower = Follower(jobs, sent)
    sent.start()
    sent.say("one")
    sent.finish("ERROR", "Job failed with exit code: 1")
    assert follower.wait() == ["one"] and follower.error is None
    assert len(hub.seen("/logs")) == 1


def test_a_log_that_opens_late_is_told_though_its_job_is_over(hub, jobs, sent, monkeypatch):
    monkeypatch.setattr(hf_jobs, "READ_TIMEOUT_S", 2.0)
    jobs.seconds = 0.4
    sent.start()
    sent.say("one")
    sent.finish()
    hub.fault("stall", "/logs", seconds=5.0)
    assert Follower(jobs, sent).wait() == ["one"] and len(hub.seen("/logs")) >= 1


def test_a_log_that_never_opens_is_given_up_when_its_job_is_over(hub, jobs, sent, monkeypatch):
    monkeypatch.setattr(hf_jobs, "READ_TIMEOUT_S", 0.1)
    sent.finish()
    hub.fault("stall", "/logs", times=None, seconds=5.0)
    follower = Follower(jobs, sent)
    follower.wait()
    assert "does not open the log" in one_sentence(follower.error)


def test_a_job_that_waits_long_is_not_given_up(hub, jobs, sent):
    follower = Follower(jobs, sent)
    for connections in range(1, 8):
        wait_until(lambda n=connections: len(opened(hub)) >= n)
        hub.fault("drop", "/logs")
        sent.hang_up()
    sent.start()
    sent.say("one")
    sent.finish()
    assert follower.wait() == ["one"] and follower.error is None


@pytest.mark.parametrize("state", ["waiting", "silent", "stalled", "broken"])
def test_giving_up_ends_it_soon(hub, jobs, sent, state, monkeypatch):
    monkeypatch.setattr(hf_jobs, "RETRY_BACKOFF_S", (60.0,))
    if state in ("stalled", "broken"):
        fault = hub.fault("stall" if state == "stalled" else "drop", "/logs", times=None)
    if state == "silent":
        sent.start()
    follower = Follower(jobs, sent)
    wait_until(lambda: fault.struck if state in ("stalled", "broken") else hub.seen("/logs"))
    time.sleep(0.1)
    follower.give_up.set()
    before = time.monotonic()
    assert follower.wait() == [] and time.monotonic() - before < 5.0 and follower.error is None


def test_whoever_stops_listening_leaves_nothing_behind(jobs, sent):
    sent.start()
    sent.say("one", "two")
    lines = jobs.follow("alice", sent.id, threading.Event())
    assert next(lines) == "one"
    lines.close()
    sent.say("three")
    wait_until(lambda: not any(thread.name == "job-log" for thread in threading.enumerate()))


def test_a_log_that_cannot_be_reached_is_given_up_in_the_end(hub, jobs, sent):
    fault = hub.fault("answer", "/logs", times=None, status=503)
    follower = Follower(jobs, sent)
    follower.wait()
    assert isinstance(follower.error, StoreUnavailable) and fault.struck == 1 + len(hf_jobs.RETRY_BACKOFF_S)
    one_sentence(follower.error)


def test_lines_in_between_give_it_all_its_tries_again(hub, jobs, sent):
    follower = Follower(jobs, sent)
    sent.start()
    for number in range(2 * len(hf_jobs.RETRY_BACKOFF_S)):
        sent.say(f"step {number}")
        follower.wait_for(*(f"step {before}" for before in range(number + 1)))
        fault = hub.fault("drop", "/logs", times=len(hf_jobs.RETRY_BACKOFF_S) - 1)
        sent.cut()
        wait_until(lambda fault=fault: fault.struck == fault.times, follower)
    sent.finish()
    follower.wait()
    assert follower.error is None


@pytest.mark.parametrize(("status", "words"), [(403, "the right to run jobs"), (404, "has no job")])
def test_what_trying_again_does_not_help_ends_it_at_once(hub, jobs, sent, status, words):
    fault = hub.fault("answer", "/logs", times=None, status=status)
    follower = Follower(jobs, sent)
    follower.wait()
    assert words in one_sentence(follower.error) and fault.struck == 1


def test_events_are_told_from_everything_else():
    parts = [
        b": keep-alive\n\nda",
        b'ta: {"data":"===== Job started at 2026-05-12 14:57:43 =====","timestamp":"1"}\n\n',
        b'data: {"data":"one\\n","timestamp":"2"}\n',
        b'\nevent: x\ndata: {"data": 3}\n\ndata: {"data":"cut',
    ]
    assert list(parse_log_lines(iter(parts))) == [LogLine("one", "2"), LogLine("3", "")]
