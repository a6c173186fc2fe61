"""Fixtures with a store that uses the local fake Hub."""

from pathlib import Path

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN, hub, read_dir_files

__all__ = ["hub"]


@pytest.fixture
def make_store(hub, tmp_path):
    """Provide a function that builds a store with a token; all stores share one cache."""

    def make(token: str | bool = TOKEN, cache: Path = tmp_path / "cache", **options) -> HubStore:
        defaults = {"timeout_s": 2.0, "min_free_bytes": 0}
        return HubStore(token=token, cache_dir=cache, endpoint=hub.url, **defaults | options)

    return make


@pytest.fixture
def store(make_store) -> HubStore:
    return make_store()


@pytest.fixture
def digits_repo(hub, checkpoint_dir) -> str:
    """Provide a repository with a complete checkpoint."""
    hub.add_repo("alice/digits", read_dir_files(checkpoint_dir))
    return "alice/digits"


@pytest.fixture
def no_retry_delay(monkeypatch):
    """Remove the delay between two tries of the client."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
