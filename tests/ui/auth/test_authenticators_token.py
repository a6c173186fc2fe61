"""Test the administrator's token: in a header, exchanged for a login cookie, forged and guessed."""

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor

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
def authenticator(clock) -> TokenAuthenticator:
    return TokenAuthenticator(ADMIN_TOKEN, clock)


# --- tokens and cookies ------------------------------------------------------------------------------------------


def test_the_admin_token_header_is_accepted():
    access = make_token_access()
    assert access.require_owner(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN})) == User(
        "administrator", "token"
    )
    assert (
        access.require_owner(
            make_request({"host": "anywhere"} | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}, "8.8.8.8")
        ).auth_method
        == "token"
    )
    with pytest.raises(AccessDenied, match="not the administrator's token"):
        access.require_owner(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN + "x"}))
    with pytest.raises(AccessDenied, match="log in at /admin/login"):
        access.require_owner(make_request(LOCALHOST_HEADERS))


@pytest.mark.parametrize("token", ["", " ", "ÿþ", ADMIN_TOKEN[:-1], ADMIN_TOKEN.upper(), f"Bearer {ADMIN_TOKEN}"])
def test_any_other_token_is_denied(token):
    assert make_token_access().get_current_user(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: token})) is None


def test_the_login_cookie_expires_after_12_hours(authenticator, clock):
    access, cookie_value = Access(authenticator), authenticator.issue_cookie()
    assert access.get_current_user(make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={cookie_value}"}))
    clock.now += 12 * 3600 - 1
    assert access.get_current_user(make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={cookie_value}"}))
    clock.now += 2
    assert (
        access.get_current_user(make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={cookie_value}"})) is None
    )


def test_the_login_cookie_does_not_contain_the_token_and_is_invalid_for_another_token(authenticator, clock):
    cookie_value = authenticator.issue_cookie()
    assert ADMIN_TOKEN not in cookie_value and hashlib.sha256(ADMIN_TOKEN.encode()).hexdigest() not in cookie_value
    assert (
        Access(TokenAuthenticator(ADMIN_TOKEN + "2", clock)).get_current_user(
            make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={cookie_value}"})
        )
        is None
    )
    assert Access(TokenAuthenticator(ADMIN_TOKEN, clock)).get_current_user(
        make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={cookie_value}"})
    )


@pytest.mark.parametrize(
    "forge",
    [
        "{text}.{later}.{signature}",
        "{text}.{time}.",
        "{text}.{time}",
        "{text}.{signature}",
        ".{time}.{signature}",
        "x.{time}.{signature}",
        ".",
        "",
        "{text}.{time}.{signature}0",
        "{text}.{time}.ÿ",
        "{text}.{time}.{signature}.{signature}",
    ],
)
def test_a_forged_cookie_is_denied(authenticator, clock, forge):
    text, time, signature = authenticator.issue_cookie().split(".")
    clock.now += 1
    later = authenticator.issue_cookie().split(".")[1]
    forged = forge.format(text=text, time=time, later=later, signature=signature)
    assert (
        Access(authenticator).get_current_user(make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={forged}"}))
        is None
    )


def test_the_login_cookie_is_rejected_from_another_origin(authenticator):
    cookie = {"cookie": f"{ADMIN_COOKIE}={authenticator.issue_cookie()}"}
    assert Access(authenticator).get_current_user(
        make_request(LOCALHOST_HEADERS | cookie | {"origin": "https://127.0.0.1:7860"})
    )
    with pytest.raises(AccessDenied, match="Host header"):
        Access(authenticator).require_owner(
            make_request(LOCALHOST_HEADERS | cookie | {"origin": "http://127.0.0.1:8888"})
        )


def test_tokens_and_cookies_are_compared_in_constant_time(authenticator, monkeypatch):
    comparisons, original_compare = [], hmac.compare_digest

    def record_comparison(first, second):
        comparisons.append((first, second))
        return original_compare(first, second)

    monkeypatch.setattr(authenticators.hmac, "compare_digest", record_comparison)
    cookie_value = authenticator.issue_cookie()
    Access(authenticator).get_current_user(
        make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={cookie_value}"})
    )
    Access(authenticator).get_current_user(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}))
    assert len(comparisons) == 2, "the cookie, then the token"
    assert all(isinstance(first, bytes) and isinstance(second, bytes) for first, second in comparisons)
    assert len({len(text) for text in comparisons[-1]}) == 1, "both values have the same length"


def test_login_failures_are_counted_by_address_across_form_and_header(authenticator, clock):
    access = Access(authenticator)
    for _ in range(4):
        assert (
            access.get_current_user(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: "wrong"}, "8.8.8.8")) is None
        )
    with pytest.raises(AccessDenied):
        authenticator.check_token(b"wrong", "8.8.8.8")
    with pytest.raises(TooManyLoginAttempts, match="wait 600 seconds"):
        access.require_owner(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}, "8.8.8.8"))
    assert access.get_current_user(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}, "9.9.9.9")), (
        "other addresses are not limited"
    )
    assert access.get_current_user(
        make_request(LOCALHOST_HEADERS | {"cookie": f"{ADMIN_COOKIE}={authenticator.issue_cookie()}"}, "8.8.8.8")
    ), "a login cookie does not count as an attempt"
    clock.now += 600
    assert access.get_current_user(make_request(LOCALHOST_HEADERS | {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}, "8.8.8.8"))


