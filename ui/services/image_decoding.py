"""Reading pictures that strangers give: bounded, forgiving of formats, one sentence for what cannot be read."""

import base64
import io
import re
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

MOST_PIXELS = 20_000_000
MOST_BYTES = 20 * 2**20
MOST_EXIF = 2**17  # bytes
PATIENCE = 10.0  # seconds of a processor, for what takes one
FEW = (  # what a JPEG holds few of; a small file with many of them would take hours, or all memory
    (re.compile(rb"\xff\xda\0[\6\b\n\f][\1-\4]"), 100),  # scans
    (re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), 4),  # parts of EXIF, which are read as one
)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
EXIF = ("exif", "Raw profile type exif")  # where the reader keeps it
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    if any(len(pattern.findall(content)) > most for pattern, most in FEW):
        raise ValueError("The picture is stored in far too many parts; export it again as PNG or JPEG.")
    with warnings.catch_warnings(action="ignore"):  # of oddities in a file, and of sizes, which are checked below
        try:
            picture = Image.open(Rationed(content), formats=FORMATS)
        except Image.DecompressionBombError:
            raise ValueError(
                f"The picture is far too large; at most {MOST_PIXELS // 10**6} megapixels are read."
            ) from None
        except Exception:  # a file that is no picture makes the reader fail in whatever way
            raise ValueError(
                "This file is not a picture that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can."
            ) from None
        with picture:
            return _decode(picture)


class Rationed(io.BytesIO):
    """A file that is read for a while and a few times over, no more: a small one can be made to take hours."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.left, self.until = 4 * len(content) + 2**16, time.thread_time() + PATIENCE

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0 or time.thread_time() > self.until:
            raise OSError("The file was read for too long.")
        return data


def address_of(pixels: np.ndarray) -> str:
    """The `data:` address of a PNG of these pixels, (h, w, 3) values from 0 to 1."""
    file = io.BytesIO()
    Image.fromarray((pixels * 255).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _bytes_of(source: str | Path) -> bytes:
    if isinstance(source, str) and source.startswith("data:"):
        try:
            return base64.b64decode(source.partition(",")[2], validate=True)
        except ValueError:
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
    try:
        animated = getattr(picture, "is_animated", False) and picture.format != "MPO"  # whose other frames are previews
        if not animated:
            picture.load()
            return _colours(_turned(picture))
    except Exception:  # a damaged file makes the reader fail in whatever way
        raise ValueError(
            "The picture is damaged, cut off or of an unusual kind; export it again as PNG or JPEG."
        ) from None
    raise ValueError("The picture is animated; give a single still picture.")


def _turned(picture: Image.Image) -> Image.Image:
    """As the camera was held; EXIF that is broken or very long says nothing of it."""
    if max(len(picture.info.get(name, "")) for name in EXIF) > MOST_EXIF:
        return picture
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION))
    except Exception:  # whatever is in there, the picture is not made of it
        return picture
    return picture if turn is None else picture.transpose(turn)


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
