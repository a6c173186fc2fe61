"""Jobs sent to the Hub: what it is asked, what comes back, and one sentence for whatever goes wrong."""

import threading
import time

import pytest
from huggingface_hub import HfApi, constants

from ctm.stores import Unavailable
from tests.hub.here import TOKEN
from tests.hub.here import hub as here
from tests.hub.running import machine
from training.jobs import remote
from training.jobs.remote import Flavour, RemoteJobs
from training.jobs.remote_log import LogLine, log_lines

__all__ = ["here"]

WHAT = {
    "space": "alice/space", "command": ["python", "-m", "training", "train", "configs/parity16.yaml"],
    "env": {"CTM_RUN": "parity-1"}, "flavour": "t4-small", "timeout_minutes": 90, "namespace": "alice", "name": "parity-1",
}  # fmt: skip


@pytest.fixture
def hub(here, monkeypatch):
    """A Hub with a Space on it, and nobody who waits long for it."""
    here.add_repo("alice/space", kind="spaces")
    monkeypatch.setattr(remote, "REST", 0.02)
    monkeypatch.setattr(remote, "PAUSES", (0.02,) * 4)
    monkeypatch.setattr(remote, "QUIET", 0.3)
    return here


@pytest.fixture
def jobs(hub):
    return RemoteJobs(TOKEN, hub.url, seconds=5.0)


@pytest.fixture
def sent(hub, jobs):
    """A job as the Hub knows it, which waits for its machine."""
    jobs.submit(**WHAT)
    return hub.jobs.newest


def refusal(call, *given, **named) -> str:
    """What cannot be helped by waiting, said in one sentence."""
    with pytest.raises(ValueError) as caught:
        call(*given, **named)
    assert not isinstance(caught.value, Unavailable), caught.value
    return one_sentence(caught.value)


def one_sentence(error: Exception) -> str:
    said = str(error)
    assert said.endswith((".", ")")) and "\n" not in said and TOKEN not in said
    return said


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


def wait_until(reached, what=None) -> None:
    until = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < until, vars(what) if what else "too late"
        time.sleep(0.01)


# --- hardware ----------------------------------------------------------------------------------------------------


def test_hardware_is_listed_cheapest_first(jobs):
    found = jobs.flavours()
    prices = {flavour.name: flavour.price for flavour in found}
    assert prices == {"cpu-basic": 0.01, "cpu-upgrade": 0.03, "t4-small": 0.4, "l4x1": 0.8, "a100-large": 2.5}
    assert [flavour.name for flavour in found] == list(prices)
    assert found[0] == Flavour("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", "", 0.01)
    assert found[2].accelerator == "1 x Nvidia T4 (16 GB)"


@pytest.mark.parametrize(("unit", "price"), [("hour", 0.007), ("minute", 0.4), ("second", 24.001), ("month", None)])
def test_a_price_is_for_an_hour_where_the_unit_is_known(hub, jobs, unit, price):
    hub.jobs.hardware = [machine("x", "X", 1, 1, 40) | {"unitLabel": unit}]
    assert jobs.flavours()[0].price == price


def test_hardware_without_a_price_comes_last(hub, jobs):
    hub.jobs.hardware = [machine("a", "A", 1, 1, 40) | {"unitLabel": "moon"}, machine("b", "B", 1, 1, 900)]
    assert [flavour.name for flavour in jobs.flavours()] == ["b", "a"]


def test_hardware_is_asked_for_once_in_a_while(hub, jobs, monkeypatch):
    assert jobs.flavours() == jobs.flavours() and len(hub.seen("hardware")) == 1
    monkeypatch.setattr(remote, "FRESH", 0.0)
    jobs.flavours()
    assert len(hub.seen("hardware")) == 2


def test_hardware_in_another_form_is_refused(hub, jobs):
    hub.jobs.hardware = [{"name": "x"}]
    assert "the hardware for jobs" in refusal(jobs.flavours)


# --- submit ------------------------------------------------------------------------------------------------------


def test_a_job_is_what_the_hub_says_it_is(hub, jobs):
    job = jobs.submit(**WHAT)
    assert (job.stage, job.flavour, job.message, job.is_over) == ("waiting", "t4-small", "", False)
    assert job.id == hub.jobs.newest.id and job.url == f"{hub.url}/jobs/alice/{job.id}"


def test_the_request_is_the_one_that_the_client_would_send(hub, jobs):
    jobs.submit(**WHAT)
    ours = hub.jobs.newest.spec
    HfApi(endpoint=hub.url).run_job(
        image="hf.co/spaces/alice/space", command=WHAT["command"], env=WHAT["env"], secrets={"HF_TOKEN": TOKEN},
        flavor="t4-small", timeout="90m", name="parity-1", namespace="alice", token=TOKEN,
    )  # fmt: skip
    assert hub.jobs.newest.spec == ours and ours["timeoutSeconds"] == 5400 and ours["spaceId"] == "alice/space"


