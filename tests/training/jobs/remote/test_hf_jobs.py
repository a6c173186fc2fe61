"""Jobs sent to the Hub: what it is asked, and one sentence for whatever goes wrong."""

import threading
import time

import pytest
from huggingface_hub import HfApi, constants

from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.job_runner import machine
from tests.training.jobs.hf_jobs_fixtures import WHAT, here, hub, jobs, one_sentence, refusal, sent
from training.jobs.remote import hf_jobs
from training.jobs.remote.hf_jobs import HardwareFlavor, HfJobsClient

__all__ = ["here", "hub", "jobs", "sent"]


# --- hardware ----------------------------------------------------------------------------------------------------


def test_hardware_is_listed_cheapest_first(jobs):
    found = jobs.list_flavors()
    prices = {flavour.name: flavour.price for flavour in found}
    assert prices == {"cpu-basic": 0.01, "cpu-upgrade": 0.03, "t4-small": 0.4, "l4x1": 0.8, "a100-large": 2.5}
    assert [flavour.name for flavour in found] == list(prices)
    assert found[0] == HardwareFlavor("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", "", 0.01)
    assert found[2].accelerator == "1 x Nvidia T4 (16 GB)"


@pytest.mark.parametrize(("unit", "price"), [("hour", 0.007), ("minute", 0.4), ("second", 24.001), ("month", None)])
def test_a_price_is_for_an_hour_where_the_unit_is_known(hub, jobs, unit, price):
    hub.jobs.hardware = [machine("x", "X", 1, 1, 40) | {"unitLabel": unit}]
    assert jobs.list_flavors()[0].price == price


def test_hardware_without_a_price_comes_last(hub, jobs):
    hub.jobs.hardware = [machine("a", "A", 1, 1, 40) | {"unitLabel": "moon"}, machine("b", "B", 1, 1, 900)]
    assert [flavour.name for flavour in jobs.list_flavors()] == ["b", "a"]


def test_hardware_is_asked_for_once_in_a_while(hub, jobs, monkeypatch):
    assert jobs.list_flavors() == jobs.list_flavors() and len(hub.seen("hardware")) == 1
    monkeypatch.setattr(hf_jobs, "FLAVOR_CACHE_TTL_S", 0.0)
    jobs.list_flavors()
    assert len(hub.seen("hardware")) == 2


def test_hardware_in_another_form_is_refused(hub, jobs):
    hub.jobs.hardware = [{"name": "x"}]
    assert "the hardware for jobs" in refusal(jobs.list_flavors)


# --- submit ------------------------------------------------------------------------------------------------------


def test_a_job_is_what_the_hub_says_it_is(hub, jobs):
    job = jobs.submit(**WHAT)
    assert (job.stage, job.flavour, job.message, job.is_finished) == ("waiting", "t4-small", "", False)
    assert job.id == hub.jobs.newest.id and job.url == f"{hub.url}/jobs/alice/{job.id}"


def test_the_request_is_the_one_that_the_client_would_send(hub, jobs):
    jobs.submit(**WHAT)
    ours = hub.jobs.newest.spec
    HfApi(endpoint=hub.url).run_job(
        image="hf.co/spaces/alice/space",
        command=WHAT["command"],
        env=WHAT["env"],
        secrets={"HF_TOKEN": TOKEN},
        flavor="t4-small",
        timeout="90m",
        name="parity-1",
        namespace="alice",
        token=TOKEN,
    )
    assert hub.jobs.newest.spec == ours and ours["timeoutSeconds"] == 5400 and ours["spaceId"] == "alice/space"


def test_the_token_is_sent_as_a_secret_and_as_nothing_else(hub, jobs):
    jobs.submit(**WHAT)
    (asked,) = hub.seen("/api/jobs/alice$", method="POST")
    sent = asked.request.json()
    assert sent.pop("secrets") == {"HF_TOKEN": TOKEN} and TOKEN not in str(sent)
    assert all(TOKEN not in seen.target and seen.token == TOKEN for seen in hub.seen("/api/jobs"))


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"HF_TOKEN": "x"}},
        {"env": {"A": f"b{TOKEN}"}},
        {"env": {TOKEN: "x"}},
        {"command": ["a", TOKEN]},
        {"name": TOKEN},
    ],
)
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
    assert jobs._find_by_name("alice", "parity-1") is None


def test_without_credit_nothing_is_started(hub, jobs):
    hub.jobs.without_credit.add("alice")
    said = refusal(jobs.submit, **WHAT)
    assert "no credit for the jobs of alice" in said and "settings/billing" in said
    assert not hub.jobs.table


def test_a_token_that_may_only_read_starts_nothing(hub):
    jobs = HfJobsClient("hf_alice_read", hub.url)
    assert "the right to run jobs" in refusal(jobs.submit, **WHAT)


# --- without a token, and with a wrong one -----------------------------------------------------------------------


def test_without_a_token_there_is_one_sentence(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    jobs = HfJobsClient(None, hub.url)
    calls = [
        jobs.list_flavors,
        lambda: jobs.submit(**WHAT),
        lambda: jobs.inspect("alice", "1"),
        lambda: jobs.cancel("alice", "1"),
        lambda: list(jobs.follow("alice", "1", threading.Event())),
    ]
    for call in calls:
        assert "no token for the Hub: set HF_TOKEN" in refusal(call)
    assert not hub.seen("/api/jobs")


def test_the_token_of_the_environment_is_taken(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert HfJobsClient(None, hub.url).submit(**WHAT).stage == "waiting"
    assert hub.jobs.newest.spec["secrets"] == {"HF_TOKEN": TOKEN}


def test_a_token_that_the_hub_does_not_know_is_refused(hub):
    assert "does not accept this token" in refusal(HfJobsClient("hf_wrong", hub.url).list_flavors)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def calls_of(jobs, sent):
    return {
        "hardware": jobs.list_flavors,
        "alice$": lambda: jobs.submit(**WHAT | {"name": "another"}),
        rf"alice/{sent.id}$": lambda: jobs.inspect("alice", sent.id),
        r"alice/\w+(/cancel)?$": lambda: jobs.cancel("alice", sent.id),
    }


@pytest.mark.parametrize("kind", ["answer", "drop", "stall"])
@pytest.mark.parametrize("number", range(4))
def test_whatever_the_hub_fails_to_do_may_be_asked_again(hub, sent, kind, number):
    jobs = HfJobsClient(TOKEN, hub.url, timeout_s=0.5)
    path, call = list(calls_of(jobs, sent).items())[number]
    with hub_broken(hub, kind, path), pytest.raises(StoreUnavailable) as caught:
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
    with pytest.raises(StoreUnavailable, match="asks to wait 7 s") as caught:
        jobs.list_flavors()
    assert caught.value.retry_after_s == 7


def test_what_the_hub_says_of_a_wrong_request_is_told(hub, jobs):
    hub.fault("answer", "alice$", "POST", status=400, message="Too many labels")
    assert "refused what was sent to the jobs of alice" in refusal(jobs.submit, **WHAT)


def test_nobody_there():
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        HfJobsClient(TOKEN, "http://127.0.0.1:9", timeout_s=1.0).list_flavors()
