"""Test what the security middleware blocks: files of the host, results of other visitors, unused routes, and scripts.

An anonymous client sends all requests over HTTP to the page that the app serves.
"""

import gc
import http.client
import json
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import gradio as gr
import httpx
import pytest
import safehttpx
from gradio.state_holder import SessionState
from playwright.sync_api import expect
from starlette.testclient import TestClient

from tests.fake_hub.fixtures import hub, read_dir_files
from tests.paths import ROOT
from tests.ui.anonymous_client import anonymous_client, make_file_data, upload_dir
from tests.ui.conftest import make_checkpoint
from tests.ui.run_fixtures import ADMIN_TOKEN, create_fake_run, make_training_service, serve_page
from tests.ui.test_browser import browser
from ui.auth.access import Access
from ui.server.app_factory import create_fastapi_app

__all__ = ["anonymous_client", "browser", "hub", "upload_dir"]

INTERNALS = ("Traceback", "site-packages", 'File "', ".py")
SPACE = {
    "SPACE_ID": "lab/ctm",
    "SPACE_HOST": "lab-ctm.hf.space",
    "SYSTEM": "spaces",
    "OAUTH_CLIENT_ID": "id",
    "OAUTH_CLIENT_SECRET": "s",
    "OAUTH_SCOPES": "openid",
    "OPENID_PROVIDER_URL": "http://x",
}

# --- files of the host -------------------------------------------------------------------------------------------


def test_no_event_accepts_a_local_file_as_an_upload(anonymous_client, upload_dir, tmp_path):
    """Gradio copies accepted files to a directory that every visitor can read."""
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody may read this")
    file_data = make_file_data(secret, url=f"file://{secret}")
    nested_data = {"value": file_data, "background": file_data, "layers": [file_data]}
    cases = [(event, file_data) for event in anonymous_client.events if event["inputs"]]
    cases += [
        (event, nested_data)
        for event in anonymous_client.events
        if event["api_name"] in ("show_picture", "think_image")
    ]
    for event, value in cases:
        message = anonymous_client.call_event(event["id"], [value] * len(event["inputs"]))
        assert str(upload_dir) not in message and "nobody may" not in message, event["api_name"]
    assert not list(upload_dir.rglob(secret.name))


@pytest.mark.parametrize("path", ["app.py", "./README.md", "/proc/self/environ", "data/../pyproject.toml", "runs/.."])
def test_no_event_reads_a_local_file_by_its_path(anonymous_client, upload_dir, path):
    files_before = {*upload_dir.rglob("*")}
    message = anonymous_client.call_event(
        anonymous_client.event_ids["think_image"], [make_file_data(path), "digits", ""]
    )
    assert "no longer available" in message or '"error": null' in message
    assert {*upload_dir.rglob("*")} == files_before


