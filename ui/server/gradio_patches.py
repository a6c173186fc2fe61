"""All uses of Gradio internals, for the pinned version alone.

Every function here touches attributes that Gradio does not document. Importing this module under another version fails, so
an upgrade forces a review.

Gradio 6.31 copies the configuration of the whole page for every visitor and stores in it what they send and receive, a
third of a megabyte each, for links to a session. This page offers no such links: `SlimSessionState` stores `gr.State` values
only.

Its page describes itself as "Gradio" to sites that show a preview of a link, with a picture of another host:
`install_page_head` writes the title, the description and the picture of this page instead.

It reports an error that is not a `gr.Error` as `{"error": null}`, and checks arguments with sentences for the developer of a
page: `ApiBlocks` checks those of the public API, `install_error_sentence` replaces the missing text.

It compresses responses by the extension of their path, so it sends the page itself uncompressed: `PageCompression` compresses it.
"""

import html
import inspect
import re
import time
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

import gradio as gr
import gradio.queueing
import gradio.routes
import gradio.utils
from fastapi import FastAPI
from gradio import state_holder
from gradio.brotli_middleware import BrotliMiddleware
from gradio.utils import LRUCache
from starlette.requests import HTTPConnection
from starlette.routing import Route
from starlette.types import Scope

GRADIO_VERSION = "6.31.0"
assert gr.__version__ == GRADIO_VERSION, (
    f"ui/server/gradio_patches.py fits Gradio {GRADIO_VERSION}, but {gr.__version__} is installed: "
    "install requirements.txt, or review the module for the new version"
)

PAGE_PATHS = ("/", "/config")  # the page, and its description for other clients
MAX_UNREAD_SESSIONS = 300  # sessions whose messages wait to be fetched; Gradio keeps 2,000
MAX_SESSION_STATES = 1_000  # sessions whose state is stored; the least recently used is dropped first
UNEXPECTED_ERROR_MESSAGE = (
    "The app failed at this request; its log has the details: change the request, or report the problem."
)
OriginalSessionState = state_holder.SessionState
original_error_payload = gradio.utils.error_payload
template_environment = gradio.routes.templates.env
original_get_source = template_environment.loader.get_source
SHARING_TAG_PATTERN = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*')


class SlimSessionState(OriginalSessionState):
    """Session state that stores the `gr.State` values of one visitor and nothing else."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


def install_session_patch(blocks: gr.Blocks) -> None:
    """Make a page store little of each visitor. Must run before the page is mounted."""
    state_holder.SessionState = SlimSessionState  # type: ignore[misc] # the patch replaces a class
    blocks.state_session_capacity = MAX_SESSION_STATES
    blocks._queue.pending_messages_per_session = LRUCache(MAX_UNREAD_SESSIONS)


class PageCompression(BrotliMiddleware):
    """Compresses the page, with Brotli or else gzip, for clients that accept it."""

    def _is_compressible_file_type(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in PAGE_PATHS


def mark_as_launched(blocks: gr.Blocks) -> None:
    """Mark a page as launched. Gradio takes a mounted page for not launched, and then serves any file of the host."""
    blocks.has_launched = True


class ApiBlocks(gr.Blocks):
    """Page whose public endpoints check their arguments.

    Every input of a public endpoint that has a method `parse_argument` gets the value that it returns. A missing argument is
    passed as None.

    Attributes:
        extra_routes: Routes that are served besides those of Gradio.
    """

    extra_routes: tuple[Route, ...] = ()

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Check the arguments of an event before Gradio reads them, and replace them by what they mean.

        Args:
            block_fn: The event.
            inputs: JSON values that the client sent; changed in place.

        Raises:
            gr.Error: The arguments are invalid. The message is one sentence.
        """
        if block_fn.api_visibility == "public":
            try:
                inputs[:] = parse_arguments(block_fn, inputs)
            except ValueError as error:
                raise gr.Error(str(error), print_exception=False) from None
        super().validate_inputs(block_fn, inputs)


def parse_arguments(block_fn: Any, values: list[Any]) -> list[Any]:
    """Return the arguments of a public endpoint from the JSON values that a client sent.

    Raises:
        ValueError: There are too many values, or one is invalid. The message is one sentence.
    """
    num_inputs = len(block_fn.inputs)
    if len(values) > num_inputs:
        names = ", ".join(get_parameter_names(block_fn))
        raise ValueError(
            f"/{block_fn.api_name} takes at most {num_inputs} arguments ({names}): got {len(values)}; remove the others."
        )
    values = [*values, *[None] * (num_inputs - len(values))]
    return [
        block.parse_argument(value) if hasattr(block, "parse_argument") else value
        for block, value in zip(block_fn.inputs, values, strict=True)
    ]


def get_parameter_names(block_fn: Any) -> list[str]:
    """Return the names of the parameters of an event that are inputs."""
    return list(inspect.signature(block_fn.fn).parameters)[: len(block_fn.inputs)]


def install_error_sentence() -> None:
    """Make Gradio report an unexpected error with a sentence. The traceback goes to the log as before."""
    gradio.utils.error_payload = gradio.queueing.error_payload = build_error_payload


