"""Who may train: every way in, and the ways around it."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import gradio as gr
import httpx
import itsdangerous
import pytest
from fastapi import Request
from gradio import oauth
from huggingface_hub import HfApi
from starlette.testclient import TestClient

from ctm.stores.accounts import Accounts
from ctm.stores.base import Unavailable
from tests.clocks import Clock
from tests.hub.here import hub
from tests.hub.openid import OpenIDProvider
from ui import gates
from ui.access import Access, Person, Refused
from ui.gates import COOKIE, HEADER, TokenGate, TooManyTries, WrongTries
from ui.site import application
from ui.tabs.login import login_row

__all__ = ["hub"]

SECRET = "a-long-enough-secret"
HOST = "lab-ctm.hf.space"
SPACE = {"SPACE_ID": "lab/ctm", "SPACE_AUTHOR_NAME": "lab", "SPACE_HOST": f"{HOST},ctm.example.org", "SYSTEM": "spaces"}
OAUTH = {
    "OAUTH_CLIENT_ID": "id",
    "OAUTH_CLIENT_SECRET": "s",
    "OAUTH_SCOPES": "openid",
    "OPENID_PROVIDER_URL": "http://x",
}
HERE = {"host": "127.0.0.1:7860"}


def request(headers: dict[str, str] | None = None, peer: str | None = "127.0.0.1", **scope) -> Request:
    """A request as the server hands it on."""
    raw = [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in (HERE if headers is None else headers).items()
    ]
    client = (peer, 5000) if peer else None
    return Request(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw, "client": client} | scope
    )


def access_of(host: str = "127.0.0.1", **environment: str) -> Access:
    return Access.from_environment(environment, host)


def with_token() -> Access:
    return access_of(CTM_ADMIN_TOKEN=SECRET)


# --- which rule holds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, host, environment",
    [
        ("local", "127.0.0.1", {}), ("local", "localhost", {}), ("local", "::1", {}), ("local", "[::1]", {}),
        ("local", "127.0.0.1", {"CTM_ADMIN_TOKEN": ""}), ("token", "127.0.0.1", {"CTM_ADMIN_TOKEN": SECRET}),
        ("token", "0.0.0.0", {"CTM_ADMIN_TOKEN": SECRET}), ("closed", "0.0.0.0", {}), ("closed", "::", {}),
        ("closed", "192.168.0.7", {}), ("closed", "localhost.example.org", {}), ("closed", "", {}),
        ("space", "0.0.0.0", SPACE | OAUTH), ("space", "127.0.0.1", SPACE | OAUTH),
        ("space", "0.0.0.0", SPACE | OAUTH | {"CTM_ADMIN_TOKEN": SECRET}),
        ("closed", "127.0.0.1", {"SPACE_ID": "lab/ctm"}), ("closed", "127.0.0.1", {"SPACE_ID": ""}),
        ("closed", "0.0.0.0", {"SPACE_ID": "lab/ctm", "CTM_ADMIN_TOKEN": SECRET}),
        ("closed", "0.0.0.0", SPACE | OAUTH | {"SPACE_ID": "", "SPACE_AUTHOR_NAME": ""}),
    ],
)  # fmt: skip
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
    assert access.mode == "closed" and access.who(request()) is None
    assert name in access.say(request()) and ("Dockerfile" if name == "SYSTEM" else "hf_oauth: true") in access.say(
        request()
    )


def test_a_space_without_authlib_is_closed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "authlib" else object())
    access = Access.from_environment(SPACE | OAUTH, "0.0.0.0")
    assert access.mode == "closed" and "authlib" in access.say(request())


def test_what_is_closed_names_the_remedy():
    access = access_of("0.0.0.0")
    with pytest.raises(Refused, match="set CTM_ADMIN_TOKEN"):
        access.check(request())
    assert access.who(request()) is None


# --- this machine only -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "127.8.8.8"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_whoever_sits_at_this_machine_may_train(host, peer):
    assert access_of().check(request({"host": host}, peer)) == Person("local", "local")
    assert access_of().check(gr.Request(request({"host": host, "origin": f"http://{host}"}, peer))).how == "local"


@pytest.mark.parametrize(
    "headers, peer",
    [
        (HERE, "192.168.0.9"), (HERE, None), (HERE, "testclient"), ({}, "127.0.0.1"), ({"host": ""}, "127.0.0.1"),
        ({"host": "evil.example"}, "127.0.0.1"), ({"host": "127.0.0.1.evil.example"}, "127.0.0.1"),
        ({"host": "localhost@evil.example"}, "127.0.0.1"), ({"host": "[::1"}, "127.0.0.1"),
        ({"host": "0.0.0.0:7860"}, "127.0.0.1"),
        (HERE | {"x-forwarded-for": "127.0.0.1"}, "127.0.0.1"), (HERE | {"Forwarded": "for=127.0.0.1"}, "127.0.0.1"),
        (HERE | {"x-real-ip": "127.0.0.1"}, "127.0.0.1"), (HERE | {"x-forwarded-host": "localhost"}, "127.0.0.1"),
        (HERE | {"origin": "http://evil.example"}, "127.0.0.1"), (HERE | {"origin": "null"}, "127.0.0.1"),
        (HERE | {"origin": "http://127.0.0.1:8888"}, "127.0.0.1"), (HERE | {"origin": ""}, "127.0.0.1"),
        ({"host": "", "origin": "null"}, "127.0.0.1"),
    ],
)  # fmt: skip
def test_others_may_not_even_if_they_seem_to_come_from_here(headers, peer):
    access = access_of()
    with pytest.raises(Refused):
        access.check(request(headers, peer))
    assert access.who(request(headers, peer)) is None and "\n" not in access.say(request(headers, peer))


@pytest.mark.parametrize("odd", [None, gr.Request(), gr.Request(headers={}), "x", 1, object(), {"scope": {}}])
@pytest.mark.parametrize(
    "access", [access_of(), with_token(), access_of("0.0.0.0"), Access.from_environment(SPACE | OAUTH, "")]
)
def test_what_is_no_request_is_refused(access, odd):
    assert access.who(odd) is None
    assert access.say(odd)


# --- the administrator's token -----------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock) -> TokenGate:
    return TokenGate(SECRET, clock)


def test_a_program_sends_the_token_along():
    access = with_token()
    assert access.check(request(HERE | {HEADER: SECRET})) == Person("administrator", "token")
    assert access.check(request({"host": "anywhere"} | {HEADER: SECRET}, "8.8.8.8")).how == "token"
    with pytest.raises(Refused, match="not the administrator's token"):
        access.check(request(HERE | {HEADER: SECRET + "x"}))
    with pytest.raises(Refused, match="log in at /admin/login"):
        access.check(request(HERE))


@pytest.mark.parametrize("given", ["", " ", "ÿþ", SECRET[:-1], SECRET.upper(), f"Bearer {SECRET}"])
def test_no_other_token_will_do(given):
    assert with_token().who(request(HERE | {HEADER: given})) is None


def test_a_pass_lasts_for_hours_and_no_longer(gate, clock):
    access, made = Access(gate), gate.make_pass()
    assert access.who(request(HERE | {"cookie": f"{COOKIE}={made}"}))
    clock.now += 12 * 3600 - 1
    assert access.who(request(HERE | {"cookie": f"{COOKIE}={made}"}))
    clock.now += 2
    assert access.who(request(HERE | {"cookie": f"{COOKIE}={made}"})) is None


def test_a_pass_holds_nothing_of_the_token_and_ends_with_it(gate, clock):
    made = gate.make_pass()
    assert SECRET not in made and hashlib.sha256(SECRET.encode()).hexdigest() not in made
    assert Access(TokenGate(SECRET + "2", clock)).who(request(HERE | {"cookie": f"{COOKIE}={made}"})) is None
    assert Access(TokenGate(SECRET, clock)).who(request(HERE | {"cookie": f"{COOKIE}={made}"}))


@pytest.mark.parametrize(
    "forge", ["{later}.{mac}", "{until}.", "{until}", ".{mac}", ".", "", "x.{mac}", "{until}.{mac}0", "{until}.ÿ"]
)
def test_a_forged_pass_is_refused(gate, forge):
    until, _, mac = gate.make_pass().partition(".")
    forged = forge.format(until=until, later=int(until) + 1, mac=mac)
    assert Access(gate).who(request(HERE | {"cookie": f"{COOKIE}={forged}"})) is None


def test_a_pass_is_no_good_for_a_page_of_another_origin(gate):
    cookie = {"cookie": f"{COOKIE}={gate.make_pass()}"}
    assert Access(gate).who(request(HERE | cookie | {"origin": "https://127.0.0.1:7860"}))
    with pytest.raises(Refused, match="Host header"):
        Access(gate).check(request(HERE | cookie | {"origin": "http://127.0.0.1:8888"}))


def test_tokens_and_passes_are_compared_in_constant_time(gate, monkeypatch):
    compared, really = [], hmac.compare_digest

    def compare(one, other):
        compared.append((one, other))
        return really(one, other)

    monkeypatch.setattr(gates.hmac, "compare_digest", compare)
    made = gate.make_pass()
    Access(gate).who(request(HERE | {"cookie": f"{COOKIE}={made}"}))
    Access(gate).who(request(HERE | {HEADER: SECRET}))
    assert len(compared) == 3, "the pass, then an empty pass, then the token"
    assert all(isinstance(one, bytes) and isinstance(other, bytes) for one, other in compared)
    assert len({len(text) for text in compared[-1]}) == 1, "of one length, which tells nothing"


def test_wrong_tokens_are_counted_by_address_and_both_ways_together(gate, clock):
    access = Access(gate)
    for _ in range(4):
        assert access.who(request(HERE | {HEADER: "wrong"}, "8.8.8.8")) is None
    with pytest.raises(Refused):
        gate.try_token(b"wrong", "8.8.8.8")
    with pytest.raises(TooManyTries, match="wait 600 seconds"):
        access.check(request(HERE | {HEADER: SECRET}, "8.8.8.8"))
    assert access.who(request(HERE | {HEADER: SECRET}, "9.9.9.9")), "others go on"
    assert access.who(request(HERE | {"cookie": f"{COOKIE}={gate.make_pass()}"}, "8.8.8.8")), "a pass is no try"
    clock.now += 600
    assert access.who(request(HERE | {HEADER: SECRET}, "8.8.8.8"))


def test_wrong_tokens_are_counted_in_all_and_no_more_are_kept():
    tries = WrongTries(each=5, total=20, seconds=60)
    for number in range(20):
        assert tries.wait(f"address {number}", number) == 0
        tries.note(f"address {number}", number)
    assert tries.wait("another", 20) == 40
    assert len(tries._tries) == 20
    assert tries.wait("another", 60.5) == 0, "the first one is forgotten"


def test_many_at_once_get_no_more_tries(gate):
    def attempt(number: int) -> type:
        try:
            gate.try_token(f"{number}".encode(), "8.8.8.8")
        except Refused as refusal:
            return type(refusal)
        raise AssertionError

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(attempt, range(64))).count(Refused) == 5


def test_a_wrong_token_is_in_no_log(gate, caplog):
    with caplog.at_level("DEBUG"), pytest.raises(Refused) as caught:
        gate.try_token(b"nearly-the-right-one", "8.8.8.8")
    assert "8.8.8.8" in caplog.text and "nearly" not in caplog.text + str(caught.value)


# --- a page with an action, as the Train tab has them ------------------------------------------------------------


def taken_for(profile: gr.OAuthProfile | None) -> str:
    """Whom Gradio takes a visitor for."""
    return profile.username if profile else "nobody"


def page_of(access: Access, button: bool = False) -> gr.Blocks:
    """A page with one action; with a sign-in button of Gradio, however unwise."""
    with gr.Blocks(analytics_enabled=False) as page:
        login_row(access, page)
        said = gr.Textbox()
        if button:
            gr.LoginButton().click(taken_for, None, said, api_name="taken_for")

        def act(request: gr.Request) -> str:
            try:
                return access.check(request).name
            except Refused as refusal:
                return f"refused: {refusal}"

        gr.Button("Act").click(act, None, said, api_name="act")
    return page.queue()


@contextmanager
def visiting(access: Access, address: str, button: bool = False, peer: str = "127.0.0.1") -> Iterator[TestClient]:
    app = application(page_of(access, button), access)
    with TestClient(app, base_url=address, client=(peer, 5000), follow_redirects=False) as client:
        yield client


def act(client: TestClient, name: str = "act", **headers: str) -> str:
    """What an action of the page answers, or the guard before it."""
    asked = client.post(f"/gradio_api/call/{name}", json={"data": []}, headers=headers)
    if asked.status_code == 403:
        return f"stopped: {asked.json()['detail']}"
    event = asked.json()["event_id"]
    answer = client.get(f"/gradio_api/call/{name}/{event}", headers=headers).text
    assert answer.startswith("event: complete"), answer
    return json.loads(answer.partition("data: ")[2])[0]


def test_an_action_asks_for_the_request_that_started_it():
    with visiting(access_of(), "http://127.0.0.1:7860") as client:
        assert act(client) == "local"
        assert act(client, Origin="http://127.0.0.1:7860") == "local"
        assert act(client, Origin="http://evil.example").startswith("stopped: This was sent by a page of another")
        assert act(client, Host="evil.example").startswith("refused")
        assert act(client, **{"X-Forwarded-For": "127.0.0.1"}).startswith("refused")
    with visiting(access_of(), "http://127.0.0.1:7860", peer="8.8.8.8") as client:
        assert act(client).startswith("refused")


def test_the_form_gives_a_pass_that_pages_and_actions_know():
    with visiting(with_token(), "http://box.example:7860", peer="8.8.8.8") as client:
        assert act(client).startswith("refused: Training is for this app's administrator")
        form = client.get("/admin/login")
        assert form.status_code == 200 and '<label for="token">' in form.text and "<script" not in form.text
        assert "color-scheme" in form.text and form.headers["cache-control"] == "no-store"

        wrong = client.post("/admin/login", data={"token": "<b>wrong</b>"})
        assert wrong.status_code == 403 and 'role="alert"' in wrong.text and "<b>" not in wrong.text
        assert "set-cookie" not in wrong.headers

        right = client.post(
            "/admin/login", data={"token": f" {SECRET}\n"}, headers={"Origin": "http://box.example:7860"}
        )
        assert right.status_code == 303 and right.headers["location"] == "/?tab=train"
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "secure" not in cookie
        assert SECRET not in cookie
        assert act(client) == "administrator"

        assert client.get("/admin/logout").status_code != 303, "a link must not log anybody out"
        assert client.post("/admin/logout", headers={"Origin": "http://evil.example"}).status_code == 403
        assert act(client) == "administrator"
        assert client.post("/admin/logout").status_code == 303
        assert act(client).startswith("refused")


def test_the_pass_is_for_https_alone_where_there_is_https():
    data = {"token": SECRET}
    with visiting(with_token(), "https://box.example") as client:
        assert "secure" in client.post("/admin/login", data=data).headers["set-cookie"].lower()
    with visiting(with_token(), "http://box.example") as client:
        proxied = client.post("/admin/login", data=data, headers={"X-Forwarded-Proto": "https"})
        assert "secure" in proxied.headers["set-cookie"].lower()


def test_the_form_says_how_long_to_wait_and_lets_nobody_else_wait():
    with visiting(with_token(), "http://box.example:7860", peer="8.8.8.8") as client:
        client.post("/admin/login", data={"token": SECRET})
        for _ in range(5):
            assert client.post("/admin/login", data={"token": "wrong"}).status_code == 403
        late = client.post("/admin/login", data={"token": SECRET})
        assert late.status_code == 429 and "wait" in late.text and 590 <= int(late.headers["retry-after"]) <= 600
        assert act(client) == "administrator"


def test_odd_forms_are_refused():
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    bodies = [b"", b"token", b"token=%ff%fe", b"x" * 5000, b"\xff\x00", b"token=" + SECRET.encode() + b"a" * 10_000]
    access = with_token()
    with visiting(access, "http://box.example") as client:
        for body in bodies:
            access.gate._wrong = WrongTries()
            assert client.post("/admin/login", content=body, headers=headers).status_code == 403, body[:20]


@pytest.mark.parametrize("access", [access_of(), access_of("0.0.0.0")])
def test_there_is_no_form_where_there_is_no_token(access):
    with visiting(access, "http://127.0.0.1:7860") as client:
        assert "<form" not in client.get("/admin/login").text
        assert client.post("/admin/login", data={"token": SECRET}).status_code in (404, 405)


def test_what_goes_on_inside_is_nobodys_business():
    with visiting(access_of("0.0.0.0"), "http://x") as client:
        assert client.head("/").status_code == 200
        assert client.get("/monitoring").status_code in (403, 404)


# --- a Space -----------------------------------------------------------------------------------------------------


@pytest.fixture
def provider(hub) -> Iterator[OpenIDProvider]:
    """Sign-ins at the loopback Hub, where somebody of each kind has an account; `lab` is an organisation."""
    for name, orgs in {
        "lab": {}, "ann": {"lab": "admin"}, "wim": {"lab": "write"}, "con": {"lab": "contributor"}, "ray": {"lab": "read"},
        "eve": {"eve-lab": "admin"},
    }.items():  # fmt: skip
        hub.add_user(name, f"hf_{name}", orgs=orgs)
    with OpenIDProvider(hub, "client", "secret") as provider:
        yield provider


@pytest.fixture
def space(hub, provider, monkeypatch) -> dict[str, str]:
    """The environment of a Space that lets visitors sign in; Gradio finds it, too."""
    environment = SPACE | provider.environment() | {"HF_TOKEN": "hf_lab"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        if hasattr(oauth, name):  # read when Gradio is imported
            monkeypatch.setattr(oauth, name, value)
    monkeypatch.setattr(oauth, "whoami", HfApi(endpoint=hub.url).whoami)  # so is where it asks who mocked visitors are
    return environment


def sign_in(client: TestClient, provider: OpenIDProvider, name: str) -> httpx.Response:
    """What a browser does when somebody presses the button; the last answer."""
    provider.visitor = f"hf_{name}"
    there = client.get("/login/huggingface")
    assert there.status_code == 302 and there.headers["location"].startswith(provider.url)
    back = httpx.get(there.headers["location"])
    assert back.headers["location"].startswith(f"https://{HOST}/login/callback"), "https, whatever the proxy speaks"
    return client.get(back.headers["location"])


def test_the_owner_and_writers_of_the_organisation_may_train_on_a_space(space, provider):
    access = Access.from_environment(space, "0.0.0.0")
    assert access.mode == "space"
    with visiting(access, f"https://{HOST}") as client:
        for name, may in {"lab": True, "ann": True, "wim": True, "con": False, "ray": False, "eve": False}.items():
            assert act(client) == "refused: Only lab may train here: sign in with Hugging Face to show who you are."
            assert sign_in(client, provider, name).status_code in (302, 307)
            refused = act(client).startswith("refused: Only lab may train here, or who may write for it")
            assert refused is not may and act(client).endswith(name if may else "to train, duplicate this Space.")
            client.get("/logout")


def test_a_sign_in_is_no_good_for_a_page_of_another_origin(space, provider):
    """Gradio's cookie goes along from other sites, too, and its answers to them allow credentials."""
    with visiting(Access.from_environment(space, "0.0.0.0"), f"https://{HOST}") as client:
        sign_in(client, provider, "lab")
        assert act(client, Origin=f"https://{HOST}") == "lab"
        assert act(client, Origin="https://ctm.example.org") == "lab"
        assert act(client, Origin="https://evil.example").startswith("stopped")
        assert act(client, Origin="https://huggingface.co").startswith("stopped")