def test_login_failures_are_limited_in_total_and_expire():
    throttle = LoginThrottle(max_per_address=5, max_total=20, window_s=60)
    for number in range(20):
        assert throttle.compute_wait_s(f"address {number}", number) == 0
        throttle.record_failure(f"address {number}", number)
    assert throttle.compute_wait_s("another", 20) == 40
    assert len(throttle._failures) == 20
    assert throttle.compute_wait_s("another", 60.5) == 0, "the first failure has expired"


def test_concurrent_login_attempts_are_limited(authenticator):
    def attempt(number: int) -> type:
        try:
            authenticator.check_token(f"{number}".encode(), "8.8.8.8")
        except AccessDenied as error:
            return type(error)
        raise AssertionError

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(attempt, range(64))).count(AccessDenied) == 5


def test_a_wrong_token_is_not_logged(authenticator, caplog):
    with caplog.at_level("DEBUG"), pytest.raises(AccessDenied) as caught:
        authenticator.check_token(b"nearly-the-right-one", "8.8.8.8")
    assert "8.8.8.8" in caplog.text and "nearly" not in caplog.text + str(caught.value)


# --- login form --------------------------------------------------------------------------------------------------


def test_the_login_form_sets_a_cookie_that_authorizes_actions_until_logout():
    with open_action_client(make_token_access(), "http://box.example:7860", peer="8.8.8.8") as client:
        assert call_action(client).startswith("refused: Only the administrator may train")
        form = client.get("/admin/login")
        assert form.status_code == 200 and '<label for="token">' in form.text and "<script" not in form.text
        assert "color-scheme" in form.text and form.headers["cache-control"] == "no-store"

        rejection = client.post("/admin/login", data={"token": "<b>wrong</b>"})
        assert rejection.status_code == 403 and 'role="alert"' in rejection.text and "<b>" not in rejection.text
        assert "set-cookie" not in rejection.headers

        redirect = client.post(
            "/admin/login", data={"token": f" {ADMIN_TOKEN}\n"}, headers={"Origin": "http://box.example:7860"}
        )
        assert redirect.status_code == 303 and redirect.headers["location"] == "/?tab=train"
        cookie = redirect.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "secure" not in cookie
        assert ADMIN_TOKEN not in cookie
        assert call_action(client) == "administrator"

        assert client.get("/admin/logout").status_code != 303, "a GET request does not log the user out"
        assert client.post("/admin/logout", headers={"Origin": "http://evil.example"}).status_code == 403
        assert call_action(client) == "administrator"
        assert client.post("/admin/logout").status_code == 303
        assert call_action(client).startswith("refused")


def test_the_login_cookie_is_secure_with_https():
    data = {"token": ADMIN_TOKEN}
    with open_action_client(make_token_access(), "https://box.example") as client:
        assert "secure" in client.post("/admin/login", data=data).headers["set-cookie"].lower()
    with open_action_client(make_token_access(), "http://box.example") as client:
        proxied = client.post("/admin/login", data=data, headers={"X-Forwarded-Proto": "https"})
        assert "secure" in proxied.headers["set-cookie"].lower()


def test_a_throttled_login_states_the_wait_and_keeps_existing_logins():
    with open_action_client(make_token_access(), "http://box.example:7860", peer="8.8.8.8") as client:
        client.post("/admin/login", data={"token": ADMIN_TOKEN})
        for _ in range(5):
            assert client.post("/admin/login", data={"token": "wrong"}).status_code == 403
        rejection = client.post("/admin/login", data={"token": ADMIN_TOKEN})
        assert (
            rejection.status_code == 429
            and "wait" in rejection.text
            and 590 <= int(rejection.headers["retry-after"]) <= 600
        )
        assert call_action(client) == "administrator"


def test_malformed_login_forms_are_rejected():
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    bodies = [
        b"",
        b"token",
        b"token=%ff%fe",
        b"x" * 5000,
        b"\xff\x00",
        b"token=" + ADMIN_TOKEN.encode() + b"a" * 10_000,
    ]
    access = make_token_access()
    with open_action_client(access, "http://box.example") as client:
        for body in bodies:
            access.authenticator._throttle = LoginThrottle()
            assert client.post("/admin/login", content=body, headers=headers).status_code == 403, body[:20]


@pytest.mark.parametrize("access", [make_access(), make_access("0.0.0.0")])
def test_without_an_admin_token_there_is_no_login_form(access):
    with open_action_client(access, "http://127.0.0.1:7860") as client:
        assert "<form" not in client.get("/admin/login").text
        assert client.post("/admin/login", data={"token": ADMIN_TOKEN}).status_code in (404, 405)
