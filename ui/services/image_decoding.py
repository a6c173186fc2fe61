"""Read images that users upload, draw or name, with the reader that training data sets use."""

import base64
import io
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image

from training.data.image_reader import MAX_FILE_BYTES, MAX_PIXELS, DecodedImage, read_image

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "decode_base64",
    "decode_data_url",
    "decode_image",
    "decode_image_with_notes",
    "encode_data_url",
]


def decode_image(source: str | Path | None) -> np.ndarray:
    """Decode an image to RGB.

    Args:
        source: Path of a file, a `data:` URL such as that of a drawing, or None.

    Returns:
        Pixels of shape (H, W, 3), float32 in [0, 1], without transparency.

    Raises:
        ValueError: The image is missing, too large, damaged or of an unsupported format. The message is one sentence.
    """
    return _read(source).to_array()


def decode_image_with_notes(source: str | Path | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode an image as `decode_image` does.

    Returns:
        The pixels, and sentences about what was left out, such as other frames.

    Raises:
        ValueError: See `decode_image`.
    """
    image = _read(source)
    return image.to_array(), image.notes


def _read(source: str | Path | None) -> DecodedImage:
    if not source:
        raise ValueError("There is no picture yet: draw one, upload one, or click an example.")
    return read_image(_read_bytes(source))


def encode_data_url(pixels: np.ndarray) -> str:
    """Encode pixels of shape (H, W, 3) in [0, 1] as the `data:` URL of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def decode_data_url(url: str) -> bytes:
    """Return the content of a `data:` URL, in base64 or percent-encoded.

    Raises:
        ValueError: The content is not base64 though the URL says so.
    """
    header, _, content = url.partition(",")
    plain = unquote_to_bytes(content)
    return decode_base64(plain.decode("latin-1")) if header.lower().rstrip().endswith(";base64") else plain


def decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without padding and line breaks.

    Raises:
        ValueError: The text is not base64.
    """
    compact = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)


def _read_bytes(source: str | Path) -> bytes:
    if isinstance(source, str) and source.startswith("data:"):
        try:
            return decode_data_url(source)
        except ValueError:
            return b""  # reported as an empty file
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError):
        raise ValueError("The picture has been deleted. Upload it again.") from None
