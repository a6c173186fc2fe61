"""Images that programs give: a path, the content of a file, a PIL image or a NumPy array, read by the one image reader."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctm.messages import describe_value, format_name
from training.data.image_reader import MAX_FILE_BYTES, DecodedImage, read_image

ACCEPTED_TYPES = "a path, the bytes of an image file, a PIL image or a NumPy array"
# An image in memory is encoded as PNG, which may be larger than a file may be: at most 8 bytes for each pixel.
MAX_ENCODED_BYTES = 2**28
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
ARRAY_SHAPES = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"


def read_image_input(value: Any) -> DecodedImage:
    """Read an image.

    Args:
        value: Path of a file; content of a file as bytes; PIL image; or array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4), of bytes, of 16-bit numbers (gray only) or of floating-point numbers in [0, 1].

    Raises:
        ValueError: It is none of these, or it cannot be read. The message is one sentence.
    """
    match value:
        case str() | Path():
            return read_image(read_file(Path(value)))
        case bytes() | bytearray() | memoryview():
            return read_image(bytes(value))
        case Image.Image():
            return read_image(encode_png(value), MAX_ENCODED_BYTES)
        case np.ndarray():
            return read_array(value)
    raise ValueError(f"An image must be {ACCEPTED_TYPES}: got {describe_value(value)}.")


def read_file(path: Path) -> bytes:
    """Return the content of a file, up to one byte more than an image may have.

    Raises:
        ValueError: There is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        if "://" in str(path) or str(path).startswith(("http:/", "https:/")):
            raise ValueError("Images are not downloaded: save the picture to a file and give its path.") from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no valid path"
        raise ValueError(f"The image {format_name(path, 200)} cannot be read ({reason}).") from None


def encode_png(image: Image.Image) -> bytes:
    """Return a PIL image as the content of a PNG file, with its orientation."""
    content = io.BytesIO()
    encodable = image if image.mode in PNG_MODES else image.convert("RGB")
    encodable.save(content, "PNG", compress_level=1, exif=image.getexif().tobytes())
    return content.getvalue()


def read_array(pixels: np.ndarray) -> DecodedImage:
    """Read an array; see `read_image_input`.

    Raises:
        ValueError: Its shape, its type or a value does not fit.
    """
    if not is_image_shape(pixels.shape):
        raise ValueError(f"An image must have the shape {ARRAY_SHAPES}: got {pixels.shape}.")
    plane = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if plane.dtype == np.uint8 or (plane.dtype == np.uint16 and plane.ndim == 2):
        return read_image(encode_png(Image.fromarray(np.ascontiguousarray(plane))), MAX_ENCODED_BYTES)
    if not np.issubdtype(plane.dtype, np.floating):
        raise ValueError(
            f"An image must hold bytes (uint8) or floating-point numbers in [0, 1]: got {pixels.dtype}; convert it "
            "with .astype(numpy.uint8)."
        )
    if not (np.isfinite(plane).all() and plane.min() >= 0 and plane.max() <= 1):
        raise ValueError(
            "An image of floating-point numbers must hold values in [0, 1]; divide values up to 255 by 255."
        )
    if plane.ndim == 2:
        return DecodedImage(Image.fromarray(plane.astype(np.float32)))
    return read_array(np.rint(plane * 255).astype(np.uint8))


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape is one image with at least one pixel."""
    has_channels = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return has_channels and min(shape) > 0
