"""Login with the administrator's token: a page that works without scripts, and the routes of its form."""

import html
from string import Template
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ui.auth.authenticators import (
    ADMIN_COOKIE,
    LOGIN_LIFETIME_HOURS,
    LOGIN_PATH,
    LOGOUT_PATH,
    AccessDenied,
    TokenAuthenticator,
    TooManyLoginAttempts,
)
from ui.paths import STATIC_DIR
from ui.server.request_info import get_client_address, is_encrypted, is_same_origin

LOGIN_TEMPLATE = Template((STATIC_DIR / "pages" / "login.html").read_text("utf-8"))
LOGIN_REDIRECT_URL = "/?tab=train"
MAX_FORM_BYTES = 4096
LOGIN_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
FOREIGN_FORM_MESSAGE = "This form was sent by a page of another origin. Log in from here."


def add_login_routes(app: FastAPI, authenticator: TokenAuthenticator) -> None:
    """Add the routes that exchange the administrator's token for a login cookie, and that delete the cookie."""

    @app.get(LOGIN_PATH)
    def show() -> Response:
        return render_login_page()

    @app.post(LOGIN_PATH)
    async def log_in(request: Request) -> Response:
        if not is_same_origin(request):
            return render_login_page(FOREIGN_FORM_MESSAGE, 403)
        token = await read_form_token(request)
        try:
            authenticator.check_token(token.encode(), get_client_address(request))
        except TooManyLoginAttempts as error:
            return render_login_page(str(error), 429, {"Retry-After": str(error.retry_after_s)})
        except AccessDenied as error:
            return render_login_page(str(error), 403)
        response = redirect_home()
        response.set_cookie(
            ADMIN_COOKIE,
            authenticator.issue_cookie(),
            max_age=LOGIN_LIFETIME_HOURS * 3600,
            httponly=True,
            samesite="strict",
            secure=is_encrypted(request),
        )
        return response

    @app.post(LOGOUT_PATH)
    def log_out(request: Request) -> Response:
        if not is_same_origin(request):
            return render_login_page(FOREIGN_FORM_MESSAGE, 403)
        response = redirect_home()
        response.delete_cookie(ADMIN_COOKIE, httponly=True, samesite="strict", secure=is_encrypted(request))
        return response


def render_login_page(error_message: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return the login page, with an error message if there is one."""
    alert = f'<p role="alert">{html.escape(error_message)}</p>' if error_message else ""
    return HTMLResponse(LOGIN_TEMPLATE.substitute(error=alert), status, LOGIN_PAGE_HEADERS | (headers or {}))


def redirect_home() -> Response:
    """Return a redirect to the Train tab."""
    return RedirectResponse(LOGIN_REDIRECT_URL, 303, {"Cache-Control": "no-store"})


async def read_form_token(request: Request) -> str:
    """Return the token of the form without surrounding whitespace; empty if there is none or the form is too large."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
