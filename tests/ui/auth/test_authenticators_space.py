"""Test who may train on a Space: its owner and members with write access, according to the Hub."""

import base64
import hashlib
import json
import time

import httpx
import itsdangerous
import pytest
from gradio import oauth
from starlette.testclient import TestClient

from ctm.stores.accounts import Accounts
from ctm.stores.base import StoreUnavailable
from tests.fake_hub.openid import OpenIDProvider
from tests.ui.auth_requests import call_action, make_access, make_token_access, open_action_client
from tests.ui.space_fixtures import SPACE_HOST, openid_provider, space_environment
from ui.auth.access import Access

__all__ = ["openid_provider", "space_environment"]


def sign_in(client: TestClient, provider: OpenIDProvider, name: str) -> httpx.Response:
    """Sign in as a browser does. Return the last response."""
    provider.user_token = f"hf_{name}"
    login_response = client.get("/login/huggingface")
    assert login_response.status_code == 302 and login_response.headers["location"].startswith(provider.url)
    authorize_response = httpx.get(login_response.headers["location"])
    assert authorize_response.headers["location"].startswith(f"https://{SPACE_HOST}/login/callback"), (
        "the callback URL uses https behind an http proxy"
    )
    return client.get(authorize_response.headers["location"])


# --- sign-ins ----------------------------------------------------------------------------------------------------


def test_the_owner_and_writers_of_the_organisation_may_train_on_a_space(space_environment, openid_provider):
    access = Access.from_environment(space_environment, "0.0.0.0")
    assert access.mode == "space"
    with open_action_client(access, f"https://{SPACE_HOST}") as client:
        for name, is_allowed in {
            "lab": True,
            "ann": True,
            "wim": True,
            "con": False,
            "ray": False,
            "eve": False,
        }.items():
            assert call_action(client) == "refused: Only lab may train here: sign in with Hugging Face."
            assert sign_in(client, openid_provider, name).status_code in (302, 307)
            is_denied = call_action(client).startswith("refused: Only lab, and members with write access")
            assert is_denied is not is_allowed and call_action(client).endswith(
                name if is_allowed else "To train, duplicate this Space."
            )
            client.get("/logout")


def test_a_sign_in_is_rejected_from_another_origin(space_environment, openid_provider):
    """Browsers send Gradio's cookie from other sites too, and its responses to them allow credentials."""
    with open_action_client(Access.from_environment(space_environment, "0.0.0.0"), f"https://{SPACE_HOST}") as client:
        sign_in(client, openid_provider, "lab")
        assert call_action(client, Origin=f"https://{SPACE_HOST}") == "lab"
        assert call_action(client, Origin="https://ctm.example.org") == "lab"
        assert call_action(client, Origin="https://evil.example").startswith("stopped")
        assert call_action(client, Origin="https://huggingface.co").startswith("stopped")


def test_the_hub_account_is_requested_once_for_many_actions(space_environment, openid_provider, hub):
    with open_action_client(Access.from_environment(space_environment, "0.0.0.0"), f"https://{SPACE_HOST}") as client:
        sign_in(client, openid_provider, "wim")
        hub.clear_requests()
        assert [call_action(client) for _ in range(3)] == ["wim"] * 3
        assert len(hub.find_requests("whoami")) == 1
        assert {request.token for request in hub.find_requests("whoami")} == {"hf_wim"}, (
            "the request has the token of the user"
        )


def test_an_expired_sign_in_is_denied(space_environment, openid_provider):
    openid_provider.token_lifetime_s = 1
    with open_action_client(Access.from_environment(space_environment, "0.0.0.0"), f"https://{SPACE_HOST}") as client:
        sign_in(client, openid_provider, "lab")
        time.sleep(1.1)
        assert call_action(client).startswith("refused: Only lab may train here: sign in")


def test_a_revoked_token_is_denied(space_environment, openid_provider, hub):
    with open_action_client(Access.from_environment(space_environment, "0.0.0.0"), f"https://{SPACE_HOST}") as client:
        sign_in(client, openid_provider, "lab")
        hub.remove_token("hf_lab")
        assert call_action(client) == "refused: The Hub no longer accepts your sign-in: log out and sign in again."


def test_an_unreachable_hub_is_reported_and_the_request_is_retried(
    space_environment, openid_provider, hub, monkeypatch
):
    access = Access.from_environment(space_environment, "0.0.0.0")
    access.authenticator.accounts.failure_ttl_s = 0.0
    with open_action_client(access, f"https://{SPACE_HOST}") as client:
        sign_in(client, openid_provider, "lab")
        fault = hub.add_fault("drop", "whoami", max_count=None)
        message = call_action(client)
        assert message.startswith("refused: Your account cannot be checked now") and "\n" not in message
        hub.faults.clear()
        assert fault and call_action(client) == "lab"


def make_session_cookie(secret: str, **info) -> str:
    """Return a session cookie signed as Gradio does."""
    key = hashlib.sha256(f"{secret}-v4".encode()).hexdigest()
    data = base64.b64encode(json.dumps({"oauth_info": info}).encode())
    return itsdangerous.TimestampSigner(key).sign(data).decode()