def request_raw_path(address: str, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return the response to a path that is sent without normalization."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request(method, path)
    response = connection.getresponse()
    try:
        return response.status, response.read(10_000)
    finally:
        connection.close()


PATH_ESCAPES = (
    "/etc/passwd",
    "..%2f" * 9 + "etc/passwd",
    "%2Fetc%2Fpasswd",
    "../" * 9 + "etc/passwd",
    "/proc/self/environ",
    "%00",
    "/etc/passwd%00.png",
    "file:///etc/passwd",
    "//etc/passwd",
    "/proc/self/root/etc/passwd",
    "C:\\windows\\win.ini",
    "..\\..\\app.py",
    "app.py",
    "./app.py",
    "~/.bashrc",
)


@pytest.mark.parametrize(
    "route", ["gradio_api/file=", "gradio_api/file/", "static/", "assets/", "svelte/", "theme.css/"]
)
def test_path_traversal_is_rejected_by_every_file_route(anonymous_client, route):
    examples = ROOT / "data" / "examples"
    for path in (*PATH_ESCAPES, f"{examples}/../../app.py", f"{examples}/%2e%2e/%2e%2e/app.py", str(examples)):
        status, content = request_raw_path(anonymous_client.address, f"/{route}{path}")
        assert status in (400, 403, 404, 405), path
        assert b"root:" not in content and b"def main" not in content and b"PATH=" not in content


def test_examples_can_be_fetched(anonymous_client):
    example = ROOT / "data" / "examples" / "digit-3.png"
    assert anonymous_client.request("GET", f"/gradio_api/file={example}").content == example.read_bytes()


@pytest.mark.parametrize("url", [None, "/gradio_api/file=a", "https://proxy.example/under/gradio_api/file=a"])
def test_an_uploaded_file_is_accepted_with_every_url_of_the_page(anonymous_client, url):
    example = ROOT / "data" / "examples" / "digit-3.png"
    upload_path = anonymous_client.upload("three.png", example.read_bytes()).json()[0]
    data = [make_file_data(upload_path, **({"url": url} if url else {})), "digits", "ticks=2"]
    assert '"answer"' in anonymous_client.call_event(anonymous_client.event_ids["think_image"], data)


def test_the_server_fetches_no_url_from_a_request(anonymous_client, monkeypatch):
    hosts: list[str] = []

    async def record_host(host: str) -> str:
        hosts.append(host)
        raise ValueError("this test does not fetch")

    monkeypatch.setattr(safehttpx, "async_validate_url", record_host)
    address = "https://files.example/x.png"
    for name, data in (
        ("think_image", [make_file_data(address), "digits", ""]),
        ("think_sequence", [make_file_data(address)] * 3),
    ):
        anonymous_client.call_event(anonymous_client.event_ids[name], data)
    for path in (f"file={address}", f"file/{address}", f"proxy={address}"):
        assert anonymous_client.request("GET", f"/gradio_api/{path}").status_code in (400, 403, 404)
    assert hosts == []


# --- disabled routes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "process_recording"),
        ("POST", "component_server"),
        ("GET", "deep_link?session_hash=a"),
        ("GET", "dev/reload"),
        ("GET", "startup-events"),
        ("POST", "vibe-edit"),
        ("GET", "vibe-code"),
        ("GET", "runs"),
        ("GET", "custom_component/a/client/b/c.js"),
        ("GET", "stream/a/b/1/playlist.m3u8"),
        ("POST", "stream/a"),
        ("GET", "mcp"),
        ("GET", "openapi.json"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/monitoring"),
        ("PUT", "upload"),
        ("DELETE", "queue/join"),
        ("OPTIONS", "run/predict"),
        ("GET", "proxy=http://a"),
    ],
)
def test_unused_gradio_routes_are_disabled(anonymous_client, method, path):
    url_path = path if path.startswith("/") else f"/gradio_api/{path}"
    files = {"video": b"x"} if method == "POST" else None
    with httpx.stream(method, anonymous_client.address + url_path, files=files, timeout=10, verify=False) as response:
        assert response.status_code in (403, 404, 405)


MALFORMED_BODIES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"data": 1}',
    b'{"data": [NaN], "fn_index": 13}',
    b'{"data": [], "fn_index": 999999}',
    b'{"data": [], "fn_index": -1}',
    b'{"data": [], "fn_index": 1e400}',
    b'{"data": [], "fn_index": ' + b"9" * 5000 + b"}",
    b'{"data": [' + b"[" * 400 + b"]" * 400 + b'], "fn_index": 13}',
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"data": ["\\ud800", "\\u0000", {"path": 1}], "fn_index": 13}',
    b'{"data": [{"path": "a", "meta": 1}], "fn_index": 13}',
    b'{"data": ["1", "parity-16", ""], "fn_index": 13, "session_hash": {"a": 1}}',
)


@pytest.mark.parametrize(
    "path", ["run/predict", "queue/join", "call/think_sequence", "call/v2/think_sequence", "cancel"]
)
def test_responses_to_malformed_requests_contain_no_internals(anonymous_client, path):
    for body in MALFORMED_BODIES:
        response = anonymous_client.request(
            "POST", f"/gradio_api/{path}", content=body, headers={"Content-Type": "application/json"}
        )
        assert not [word for word in INTERNALS if word in response.text], body[:60]
    assert anonymous_client.request("GET", "/config").status_code == 200


@pytest.mark.parametrize(
    "name, data", [("think_sequence", ["1", "digits", ""]), ("think_image", [None, "no\0name", "same=3"])]
)
def test_invalid_input_gets_an_error_message_of_this_app(anonymous_client, name, data):
    message = anonymous_client.call_event(anonymous_client.event_ids[name], data)
    assert "matmul" not in message and "gufunc" not in message and '"error": "' in message


def test_no_public_response_contains_the_admin_token(anonymous_client):
    for path in ("/", "/config", "/gradio_api/info", "/theme.css", "/manifest.json", "/admin/login"):
        assert ADMIN_TOKEN not in anonymous_client.request("GET", path).text


# --- sessions of other visitors ----------------------------------------------------------------------------------


def test_a_guessed_session_hash_receives_no_results(anonymous_client):
    """The request is rejected early, because Gradio writes two tracebacks to the log for each such event."""
    joined = anonymous_client.join_queue(
        anonymous_client.event_ids["think_sequence"], ["1011", "parity-16", "ticks=2"], "mine"
    )
    assert joined.status_code == 200
    assert not [message for message in anonymous_client.read_events("yours") if message["msg"] != "unexpected_error"]
    assert anonymous_client.request("GET", "/gradio_api/queue/data?session_hash=yours").status_code == 404
    assert '"answer"' in json.dumps(anonymous_client.read_events("mine"))


