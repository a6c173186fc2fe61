"""Environment of a Space whose visitors sign in at a loopback Hub."""

from collections.abc import Iterator

import pytest
from gradio import oauth
from huggingface_hub import HfApi

from tests.fake_hub.openid import OpenIDProvider

SPACE_HOST = "lab-ctm.hf.space"
SPACE_ENV = {
    "SPACE_ID": "lab/ctm",
    "SPACE_AUTHOR_NAME": "lab",
    "SPACE_HOST": f"{SPACE_HOST},ctm.example.org",
    "SYSTEM": "spaces",
}
OAUTH_ENV = {
    "OAUTH_CLIENT_ID": "id",
    "OAUTH_CLIENT_SECRET": "s",
    "OAUTH_SCOPES": "openid",
    "OPENID_PROVIDER_URL": "http://x",
}


@pytest.fixture
def openid_provider(hub) -> Iterator[OpenIDProvider]:
    """Yield the sign-in provider of the loopback Hub with one account per role; `lab` is an organization."""
    for name, orgs in {
        "lab": {},
        "ann": {"lab": "admin"},
        "wim": {"lab": "write"},
        "con": {"lab": "contributor"},
        "ray": {"lab": "read"},
        "eve": {"eve-lab": "admin"},
    }.items():
        hub.add_user(name, f"hf_{name}", orgs=orgs)
    with OpenIDProvider(hub, "client", "secret") as provider:
        yield provider


@pytest.fixture
def space_environment(hub, openid_provider, monkeypatch) -> dict[str, str]:
    """Return the environment of a Space with sign-in, which is also set for Gradio."""
    environment = SPACE_ENV | openid_provider.build_environment() | {"HF_TOKEN": "hf_lab"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        if hasattr(oauth, name):  # read when Gradio is imported
            monkeypatch.setattr(oauth, name, value)
    monkeypatch.setattr(oauth, "whoami", HfApi(endpoint=hub.url).whoami)  # the lookup of mocked users
    return environment
