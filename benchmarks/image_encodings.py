"""Ways to store a drawing in an image file, for `benchmarks.image_files` and for tests.

Every encoder takes a drawing, shape (h, w), float in [0, 1], black strokes on white, and a random generator, and returns the
content of a file. Some drawings are light on dark in the file; the digit is the same.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

from training.data.image_reader import EXIF_ORIENTATION

Encoder = Callable[[np.ndarray, np.random.Generator], bytes]
DARK_COLORS = ((0, 0, 0), (20, 20, 90), (120, 10, 10), (0, 70, 20), (60, 60, 60))
LIGHT_COLORS = ((255, 255, 255), (255, 240, 120), (200, 220, 255), (255, 200, 200), (220, 220, 220))
INVERSE_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def to_8_bit(drawing: np.ndarray) -> Image.Image:
    """Return a drawing as an image in mode L."""
    return Image.fromarray(np.rint(drawing * 255).astype(np.uint8))


def build_png(header: tuple[int, int, int, int], rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Build a PNG from its header (width, height, bit depth, color type), unfiltered bytes per row, and more chunks."""
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 6)
    return (
        b"\x89PNG\r\n\x1a\n"
        + build_chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
        + b"".join(build_chunk(name, content) for name, content in chunks)
        + build_chunk(b"IDAT", data)
        + build_chunk(b"IEND", b"")
    )


def build_chunk(name: bytes, data: bytes, is_damaged: bool = False) -> bytes:
    """Build a PNG chunk, with a wrong checksum if it is damaged."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ is_damaged)


def insert_chunk(png: bytes, chunk: bytes) -> bytes:
    """Return a PNG with one more chunk after its header."""
    return png[:33] + chunk + png[33:]


def build_tiff(pixels: np.ndarray, byte_order: str = "II", sample_format: int = 1) -> bytes:
    """Build an uncompressed TIFF from pixels of shape (h, w) or (h, w, 3).

    Args:
        pixels: Pixels in the type that the file has.
        byte_order: II for little, MM for big endian.
        sample_format: 1 for unsigned integers, 2 for signed ones, 3 for floats.
    """
    end = "<" if byte_order == "II" else ">"
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = pixels.astype(pixels.dtype.newbyteorder(end)).tobytes()
    lists_at = 8 + 2 + 12 * 10 + 4
    lists = struct.pack(f"{end}{2 * channels}H", *[8 * pixels.dtype.itemsize] * channels, *[sample_format] * channels)
    data_at = lists_at + len(lists)
    bits = (258, 3, channels, lists_at if channels > 2 else 8 * pixels.dtype.itemsize)
    formats = (339, 3, channels, lists_at + 2 * channels if channels > 2 else sample_format)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        bits,
        (259, 3, 1, 1),
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, data_at),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        formats,
    ]
    directory = b"".join(
        struct.pack(f"{end}HHI", tag, kind, count)
        + (struct.pack(f"{end}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{end}I", value))
        for tag, kind, count, value in entries
    )
    start = byte_order.encode() + struct.pack(f"{end}HIH", 42, 8, len(entries))
    return start + directory + bytes(4) + lists + data


# --- transparency -----------------------------------------------------------------------------------------------------


def draw_on_alpha(
    drawing: np.ndarray, random: np.random.Generator, colors: tuple[tuple[int, int, int], ...], opacity: float = 1.0
) -> Image.Image:
    """Return strokes of one color on transparent pixels that hide another color."""
    color = colors[random.integers(len(colors))]
    pixels = np.empty((*drawing.shape, 4), np.uint8)
    pixels[..., :3] = color
    pixels[..., 3] = np.rint((1 - drawing) * 255 * opacity)
    hidden = random.integers(0, 256, 3) if random.random() < 0.5 else np.zeros(3, int)
    pixels[pixels[..., 3] == 0, :3] = hidden
    return Image.fromarray(pixels)


def encode_alpha(kind: str, mode: str, colors: tuple[tuple[int, int, int], ...], opacity: float = 1.0) -> Encoder:
    """Return an encoder of strokes on transparent pixels."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        image = draw_on_alpha(drawing, random, colors, opacity)
        if kind == "GIF":
            return save(image, kind)  # Pillow makes pixels transparent that are less than half opaque
        if mode == "P":
            return save(image.quantize(32, Image.Quantize.FASTOCTREE), kind)
        return save(image.convert(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))

    return encode


def encode_key(color_type: int, is_light_on_dark: bool, level: int) -> Encoder:
    """Return an encoder of a drawing whose ground is declared transparent by its color (tRNS).

    Args:
        color_type: 0 for gray, 2 for colors.
        is_light_on_dark: Whether the ground is black.
        level: Gray value of the strokes.
    """

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        ground = 0 if is_light_on_dark else 255
        pixels = np.rint(ground + (1 - drawing) * (level - ground)).astype(np.uint8)
        key = struct.pack(">H", ground) * (1 if color_type == 0 else 3)
        rows = pixels if color_type == 0 else np.repeat(pixels[..., None], 3, 2)
        return build_png((*drawing.shape[::-1], 8, color_type), rows, (b"tRNS", key))

    return encode


