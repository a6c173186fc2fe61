"""Input components that pass files on unchecked; `ui.services.image_decoding` validates images.

Gradio's own picture component opens a file first and answers a broken one with a nameless error. Its sketchpad wants a tool
picked before the first stroke and loads a megabyte of drawing library; a canvas is enough here.
"""

from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component


class ImageInput(gr.Image):
    """Upload, webcam or clipboard; gives the path of the file, or its `data:` address, or None."""

    def get_block_name(self) -> str:
        return "image"  # the browser draws it as any gr.Image

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        return payload.url if payload.url and payload.url.startswith("data:") else payload.path


class RunDropdown(gr.Dropdown):
    """A choice of a run. What is chosen may leave the list at any moment; whoever is given it looks it up in any case.

    Gradio's own refuses what is not in the list of this session, with an error each second in a page whose run was deleted.
    """

    def get_block_name(self) -> str:
        return "dropdown"  # the browser draws it as any gr.Dropdown

    def preprocess(self, payload: Any) -> str:
        return payload if isinstance(payload, str) else ""


JS_EDITOR_TO_TEXT = "(pad) => pad.made"  # in the browser: from a pad into a text, and back
JS_TEXT_TO_EDITOR = "(text, pad) => (pad && pad.made !== text ? { ...pad, made: text } : { __type__: 'update' })"


def build_editor(elem_id: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """A pad to make an input by hand; its `input` event says that a person made something. Nothing is shown without a value.

    Args:
        elem_id: id of the component in the page.
        value: see `on_pad`.
    """
    return build_html_component("editors", elem_id, value)


def build_editor_value(editor: dict[str, Any] | None, content: str = "") -> dict[str, Any] | None:
    """The value of a pad: what a task says of it, and what was made so far, a text or a picture's `data:` address."""
    return {**editor, "made": content} if editor else None


def parse_drawing(value: Any) -> str | None:
    """The `data:` address of what was drawn, in the square or on a pad.

    Whatever else comes back from a browser is nothing that was drawn; a path would name a file of this machine.
    """
    made = value.get("made") if isinstance(value, dict) else value
    return made if isinstance(made, str) and made.startswith("data:") else None


def build_sketchpad(elem_id: str) -> gr.HTML:
    """A square to draw in; gives the drawing as a `data:` address, or None while nothing is drawn."""
    return build_html_component("sketchpad", elem_id)