def test_the_token_is_sent_as_a_secret_and_as_nothing_else(hub, jobs):
    jobs.submit(**WHAT)
    (asked,) = hub.seen("/api/jobs/alice$", method="POST")
    sent = asked.request.json()
    assert sent.pop("secrets") == {"HF_TOKEN": TOKEN} and TOKEN not in str(sent)
    assert all(TOKEN not in seen.target and seen.token == TOKEN for seen in hub.seen("/api/jobs"))


@pytest.mark.parametrize(
    "change",
    [{"env": {"HF_TOKEN": "x"}}, {"env": {"A": f"b{TOKEN}"}}, {"env": {TOKEN: "x"}}, {"command": ["a", TOKEN]},
     {"name": TOKEN}],
)  # fmt: skip
def test_the_token_is_refused_where_others_can_read_it(hub, jobs, change):
    with pytest.raises(ValueError, match="secret only"):
        jobs.submit(**WHAT | change)
    assert not hub.jobs.table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flavour": "quantum"}, "choose one of cpu-basic, cpu-upgrade, t4-small"),
        ({"timeout_minutes": 9}, "10 to 10080 minutes"),
        ({"timeout_minutes": 10_081}, "timeout_minutes=10081"),
        ({"space": "alice"}, "'alice'"),
        ({"space": "alice/space@v1"}, "without revision"),
        ({"name": "a b"}, "'a b'"),
        ({"name": ""}, "''"),
        ({"namespace": "../alice"}, "is not the name of an account"),
        ({"space": "alice/none"}, "no Space alice/none"),
        ({"namespace": "bob"}, "the right to run jobs"),
    ],
)
def test_what_cannot_be_a_job_is_refused(hub, jobs, change, words):
    assert words in refusal(jobs.submit, **WHAT | change)
    assert not hub.jobs.table


def test_the_longest_and_the_shortest_time_are_accepted(hub, jobs):
    for number, minutes in enumerate((10, 10_080)):
        jobs.submit(**WHAT | {"timeout_minutes": minutes, "name": f"run-{number}"})
        assert hub.jobs.newest.spec["timeoutSeconds"] == 60 * minutes


def test_a_name_is_submitted_once(hub, jobs):
    assert jobs.submit(**WHAT) == jobs.submit(**WHAT)
    assert len(hub.jobs.table) == 1
    jobs.submit(**WHAT | {"name": "parity-2"})
    assert len(hub.jobs.table) == 2


def test_a_job_whose_answer_got_lost_is_found_and_not_paid_twice(hub, jobs):
    hub.fault("lost_reply", "/api/jobs/alice$", "POST")
    assert jobs.submit(**WHAT).id == hub.jobs.newest.id
    assert len(hub.jobs.table) == 1


def test_a_job_of_another_name_is_not_taken_for_it(hub, jobs):
    jobs.submit(**WHAT | {"name": "parity-0"})
    said = HfApi(endpoint=hub.url).list_jobs(namespace="alice", token=TOKEN)
    assert [job.labels["name"] for job in said] == ["parity-0"]
    assert jobs._named("alice", "parity-1") is None


def test_without_credit_nothing_is_started(hub, jobs):
    hub.jobs.without_credit.add("alice")
    said = refusal(jobs.submit, **WHAT)
    assert "no credit for the jobs of alice" in said and "settings/billing" in said
    assert not hub.jobs.table


def test_a_token_that_may_only_read_starts_nothing(hub):
    jobs = RemoteJobs("hf_alice_read", hub.url)
    assert "the right to run jobs" in refusal(jobs.submit, **WHAT)


# --- without a token, and with a wrong one -------------------------------------------------------------------------


