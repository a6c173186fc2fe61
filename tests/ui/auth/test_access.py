"""Who may train: which rule holds, and who sits at this machine."""

import gradio as gr
import pytest

from tests.ui.auth_requests import HERE, access_of, act, request, visiting, with_token
from tests.ui.run_fixtures import SECRET
from tests.ui.space_fixtures import OAUTH, SPACE
from ui.auth.access import Access, AccessDenied, User

# --- which rule holds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, host, environment",
    [
        ("local", "127.0.0.1", {}),
        ("local", "localhost", {}),
        ("local", "::1", {}),
        ("local", "[::1]", {}),
        ("local", "127.0.0.1", {"CTM_ADMIN_TOKEN": ""}),
        ("token", "127.0.0.1", {"CTM_ADMIN_TOKEN": SECRET}),
        ("token", "0.0.0.0", {"CTM_ADMIN_TOKEN": SECRET}),
        ("closed", "0.0.0.0", {}),
        ("closed", "::", {}),
        ("closed", "192.168.0.7", {}),
        ("closed", "localhost.example.org", {}),
        ("closed", "", {}),
        ("space", "0.0.0.0", SPACE | OAUTH),
        ("space", "127.0.0.1", SPACE | OAUTH),
        ("space", "0.0.0.0", SPACE | OAUTH | {"CTM_ADMIN_TOKEN": SECRET}),
        ("closed", "127.0.0.1", {"SPACE_ID": "lab/ctm"}),
        ("closed", "127.0.0.1", {"SPACE_ID": ""}),
        ("closed", "0.0.0.0", {"SPACE_ID": "lab/ctm", "CTM_ADMIN_TOKEN": SECRET}),
        ("closed", "0.0.0.0", SPACE | OAUTH | {"SPACE_ID": "", "SPACE_AUTHOR_NAME": ""}),
    ],
)
def test_the_rule_follows_from_where_the_app_runs(mode, host, environment):
    assert Access.from_environment(environment, host).mode == mode


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "   ", "sixteen chars ok?", "ünsäglich-geheimes-wort", "a" * 20 + "\t" + "b"]
)
def test_a_weak_token_ends_the_start(token):
    with pytest.raises(ValueError, match="CTM_ADMIN_TOKEN must have at least 16 characters") as caught:
        access_of(CTM_ADMIN_TOKEN=token)
    assert token.strip() == "" or token not in str(caught.value)


@pytest.mark.parametrize("name", ["SYSTEM", *OAUTH])
def test_a_space_that_cannot_sign_visitors_in_is_closed_and_says_what_it_lacks(name):
    environment = {key: value for key, value in (SPACE | OAUTH).items() if key != name}
    access = Access.from_environment(environment, "0.0.0.0")
    assert access.mode == "closed" and access.get_current_user(request()) is None
    assert name in access.describe_access(request()) and (
        "Dockerfile" if name == "SYSTEM" else "hf_oauth: true"
    ) in access.describe_access(request())


def test_a_space_without_authlib_is_closed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "authlib" else object())
    access = Access.from_environment(SPACE | OAUTH, "0.0.0.0")
    assert access.mode == "closed" and "authlib" in access.describe_access(request())


def test_what_is_closed_names_the_remedy():
    access = access_of("0.0.0.0")
    with pytest.raises(AccessDenied, match="set CTM_ADMIN_TOKEN"):
        access.require_owner(request())
    assert access.get_current_user(request()) is None


# --- this machine only -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "127.8.8.8"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_whoever_sits_at_this_machine_may_train(host, peer):
    assert access_of().require_owner(request({"host": host}, peer)) == User("local", "local")
    assert (
        access_of().require_owner(gr.Request(request({"host": host, "origin": f"http://{host}"}, peer))).auth_method
        == "local"
    )


@pytest.mark.parametrize(
    "headers, peer",
    [
        (HERE, "192.168.0.9"),
        (HERE, None),
        (HERE, "testclient"),
        ({}, "127.0.0.1"),
        ({"host": ""}, "127.0.0.1"),
        ({"host": "evil.example"}, "127.0.0.1"),
        ({"host": "127.0.0.1.evil.example"}, "127.0.0.1"),
        ({"host": "localhost@evil.example"}, "127.0.0.1"),
        ({"host": "[::1"}, "127.0.0.1"),
        ({"host": "0.0.0.0:7860"}, "127.0.0.1"),
        (HERE | {"x-forwarded-for": "127.0.0.1"}, "127.0.0.1"),
        (HERE | {"Forwarded": "for=127.0.0.1"}, "127.0.0.1"),
        (HERE | {"x-real-ip": "127.0.0.1"}, "127.0.0.1"),
        (HERE | {"x-forwarded-host": "localhost"}, "127.0.0.1"),
        (HERE | {"origin": "http://evil.example"}, "127.0.0.1"),
        (HERE | {"origin": "null"}, "127.0.0.1"),
        (HERE | {"origin": "http://127.0.0.1:8888"}, "127.0.0.1"),
        (HERE | {"origin": ""}, "127.0.0.1"),
        ({"host": "", "origin": "null"}, "127.0.0.1"),
    ],
)
def test_others_may_not_even_if_they_seem_to_come_from_here(headers, peer):
    access = access_of()
    with pytest.raises(AccessDenied):
        access.require_owner(request(headers, peer))
    assert access.get_current_user(request(headers, peer)) is None and "\n" not in access.describe_access(
        request(headers, peer)
    )


@pytest.mark.parametrize("odd", [None, gr.Request(), gr.Request(headers={}), "x", 1, object(), {"scope": {}}])
@pytest.mark.parametrize(
    "access", [access_of(), with_token(), access_of("0.0.0.0"), Access.from_environment(SPACE | OAUTH, "")]
)
def test_what_is_no_request_is_refused(access, odd):
    assert access.get_current_user(odd) is None
    assert access.describe_access(odd)


# --- a page with an action, as the Train tab has them ------------------------------------------------------------


def test_an_action_asks_for_the_request_that_started_it():
    with visiting(access_of(), "http://127.0.0.1:7860") as client:
        assert act(client) == "local"
        assert act(client, Origin="http://127.0.0.1:7860") == "local"
        assert act(client, Origin="http://evil.example").startswith("stopped: This was sent by a page of another")
        assert act(client, Host="evil.example").startswith("refused")
        assert act(client, **{"X-Forwarded-For": "127.0.0.1"}).startswith("refused")
    with visiting(access_of(), "http://127.0.0.1:7860", peer="8.8.8.8") as client:
        assert act(client).startswith("refused")


def test_what_goes_on_inside_is_nobodys_business():
    with visiting(access_of("0.0.0.0"), "http://x") as client:
        assert client.head("/").status_code == 200
        assert client.get("/monitoring").status_code in (403, 404)
