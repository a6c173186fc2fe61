"""Logging in with the administrator's token: a small page that works without scripts, and what it sends."""

import html
from string import Template
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ui.auth.authenticators import COOKIE, HOURS, LOGIN, LOGOUT, Refused, TokenGate, TooManyTries
from ui.paths import STATIC_DIR
from ui.server.request_info import address_of, from_own_page, is_encrypted

PAGE = Template((STATIC_DIR / "login.html").read_text("utf-8"))
HOME = "/?tab=train"
LONGEST_FORM = 4096  # bytes
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
ELSEWHERE = "This form was sent by a page of another address: send it from here."


def add_login(app: FastAPI, gate: TokenGate) -> None:
    """Let a browser turn the administrator's token into a pass, and give the pass back."""

    @app.get(LOGIN)
    def show() -> Response:
        return page()

    @app.post(LOGIN)
    async def log_in(request: Request) -> Response:
        if not from_own_page(request):
            return page(ELSEWHERE, 403)
        token = await token_in(request)
        try:
            gate.try_token(token.encode(), address_of(request))
        except TooManyTries as refusal:
            return page(str(refusal), 429, {"Retry-After": str(refusal.seconds)})
        except Refused as refusal:
            return page(str(refusal), 403)
        answer = home()
        answer.set_cookie(
            COOKIE,
            gate.make_pass(),
            max_age=HOURS * 3600,
            httponly=True,
            samesite="strict",
            secure=is_encrypted(request),
        )
        return answer

    @app.post(LOGOUT)
    def log_out(request: Request) -> Response:
        if not from_own_page(request):
            return page(ELSEWHERE, 403)
        answer = home()
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=is_encrypted(request))
        return answer


def page(refusal: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Response:
    alert = f'<p role="alert">{html.escape(refusal)}</p>' if refusal else ""
    return HTMLResponse(PAGE.substitute(refusal=alert), status, HEADERS | (headers or {}))


def home() -> Response:
    return RedirectResponse(HOME, 303, {"Cache-Control": "no-store"})


async def token_in(request: Request) -> str:
    """The form's token, without what a clipboard adds around it; empty if there is none, or far too much."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
