"""The administrator's token: sent along, or typed into the form for a pass; and what is forged or guessed."""

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.ui.auth_requests import HERE, access_of, act, request, visiting, with_token
from tests.ui.run_fixtures import SECRET
from ui.auth import authenticators
from ui.auth.access import Access, AccessDenied, User
from ui.auth.authenticators import (
    ADMIN_COOKIE,
    ADMIN_TOKEN_HEADER,
    LoginThrottle,
    TokenAuthenticator,
    TooManyLoginAttempts,
)


@pytest.fixture
def gate(clock) -> TokenAuthenticator:
    return TokenAuthenticator(SECRET, clock)


# --- tokens and passes -------------------------------------------------------------------------------------------


def test_a_program_sends_the_token_along():
    access = with_token()
    assert access.require_owner(request(HERE | {ADMIN_TOKEN_HEADER: SECRET})) == User("administrator", "token")
    assert (
        access.require_owner(request({"host": "anywhere"} | {ADMIN_TOKEN_HEADER: SECRET}, "8.8.8.8")).auth_method
        == "token"
    )
    with pytest.raises(AccessDenied, match="not the administrator's token"):
        access.require_owner(request(HERE | {ADMIN_TOKEN_HEADER: SECRET + "x"}))
    with pytest.raises(AccessDenied, match="log in at /admin/login"):
        access.require_owner(request(HERE))


@pytest.mark.parametrize("given", ["", " ", "ÿþ", SECRET[:-1], SECRET.upper(), f"Bearer {SECRET}"])
def test_no_other_token_will_do(given):
    assert with_token().get_current_user(request(HERE | {ADMIN_TOKEN_HEADER: given})) is None


def test_a_pass_lasts_for_hours_and_no_longer(gate, clock):
    access, made = Access(gate), gate.issue_cookie()
    assert access.get_current_user(request(HERE | {"cookie": f"{ADMIN_COOKIE}={made}"}))
    clock.now += 12 * 3600 - 1
    assert access.get_current_user(request(HERE | {"cookie": f"{ADMIN_COOKIE}={made}"}))
    clock.now += 2
    assert access.get_current_user(request(HERE | {"cookie": f"{ADMIN_COOKIE}={made}"})) is None


def test_a_pass_holds_nothing_of_the_token_and_ends_with_it(gate, clock):
    made = gate.issue_cookie()
    assert SECRET not in made and hashlib.sha256(SECRET.encode()).hexdigest() not in made
    assert (
        Access(TokenAuthenticator(SECRET + "2", clock)).get_current_user(
            request(HERE | {"cookie": f"{ADMIN_COOKIE}={made}"})
        )
        is None
    )
    assert Access(TokenAuthenticator(SECRET, clock)).get_current_user(
        request(HERE | {"cookie": f"{ADMIN_COOKIE}={made}"})
    )


@pytest.mark.parametrize(
    "forge", ["{later}.{mac}", "{until}.", "{until}", ".{mac}", ".", "", "x.{mac}", "{until}.{mac}0", "{until}.ÿ"]
)
def test_a_forged_pass_is_refused(gate, forge):
    until, _, mac = gate.issue_cookie().partition(".")
    forged = forge.format(until=until, later=int(until) + 1, mac=mac)
    assert Access(gate).get_current_user(request(HERE | {"cookie": f"{ADMIN_COOKIE}={forged}"})) is None


def test_a_pass_is_no_good_for_a_page_of_another_origin(gate):
    cookie = {"cookie": f"{ADMIN_COOKIE}={gate.issue_cookie()}"}
    assert Access(gate).get_current_user(request(HERE | cookie | {"origin": "https://127.0.0.1:7860"}))
    with pytest.raises(AccessDenied, match="Host header"):
        Access(gate).require_owner(request(HERE | cookie | {"origin": "http://127.0.0.1:8888"}))


def test_tokens_and_passes_are_compared_in_constant_time(gate, monkeypatch):
    compared, really = [], hmac.compare_digest

    def compare(one, other):
        compared.append((one, other))
        return really(one, other)

    monkeypatch.setattr(authenticators.hmac, "compare_digest", compare)
    made = gate.issue_cookie()
    Access(gate).get_current_user(request(HERE | {"cookie": f"{ADMIN_COOKIE}={made}"}))
    Access(gate).get_current_user(request(HERE | {ADMIN_TOKEN_HEADER: SECRET}))
    assert len(compared) == 3, "the pass, then an empty pass, then the token"
    assert all(isinstance(one, bytes) and isinstance(other, bytes) for one, other in compared)
    assert len({len(text) for text in compared[-1]}) == 1, "of one length, which tells nothing"


def test_wrong_tokens_are_counted_by_address_and_both_ways_together(gate, clock):
    access = Access(gate)
    for _ in range(4):
        assert access.get_current_user(request(HERE | {ADMIN_TOKEN_HEADER: "wrong"}, "8.8.8.8")) is None
    with pytest.raises(AccessDenied):
        gate.check_token(b"wrong", "8.8.8.8")
    with pytest.raises(TooManyLoginAttempts, match="wait 600 seconds"):
        access.require_owner(request(HERE | {ADMIN_TOKEN_HEADER: SECRET}, "8.8.8.8"))
    assert access.get_current_user(request(HERE | {ADMIN_TOKEN_HEADER: SECRET}, "9.9.9.9")), "others go on"
    assert access.get_current_user(request(HERE | {"cookie": f"{ADMIN_COOKIE}={gate.issue_cookie()}"}, "8.8.8.8")), (
        "a pass is no try"
    )
    clock.now += 600
    assert access.get_current_user(request(HERE | {ADMIN_TOKEN_HEADER: SECRET}, "8.8.8.8"))


def test_wrong_tokens_are_counted_in_all_and_no_more_are_kept():
    tries = LoginThrottle(max_per_address=5, max_total=20, window_s=60)
    for number in range(20):
        assert tries.compute_wait_s(f"address {number}", number) == 0
        tries.record_failure(f"address {number}", number)
    assert tries.compute_wait_s("another", 20) == 40
    assert len(tries._failures) == 20
    assert tries.compute_wait_s("another", 60.5) == 0, "the first one is forgotten"


def test_many_at_once_get_no_more_tries(gate):
    def attempt(number: int) -> type:
        try:
            gate.check_token(f"{number}".encode(), "8.8.8.8")
        except AccessDenied as refusal:
            return type(refusal)
        raise AssertionError

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(attempt, range(64))).count(AccessDenied) == 5


def test_a_wrong_token_is_in_no_log(gate, caplog):
    with caplog.at_level("DEBUG"), pytest.raises(AccessDenied) as caught:
        gate.check_token(b"nearly-the-right-one", "8.8.8.8")
    assert "8.8.8.8" in caplog.text and "nearly" not in caplog.text + str(caught.value)


# --- the form ----------------------------------------------------------------------------------------------------


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
            access.authenticator._throttle = LoginThrottle()
            assert client.post("/admin/login", content=body, headers=headers).status_code == 403, body[:20]


@pytest.mark.parametrize("access", [access_of(), access_of("0.0.0.0")])
def test_there_is_no_form_where_there_is_no_token(access):
    with visiting(access, "http://127.0.0.1:7860") as client:
        assert "<form" not in client.get("/admin/login").text
        assert client.post("/admin/login", data={"token": SECRET}).status_code in (404, 405)
