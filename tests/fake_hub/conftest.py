"""A hub, and the real client in a child process that talks to it: once without xet, once with it, as it is by default."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_hub.client_process import Client
from tests.fake_hub.server import LoopbackHub


@dataclass(frozen=True)
class Pair:
    """A hub and its client."""

    hub: LoopbackHub
    client: Client
    home: Path
    xet: bool


def add_accounts(hub: LoopbackHub) -> None:
    hub.add_user("alice", "hf_alice_write", orgs={"lab": "admin"})
    hub.add_user("alice", "hf_alice_read", role="read")
    hub.add_user("bob", "hf_bob_write", orgs={"lab": "read"})


@pytest.fixture(scope="session", params=["http", "xet"])
def pair(request, tmp_path_factory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    with LoopbackHub() as hub:
        add_accounts(hub)
        client = Client(hub.environment(home, token="hf_alice_write", xet=request.param == "xet"))
        yield Pair(hub, client, home, request.param == "xet")
        client.close()


@pytest.fixture
def hub(pair) -> LoopbackHub:
    """The hub, empty but for its accounts; its client has no file of it in the cache."""
    pair.hub.reset()
    pair.hub.store.page_size, pair.hub.store.part_size = 1000, None
    shutil.rmtree(pair.home / "hub", ignore_errors=True)
    return pair.hub


@pytest.fixture
def client(hub, pair) -> Client:
    """Alice's client."""
    return pair.client


@pytest.fixture
def plain_hub() -> Iterator[LoopbackHub]:
    """A hub for tests that speak HTTP themselves."""
    with LoopbackHub() as hub:
        add_accounts(hub)
        yield hub