@dataclass(frozen=True)
class SharingCard:
    """What a site shows of a link to the page.

    Attributes:
        title: Title of the page.
        description: What the page offers, in one sentence.
        picture: Path of its picture, relative to the page.
        picture_text: What the picture shows.
        size: Width and height of the picture.
        host: Host name of the page; empty takes the address of the request.
    """

    title: str
    description: str
    picture: str
    picture_text: str
    size: tuple[int, int]
    host: str = ""


def install_page_head(card: SharingCard, head: str = "") -> None:
    """Make Gradio write one set of tags for previews of links to the page, without a picture of another host.

    Args:
        card: What a preview shows.
        head: Further elements for the head of the page, for what must be there before Gradio's scripts run.
    """
    tags = f"{build_sharing_tags(card)}\n{head}"

    def get_source(environment: Any, name: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, path, is_current = original_get_source(environment, name)
        if not SHARING_TAG_PATTERN.search(source):
            return source, path, is_current
        return SHARING_TAG_PATTERN.sub("", source).replace("</head>", f"{tags}\n</head>", 1), path, is_current

    template_environment.loader.get_source = get_source
    template_environment.cache.clear()


def build_sharing_tags(card: SharingCard) -> str:
    """Return the tags that sites read to show a preview of a link, as a part of a template.

    Previews need absolute addresses. Without a host name the template writes that of the request, which Gradio has determined.
    """
    address = f"https://{html.escape(card.host)}" if card.host else "{{ config.root }}"
    width, height = card.size
    tags = [
        ("property", "og:type", "website"),
        ("property", "og:title", card.title),
        ("property", "og:description", card.description),
        ("property", "og:image:width", str(width)),
        ("property", "og:image:height", str(height)),
        ("property", "og:image:alt", card.picture_text),
        ("name", "description", card.description),
        ("name", "twitter:card", "summary_large_image"),
        ("name", "twitter:title", card.title),
        ("name", "twitter:description", card.description),
        ("name", "twitter:image:alt", card.picture_text),
    ]
    addresses = [("og:url", "/"), ("og:image", f"/{card.picture}"), ("twitter:image", f"/{card.picture}")]
    links = [f'<meta property="{name}" content="{address}{path}">' for name, path in addresses]
    texts = [f'<meta {kind}="{name}" content="{html.escape(content)}">' for kind, name, content in tags]
    return "\n".join([*links, *texts])


def build_error_payload(error: BaseException | None, show_error: bool) -> dict[str, Any]:
    """Return what Gradio sends for an error, with a sentence in any case."""
    payload = original_error_payload(error, show_error)
    return payload if payload.get("error") else payload | {"error": UNEXPECTED_ERROR_MESSAGE}


@dataclass(frozen=True)
class Endpoint:
    """Public endpoint of the API.

    Attributes:
        name: Name without the slash.
        event_id: Number of its event.
        parameters: Default by parameter name, in order; None for a parameter without a default.
        checks_arguments: Whether all of its inputs check the values that they get.
    """

    name: str
    event_id: int
    parameters: dict[str, Any]
    checks_arguments: bool


class GradioState:
    """What the security middleware reads of a page and its queue.

    Args:
        blocks: The page.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self.endpoints = {
            fn.api_name: Endpoint(
                fn.api_name,
                fn._id,
                dict(
                    zip(get_parameter_names(fn), (getattr(block, "default", None) for block in fn.inputs), strict=False)
                ),
                isinstance(blocks, ApiBlocks) and all(hasattr(block, "parse_argument") for block in fn.inputs),
            )
            for fn in blocks.fns.values()
            if fn.fn and fn.api_name and fn.api_visibility == "public"
        }

    def has_event(self, event_id: int) -> bool:
        """Return whether the page has an event of this number."""
        return event_id in self._blocks.fns

    def get_queued_requests(self) -> Iterable[HTTPConnection]:
        """Return the requests of all events that are queued or running."""
        return [event.request for event in list(self._blocks._queue.event_ids_to_events.values())]

    def has_result(self, result_id: str) -> bool:
        """Return whether an event has this id whose result was not fetched yet."""
        queue = self._blocks._queue
        return any(
            result_id in ids and session in queue.pending_messages_per_session
            for session, ids in queue.pending_event_ids_session.items()
        )

    def estimate_wait_s(self) -> float:
        """Return the seconds after which one of the queued events has probably ended.

        It is the mean duration of earlier events of the same kinds, or the time for which the oldest event has been
        queued or running, if that is longer.
        """
        queue = self._blocks._queue
        now = time.monotonic()
        events = list(queue.event_ids_to_events.values())
        ages = [now - event.enqueue_time for event in events]
        durations = [queue.process_time_per_fn[event.fn].avg_time for event in events]
        return max([*ages, *durations, 0.0])


def close_event_streams(app: FastAPI) -> None:
    """End the event streams of all open pages. The server waits for open streams before it ends."""
    for route in app.routes:
        stop_event = getattr(getattr(route, "app", None), "stop_event", None)
        if stop_event:
            stop_event.set()
