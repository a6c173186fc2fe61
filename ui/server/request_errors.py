"""Errors of HTTP requests: one sentence in `{"detail": ...}`, also where Gradio or FastAPI would send something else."""

import json
import math
from collections.abc import Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

QUEUE_FULL_START = "Queue is full"
SHUTDOWN_MESSAGE = "The app is shutting down: send the request again when it has started."
MAX_SENTENCE_CHARS = 500


class RequestRejected(Exception):
    """The middleware rejects a request. The message is one sentence for the client.

    Attributes:
        status: HTTP status of the response.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class LimitExceeded(Exception):
    """A client exceeds a limit. The message is one sentence for the client.

    Attributes:
        retry_after_s: Whole seconds after which the request will be accepted, rounded up; None if that depends on the
            client alone.
    """

    def __init__(self, sentence: str, wait_s: float | None = None) -> None:
        """Build the error.

        Args:
            sentence: Message; `{seconds}` stands for the number of seconds, such as "12 seconds".
            wait_s: Seconds after which the request will be accepted; None if that depends on the client alone.
        """
        self.retry_after_s = None if wait_s is None else max(1, math.ceil(wait_s))
        plural = "" if self.retry_after_s == 1 else "s"
        super().__init__(sentence.format(seconds=f"{self.retry_after_s} second{plural}"))

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class ErrorSentences:
    """ASGI send function that replaces the body of an error by `{"detail": SENTENCE}`, unless it has a sentence.

    Args:
        send: Sends the response.
        estimate_wait_s: Returns the seconds after which the full queue has room.
    """

    def __init__(self, send: Send, estimate_wait_s: Callable[[], float]) -> None:
        self._send = send
        self._estimate_wait_s = estimate_wait_s
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """Send a message, or collect those of an error and send them at its end."""
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            start, self._start = self._start, None
            await self._send_error(start)

    async def _send_error(self, start: Message) -> None:
        headers = MutableHeaders(scope=start)
        content = parse_json(bytes(self._body))
        if start["status"] == 503:
            content, more_headers = self._build_unavailable(content)
            headers.update(more_headers)
        elif not has_sentence(content):
            content = {"detail": describe_error(start["status"], content)}
        body = json.dumps(content).encode()
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _build_unavailable(self, content: Any) -> tuple[dict[str, str], dict[str, str]]:
        """Return body and headers of a rejection by the queue."""
        if not (isinstance(content, dict) and str(content.get("detail")).startswith(QUEUE_FULL_START)):
            return {"detail": SHUTDOWN_MESSAGE}, {}
        error = LimitExceeded("The queue is full: send the request again in {seconds}.", self._estimate_wait_s())
        return {"detail": str(error)}, error.headers


def parse_json(body: bytes) -> Any:
    """Return the content of a JSON body; None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def has_sentence(content: Any) -> bool:
    """Return whether the body of an error has a text for the client."""
    return isinstance(content, dict) and any(
        isinstance(content.get(key), str) and content[key] for key in ("detail", "error")
    )


def describe_error(status: int, content: Any) -> str:
    """Return a sentence for an error of FastAPI.

    Args:
        status: HTTP status.
        content: Body of the error; for an invalid request, `detail` lists the invalid fields.
    """
    details = content.get("detail") if isinstance(content, dict) else None
    if status == 422 and isinstance(details, list) and details and isinstance(details[0], dict):
        place = ".".join(str(part) for part in details[0].get("loc", ())[1:]) or "body"
        problem = str(details[0].get("msg", "it is invalid")).rstrip(".")
        return f"The request is invalid at `{place}`: {problem}; see docs/api.md."[:MAX_SENTENCE_CHARS]
    if status < 500:
        return f"The request is invalid (status {status}): see docs/api.md."
    return "The app failed at this request; its log has the details: change the request, or report the problem."
