"""Check the JSON bodies of events before Gradio reads them, with one sentence per error.

Gradio answers an unknown name, a missing field or an unknown parameter with status 500, and trusts the paths of files.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ui.server.request_errors import RequestRejected

if TYPE_CHECKING:
    from ui.server.gradio_patches import Endpoint, GradioState

ID_PATTERN = r"[A-Za-z0-9_-]{1,64}"
CALL_PATH = re.compile(rf"/gradio_api/call/(?P<version>v2/)?(?P<name>[^/]+)(?:/(?P<result>{ID_PATTERN}))?/?")
EVENT_DATA_PATHS = re.compile(r"/gradio_api/(queue/join|run/predict)")
FILE_GONE_MESSAGE = "This file is no longer available. Upload it again."
CONTENT_TYPE_HINT = "send the header Content-Type: application/json (curl: -H 'Content-Type: application/json')"
MAX_CHARS_IN_MESSAGE = 60


def read_event(path: str, body: bytes, uploads_dir: Path, gradio_state: "GradioState") -> tuple[str, bytes]:
    """Check the body of an event.

    Args:
        path: Path of the request.
        body: Its body.
        uploads_dir: Directory of the files that a body may name. Endpoints that check their arguments check files, too.
        gradio_state: Events of the page.

    Returns:
        The session of the event, empty if it has none; and the body as Gradio accepts it.

    Raises:
        RequestRejected: The body is invalid.
    """
    payload = load_json(body)
    if not isinstance(payload, dict):
        raise RequestRejected(
            400, f'The body must be a JSON object such as {{"data": ["10110"]}}: got {format_json(payload)}.'
        )
    endpoint = None
    if match := CALL_PATH.fullmatch(path):
        endpoint = get_endpoint(match["name"], gradio_state)
        if match["version"]:
            payload = complete_named_arguments(endpoint, payload)
            body = json.dumps(payload).encode()
        else:
            check_data(payload, endpoint)
    elif EVENT_DATA_PATHS.fullmatch(path):
        check_data(payload)
        endpoint = find_endpoint(payload, gradio_state)
    if endpoint is None or not endpoint.checks_arguments:
        check_files(payload, uploads_dir)
    return parse_session_hash(payload), body


def load_json(body: bytes) -> Any:
    """Parse a JSON body; an empty one is an empty object."""
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise RequestRejected(400, 'The body is not valid JSON: send an object such as {"data": ["10110"]}.') from None


def check_content_type(path: str, content_type: str) -> None:
    """Check that a call of an endpoint declares JSON, because Gradio does not read another body."""
    if CALL_PATH.fullmatch(path) and "json" not in content_type.lower():
        shown = format_json(content_type) if content_type else "none"
        raise RequestRejected(415, f"The content type of a call must be JSON: got {shown}; {CONTENT_TYPE_HINT}.")


def get_endpoint(name: str, gradio_state: "GradioState") -> "Endpoint":
    """Return the public endpoint of a name."""
    if name not in gradio_state.endpoints:
        raise RequestRejected(
            404, f"There is no endpoint {format_json('/' + name)}; there are: {list_endpoints(gradio_state)}."
        )
    return gradio_state.endpoints[name]


def list_endpoints(gradio_state: "GradioState") -> str:
    """Return the names of the public endpoints."""
    return ", ".join(f"/{name}" for name in sorted(gradio_state.endpoints)) or "none"


def find_endpoint(payload: Mapping[str, Any], gradio_state: "GradioState") -> "Endpoint | None":
    """Return the public endpoint of a queued event; None for an event of the page."""
    event_id = payload.get("fn_index")
    if isinstance(event_id, bool) or not isinstance(event_id, int) or not gradio_state.has_event(event_id):
        raise RequestRejected(
            404,
            f"There is no event with the `fn_index` {format_json(event_id)}: call an endpoint by its name with "
            "POST /gradio_api/call/NAME, or reload the page.",
        )
    return next((endpoint for endpoint in gradio_state.endpoints.values() if endpoint.event_id == event_id), None)


def check_data(payload: Mapping[str, Any], endpoint: "Endpoint | None" = None) -> None:
    """Check that a body has a list of arguments."""
    names = f": {', '.join(endpoint.parameters)}" if endpoint else ""
    if "data" not in payload:
        raise RequestRejected(400, f"The body has no `data`: send the list of the arguments{names}.")
    if not isinstance(payload["data"], list):
        raise RequestRejected(
            400, f"`data` must be the list of the arguments{names}: got {format_json(payload['data'])}."
        )


def complete_named_arguments(endpoint: "Endpoint", payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of an endpoint by name; missing ones have their defaults."""
    arguments = {name: value for name, value in payload.items() if name not in ("session_hash", "oauth_token")}
    for name in arguments:
        if name not in endpoint.parameters:
            known = ", ".join(endpoint.parameters) or "none"
            raise RequestRejected(
                400, f"/{endpoint.name} has no parameter {format_json(name)}; its parameters are: {known}."
            )
    return endpoint.parameters | arguments


def check_files(payload: Any, uploads_dir: Path) -> None:
    """Check that every file that a body names is an upload."""
    for file in find_file_data(payload):
        file_path = Path(os.path.abspath(str(file["path"])))  # noqa: PTH100 - removes ".." without following links
        url = file.get("url")
        if "\0" in str(file_path) or not file_path.is_relative_to(uploads_dir) or not file_path.is_file():
            raise RequestRejected(400, FILE_GONE_MESSAGE)
        if url is not None and not is_own_file_url(str(url)):
            raise RequestRejected(400, FILE_GONE_MESSAGE)


def parse_session_hash(payload: Mapping[str, Any]) -> str:
    """Return the session of an event; empty if the event has none."""
    session = payload.get("session_hash")
    if session is None:
        return ""
    if not isinstance(session, str) or not re.fullmatch(ID_PATTERN, session):
        raise RequestRejected(400, f"The name of the session is invalid: got {format_json(session)}.")
    return session


def check_result_exists(path: str, gradio_state: "GradioState") -> None:
    """Check that the result that a request asks for is expected or waits."""
    match = CALL_PATH.fullmatch(path)
    if not match:
        return
    get_endpoint(match["name"], gradio_state)
    if not gradio_state.has_result(match["result"]):
        raise RequestRejected(
            404, f"There is no event {match['result']}: its result was fetched or has expired; send the call again."
        )


def find_file_data(payload: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every part of a payload that Gradio would treat as a file."""
    stack = [payload]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "path" in item:
                yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def is_own_file_url(url: str) -> bool:
    """Return whether the URL of a file contains the file, or is a file that this app serves, under any host name."""
    if url.startswith("data:"):
        return True
    try:
        return "/gradio_api/file=" in urlsplit(url).path
    except ValueError:
        return False


def format_json(value: Any) -> str:
    """Return a JSON value for a message, cut after some characters."""
    try:
        text = "nothing" if value is None else json.dumps(value)
    except (ValueError, RecursionError):  # nested too deeply
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_CHARS_IN_MESSAGE else text[:MAX_CHARS_IN_MESSAGE] + "..."
