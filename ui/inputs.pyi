"""Picture inputs that hand over files unopened, so that one place, `ui.pictures`, says what is wrong with them.

Gradio's own components open the file first and answer a broken one with a nameless error.
"""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from gradio.events import Dependency

class PictureInput(gr.Image):
    """Upload, webcam or clipboard; gives the path of the file, or its `data:` address, or None."""

    def get_block_name(self) -> str:
        return "image"  # the browser draws it as any gr.Image

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        return payload.url if payload.url and payload.url.startswith("data:") else payload.path
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class DrawingInput(gr.Sketchpad):
    """A drawing; gives the path of the flattened picture, or None."""

    def get_block_name(self) -> str:
        return "imageeditor"

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else _path_of(payload.composite)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def _path_of(file: Any) -> str | None:
    if file is None:
        return None
    if file.url and file.url.startswith("data:"):
        return _write(file.url)
    return file.path


def _write(url: str) -> str:
    """Put the bytes of a `data:` address into a temporary file."""
    try:
        content = base64.b64decode(url.partition(",")[2], validate=True)
    except (ValueError, binascii.Error):
        content = b""  # not a picture, and will be called one
    folder = Path(tempfile.gettempdir()) / "ctm-pictures"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(content)
    return file.name