"""Decode image files whose last bytes are missing, as browsers do.

At least `MIN_DECODED_SHARE` of the image must be there. Pillow does not say how much it decoded: the pixels that depend on
what the file does not hold are found by decoding it twice, with different content in place of what is missing.
"""

import re
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from training.data.image_errors import UnreadableImage

MIN_DECODED_SHARE = 0.97  # of the pixels, counted row by row
NOTE = "The file is cut off at its end."
JPEG_SCAN = re.compile(rb"\xff\xda\0[\6\b\n\f]([\1-\4])")
JPEG_END = b"\xff\xd9"
JPEG_TAILS = (b"\x00" * 4_096, b"\x5a" * 4_096)  # two continuations that differ from each other
JPEG_BLOCK_SIDE = 16  # pixels of a block of subsampled colors
NOISE_SEED = 20_231
NOISE_VALUE_BYTES = {
    "L": 1,
    "P": 1,
    "LA": 2,
    "RGB": 3,
    "RGBA": 4,
    "CMYK": 4,
    "I;16": 2,
    "I;16B": 2,
}  # per pixel, by mode
MAX_CHANCE_SHARE = 0.1  # share of a row that equals random pixels by chance, at most

OpenImage = Callable[[bytes], ImageFile.ImageFile]


def load_truncated_image(open_image: OpenImage, content: bytes) -> tuple[Image.Image, str]:
    """Decode an image whose file is cut off. What is missing continues what is above it.

    Args:
        open_image: Opens a file without decoding its pixels.
        content: The file.

    Returns:
        The image, and a sentence that says that it is not complete.

    Raises:
        UnreadableImage: Too much is missing.
    """
    image = open_image(content)
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        num_rows = count_decoded_rows(image)
        _check_share(num_rows / image.height)
        last_row = image.crop((0, num_rows - 1, image.width, num_rows))
        image.paste(last_row.resize((image.width, image.height - num_rows + 1)), (0, num_rows - 1))
        return image, NOTE
    if not image.info.get("progressive"):
        _check_share(measure_decoded_jpeg(open_image, content))
    elif not has_all_scans(content):
        raise UnreadableImage("The picture is cut off: its details are missing.")
    return _decode_jpeg(open_image, content, b""), NOTE


def _check_share(share: float) -> None:
    if share < MIN_DECODED_SHARE:
        raise UnreadableImage(f"The picture is cut off: only {share:.0%} of it is in the file.")


def count_decoded_rows(image: ImageFile.ImageFile) -> int:
    """Decode as many rows as a file has, in place, and return their number.

    Raises:
        UnreadableImage: There is none, or the rows are not stored from top to bottom.
    """
    if image.mode not in NOISE_VALUE_BYTES:
        raise UnreadableImage("The picture is cut off.")
    num_bytes = image.width * image.height * NOISE_VALUE_BYTES[image.mode]
    noise = Image.frombytes(image.mode, image.size, np.random.default_rng(NOISE_SEED).bytes(num_bytes))
    image.im = noise.copy().im  # Pillow decodes into it
    with suppress(OSError):
        image.load()
    image.tile = []
    is_noise = np.asarray(image) == np.asarray(noise)
    if is_noise.ndim == 3:
        is_noise = is_noise.all(-1)
    missing_rows = np.flatnonzero(is_noise.mean(1) > MAX_CHANCE_SHARE)
    num_rows = image.height - len(missing_rows)
    if not num_rows or (len(missing_rows) and missing_rows[0] != num_rows):
        raise UnreadableImage("The picture is cut off.")
    return num_rows


def measure_decoded_jpeg(open_image: OpenImage, content: bytes) -> float:
    """Return the share of a JPEG, which is not progressive, that its file holds."""
    first, second = (np.asarray(_decode_jpeg(open_image, content, tail)) for tail in JPEG_TAILS)
    differs = first != second
    if differs.ndim == 3:
        differs = differs.any(-1)
    rows = np.flatnonzero(differs.any(1))
    if not rows.size:
        return 1.0
    height, width = differs.shape
    column = np.flatnonzero(differs[rows[0] : rows[0] + JPEG_BLOCK_SIDE].any(0))[0]
    return (rows[0] * width + min(JPEG_BLOCK_SIDE, height - rows[0]) * column) / (height * width)


def has_all_scans(content: bytes) -> bool:
    """Return whether every scan of a progressive JPEG has begun: all coefficients of all components, to the last bit."""
    components, refined = set[int](), set[tuple[int, int]]()
    for match in JPEG_SCAN.finditer(content):
        count = match[1][0]
        selectors = content[match.end() : match.end() + 2 * count : 2]
        spectrum = content[match.end() + 2 * count : match.end() + 2 * count + 3]
        if len(spectrum) < 3 or len(selectors) < count:
            break
        first, last, bits = spectrum
        components.update(selectors)
        if bits & 15 == 0:  # this scan brings the lowest bit
            refined.update((component, index) for component in selectors for index in range(first, min(last, 63) + 1))
    return bool(components) and len(refined) == 64 * len(components)


def _decode_jpeg(open_image: OpenImage, content: bytes, tail: bytes) -> Image.Image:
    """Decode a JPEG with a tail in place of what is missing; blocks without data repeat the one before."""
    image = open_image(content.rstrip(b"\xff") + tail + JPEG_END)
    image.load()
    return image
