"""A store that knows no other Hub than the one on this machine."""

from pathlib import Path

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN, hub, read_dir_files

__all__ = ["hub"]


@pytest.fixture
def make_store(hub, tmp_path):
    """Make a store that sees with a token, over one cache."""

    def make(token: str | bool = TOKEN, cache: Path = tmp_path / "cache", **options) -> HubStore:
        return HubStore(token=token, cache_dir=cache, endpoint=hub.url, **{"timeout_s": 2.0, "min_free_bytes": 0} | options)

    return make


@pytest.fixture
def store(make_store) -> HubStore:
    return make_store()


@pytest.fixture
def digits_repo(hub, checkpoint_dir) -> str:
    """A repository that holds a whole checkpoint."""
    hub.add_repo("alice/digits", read_dir_files(checkpoint_dir))
    return "alice/digits"


@pytest.fixture
def no_retry_delay(monkeypatch):
    """Let the client try again at once; it would wait for timeout_s between two tries."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
