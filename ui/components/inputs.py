"""Input components that pass files on unchecked; `ui.services.image_decoding` validates images.

Gradio's own image component opens a file first and reports a broken one as an error without a reason. Its sketchpad
requires the choice of a tool before the first stroke and loads a megabyte of drawing library; a canvas suffices here.
"""

from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component

EXAMPLE_FILE_NAME = "digit.png"


class ImageInput(gr.Image):
    """Image from an upload, the webcam or the clipboard. Its value is a path, a `data:` URL, or None."""

    def get_block_name(self) -> str:
        """Return the name of the component that the browser renders."""
        return "image"

    def preprocess(self, payload: Any) -> str | None:
        """Return the path or the `data:` URL of the image, which is not opened."""
        if payload is None:
            return None
        return payload.url if payload.url and payload.url.startswith("data:") else payload.path

    def example_payload(self) -> dict[str, Any]:
        """Return the value in the published snippets: a local file, because files of other servers are not fetched.

        The page prints `handle_file` of the `url`.
        """
        return {"path": EXAMPLE_FILE_NAME, "url": EXAMPLE_FILE_NAME, "meta": {"_type": "gradio.FileData"}}

    def example_value(self) -> str:
        """Return the name of a local file."""
        return EXAMPLE_FILE_NAME


class RunDropdown(gr.Dropdown):
    """Dropdown of runs whose value may be missing from its choices; handlers look the run up anyway.

    A run may be deleted at any time. Gradio's dropdown rejects a value that is not among the choices of the session, which
    would cause an error every second on a page that shows the run.
    """

    def get_block_name(self) -> str:
        """Return the name of the component that the browser renders."""
        return "dropdown"

    def preprocess(self, payload: Any) -> str:
        """Return the id of a run; empty for anything that is not a text."""
        return payload if isinstance(payload, str) else ""


JS_EDITOR_TO_TEXT = "(editor) => editor.content"  # run in the browser
JS_TEXT_TO_EDITOR = (
    "(text, editor) => (editor && editor.content !== text ? { ...editor, content: text } : { __type__: 'update' })"
)


def build_editor(elem_id: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """Build an editor of inputs. Its `input` event reports an edit. It shows nothing without a value.

    Args:
        elem_id: Id of the component in the page.
        value: See `build_editor_value`.
    """
    return build_html_component("editors", elem_id, value)


def build_editor_value(editor: dict[str, Any] | None, content: str = "") -> dict[str, Any] | None:
    """Return the value of an editor.

    Args:
        editor: Editor of a task, see `Task.input_editor`; None for no editor.
        content: Content to edit, a text or the `data:` URL of an image.
    """
    return {**editor, "content": content} if editor else None


def parse_drawing(value: Any) -> str | None:
    """Return the `data:` URL of a drawing from the value of a sketchpad or an editor, else None.

    Other values from a client are rejected: a path would name a file of this host.
    """
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) and content.startswith("data:") else None


def build_sketchpad(elem_id: str) -> gr.HTML:
    """Build a sketchpad. Its value is a `data:` URL, or None while it is empty."""
    return build_html_component("sketchpad", elem_id)
