"""Components of the public API: each checks the JSON value that a client sent before Gradio reads it.

Gradio validates a value against the data model of a component, and reports a mismatch as an error without a reason.
"""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

from ui.components.inputs import ImageInput
from ui.paths import EXAMPLES_DIR
from ui.services.api_arguments import parse_image_argument, parse_text_argument


class ApiImage(ImageInput):
    """Image argument. Its value is the path of an uploaded file or a `data:` URL."""

    data_model = None  # `parse_argument` validates the value
    default = None

    def parse_argument(self, value: Any) -> str:
        """Return the path of an uploaded file or a `data:` URL.

        Raises:
            ValueError: The value is not a picture. The message is one sentence.
        """
        return parse_image_argument(value, (Path(get_upload_folder()), EXAMPLES_DIR))

    def get_block_class(self) -> str:
        """Return the name of the component in the published description of the API."""
        return "image"

    def preprocess(self, payload: Any) -> str:
        """Return the path or the `data:` URL of the image, which is not opened."""
        return self.parse_argument(payload)

    def api_info(self) -> dict[str, Any]:
        """Return the JSON schema of an uploaded file, with a description of the other values."""
        schema = ImageData.model_json_schema()
        schema.pop("description", None)
        schema["properties"]["path"]["description"] = "Path of an uploaded file"
        schema["properties"]["url"]["description"] = "A data: URL; files of other servers are not fetched"
        schema["additional_description"] = "an uploaded file; or a data: URL or base64 text in place of it"
        return schema


class ApiText(gr.Textbox):
    """Text argument; see `build_api_text`.

    Attributes:
        hint: What to send, for error messages.
        default: Value of an argument that is missing, null or blank; None for an argument without a default.
        example: Value in the published snippets.
    """

    hint: str
    default: str | None
    example: str

    def get_block_name(self) -> str:
        """Return the name of the component that the browser renders."""
        return "textbox"

    def get_block_class(self) -> str:
        """Return the name of the component in the published description of the API."""
        return "textbox"

    def parse_argument(self, value: Any) -> str:
        """Return the text.

        Raises:
            ValueError: The value is not a text. The message is one sentence.
        """
        return parse_text_argument(str(self.label), value, self.default or "", self.hint)

    def preprocess(self, payload: Any) -> str:
        """Return the text."""
        return self.parse_argument(payload)

    def example_payload(self) -> str:
        """Return the value in the published snippets."""
        return self.example


def build_api_text(name: str, hint: str, example: str, default: str | None = None) -> ApiText:
    """Build a text argument.

    Args:
        name: Name of the parameter.
        hint: What to send, for error messages.
        example: Value in the published snippets.
        default: Value of an argument that is missing, null or blank; None for an argument without a default.
    """
    text = ApiText(default, label=name)
    text.hint, text.example, text.default = hint, example, default
    return text
