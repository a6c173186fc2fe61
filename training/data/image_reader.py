"""Read untrusted image files: bounded in time and memory, lenient about formats, with one sentence per error.

The page, the API, training data sets and `evaluate --data` read images with this module, so that a model is trained on what a
user is shown. An image is turned as its metadata says, transparency is replaced by a background that the visible pixels
stand out from, and values of more than 8 bits are scaled by the range that the image uses.
"""

import io
import logging
import re
import time
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from training.data.file_signatures import describe_file, is_plausible_tga
from training.data.image_errors import UnreadableImage
from training.data.pixel_values import convert_to_opaque, has_deep_colors, load_deep_colors
from training.data.png_chunks import has_animation_chunk, is_png, remove_unused_chunks
from training.data.truncated_images import load_truncated_image

LOGGER = logging.getLogger(__name__)

MAX_PIXELS = 20_000_000
MAX_JPEG_PIXELS = 120_000_000  # a large JPEG is decoded at a half, a quarter or an eighth of its size
MAX_PROGRESSIVE_JPEG_PIXELS = 60_000_000  # its decoder holds all coefficients: up to 6 bytes for each pixel
MAX_FULL_SIZE_JPEG_PIXELS = 8_000_000  # a JPEG with more pixels is decoded at a smaller size
MAX_FILE_BYTES = 20 * 2**20
MAX_EXIF_BYTES = 2**17
DECODE_TIMEOUT_S = 10.0  # of CPU time
# Segments of which a JPEG has few. A small file with many of them would take hours or all memory.
MAX_JPEG_SEGMENTS = (
    (re.compile(rb"\xff\xda\0[\6\b\n\f][\1-\4]"), 100),  # scans
    (re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), 4),  # EXIF segments, which the reader concatenates
)
ALLOWED_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")
FORMAT_NAMES = "PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF"
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


@dataclass(frozen=True)
class DecodedImage:
    """An image without transparency, upright.

    Attributes:
        image: Image in mode L or RGB, or in mode F with values in [0, 1] if the file has more than 8 bits per gray value.
        notes: Sentences about what was left out: other frames, missing rows.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()

    def to_8_bit(self) -> Image.Image:
        """Return the image in mode L or RGB."""
        if self.image.mode != "F":
            return self.image
        return Image.fromarray(np.rint(np.asarray(self.image) * 255).astype(np.uint8))

    def to_array(self) -> np.ndarray:
        """Return the pixels, shape (H, W, 3), float32 in [0, 1]."""
        pixels = np.asarray(self.image)
        if pixels.dtype == np.uint8:
            pixels = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
            np.minimum(pixels, 1, out=pixels)
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)


def read_image(content: bytes, max_file_bytes: int = MAX_FILE_BYTES, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode the content of an image file.

    Args:
        content: Content of the file.
        max_file_bytes: Largest size of the file.
        max_pixels: Largest number of pixels. A JPEG may have more, see `MAX_JPEG_PIXELS`.

    Raises:
        UnreadableImage: The content is too large, damaged or of an unsupported format. The message is one sentence.
    """
    if len(content) > max_file_bytes:
        raise UnreadableImage(f"The file is too large; pictures may have at most {max_file_bytes >> 20} MB.")
    if any(len(pattern.findall(content)) > limit for pattern, limit in MAX_JPEG_SEGMENTS):
        raise UnreadableImage("The picture is stored in too many parts. Export it again as PNG or JPEG.")
    is_animated_png = is_png(content) and has_animation_chunk(content)
    if is_png(content):
        content = remove_unused_chunks(content)
    with warnings.catch_warnings(action="ignore"):  # sizes are checked below
        return _ImageFile(content, max_pixels).decode(is_animated_png)


class BoundedReader(io.BytesIO):
    """In-memory file that limits the total bytes read and the CPU time: a small crafted file could take hours.

    Args:
        content: Content of the file.
        deadline: CPU time of this thread, as `time.thread_time` returns it, from which reading fails.
    """

    def __init__(self, content: bytes, deadline: float) -> None:
        super().__init__(content)
        self.remaining_bytes = 4 * len(content) + 2**16
        self.deadline = deadline

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


