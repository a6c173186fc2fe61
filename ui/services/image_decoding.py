"""Reading pictures that strangers give: bounded, forgiving of formats, one sentence for what cannot be read."""

import base64
import io
import re
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

MAX_PIXELS = 20_000_000
MAX_FILE_BYTES = 20 * 2**20
MAX_EXIF_BYTES = 2**17  # bytes
DECODE_TIMEOUT_S = 10.0  # seconds of a processor, for what takes one
MAX_JPEG_SEGMENTS = (  # what a JPEG holds few of; a small file with many of them would take hours, or all memory
    (re.compile(rb"\xff\xda\0[\6\b\n\f][\1-\4]"), 100),  # scans
    (re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), 4),  # parts of EXIF, which are read as one
)
ALLOWED_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
EXIF_KEYS = ("exif", "Raw profile type exif")  # where the reader keeps it
EXIF_ORIENTATION = 0x0112
ORIENTATION_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(source: str | Path | None) -> np.ndarray:
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
    content = _read_bytes(source)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"The file is too large; pictures may have at most {MAX_FILE_BYTES >> 20} MB.")
    if any(len(pattern.findall(content)) > most for pattern, most in MAX_JPEG_SEGMENTS):
        raise ValueError("The picture is stored in far too many parts; export it again as PNG or JPEG.")
    with warnings.catch_warnings(action="ignore"):  # of oddities in a file, and of sizes, which are checked below
        try:
            picture = Image.open(BoundedReader(content), formats=ALLOWED_FORMATS)
        except Image.DecompressionBombError:
            raise ValueError(
                f"The picture is far too large; at most {MAX_PIXELS // 10**6} megapixels are read."
            ) from None
        except Exception:  # a file that is no picture makes the reader fail in whatever way
            raise ValueError(
                "This file is not a picture that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can."
            ) from None
        with picture:
            return _load_pixels(picture)


class BoundedReader(io.BytesIO):
    """A file that is read for a while and a few times over, no more: a small one can be made to take hours."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.remaining_bytes, self.deadline = 4 * len(content) + 2**16, time.thread_time() + DECODE_TIMEOUT_S

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.remaining_bytes -= len(data)
        if self.remaining_bytes < 0 or time.thread_time() > self.deadline:
            raise OSError("The file was read for too long.")
        return data


def encode_data_url(pixels: np.ndarray) -> str:
    """The `data:` address of a PNG of these pixels, (h, w, 3) values from 0 to 1."""
    file = io.BytesIO()
    Image.fromarray((pixels * 255).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _read_bytes(source: str | Path) -> bytes:
    if isinstance(source, str) and source.startswith("data:"):
        try:
            return base64.b64decode(source.partition(",")[2], validate=True)
        except ValueError:
            return b""  # no picture, and will be called none
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError):
        raise ValueError("The picture is no longer there: please upload it again.") from None


def _load_pixels(image: Image.Image) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"The picture has {width * height / 1e6:.0f} megapixels; at most {MAX_PIXELS // 10**6} are read. Make it smaller."
        )
    try:
        animated = getattr(image, "is_animated", False) and image.format != "MPO"  # whose other frames are previews
        if not animated:
            image.load()
            return _to_rgb(_apply_orientation(image))
    except Exception:  # a damaged file makes the reader fail in whatever way
        raise ValueError(
            "The picture is damaged, cut off or of an unusual kind; export it again as PNG or JPEG."
        ) from None
    raise ValueError("The picture is animated; give a single still picture.")


def _apply_orientation(image: Image.Image) -> Image.Image:
    """As the camera was held; EXIF that is broken or very long says nothing of it."""
    if max(len(image.info.get(name, "")) for name in EXIF_KEYS) > MAX_EXIF_BYTES:
        return image
    try:
        turn = ORIENTATION_TRANSPOSES.get(image.getexif().get(EXIF_ORIENTATION))
    except Exception:  # whatever is in there, the picture is not made of it
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode in SIXTEEN_BIT_MODES:
        values = np.asarray(image, dtype=np.float32)
        return _gray_to_rgb(np.clip(values / (65535 if values.max(initial=0) > 255 else 255), 0, 1))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        return _gray_to_rgb(np.clip(values / max(1.0, float(values.max(initial=0))), 0, 1))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def _gray_to_rgb(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, -1)