def encode_sheet(is_dark: bool) -> Encoder:
    """Return an encoder of an opaque sheet with transparent margins and rounded corners."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        pixels = 1 - drawing if is_dark else drawing
        height, width = drawing.shape
        margin = int(random.integers(0, 12))
        y, x = np.mgrid[0:height, 0:width]
        radius = 16 + margin
        corner = np.hypot(
            np.maximum(0, np.abs(x - width / 2) - width / 2 + radius),
            np.maximum(0, np.abs(y - height / 2) - height / 2 + radius),
        )
        alpha = np.clip(radius - margin - corner, 0, 1)
        image = to_8_bit(pixels).convert("RGB")
        image.putalpha(Image.fromarray(np.rint(alpha * 255).astype(np.uint8)))
        return save(image, "PNG")

    return encode


def encode_useless_alpha(alpha: int) -> Encoder:
    """Return an encoder of a drawing whose alpha channel is the same everywhere."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        image = to_8_bit(drawing if random.random() < 0.5 else 1 - drawing).convert("RGB")
        image.putalpha(alpha)
        return save(image, "PNG")

    return encode


# --- more than 8 bits -------------------------------------------------------------------------------------------------


def encode_deep_png(bits: int, color_type: int) -> Encoder:
    """Return an encoder of 16-bit PNGs that use fewer bits: color type 0 is gray, 2 colors, 4 gray with alpha, 6 both."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        largest = 2**bits - 1
        values = np.rint((drawing if random.random() < 0.5 else 1 - drawing) * largest)
        pixels = np.repeat(values[..., None], channels, 2)
        if color_type & 4:
            pixels[..., -1] = largest
        return build_png((*drawing.shape[::-1], 16, color_type), pixels.astype(">u2").reshape(len(pixels), -1))

    return encode


def encode_tiff(
    dtype: type, low: float, high: float, byte_order: str = "II", channels: int = 1, damage: float | None = None
) -> Encoder:
    """Return an encoder of TIFFs whose black is `low` and whose white is `high`.

    Args:
        dtype: NumPy type of a value.
        low: Black.
        high: White.
        byte_order: II for little, MM for big endian.
        channels: 1 or 3.
        damage: Value of a few defective pixels; None for no defects.
    """
    sample_format = {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind]

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        values = low + (drawing if random.random() < 0.5 else 1 - drawing).astype(np.float64) * (high - low)
        values = values if sample_format == 3 else np.rint(values)
        pixels = values.astype(dtype)
        if damage is not None:
            pixels[random.integers(0, len(pixels), 2), random.integers(0, pixels.shape[1], 2)] = damage
        if channels == 3:
            pixels = np.repeat(pixels[..., None], 3, 2)
        return build_tiff(pixels, byte_order, sample_format)

    return encode


# --- files ------------------------------------------------------------------------------------------------------------


def encode_format(kind: str, mode: str = "RGB", **options: object) -> Encoder:
    """Return an encoder of black strokes on white in a format and mode of Pillow."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        image = to_8_bit(drawing)
        return save(
            image.convert("RGB").convert(mode) if mode not in ("L", "1") else image.convert(mode), kind, **options
        )

    return encode


def encode_lab(drawing: np.ndarray, random: np.random.Generator) -> bytes:
    """Encode a drawing as a TIFF in the color space CIELAB."""
    pixels = np.zeros((*drawing.shape, 3), np.uint8)
    pixels[..., 0] = np.rint(drawing * 255)
    return save(Image.frombytes("LAB", drawing.shape[::-1], pixels.tobytes()), "TIFF")


def encode_large_jpeg(megapixels: float) -> Encoder:
    """Return an encoder of photos of so many million pixels."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        scale = (megapixels * 1e6 / drawing.size) ** 0.5
        size = [round(length * scale) for length in drawing.shape[::-1]]
        return save(to_8_bit(drawing).resize(size, Image.Resampling.BILINEAR), "JPEG", quality=70)

    return encode


def encode_cut(share: float, kind: str = "JPEG", **options: object) -> Encoder:
    """Return an encoder of noisy files that lack a share of their bytes at the end, and two bytes at least."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        noisy = np.clip(drawing + random.normal(0, 0.03, drawing.shape), 0, 1)
        content = save(to_8_bit(noisy).convert("RGB"), kind, **options)
        return content[: -max(2, round(share * len(content)))]

    return encode


def encode_text_chunk(name: bytes, size: int, is_damaged: bool = False) -> Encoder:
    """Return an encoder of PNGs with a long or damaged chunk that does not concern the pixels."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        text = random.integers(32, 127, size, np.uint8).tobytes()
        data = b"workflow\0\0" + zlib.compress(text, 1) if name == b"zTXt" else b"workflow\0" + text
        return insert_chunk(save(to_8_bit(drawing), "PNG"), build_chunk(name, data, is_damaged))

    return encode


def encode_turned(kind: str, with_xmp: bool = False) -> Encoder:
    """Return an encoder of images that are stored turned or mirrored, as their metadata says."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        orientation = int(random.integers(1, 9))
        image = to_8_bit(drawing).convert("RGB")
        if orientation in INVERSE_TRANSPOSES:
            image = image.transpose(INVERSE_TRANSPOSES[orientation])
        if not with_xmp:
            exif = Image.Exif()
            exif[EXIF_ORIENTATION] = orientation
            return save(image, kind, exif=exif)
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="{orientation}"/></x:xmpmeta>'
        if kind != "PNG":
            return save(image, kind, xmp=xmp.encode())
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp)
        return save(image, kind, pnginfo=text)

    return encode


def encode_animation(kind: str) -> Encoder:
    """Return an encoder of files with several frames or pages, whose first one is the drawing."""

    def encode(drawing: np.ndarray, random: np.random.Generator) -> bytes:
        first = to_8_bit(drawing).convert("RGB")
        others = [Image.new("RGB", first.size, shade) for shade in ("white", "red")]
        return save(first, kind, save_all=True, append_images=others)

    return encode