def test_without_a_token_there_is_one_sentence(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    jobs = RemoteJobs(None, hub.url)
    calls = [jobs.flavours, lambda: jobs.submit(**WHAT), lambda: jobs.inspect("alice", "1"),
             lambda: jobs.cancel("alice", "1"), lambda: list(jobs.follow("alice", "1", threading.Event()))]  # fmt: skip
    for call in calls:
        assert "no token for the Hub: set HF_TOKEN" in refusal(call)
    assert not hub.seen("/api/jobs")


def test_the_token_of_the_environment_is_taken(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert RemoteJobs(None, hub.url).submit(**WHAT).stage == "waiting"
    assert hub.jobs.newest.spec["secrets"] == {"HF_TOKEN": TOKEN}


def test_a_token_that_the_hub_does_not_know_is_refused(hub):
    assert "does not accept this token" in refusal(RemoteJobs("hf_wrong", hub.url).flavours)


# --- inspect and cancel --------------------------------------------------------------------------------------------


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
    assert (job.stage, job.message, job.is_over) == (ours, "Job timeout", over)


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
    jobs = RemoteJobs("hf_alice_read", hub.url)
    assert "the right to run jobs" in refusal(jobs.cancel, "alice", sent.id)
    assert "the right to run jobs" in refusal(RemoteJobs("hf_bob_write", hub.url).inspect, "alice", sent.id)


def test_a_lost_answer_does_not_undo_the_cancelling(hub, jobs, sent):
    hub.fault("lost_reply", "cancel")
    jobs.cancel("alice", sent.id)
    assert sent.stage == "CANCELED"


# --- what goes wrong -----------------------------------------------------------------------------------------------


def calls_of(jobs, sent):
    return {
        "hardware": jobs.flavours,
        "alice$": lambda: jobs.submit(**WHAT | {"name": "another"}),
        rf"alice/{sent.id}$": lambda: jobs.inspect("alice", sent.id),
        r"alice/\w+(/cancel)?$": lambda: jobs.cancel("alice", sent.id),
    }


@pytest.mark.parametrize("kind", ["answer", "drop", "stall"])
@pytest.mark.parametrize("number", range(4))
def test_whatever_the_hub_fails_to_do_may_be_asked_again(hub, sent, kind, number):
    jobs = RemoteJobs(TOKEN, hub.url, seconds=0.5)
    path, call = list(calls_of(jobs, sent).items())[number]
    with hub_broken(hub, kind, path), pytest.raises(Unavailable) as caught:
        call()
    one_sentence(caught.value)
    call()


class hub_broken:
    """Every answer of these goes wrong as long as this lasts."""

    def __init__(self, hub, kind, path):
        self.fault = hub.fault(kind, path, times=None, status=500, seconds=30.0)

    def __enter__(self):
        self.started = time.monotonic()

    def __exit__(self, *_):
        self.fault.lift()
        assert time.monotonic() - self.started < 10.0, "there must be a limit to each wait"


def test_the_hub_may_ask_to_wait(hub, jobs):
    hub.fault("answer", "hardware", status=429, headers={"Retry-After": "7"})
    with pytest.raises(Unavailable, match="asks to wait 7 s") as caught:
        jobs.flavours()
    assert caught.value.retry_after == 7


def test_what_the_hub_says_of_a_wrong_request_is_told(hub, jobs):
    hub.fault("answer", "alice$", "POST", status=400, message="Too many labels")
    assert "refused what was sent to the jobs of alice" in refusal(jobs.submit, **WHAT)


def test_nobody_there():
    with pytest.raises(Unavailable, match="cannot be reached"):
        RemoteJobs(TOKEN, "http://127.0.0.1:9", seconds=1.0).flavours()


# --- follow --------------------------------------------------------------------------------------------------------


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
    jobs = RemoteJobs(TOKEN, hub.url, seconds=0.3)
    sent.lingers = True
    follower = Follower(jobs, sent)
    sent.start()
    sent.say("one")
    sent.finish("ERROR", "Job failed with exit code: 1")
    assert follower.wait() == ["one"] and follower.error is None
    assert len(hub.seen("/logs")) == 1


def test_a_log_that_opens_late_is_told_though_its_job_is_over(hub, jobs, sent, monkeypatch):
    monkeypatch.setattr(remote, "DEAD", 2.0)
    jobs.seconds = 0.4
    sent.start()
    sent.say("one")
    sent.finish()
    hub.fault("stall", "/logs", seconds=5.0)
    assert Follower(jobs, sent).wait() == ["one"] and len(hub.seen("/logs")) >= 1


def test_a_log_that_never_opens_is_given_up_when_its_job_is_over(hub, jobs, sent, monkeypatch):
    monkeypatch.setattr(remote, "DEAD", 0.1)
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
    monkeypatch.setattr(remote, "PAUSES", (60.0,))
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
    assert isinstance(follower.error, Unavailable) and fault.struck == 1 + len(remote.PAUSES)
    one_sentence(follower.error)


def test_lines_in_between_give_it_all_its_tries_again(hub, jobs, sent):
    follower = Follower(jobs, sent)
    sent.start()
    for number in range(2 * len(remote.PAUSES)):
        sent.say(f"step {number}")
        follower.wait_for(*(f"step {before}" for before in range(number + 1)))
        fault = hub.fault("drop", "/logs", times=len(remote.PAUSES) - 1)
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
    parts = [b": keep-alive\n\nda", b'ta: {"data":"===== Job started at 2026-05-12 14:57:43 =====","timestamp":"1"}\n\n',
             b'data: {"data":"one\\n","timestamp":"2"}\n', b'\nevent: x\ndata: {"data": 3}\n\ndata: {"data":"cut']  # fmt: skip
    assert list(log_lines(iter(parts))) == [LogLine("one", "2"), LogLine("3", "")]


# --- the hub of these tests ----------------------------------------------------------------------------------------


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
