"""Test that `Retry-After` is true: a client that waits as long as it says is accepted."""

import asyncio
import json
import re
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest

from tests.fake_clock import FakeClock
from ui.server.client_limits import (
    BODY_TIMEOUT_S,
    MAX_PENDING_PER_SESSION,
    MAX_STREAMS_PER_ADDRESS,
    MAX_UPLOADS,
    MAX_UPLOADS_PER_ADDRESS,
    SESSION_TTL_S,
    ClientLimits,
)
from ui.server.gradio_patches import Endpoint
from ui.server.request_errors import LimitExceeded
from ui.server.security_middleware import MAX_QUEUED_EVENTS_PER_ADDRESS, SecurityMiddleware

CALL = "/gradio_api/call/think"
ADDRESS = "10.0.0.1"


class FakeGradioState:
    """Queue whose events all take the same time, several at once."""

    endpoints: ClassVar = {"think": Endpoint("think", 0, {"text": None}, True)}

    def __init__(self, clock: FakeClock, duration_s: float, concurrency: int) -> None:
        self.clock = clock
        self.duration_s = duration_s
        self.ends = [0.0] * concurrency
        self.events: list[tuple[float, str]] = []

    def add(self, address: str = ADDRESS) -> None:
        start = max(self.clock(), min(self.ends))
        self.ends[self.ends.index(min(self.ends))] = start + self.duration_s
        self.events.append((start + self.duration_s, address))

    def get_queued_requests(self) -> list[Any]:
        return [
            SimpleNamespace(client=SimpleNamespace(host=address)) for end, address in self.events if end > self.clock()
        ]

    def has_event(self, event_id: int) -> bool:
        return event_id == 0

    def estimate_wait_s(self) -> float:
        return self.duration_s


@pytest.fixture
def make_client(clock, tmp_path):
    """Return a function that puts the middleware in front of a queue."""

    def make(state: FakeGradioState, max_queue: int = 10_000) -> SecurityMiddleware:
        async def app(scope, receive, send) -> None:
            is_full = len(state.get_queued_requests()) >= max_queue
            if not is_full:
                state.add(scope["client"][0])
            body = {"detail": f"Queue is full. Max size is {max_queue}."} if is_full else {"event_id": "a"}
            await send({"type": "http.response.start", "status": 503 if is_full else 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

        middleware = SecurityMiddleware(app, tmp_path, state)
        middleware.client_limits = ClientLimits(clock)
        return middleware

    return make


def get_seconds(response: httpx.Response) -> int:
    """Return the seconds of the header, which the sentence names, too."""
    sentence, header = response.json()["detail"], response.headers["retry-after"]
    assert re.fullmatch(r"[1-9]\d*", header) and re.search(rf"\b{header} seconds?\b", sentence), sentence
    return int(header)


def post(client: SecurityMiddleware, session: str = "") -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(client, client=(ADDRESS, 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(CALL, json={"data": ["1"], **({"session_hash": session} if session else {})})

    return asyncio.run(send())


@pytest.mark.parametrize("elapsed_s", [0.0, 0.25, 17.4, 119.0, 119.999])
def test_results_that_wait(clock, make_client, elapsed_s):
    client = make_client(FakeGradioState(clock, 0.1, 1))
    for _ in range(MAX_PENDING_PER_SESSION):
        assert post(client).status_code == 200
        clock.now += 0.37
    clock.now += elapsed_s - 0.37
    rejected = post(client)
    seconds = get_seconds(rejected)
    assert rejected.status_code == 429 and SESSION_TTL_S - elapsed_s <= seconds < SESSION_TTL_S - elapsed_s + 1.001
    assert rejected.json()["detail"] == (
        f"You have not fetched 10 results: fetch them, or send this again in {seconds} second{'s' * (seconds > 1)}."
    )
    clock.now += seconds - 1
    assert post(client).status_code == 429, "and not much earlier"
    clock.now += 1
    assert post(client).status_code == 200


def test_a_waiting_client_does_not_prolong_its_own_wait(clock, make_client):
    client = make_client(FakeGradioState(clock, 0.1, 1))
    for _ in range(MAX_PENDING_PER_SESSION):
        post(client, "mine")
    for remaining_s in (120, 100, 60, 1):
        clock.now = 1_000_000.0 + SESSION_TTL_S - remaining_s
        assert get_seconds(post(client, "mine")) == remaining_s


def test_the_queue_of_one_address(clock, make_client):
    state = FakeGradioState(clock, 7.3, 24)
    for _ in range(MAX_QUEUED_EVENTS_PER_ADDRESS):
        state.add()
    client = make_client(state)
    rejected = post(client)
    assert rejected.status_code == 429 and get_seconds(rejected) == 8
    clock.now += 8
    assert post(client).status_code == 200


def test_the_whole_queue(clock, make_client):
    state = FakeGradioState(clock, 2.0, 24)
    for number in range(64):
        state.add(f"10.0.1.{number}")
    client = make_client(state, max_queue=64)
    rejected = post(client)
    assert rejected.status_code == 503 and get_seconds(rejected) == 2
    assert rejected.json()["detail"] == "The queue is full: send the request again in 2 seconds."
    clock.now += 2
    assert post(client).status_code == 200


@pytest.mark.parametrize("num_addresses", [1, MAX_UPLOADS])
def test_uploads(clock, num_addresses):
    limits = ClientLimits(clock)
    with ExitStack() as uploads:
        for number in range(MAX_UPLOADS_PER_ADDRESS if num_addresses == 1 else MAX_UPLOADS):
            uploads.enter_context(limits.limit_uploads(f"10.0.0.{number % num_addresses}"))
            clock.now += 2.5
        with pytest.raises(LimitExceeded) as caught, limits.limit_uploads("10.0.0.0"):
            pass
        seconds = caught.value.retry_after_s
        assert 1 <= seconds <= BODY_TIMEOUT_S and f"there is room in {seconds} seconds" in str(caught.value)
        clock.now += seconds
        with limits.limit_uploads("10.0.0.0"):
            pass
    with limits.limit_uploads("10.0.0.0"):
        pass


def test_open_pages_have_no_time(clock):
    """They stay open for as long as the visitor likes, so the sentence says what to do."""
    limits = ClientLimits(clock)
    with ExitStack() as streams:
        for _ in range(MAX_STREAMS_PER_ADDRESS):
            streams.enter_context(limits.limit_streams(ADDRESS))
        with pytest.raises(LimitExceeded, match=r"^Too many pages are open at your address: close some") as caught:
            streams.enter_context(limits.limit_streams(ADDRESS))
        assert caught.value.retry_after_s is None and caught.value.headers == {}


@pytest.mark.parametrize("wait_s, seconds", [(0.0, 1), (0.2, 1), (1.0, 1), (1.0001, 2), (59.5, 60)])
def test_seconds_are_rounded_up(wait_s, seconds):
    error = LimitExceeded("Wait {seconds}.", wait_s)
    assert error.headers == {"Retry-After": str(seconds)}
    assert str(error) == f"Wait {seconds} second{'' if seconds == 1 else 's'}."
