"""Preview of a published checkpoint: example inputs, and the record of one prediction, in preview.json.

    {"input_type": "text" | "image", "inputs": [text or data: URL of an image], "record": {...} or null}

The file belongs to a commit on the Hub, not to the checkpoint: saving a checkpoint does not keep it, because the record was
computed with these weights and thresholds. A file from elsewhere may hold anything: the page validates every part of the record.
"""

import base64
import binascii
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ctm.checkpoint.metadata import MetadataModel, read_metadata_file
from ctm.messages import truncate_repr

PREVIEW_NAME = "preview.json"
MAX_PREVIEW_BYTES = 200_000
MAX_PREVIEW_INPUTS = 6
MAX_PREVIEW_TEXT_CHARS = 1_000
IMAGE_URL_PREFIX = "data:image/"


class Preview(MetadataModel):
    """Schema of preview.json.

    Attributes:
        input_type: Type of the inputs.
        inputs: Texts, or images as `data:` URLs in base64.
        record: Record of the prediction for the first input, as the page shows it; None if it would be too large.
    """

    input_type: Literal["text", "image"]
    inputs: list[str] = Field(max_length=MAX_PREVIEW_INPUTS)
    record: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_inputs(self) -> "Preview":
        for value in self.inputs:
            if self.input_type == "image":
                decode_image_url(value)
            elif len(value) > MAX_PREVIEW_TEXT_CHARS:
                raise ValueError(f"a text has at most {MAX_PREVIEW_TEXT_CHARS:,} characters: got {len(value):,}")
        return self


def read_preview(folder: Path) -> Preview | None:
    """Read the preview of a checkpoint directory; None if there is none.

    Raises:
        ValueError: The file is too large, is not a JSON object, or does not fit its schema.
    """
    path = folder / PREVIEW_NAME
    if not path.is_file():
        return None
    return Preview.model_validate(read_metadata_file(path, Preview, MAX_PREVIEW_BYTES))


def encode_image_url(content: bytes, image_format: str) -> str:
    """Return the content of an image file as a `data:` URL.

    Args:
        content: Content of the file.
        image_format: Subtype of the media type, such as "png".
    """
    return f"{IMAGE_URL_PREFIX}{image_format};base64,{base64.b64encode(content).decode('ascii')}"


def decode_image_url(url: str) -> bytes:
    """Return the content of an image file from a `data:` URL in base64.

    Raises:
        ValueError: It is no such URL.
    """
    header, _, content = url.partition(",")
    try:
        if header.startswith(IMAGE_URL_PREFIX) and header.endswith(";base64"):
            return base64.b64decode(content, validate=True)
    except binascii.Error:
        pass
    raise ValueError(f"an image must be a data: URL in base64: got {truncate_repr(url)}")
