"""Requests in the form that the server receives, and a page with one action."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from fastapi import Request
from starlette.testclient import TestClient

from tests.ui.run_fixtures import ADMIN_TOKEN
from ui.auth.access import Access, AccessDenied
from ui.server.app_factory import create_fastapi_app
from ui.tabs.login import build_login_row

LOCALHOST_HEADERS = {"host": "127.0.0.1:7860"}


def make_request(headers: dict[str, str] | None = None, peer: str | None = "127.0.0.1", **scope) -> Request:
    """Return a request in the form that the server receives."""
    raw = [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in (LOCALHOST_HEADERS if headers is None else headers).items()
    ]
    client = (peer, 5000) if peer else None
    return Request(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw, "client": client} | scope
    )


def make_access(host: str = "127.0.0.1", **environment: str) -> Access:
    return Access.from_environment(environment, host)


def make_token_access() -> Access:
    return make_access(CTM_ADMIN_TOKEN=ADMIN_TOKEN)


def get_profile_name(profile: gr.OAuthProfile | None) -> str:
    """Return the name of the user that Gradio assigns to a visitor."""
    return profile.username if profile else "anonymous"


def build_action_page(access: Access, button: bool = False) -> gr.Blocks:
    """Return a page with one action, optionally with Gradio's sign-in button."""
    with gr.Blocks(analytics_enabled=False) as page:
        build_login_row(access, page)
        output = gr.Textbox()
        if button:
            gr.LoginButton().click(get_profile_name, None, output, api_name="profile_name")

        def act(request: gr.Request) -> str:
            try:
                return access.require_owner(request).name
            except AccessDenied as error:
                return f"refused: {error}"

        gr.Button("Act").click(act, None, output, api_name="act")
    return page.queue()


@contextmanager
def open_action_client(
    access: Access, base_url: str, button: bool = False, peer: str = "127.0.0.1"
) -> Iterator[TestClient]:
    app = create_fastapi_app(build_action_page(access, button), access)
    with TestClient(app, base_url=base_url, client=(peer, 5000), follow_redirects=False) as client:
        yield client


def call_action(client: TestClient, name: str = "act", **headers: str) -> str:
    """Return the result of an action of the page, or the error of the middleware."""
    response = client.post(f"/gradio_api/call/{name}", json={"data": []}, headers=headers)
    if response.status_code == 403:
        return f"stopped: {response.json()['detail']}"
    event = response.json()["event_id"]
    result = client.get(f"/gradio_api/call/{name}/{event}", headers=headers).text
    assert result.startswith("event: complete"), result
    return json.loads(result.partition("data: ")[2])[0]
