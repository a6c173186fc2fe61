"""Turn errors of the services into one sentence on the page and in the API."""

import html
import re
from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.auth.access import Access, AccessDenied

ACTION_FAILED_TITLE = "Not done"
ACCESS_DENIED_TITLE = "Not allowed"


def call_service(function: Callable[..., Any], *args: Any) -> Any:
    """Call a service.

    Raises:
        gr.Error: The service raised a `ValueError`, whose message is a sentence for the user.
    """
    try:
        return function(*args)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from None


def run_action(action: Callable[..., Any], *args: Any) -> Any:
    """Call a service for a visitor who pressed a button.

    Raises:
        gr.Error: The service raised a `ValueError`, whose message is a sentence for the user.
    """
    try:
        return action(*args)
    except ValueError as error:
        title = ACCESS_DENIED_TITLE if isinstance(error, AccessDenied) else ACTION_FAILED_TITLE
        raise gr.Error(escape(error), title=title, print_exception=False) from None


def run_as_owner(access: Access, request: gr.Request, action: Callable[..., Any], *args: Any) -> Any:
    """Call a service for a user who may train.

    Args:
        access: Decides who may train.
        request: Request of the event.
        action: What to call.
        args: Its arguments.

    Raises:
        gr.Error: The user may not train, or the service raised a `ValueError`.
    """

    def run_checked() -> Any:
        access.require_owner(request)
        return action(*args)

    return run_action(run_checked)


def escape(error: Exception) -> str:
    """Return the message of an error for a toast, which Gradio renders as HTML; names in backticks become code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(str(error), quote=False))