def test_the_hub_is_asked_once_for_many_actions(space, provider, hub):
    with visiting(Access.from_environment(space, "0.0.0.0"), f"https://{HOST}") as client:
        sign_in(client, provider, "wim")
        hub.forget_requests()
        assert [act(client) for _ in range(3)] == ["wim"] * 3
        assert len(hub.seen("whoami")) == 1
        assert {seen.token for seen in hub.seen("whoami")} == {"hf_wim"}, "never the owner's token"


def test_a_sign_in_whose_time_is_over_is_none(space, provider):
    provider.lasts = 1
    with visiting(Access.from_environment(space, "0.0.0.0"), f"https://{HOST}") as client:
        sign_in(client, provider, "lab")
        time.sleep(1.1)
        assert act(client).startswith("refused: Only lab may train here: sign in")


def test_a_token_that_the_hub_took_back_is_refused(space, provider, hub):
    with visiting(Access.from_environment(space, "0.0.0.0"), f"https://{HOST}") as client:
        sign_in(client, provider, "lab")
        hub.remove_token("hf_lab")
        assert act(client) == "refused: The Hub does not accept your sign-in any more: log out, and sign in again."


def test_a_hub_out_of_reach_is_said_and_soon_asked_again(space, provider, hub, monkeypatch):
    access = Access.from_environment(space, "0.0.0.0")
    access.gate.accounts.retry = 0.0
    with visiting(access, f"https://{HOST}") as client:
        sign_in(client, provider, "lab")
        fault = hub.fault("drop", "whoami", times=None)
        said = act(client)
        assert said.startswith("refused: Who you are cannot be found out just now") and "\n" not in said
        hub.faults.clear()
        assert fault and act(client) == "lab"


