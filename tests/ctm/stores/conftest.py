"""A Hub on this machine, and a store that knows no other."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._xet import abort_xet_session
from safetensors.torch import load_file, save_file

from ctm.stores import HubStore
from tests.hub.server import LoopbackHub

TOKEN = "hf_alice_write"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[LoopbackHub]:
    """A Hub that the client in this process takes for the only one; what it remembers of uploads ends with it."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    abort_xet_session()
    with LoopbackHub() as hub:
        hub.add_user("alice", TOKEN)
        hub.add_user("alice", "hf_alice_read", role="read")
        hub.add_user("bob", "hf_bob_write")
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # as HF_ENDPOINT does, which is read at import alone
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template[template.index("/{") :])
        yield hub
    abort_xet_session()


@pytest.fixture
def store_of(hub, tmp_path):
    """Make a store that sees with a token, over one cache."""

    def make(token: str | bool = TOKEN, cache: Path = tmp_path / "cache", **options) -> HubStore:
        return HubStore(token=token, cache=cache, endpoint=hub.url, **{"seconds": 2.0, "spare": 0} | options)

    return make


@pytest.fixture
def store(store_of) -> HubStore:
    return store_of()


@pytest.fixture
def digits(hub, folder) -> str:
    """A repository that holds a whole checkpoint."""
    hub.add_repo("alice/digits", files_of(folder))
    return "alice/digits"


@pytest.fixture
def quick_retries(monkeypatch):
    """Let the client try again at once; it would wait for seconds between two tries."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def part_weights():
    """Lay the weights of a checkpoint folder into two files with an index."""

    def part(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
        for file in set(places.values()):
            save_file({name: tensors[name] for name in places if places[name] == file}, folder / file)
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return part
