"""Fixtures: a hub and the real client in a child process, once without xet and once with xet (the default)."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_hub.client_process import HubClientProcess
from tests.fake_hub.server import LoopbackHub


@dataclass(frozen=True)
class HubAndClient:
    """A hub and a child process with its client."""

    hub: LoopbackHub
    client: HubClientProcess
    home: Path
    uses_xet: bool


def add_accounts(hub: LoopbackHub) -> None:
    hub.add_user("alice", "hf_alice_write", orgs={"lab": "admin"})
    hub.add_user("alice", "hf_alice_read", role="read")
    hub.add_user("bob", "hf_bob_write", orgs={"lab": "read"})


@pytest.fixture(scope="session", params=["http", "xet"])
def hub_and_client(request, tmp_path_factory) -> Iterator[HubAndClient]:
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    with LoopbackHub() as hub:
        add_accounts(hub)
        client = HubClientProcess(hub.build_environment(home, token="hf_alice_write", xet=request.param == "xet"))
        yield HubAndClient(hub, client, home, request.param == "xet")
        client.close()


@pytest.fixture
def hub(hub_and_client) -> LoopbackHub:
    """Return the hub with its accounts only; the cache of its client is empty."""
    hub_and_client.hub.reset()
    hub_and_client.hub.state.page_size, hub_and_client.hub.state.part_size = 1000, None
    shutil.rmtree(hub_and_client.home / "hub", ignore_errors=True)
    return hub_and_client.hub


@pytest.fixture
def client(hub, hub_and_client) -> HubClientProcess:
    """Return the client with the write token of alice."""
    return hub_and_client.client


@pytest.fixture
def hub_without_client() -> Iterator[LoopbackHub]:
    """Start a hub for tests that send HTTP requests themselves."""
    with LoopbackHub() as hub:
        add_accounts(hub)
        yield hub