def test_session_states_keep_no_input_after_the_response(anonymous_client):
    """Gradio stores inputs and outputs of ten thousand sessions for deep links, which this page does not use."""
    text = f"private{secrets.token_hex(8)}"
    assert "0 and 1 only" in anonymous_client.call_event(
        anonymous_client.event_ids["think_sequence"], [text, "parity-16", ""]
    )
    sessions = [session for session in gc.get_objects() if issubclass(type(session), SessionState)]
    assert sessions
    assert not [session for session in sessions if text in json.dumps(vars(session), default=str, skipkeys=True)]


# --- browsers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xml", "x.xhtml", "x.js", "x.pdf", "x", "x.png.html", "x.htm"])
def test_uploaded_files_are_served_as_attachments(anonymous_client, name):
    upload_path = anonymous_client.upload(name, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").json()[
        0
    ]
    headers = anonymous_client.request("GET", f"/gradio_api/file={upload_path}").headers
    assert headers["content-disposition"].startswith("attachment") and headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] in ("no-store", "private, no-store")


def test_request_headers_are_not_copied_into_a_partial_response(anonymous_client):
    """Gradio copies request headers into a range response: cookies that scripts must not read, and a forged content type."""
    upload_path = anonymous_client.upload("a.png", b"0123456789").json()[0]
    request_headers = {
        "Range": "bytes=0-3",
        "Cookie": "ctm_admin=1.2",
        "X-Admin-Token": "t",
        "Content-Type": "text/html",
        "X-A": "b",
    }
    headers = anonymous_client.request("GET", f"/gradio_api/file={upload_path}", headers=request_headers).headers
    assert not headers.keys() & {"cookie", "x-admin-token", "x-a"} and headers["content-type"] == "image/png"


def test_cross_origin_requests_are_rejected(anonymous_client):
    cross_origin = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Host": "lab-ctm.hf.space"}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for method, path, extra_headers in (("GET", "/config", {}), ("OPTIONS", "/gradio_api/run/predict", preflight)):
        response = anonymous_client.request(method, path, headers=cross_origin | extra_headers)
        assert "access-control-allow-origin" not in response.headers, path
    assert anonymous_client.upload("a.png", b"a", **cross_origin).status_code == 403
    for path in ("run/predict", "queue/join", "call/think_sequence"):
        payload = {"fn_index": anonymous_client.event_ids["describe"], "data": [], "session_hash": "a"}
        assert anonymous_client.post(path, payload, **cross_origin).status_code == 403
    same_origin = {"Origin": anonymous_client.address, "Sec-Fetch-Site": "same-origin"}
    assert anonymous_client.upload("a.png", b"a", **same_origin).status_code == 200


@contextmanager
def open_access_client(environment: dict[str, str]) -> Iterator[TestClient]:
    access = Access.from_environment(environment, "127.0.0.1")

    def is_owner(request: gr.Request) -> bool:
        return access.get_current_user(request) is not None

    with gr.Blocks() as page:
        gr.Button().click(is_owner, None, gr.Checkbox(), api_name="is_owner", queue=False)
    with TestClient(
        create_fastapi_app(page, access), base_url="http://localhost", client=("127.0.0.1", 5000)
    ) as client:
        yield client