def session_cookie(secret: str, **info) -> str:
    """A session as Gradio signs them."""
    key = hashlib.sha256(f"{secret}-v4".encode()).hexdigest()
    data = base64.b64encode(json.dumps({"oauth_info": info}).encode())
    return itsdangerous.TimestampSigner(key).sign(data).decode()


LASTING = {"access_token": "hf_lab", "expires_at": time.time() + 9999, "userinfo": {"preferred_username": "lab"}}


ODD = [
    {}, LASTING | {"access_token": ""}, LASTING | {"access_token": None}, LASTING | {"access_token": True},
    LASTING | {"expires_at": None}, LASTING | {"expires_at": "never"}, LASTING | {"expires_at": 1},
    LASTING | {"access_token": "mock-oauth-token-for-local-dev"}, LASTING | {"access_token": "hf_\nlab"},
    LASTING | {"access_token": ["hf_lab"]},
]  # fmt: skip


def test_a_session_counts_for_no_more_than_its_token(space, provider):
    """An empty token must not become the Space's own, which the Hub's client would take in its place."""
    with visiting(Access.from_environment(space, "0.0.0.0"), f"https://{HOST}") as client:
        client.cookies.set("session", session_cookie("secret", **LASTING))
        assert act(client) == "lab", "so is a good one made"
        for info in ODD:
            client.cookies.clear()
            client.cookies.set("session", session_cookie("secret", **info))
            assert act(client).startswith("refused"), info