VALID_SESSION = {"access_token": "hf_lab", "expires_at": time.time() + 9999, "userinfo": {"preferred_username": "lab"}}
INVALID_SESSIONS = [
    {},
    VALID_SESSION | {"access_token": ""},
    VALID_SESSION | {"access_token": None},
    VALID_SESSION | {"access_token": True},
    VALID_SESSION | {"expires_at": None},
    VALID_SESSION | {"expires_at": "never"},
    VALID_SESSION | {"expires_at": 1},
    VALID_SESSION | {"access_token": "mock-oauth-token-for-local-dev"},
    VALID_SESSION | {"access_token": "hf_\nlab"},
    VALID_SESSION | {"access_token": ["hf_lab"]},
]


def test_a_session_without_a_valid_token_is_denied(space_environment, openid_provider):
    """An empty token must not be replaced by the token of the Space, as the Hub client would do."""
    with open_action_client(Access.from_environment(space_environment, "0.0.0.0"), f"https://{SPACE_HOST}") as client:
        client.cookies.set("session", make_session_cookie("secret", **VALID_SESSION))
        assert call_action(client) == "lab", "a valid cookie is accepted"
        for info in INVALID_SESSIONS:
            client.cookies.clear()
            client.cookies.set("session", make_session_cookie("secret", **info))
            assert call_action(client).startswith("refused"), info


def test_a_session_signed_with_the_public_default_key_is_denied(space_environment, openid_provider, monkeypatch):
    """Without a client secret, Gradio signs sessions with a constant."""
    forged = make_session_cookie("", **VALID_SESSION)
    with open_action_client(Access.from_environment(space_environment, "0.0.0.0"), f"https://{SPACE_HOST}") as client:
        client.cookies.set("session", forged)
        assert call_action(client).startswith("refused: Only lab may train here: sign in")
    for name in space_environment:
        monkeypatch.delenv(name)
        if hasattr(oauth, name):
            monkeypatch.setattr(oauth, name, None)
    monkeypatch.setenv("HF_TOKEN", "hf_lab")
    for access in (make_token_access(), make_access("0.0.0.0"), make_access(**{"SPACE_ID": "lab/ctm"})):
        with (
            pytest.warns(UserWarning, match="mocked"),
            open_action_client(access, "https://x.example", button=True) as client,
        ):
            client.cookies.set("session", forged)
            assert call_action(client).startswith("refused"), access.mode


def test_a_space_without_the_system_variable_denies_mocked_users(space_environment, openid_provider, monkeypatch):
    """Without SYSTEM=spaces, Gradio signs every visitor in as the owner of HF_TOKEN."""
    monkeypatch.delenv("SYSTEM")
    access = Access.from_environment(
        {name: value for name, value in space_environment.items() if name != "SYSTEM"}, "0.0.0.0"
    )
    assert access.mode == "closed"
    with (
        pytest.warns(UserWarning, match="mocked"),
        open_action_client(access, f"https://{SPACE_HOST}", button=True) as client,
    ):
        login_response = client.get("/login/huggingface")
        assert client.get(login_response.headers["location"]).status_code == 307, (
            "the mocked sign-in contacts no provider"
        )
        assert call_action(client, "profile_name") == "lab", "Gradio reports the owner of HF_TOKEN as the user"
        assert call_action(client).startswith("refused: Training is off: SYSTEM=spaces is not set")
    with open_action_client(access, f"https://{SPACE_HOST}") as client:
        assert client.get("/login/huggingface").status_code == 404, "the page of the app has no sign-in button"


# --- accounts ----------------------------------------------------------------------------------------------------


def test_accounts_are_cached_until_they_expire(hub, clock):
    accounts = Accounts(clock=clock)
    assert accounts.get("hf_bob_write").name == "bob"
    hub.add_user("bob", "hf_bob_write", orgs={"lab": "admin"})
    assert accounts.get("hf_bob_write").roles == {}
    clock.now += 301
    assert accounts.get("hf_bob_write").roles == {"lab": "admin"}


def test_failed_account_requests_are_cached_for_a_short_time(hub, clock):
    accounts = Accounts(clock=clock)
    hub.add_fault("drop", "whoami", max_count=1)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            accounts.get("hf_bob_write")
    assert len(hub.find_requests("whoami")) == 1
    clock.now += 11
    assert accounts.get("hf_bob_write").name == "bob"


def test_an_account_request_times_out(hub):
    hub.add_fault("stall", "whoami", stall_s=30)
    start_time = time.monotonic()
    with pytest.raises(StoreUnavailable):
        Accounts(timeout_s=0.3).get("hf_bob_write")
    assert time.monotonic() - start_time < 5


def test_the_account_cache_is_limited_and_contains_no_token(hub):
    accounts = Accounts(max_entries=3)
    for number in range(9):
        hub.add_user("bob", f"hf_{number}")
        accounts.get(f"hf_{number}")
    assert len(accounts._entries) == 3 and "hf_8" not in repr(accounts._entries)


@pytest.mark.parametrize("token", ["", " ", "x\ny", "\ud800", "é", "hf_unknown"])
def test_an_invalid_token_is_not_replaced_by_the_token_of_the_owner(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    with pytest.raises(ValueError) as caught:
        Accounts().get(token)
    assert not isinstance(caught.value, StoreUnavailable)
    assert "hf_alice_write" not in {request.token for request in hub.find_requests("whoami")}
