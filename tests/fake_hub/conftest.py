"""A hub, and the real client in a child process that talks to it: once without xet, once with it, as it is by default."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_hub.client_process import HubClientProcess
from tests.fake_hub.server import LoopbackHub


@dataclass(frozen=True)
class HubAndClient:
    """A hub and its client."""

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
    """The hub, empty but for its accounts; its client has no file of it in the cache."""
    hub_and_client.hub.reset()
    hub_and_client.hub.state.page_size, hub_and_client.hub.state.part_size = 1000, None
    shutil.rmtree(hub_and_client.home / "hub", ignore_errors=True)
    return hub_and_client.hub


@pytest.fixture
def client(hub, hub_and_client) -> HubClientProcess:
    """Alice's client."""
    return hub_and_client.client


@pytest.fixture
def hub_without_client() -> Iterator[LoopbackHub]:
    """A hub for tests that speak HTTP themselves."""
    with LoopbackHub() as hub:
        add_accounts(hub)
        yield hub