def test_a_session_under_the_key_that_everybody_knows_is_refused(space, provider, monkeypatch):
    """Without a client secret, Gradio signs sessions with a constant."""
    forged = session_cookie("", **LASTING)
    with visiting(Access.from_environment(space, "0.0.0.0"), f"https://{HOST}") as client:
        client.cookies.set("session", forged)
        assert act(client).startswith("refused: Only lab may train here: sign in")
    for name in space:
        monkeypatch.delenv(name)
        if hasattr(oauth, name):
            monkeypatch.setattr(oauth, name, None)
    monkeypatch.setenv("HF_TOKEN", "hf_lab")
    for access in (with_token(), access_of("0.0.0.0"), access_of(**{"SPACE_ID": "lab/ctm"})):
        with pytest.warns(UserWarning, match="mocked"), visiting(access, "https://x.example", button=True) as client:
            client.cookies.set("session", forged)
            assert act(client).startswith("refused"), access.mode


def test_the_trap_of_a_space_that_gradio_takes_for_a_laptop(space, provider, monkeypatch):
    """Gradio signs everybody in as the owner of HF_TOKEN then, who may do everything."""
    monkeypatch.delenv("SYSTEM")
    access = Access.from_environment({name: value for name, value in space.items() if name != "SYSTEM"}, "0.0.0.0")
    assert access.mode == "closed"
    with pytest.warns(UserWarning, match="mocked"), visiting(access, f"https://{HOST}", button=True) as client:
        there = client.get("/login/huggingface")
        assert client.get(there.headers["location"]).status_code == 307, "no provider was asked"
        assert act(client, "taken_for") == "lab", "so deep is the trap"
        assert act(client).startswith("refused: Training is closed to everybody: this Space does not say SYSTEM=spaces")
    with visiting(access, f"https://{HOST}") as client:
        assert client.get("/login/huggingface").status_code == 404, "and our own page has no such button"


