"""Share group below the stage: link, film, picture and embed. It also opens what the address of the page says."""

from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component
from ui.services.inference_service import CheckpointInfo

# Policy and text of a link, for the event `submit` of the component. Values that the link does not have stay as they are.
JS_FILL_INPUT = """(share) => {
  const unchanged = { __type__: "update" };
  const { policy, text } = share?.request ?? {};
  return [policy ?? unchanged, text ?? unchanged];
}"""


def build_share(info: CheckpointInfo, default_policy: str) -> gr.HTML:
    """Build the group. Its events ask for what a link says: `select` a model, `submit` policy and text, `upload` a picture.

    Args:
        info: The checkpoint of the default page.
        default_policy: Its default halting policy.
    """
    return build_html_component("share", "share", build_share_value(info, default_policy, info.name))


def build_share_value(info: CheckpointInfo, default_policy: str, first: str) -> dict[str, Any]:
    """Return the value of the group.

    Args:
        info: The selected checkpoint.
        default_policy: Its default halting policy.
        first: Name of the checkpoint of the default page.
    """
    editor = (info.input_editor or {}).get("kind")
    kind = "text" if info.input_type == "text" else "maze" if editor == "maze" else "picture"
    return {
        "selected": info.name,
        "first": first,
        "kind": kind,
        "default_policy": default_policy,
        "title": info.title,
    }


def read_request(value: Any) -> dict[str, Any]:
    """Return what the group asks for; empty for anything that a page does not send."""
    request = value.get("request") if isinstance(value, dict) else None
    return request if isinstance(request, dict) else {}