@pytest.mark.parametrize("environment", [{}, {"CTM_ADMIN_TOKEN": ADMIN_TOKEN}, SPACE], ids=["local", "token", "space"])
def test_every_response_has_security_headers(environment):
    frames = "'self' https://huggingface.co https://*.hf.space" if environment == SPACE else "'self'"
    with open_access_client(environment) as client:
        for path in ("/", "/config", "/nothing", "/theme.css", "/gradio_api/info", "/gradio_api/file=a"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"], path
            assert {"camera=(self)", "geolocation=()"} <= {*headers["permissions-policy"].split(", ")}
            directives = dict(
                directive.strip().partition(" ")[::2] for directive in headers["content-security-policy"].split(";")
            )
            assert directives["frame-ancestors"] == frames and directives["object-src"] == "'none'", path
            assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'self'"


@pytest.mark.parametrize("environment", [{}, SPACE], ids=["local", "space"])
def test_other_sites_may_frame_the_view_of_the_stage_and_nothing_else(environment):
    with open_access_client(environment) as client:

        def read_frames(path: str) -> str:
            policy = client.get(path).headers["content-security-policy"]
            return re.search("frame-ancestors ([^;]*)", policy)[1]

        page = read_frames("/")
        assert read_frames("/?view=stage") == read_frames("/?model=digits&view=stage&tick=2") == "*"
        assert read_frames("/?tab=train&runs=a,b&view=charts") == "*"
        for path in (
            "/?view=",
            "/?view=stages",
            "/?view=page&view=stage",
            "/?view=stage&view=page",
            "/config?view=stage",
        ):
            assert read_frames(path) == page != "*", path


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info"])
def test_a_forged_host_header_does_not_reach_other_visitors(path):
    with open_access_client({"CTM_ADMIN_TOKEN": ADMIN_TOKEN}) as client:
        client.get(path, headers={"X-Forwarded-Host": "evil.example", "X-Gradio-Server": "http://evil.example"})
        assert "evil.example" not in client.get(path).text


def test_proxy_headers_are_read_before_they_are_removed():
    """A user of this host may train; a request through a proxy may not."""
    with open_access_client({}) as client:

        def is_owner(**headers: str) -> bool:
            payload = {"fn_index": 0, "data": [], "session_hash": "a"}
            return client.post("/gradio_api/run/predict", json=payload, headers=headers).json()["data"][0]

        assert is_owner() is True
        for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"):
            assert is_owner(**{name: "localhost"}) is False, name


SCRIPT_INJECTIONS = """<img src=x onerror="window.taken = 1"> <svg onload="window.taken = 2"></svg> {{window.taken = 3}}
${window.taken = 4} `${window.taken = 5}` </script><script>window.taken = 6</script>
<iframe srcdoc="<script>parent.taken = 7</script>"></iframe> $$\\href{javascript:window.taken = 8}{b}$$"""
EXTERNAL_CONTENT = """# A model card
![seen](http://OTHER_HOST/seen.png) <video src="http://OTHER_HOST/seen.mp4" autoplay></video>
<a id="lure" href="javascript:window.taken = 9">a</a>

<form action="http://OTHER_HOST/password"><input name="password" type="password"><button id="send">Log in</button></form>

<div id="cover" style="position: fixed; inset: 0; z-index: 99999">Log in</div>

"""


def read_requests(listener: socket.socket) -> list[bytes]:
    """Return the requests so far. A browser may connect before it is forbidden to send a request."""
    results = []
    listener.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(1)
                results.append(connection.recv(1000))
    return [message for message in results if message]


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:A `<script>` tag was found")  # Gradio warns about the text of the log
def test_untrusted_cards_and_logs_run_no_script_and_contact_no_host(browser, hub, checkpoints_dir, tmp_path):
    """In a card or a log, no script runs, no other host is contacted, and no content covers the page."""
    checkpoint_dir = make_checkpoint(tmp_path / "made", "digits")
    with socket.create_server(("127.0.0.1", 0)) as other_server:
        card_text = EXTERNAL_CONTENT.replace("OTHER_HOST", f"127.0.0.1:{other_server.getsockname()[1]}")
        (checkpoint_dir / "README.md").write_text(card_text + SCRIPT_INJECTIONS)
        hub.add_repo("bob/lure", read_dir_files(checkpoint_dir))
        training_service = make_training_service(tmp_path / "home", checkpoints_dir, models={"endpoint": hub.url})
        run = create_fake_run(
            training_service, "lure-1", state="failed", submitted_by=SCRIPT_INJECTIONS, status_message=SCRIPT_INJECTIONS
        )
        run.log_metrics({"step": 60, "loss": 1.0, SCRIPT_INJECTIONS: 1.0})
        for name in (run.log_file.name, "command.txt"):
            (run.path / name).write_text(SCRIPT_INJECTIONS)
        access = Access.from_environment({}, "127.0.0.1")
        with serve_page(training_service, access) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(address)
            page.get_by_role("tab", name="Train").click()
            page.click("#log-section > button")
            expect(page.locator("#log")).to_contain_text("window.taken = 6")
            expect(page.locator("#headline")).to_contain_text("window.taken = 6")
            page.get_by_role("tab", name="Models").click()
            page.locator("#hub-name textarea, #hub-name input").fill("bob/lure")
            page.click("#load-model")
            expect(page.locator("#model-facts")).to_contain_text("not downloaded")
            page.get_by_text("Card", exact=True).click()
            expect(page.locator("#card h1")).to_be_visible()
            cover, card = page.locator("#card #cover").bounding_box(), page.locator("#card").bounding_box()
            assert cover["y"] >= card["y"] and cover["height"] <= card["height"]
            for selector in ("#card #lure", "#card #send"):
                page.locator(selector).evaluate("element => element.click()")
            page.wait_for_timeout(500)
            assert page.evaluate("window.taken") is None and page.url.startswith(address)
            page.close()
        assert read_requests(other_server) == []
