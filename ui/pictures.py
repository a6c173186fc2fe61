"""Reading pictures that strangers give: bounded, forgiving of formats, one sentence for what cannot be read."""

import base64
import binascii
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MOST_PIXELS = 20_000_000
MOST_BYTES = 20 * 2**20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def read_picture(source: str | Path | None) -> np.ndarray:
    """A picture as colours.

    Args:
        source: a file, a `data:` address such as a drawing's, or None where nothing was given.

    Returns:
        (height, width, 3) float32, red, green and blue from 0 to 1; transparent places are white.

    Raises:
        ValueError: one sentence: what, got, what to do.
    """
    if not source:
        raise ValueError("There is no picture yet: draw one, upload one, or click an example.")
    content = _bytes_of(source)
    if len(content) > MOST_BYTES:
        raise ValueError(f"The file is too large; pictures may have at most {MOST_BYTES >> 20} MB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked below, before decoding
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(f"The picture is far too large; at most {MOST_PIXELS // 10**6} megapixels are read.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise ValueError(
            "This file is not a picture that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can."
        ) from None
    with picture:
        return _decode(picture)


def _bytes_of(source: str | Path) -> bytes:
    if isinstance(source, str) and source.startswith("data:"):
        try:
            return base64.b64decode(source.partition(",")[2], validate=True)
        except (ValueError, binascii.Error):
            return b""  # no picture, and will be called none
    try:
        with Path(source).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError):
        raise ValueError("The picture is no longer there: please upload it again.") from None


def _decode(picture: Image.Image) -> np.ndarray:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"The picture has {width * height / 1e6:.0f} megapixels; at most {MOST_PIXELS // 10**6} are read. Make it smaller."
        )
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # cameras save previews as further frames of an MPO
        raise ValueError(f"The picture is animated ({frames} frames); give a single still picture.")
    try:
        picture.load()
        return _colours(ImageOps.exif_transpose(picture))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError):
        raise ValueError("The picture is damaged or cut off; export it again as PNG or JPEG.") from None


def _colours(picture: Image.Image) -> np.ndarray:
    if picture.mode in SIXTEEN_BIT:
        values = np.asarray(picture, dtype=np.float32)
        return _of_grey(np.clip(values / (65535 if values.max(initial=0) > 255 else 255), 0, 1))
    if picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
        return _of_grey(np.clip(values / max(1.0, float(values.max(initial=0))), 0, 1))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def _of_grey(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, -1)
