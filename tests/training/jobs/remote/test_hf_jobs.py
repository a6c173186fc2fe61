"""Tests of the client of Hugging Face Jobs: hardware, submission, tokens, and one-sentence errors."""

import threading
import time

import pytest
from huggingface_hub import HfApi, constants

from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.job_runner import make_hardware
from tests.training.jobs.hf_jobs_fixtures import (
    JOB_SPEC,
    check_one_sentence,
    get_permanent_error,
    hub,
    jobs_client,
    loopback_hub,
    submitted_job,
)
from training.jobs.remote import hf_jobs
from training.jobs.remote.hf_jobs import HardwareFlavor, HfJobsClient

__all__ = ["hub", "jobs_client", "loopback_hub", "submitted_job"]


# --- hardware ----------------------------------------------------------------------------------------------------


def test_hardware_is_listed_cheapest_first(jobs_client):
    flavors = jobs_client.list_flavors()
    prices = {flavor.name: flavor.price_per_hour for flavor in flavors}
    assert prices == {"cpu-basic": 0.01, "cpu-upgrade": 0.03, "t4-small": 0.4, "l4x1": 0.8, "a100-large": 2.5}
    assert [flavor.name for flavor in flavors] == list(prices)
    assert flavors[0] == HardwareFlavor("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", "", 0.01)
    assert flavors[2].accelerator == "1 x Nvidia T4 (16 GB)"


@pytest.mark.parametrize(("unit", "price"), [("hour", 0.007), ("minute", 0.4), ("second", 24.001), ("month", None)])
def test_price_with_a_known_unit_is_converted_to_hours(hub, jobs_client, unit, price):
    hub.jobs.hardware = [make_hardware("x", "X", 1, 1, 40) | {"unitLabel": unit}]
    assert jobs_client.list_flavors()[0].price_per_hour == price


def test_hardware_without_a_price_comes_last(hub, jobs_client):
    hub.jobs.hardware = [
        make_hardware("a", "A", 1, 1, 40) | {"unitLabel": "unknown"},
        make_hardware("b", "B", 1, 1, 900),
    ]
    assert [flavor.name for flavor in jobs_client.list_flavors()] == ["b", "a"]


def test_list_of_hardware_is_cached(hub, jobs_client, monkeypatch):
    assert jobs_client.list_flavors() == jobs_client.list_flavors() and len(hub.find_requests("hardware")) == 1
    monkeypatch.setattr(hf_jobs, "FLAVOR_CACHE_TTL_S", 0.0)
    jobs_client.list_flavors()
    assert len(hub.find_requests("hardware")) == 2


def test_hardware_in_another_format_is_rejected(hub, jobs_client):
    hub.jobs.hardware = [{"name": "x"}]
    assert "the hardware for jobs" in get_permanent_error(jobs_client.list_flavors)


# --- submit ------------------------------------------------------------------------------------------------------


def test_submitted_job_has_the_fields_that_the_hub_returns(hub, jobs_client):
    job = jobs_client.submit(**JOB_SPEC)
    assert (job.stage, job.flavor, job.message, job.is_finished) == ("waiting", "t4-small", "", False)
    assert job.job_id == hub.jobs.latest.job_id and job.url == f"{hub.url}/jobs/alice/{job.job_id}"


def test_submission_equals_the_request_of_huggingface_hub(hub, jobs_client):
    jobs_client.submit(**JOB_SPEC)
    submitted_spec = hub.jobs.latest.spec
    HfApi(endpoint=hub.url).run_job(
        image="hf.co/spaces/alice/space",
        command=JOB_SPEC["command"],
        env=JOB_SPEC["env"],
        secrets={"HF_TOKEN": TOKEN},
        flavor="t4-small",
        timeout="90m",
        name="parity-1",
        namespace="alice",
        token=TOKEN,
    )
    assert (
        hub.jobs.latest.spec == submitted_spec
        and submitted_spec["timeoutSeconds"] == 5400
        and submitted_spec["spaceId"] == "alice/space"
    )


def test_token_is_sent_only_as_a_secret(hub, jobs_client):
    jobs_client.submit(**JOB_SPEC)
    (submission,) = hub.find_requests("/api/jobs/alice$", method="POST")
    payload = submission.request.json()
    assert payload.pop("secrets") == {"HF_TOKEN": TOKEN} and TOKEN not in str(payload)
    assert all(TOKEN not in request.target and request.token == TOKEN for request in hub.find_requests("/api/jobs"))


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
def test_token_in_a_readable_field_is_rejected(hub, jobs_client, change):
    with pytest.raises(ValueError, match="secret only"):
        jobs_client.submit(**JOB_SPEC | change)
    assert not hub.jobs.by_id


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ({"flavor": "quantum"}, "choose one of cpu-basic, cpu-upgrade, t4-small"),
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
def test_invalid_job_spec_is_rejected(hub, jobs_client, change, expected_text):
    assert expected_text in get_permanent_error(jobs_client.submit, **JOB_SPEC | change)
    assert not hub.jobs.by_id