# --- accounts ----------------------------------------------------------------------------------------------------


def test_accounts_are_believed_for_a_while(hub, clock):
    accounts = Accounts(clock=clock)
    assert accounts.of("hf_bob_write").name == "bob"
    hub.add_user("bob", "hf_bob_write", orgs={"lab": "admin"})
    assert accounts.of("hf_bob_write").roles == {}
    clock.now += 301
    assert accounts.of("hf_bob_write").roles == {"lab": "admin"}


def test_failures_are_kept_for_moments_only(hub, clock):
    accounts = Accounts(clock=clock)
    hub.fault("drop", "whoami", times=1)
    for _ in range(3):
        with pytest.raises(Unavailable):
            accounts.of("hf_bob_write")
    assert len(hub.seen("whoami")) == 1
    clock.now += 11
    assert accounts.of("hf_bob_write").name == "bob"


def test_a_silent_hub_is_not_waited_for_forever(hub):
    hub.fault("stall", "whoami", seconds=30)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        Accounts(seconds=0.3).of("hf_bob_write")
    assert time.monotonic() - started < 5


def test_few_accounts_are_remembered_and_no_token(hub):
    accounts = Accounts(most=3)
    for number in range(9):
        hub.add_user("bob", f"hf_{number}")
        accounts.of(f"hf_{number}")
    assert len(accounts._answers) == 3 and "hf_8" not in repr(accounts._answers)


@pytest.mark.parametrize("token", ["", " ", "x\ny", "\ud800", "é", "hf_unknown"])
def test_what_is_no_token_is_never_replaced_by_the_owners(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    with pytest.raises(ValueError) as caught:
        Accounts().of(token)
    assert not isinstance(caught.value, Unavailable)
    assert "hf_alice_write" not in {seen.token for seen in hub.seen("whoami")}
