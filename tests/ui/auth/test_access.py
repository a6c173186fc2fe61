"""Test the choice of the authenticator, and which requests count as local."""

import gradio as gr
import pytest

from tests.ui.auth_requests import (
    LOCALHOST_HEADERS,
    call_action,
    make_access,
    make_request,
    make_token_access,
    open_action_client,
)
from tests.ui.run_fixtures import ADMIN_TOKEN
from tests.ui.space_fixtures import OAUTH_ENV, SPACE_ENV
from ui.auth.access import Access, AccessDenied, User

# --- access mode -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, host, environment",
    [
        ("local", "127.0.0.1", {}),
        ("local", "localhost", {}),
        ("local", "::1", {}),
        ("local", "[::1]", {}),
        ("local", "127.0.0.1", {"CTM_ADMIN_TOKEN": ""}),
        ("token", "127.0.0.1", {"CTM_ADMIN_TOKEN": ADMIN_TOKEN}),
        ("token", "0.0.0.0", {"CTM_ADMIN_TOKEN": ADMIN_TOKEN}),
        ("closed", "0.0.0.0", {}),
        ("closed", "::", {}),
        ("closed", "192.168.0.7", {}),
        ("closed", "localhost.example.org", {}),
        ("closed", "", {}),
        ("space", "0.0.0.0", SPACE_ENV | OAUTH_ENV),
        ("space", "127.0.0.1", SPACE_ENV | OAUTH_ENV),
        ("space", "0.0.0.0", SPACE_ENV | OAUTH_ENV | {"CTM_ADMIN_TOKEN": ADMIN_TOKEN}),
        ("closed", "127.0.0.1", {"SPACE_ID": "lab/ctm"}),
        ("closed", "127.0.0.1", {"SPACE_ID": ""}),
        ("closed", "0.0.0.0", {"SPACE_ID": "lab/ctm", "CTM_ADMIN_TOKEN": ADMIN_TOKEN}),
        ("closed", "0.0.0.0", SPACE_ENV | OAUTH_ENV | {"SPACE_ID": "", "SPACE_AUTHOR_NAME": ""}),
    ],
)
def test_the_access_mode_depends_on_host_and_environment(mode, host, environment):
    assert Access.from_environment(environment, host).mode == mode


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "   ", "sixteen chars ok?", "ünsäglich-geheimes-wort", "a" * 20 + "\t" + "b"]
)
def test_a_weak_admin_token_is_rejected(token):
    with pytest.raises(ValueError, match="CTM_ADMIN_TOKEN must have at least 16 printable ASCII characters") as caught:
        make_access(CTM_ADMIN_TOKEN=token)
    assert token.strip() == "" or token not in str(caught.value)


@pytest.mark.parametrize("name", ["SYSTEM", *OAUTH_ENV])
def test_a_space_without_sign_in_is_closed_and_names_the_missing_variable(name):
    environment = {key: value for key, value in (SPACE_ENV | OAUTH_ENV).items() if key != name}
    access = Access.from_environment(environment, "0.0.0.0")
    assert access.mode == "closed" and access.get_current_user(make_request()) is None
    assert name in access.describe_access(make_request()) and (
        "Dockerfile" if name == "SYSTEM" else "hf_oauth: true"
    ) in access.describe_access(make_request())


def test_a_space_without_authlib_is_closed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "authlib" else object())
    access = Access.from_environment(SPACE_ENV | OAUTH_ENV, "0.0.0.0")
    assert access.mode == "closed" and "authlib" in access.describe_access(make_request())


def test_the_error_of_closed_access_names_the_variable_to_set():
    access = make_access("0.0.0.0")
    with pytest.raises(AccessDenied, match="set CTM_ADMIN_TOKEN"):
        access.require_owner(make_request())
    assert access.get_current_user(make_request()) is None


# --- local access ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "127.8.8.8"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_a_local_user_may_train(host, peer):
    assert make_access().require_owner(make_request({"host": host}, peer)) == User("local", "local")
    assert (
        make_access()
        .require_owner(gr.Request(make_request({"host": host, "origin": f"http://{host}"}, peer)))
        .auth_method
        == "local"
    )


@pytest.mark.parametrize(
    "headers, peer",
    [
        (LOCALHOST_HEADERS, "192.168.0.9"),
        (LOCALHOST_HEADERS, None),
        (LOCALHOST_HEADERS, "testclient"),
        ({}, "127.0.0.1"),
        ({"host": ""}, "127.0.0.1"),
        ({"host": "evil.example"}, "127.0.0.1"),
        ({"host": "127.0.0.1.evil.example"}, "127.0.0.1"),
        ({"host": "localhost@evil.example"}, "127.0.0.1"),
        ({"host": "[::1"}, "127.0.0.1"),
        ({"host": "0.0.0.0:7860"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"x-forwarded-for": "127.0.0.1"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"Forwarded": "for=127.0.0.1"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"x-real-ip": "127.0.0.1"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"x-forwarded-host": "localhost"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"origin": "http://evil.example"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"origin": "null"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"origin": "http://127.0.0.1:8888"}, "127.0.0.1"),
        (LOCALHOST_HEADERS | {"origin": ""}, "127.0.0.1"),
        ({"host": "", "origin": "null"}, "127.0.0.1"),
    ],
)
def test_requests_that_only_appear_to_be_local_are_denied(headers, peer):
    access = make_access()
    with pytest.raises(AccessDenied):
        access.require_owner(make_request(headers, peer))
    assert access.get_current_user(make_request(headers, peer)) is None and "\n" not in access.describe_access(
        make_request(headers, peer)
    )


@pytest.mark.parametrize("request_value", [None, gr.Request(), gr.Request(headers={}), "x", 1, object(), {"scope": {}}])
@pytest.mark.parametrize(
    "access",
    [make_access(), make_token_access(), make_access("0.0.0.0"), Access.from_environment(SPACE_ENV | OAUTH_ENV, "")],
)
def test_a_missing_or_invalid_request_is_denied(access, request_value):
    assert access.get_current_user(request_value) is None
    assert access.describe_access(request_value)


# --- a page with one action --------------------------------------------------------------------------------------


def test_an_action_is_authorized_by_the_request_that_starts_it():
    with open_action_client(make_access(), "http://127.0.0.1:7860") as client:
        assert call_action(client) == "local"
        assert call_action(client, Origin="http://127.0.0.1:7860") == "local"
        assert call_action(client, Origin="http://evil.example").startswith(
            "stopped: This was sent by a page of another"
        )
        assert call_action(client, Host="evil.example").startswith("refused")
        assert call_action(client, **{"X-Forwarded-For": "127.0.0.1"}).startswith("refused")
    with open_action_client(make_access(), "http://127.0.0.1:7860", peer="8.8.8.8") as client:
        assert call_action(client).startswith("refused")


def test_the_monitoring_route_is_disabled():
    with open_action_client(make_access("0.0.0.0"), "http://x") as client:
        assert client.head("/").status_code == 200
        assert client.get("/monitoring").status_code in (403, 404)
