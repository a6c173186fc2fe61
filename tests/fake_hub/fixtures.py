"""Fixture of a hub that the client in this process uses by default; import it into a conftest."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._xet import abort_xet_session

from tests.fake_hub.server import LoopbackHub

TOKEN = "hf_alice_write"


def read_dir_files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[LoopbackHub]:
    """Start a hub as the default endpoint of the client in this process; its upload cache is cleared at the end."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    abort_xet_session()
    with LoopbackHub() as hub:
        hub.add_user("alice", TOKEN)
        hub.add_user("alice", "hf_alice_read", role="read")
        hub.add_user("bob", "hf_bob_write")
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # HF_ENDPOINT is read at import only
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template[template.index("/{") :])
        yield hub
    abort_xet_session()