def test_longest_and_shortest_timeout_are_accepted(hub, jobs_client):
    for number, minutes in enumerate((10, 10_080)):
        jobs_client.submit(**JOB_SPEC | {"timeout_minutes": minutes, "name": f"run-{number}"})
        assert hub.jobs.latest.spec["timeoutSeconds"] == 60 * minutes


def test_name_submitted_twice_starts_one_job(hub, jobs_client):
    assert jobs_client.submit(**JOB_SPEC) == jobs_client.submit(**JOB_SPEC)
    assert len(hub.jobs.by_id) == 1
    jobs_client.submit(**JOB_SPEC | {"name": "parity-2"})
    assert len(hub.jobs.by_id) == 2


def test_submission_with_a_lost_response_starts_one_job(hub, jobs_client):
    hub.add_fault("lost_reply", "/api/jobs/alice$", "POST")
    assert jobs_client.submit(**JOB_SPEC).job_id == hub.jobs.latest.job_id
    assert len(hub.jobs.by_id) == 1


def test_find_by_name_ignores_jobs_with_other_names(hub, jobs_client):
    jobs_client.submit(**JOB_SPEC | {"name": "parity-0"})
    jobs = HfApi(endpoint=hub.url).list_jobs(namespace="alice", token=TOKEN)
    assert [job.labels["name"] for job in jobs] == ["parity-0"]
    assert jobs_client._find_by_name("alice", "parity-1") is None


def test_account_without_credit_starts_no_job(hub, jobs_client):
    hub.jobs.accounts_without_credit.add("alice")
    message = get_permanent_error(jobs_client.submit, **JOB_SPEC)
    assert "no credit for the jobs of alice" in message and "settings/billing" in message
    assert not hub.jobs.by_id


def test_read_only_token_starts_no_job(hub):
    jobs = HfJobsClient("hf_alice_read", hub.url)
    assert "the right to run jobs" in get_permanent_error(jobs.submit, **JOB_SPEC)


# --- missing and wrong tokens ------------------------------------------------------------------------------------


def test_missing_token_is_reported_in_one_sentence(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    jobs = HfJobsClient(None, hub.url)
    calls = [
        jobs.list_flavors,
        lambda: jobs.submit(**JOB_SPEC),
        lambda: jobs.inspect("alice", "1"),
        lambda: jobs.cancel("alice", "1"),
        lambda: list(jobs.follow("alice", "1", threading.Event())),
    ]
    for call in calls:
        assert "no token for the Hub: set HF_TOKEN" in get_permanent_error(call)
    assert not hub.find_requests("/api/jobs")


def test_token_of_the_environment_is_used(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert HfJobsClient(None, hub.url).submit(**JOB_SPEC).stage == "waiting"
    assert hub.jobs.latest.spec["secrets"] == {"HF_TOKEN": TOKEN}


def test_unknown_token_is_rejected(hub):
    assert "does not accept this token" in get_permanent_error(HfJobsClient("hf_wrong", hub.url).list_flavors)


# --- failures of the Hub -----------------------------------------------------------------------------------------


def make_calls(jobs, submitted_job):
    return {
        "hardware": jobs.list_flavors,
        "alice$": lambda: jobs.submit(**JOB_SPEC | {"name": "another"}),
        rf"alice/{submitted_job.job_id}$": lambda: jobs.inspect("alice", submitted_job.job_id),
        r"alice/\w+(/cancel)?$": lambda: jobs.cancel("alice", submitted_job.job_id),
    }


@pytest.mark.parametrize("kind", ["answer", "drop", "stall"])
@pytest.mark.parametrize("number", range(4))
def test_failed_request_can_be_repeated(hub, submitted_job, kind, number):
    jobs = HfJobsClient(TOKEN, hub.url, timeout_s=0.5)
    path, call = list(make_calls(jobs, submitted_job).items())[number]
    with BrokenHub(hub, kind, path), pytest.raises(StoreUnavailable) as exc_info:
        call()
    check_one_sentence(exc_info.value)
    call()


class BrokenHub:
    """Context manager in which every matching request to the loopback hub fails."""

    def __init__(self, hub, kind, path):
        self.fault = hub.add_fault(kind, path, max_count=None, status=500, stall_s=30.0)

    def __enter__(self):
        self.start_time = time.monotonic()

    def __exit__(self, *_):
        self.fault.disable()
        assert time.monotonic() - self.start_time < 10.0, "every wait has a time limit"


def test_retry_after_header_is_reported(hub, jobs_client):
    hub.add_fault("answer", "hardware", status=429, headers={"Retry-After": "7"})
    with pytest.raises(StoreUnavailable, match="asks to wait 7 s") as exc_info:
        jobs_client.list_flavors()
    assert exc_info.value.retry_after_s == 7


def test_hub_error_of_an_invalid_request_is_reported(hub, jobs_client):
    hub.add_fault("answer", "alice$", "POST", status=400, message="Too many labels")
    assert "rejected the request for the jobs of alice" in get_permanent_error(jobs_client.submit, **JOB_SPEC)


def test_unreachable_hub_is_reported():
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        HfJobsClient(TOKEN, "http://127.0.0.1:9", timeout_s=1.0).list_flavors()