class _ImageFile:
    """Content of an image file, which can be opened several times within one time limit."""

    def __init__(self, content: bytes, max_pixels: int) -> None:
        self.content = content
        self.max_pixels = max_pixels
        self.deadline = time.thread_time() + DECODE_TIMEOUT_S
        self.formats = (*ALLOWED_FORMATS, "TGA") if is_plausible_tga(content) else ALLOWED_FORMATS

    def open(self, content: bytes | None = None) -> ImageFile.ImageFile:
        """Open the file, or a repaired version of it, without decoding its pixels.

        Raises:
            UnreadableImage: It has too many pixels.
        """
        image = Image.open(BoundedReader(content or self.content, self.deadline), formats=self.formats)
        _check_size(image, self.max_pixels)
        _reduce_large_jpeg(image)
        return image

    def decode(self, has_more_frames: bool) -> DecodedImage:
        """Decode the first frame.

        Args:
            has_more_frames: Whether other frames were removed from the content.

        Raises:
            UnreadableImage: The file is damaged, too large or of an unsupported format.
        """
        try:
            image = self.open()
        except UnreadableImage:
            raise
        except Image.DecompressionBombError:
            raise UnreadableImage(
                f"The picture is far too large; at most {self.max_pixels // 10**6} megapixels are read."
            ) from None
        except Exception:  # decoders raise many exception types for invalid files
            raise UnreadableImage(f"{describe_file(self.content)} Use {FORMAT_NAMES}.") from None
        try:
            loaded, notes = self._load(image)
            pixels = _apply_orientation(image, convert_to_opaque(loaded))
        except UnreadableImage:
            raise
        except Exception:  # decoders raise many exception types for damaged files
            LOGGER.debug("An image could not be decoded", exc_info=True)
            raise UnreadableImage(
                "The picture is damaged, cut off or of an unusual kind. Export it again as PNG or JPEG."
            ) from None
        if has_more_frames or _is_animated(image):
            unit = "pages" if image.format == "TIFF" else "frames"
            notes += (f"The file has several {unit}; the first one is used.",)
        return DecodedImage(pixels, notes)

    def _load(self, image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
        """Decode the pixels of an opened file; return the image, and notes about it."""
        is_deep = has_deep_colors(image)
        try:
            image.load()
        except OSError as error:
            if "truncated" not in str(error):
                raise
            image, note = load_truncated_image(self.open, self.content)
            return image, (note,)
        return load_deep_colors(image, self.open) if is_deep else image, ()


def _check_size(image: Image.Image, limit: int) -> None:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        limit = MAX_PROGRESSIVE_JPEG_PIXELS if image.info.get("progressive") else MAX_JPEG_PIXELS
    pixels = image.width * image.height
    if pixels > limit:
        raise UnreadableImage(
            f"The picture has {pixels / 1e6:.0f} megapixels; at most {limit // 10**6} are read. Make it smaller."
        )


def _reduce_large_jpeg(image: Image.Image) -> None:
    """Make the decoder of a large JPEG compute fewer pixels."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return
    scale = next(s for s in (1, 2, 4, 8) if s == 8 or image.width * image.height <= MAX_FULL_SIZE_JPEG_PIXELS * s**2)
    if scale > 1:
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False)) and image.format != "MPO"  # its other frames are previews
    except Exception:  # frames after the first one may be damaged
        return False


def _apply_orientation(source: Image.Image, pixels: Image.Image) -> Image.Image:
    """Turn an image as the metadata of its file says; broken or very long metadata is ignored.

    Args:
        source: The image as it was opened.
        pixels: Its pixels.
    """
    if max(len(source.info.get(name, "")) for name in EXIF_KEYS) > MAX_EXIF_BYTES:
        return pixels
    try:
        transpose = ORIENTATION_TRANSPOSES.get(source.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # broken metadata does not affect the pixels
        return pixels
    return pixels if transpose is None else pixels.transpose(transpose)
