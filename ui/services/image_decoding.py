"""Decode untrusted images: bounded in time and memory, lenient about formats, with one sentence per error."""

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
MAX_EXIF_BYTES = 2**17
DECODE_TIMEOUT_S = 10.0  # of CPU time
# Segments of which a JPEG has few. A small file with many of them would take hours or all memory.
MAX_JPEG_SEGMENTS = (
    (re.compile(rb"\xff\xda\0[\6\b\n\f][\1-\4]"), 100),  # scans
    (re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), 4),  # EXIF segments, which the reader concatenates
)
ALLOWED_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
EXIF_KEYS = ("exif", "Raw profile type exif")  # keys of `Image.info`
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
    """Decode an image to RGB.

    Args:
        source: Path of a file, a `data:` URL such as that of a drawing, or None.

    Returns:
        Pixels of shape (H, W, 3), float32 in [0, 1]; transparent pixels are white.

    Raises:
        ValueError: The image is missing, too large, damaged or of an unsupported format. The message is one sentence.
    """
    if not source:
        raise ValueError("There is no picture yet: draw one, upload one, or click an example.")
    content = _read_bytes(source)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"The file is too large; pictures may have at most {MAX_FILE_BYTES >> 20} MB.")
    if any(len(pattern.findall(content)) > limit for pattern, limit in MAX_JPEG_SEGMENTS):
        raise ValueError("The picture is stored in too many parts. Export it again as PNG or JPEG.")
    with warnings.catch_warnings(action="ignore"):  # sizes are checked below
        try:
            image = Image.open(BoundedReader(content), formats=ALLOWED_FORMATS)
        except Image.DecompressionBombError:
            raise ValueError(
                f"The picture is far too large; at most {MAX_PIXELS // 10**6} megapixels are read."
            ) from None
        except Exception:  # decoders raise many exception types for invalid files
            raise ValueError(
                "This file is not a picture that can be read. Use PNG, JPEG, WebP, GIF, BMP or TIFF."
            ) from None
        with image:
            return _load_pixels(image)


class BoundedReader(io.BytesIO):
    """In-memory file that limits the total bytes read and the CPU time: a small crafted file could take hours.

    Args:
        content: Content of the file.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.remaining_bytes = 4 * len(content) + 2**16
        self.deadline = time.thread_time() + DECODE_TIMEOUT_S

    def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes.

        Raises:
            OSError: The content was read too often, or decoding took too long.
        """
        data = super().read(size)
        self.remaining_bytes -= len(data)
        if self.remaining_bytes < 0 or time.thread_time() > self.deadline:
            raise OSError("The file was read for too long.")
        return data


def encode_data_url(pixels: np.ndarray) -> str:
    """Encode pixels of shape (H, W, 3) in [0, 1] as the `data:` URL of a PNG."""
    file = io.BytesIO()
    Image.fromarray((pixels * 255).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _read_bytes(source: str | Path) -> bytes:
    if isinstance(source, str) and source.startswith("data:"):
        try:
            return base64.b64decode(source.partition(",")[2], validate=True)
        except ValueError:
            return b""  # decoded as an invalid image
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError):
        raise ValueError("The picture has been deleted. Upload it again.") from None


def _load_pixels(image: Image.Image) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"The picture has {width * height / 1e6:.0f} megapixels; at most {MAX_PIXELS // 10**6} are read. Make it smaller."
        )
    try:
        is_animated = getattr(image, "is_animated", False) and image.format != "MPO"  # its other frames are previews
        if not is_animated:
            image.load()
            return _to_rgb(_apply_orientation(image))
    except Exception:  # decoders raise many exception types for damaged files
        raise ValueError(
            "The picture is damaged, cut off or of an unusual kind. Export it again as PNG or JPEG."
        ) from None
    raise ValueError("The picture is animated. Use a still picture.")


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Rotate an image as its EXIF data says; broken or very long EXIF data is ignored."""
    if max(len(image.info.get(name, "")) for name in EXIF_KEYS) > MAX_EXIF_BYTES:
        return image
    try:
        transpose = ORIENTATION_TRANSPOSES.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF data does not affect the pixels
        return image
    return image if transpose is None else image.transpose(transpose)


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
