"""Fuzz the image decoder with invalid, damaged and crafted files: each is decoded or rejected quickly."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.strategies import mutate_bytes, time_limit, try_read
from training.data import image_reader
from training.data.image_reader import MAX_FILE_BYTES, MAX_PIXELS, read_image

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("1", "L", "P", "RGB"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "AVIF": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
}
OPTIONS = {
    "JPEG": [{}, {"progressive": True}, {"optimize": True, "quality": 5}],
    "WEBP": [{}, {"lossless": True}],
    "PNG": [{}, {"compress_level": 0}, {"transparency": 0}],
    "TIFF": [{}, *({"compression": f"tiff_{name}"} for name in ("lzw", "adobe_deflate")), {"compression": "packbits"}],
}
FORMAT_MODES = [(kind, mode) for kind, modes in MODES.items() for mode in modes]


def encode_image(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def make_noise(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    draws = np.random.default_rng(seed)
    if mode.startswith("I;16"):
        return Image.fromarray(draws.integers(0, 2**16, (height, width), np.uint16))
    if mode in ("I", "F"):
        kind = {"I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(draws.integers(-(10**5), 10**5, (height, width)).astype(kind))
    return Image.fromarray(draws.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


@st.composite
def image_files(draw) -> bytes:
    """Draw valid images of every format and mode, with and without rotation, some with several frames."""
    kind, mode = draw(st.sampled_from(FORMAT_MODES))
    options = dict(draw(st.sampled_from(OPTIONS.get(kind, [{}]))))
    if options.get("transparency") == 0 and mode not in ("1", "L", "P"):
        del options["transparency"]
    if kind in ("JPEG", "WEBP", "PNG") and draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(0, 9))
        options["exif"] = exif
    width, height = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    frames = [make_noise(mode, width, height, seed) for seed in range(draw(st.sampled_from([1, 1, 1, 3])))]
    if len(frames) > 1 and kind in ("PNG", "GIF", "WEBP", "TIFF"):
        options |= {"save_all": True, "append_images": frames[1:]}
    return encode_image(frames[0], kind, **options)


def check_decoding(content: bytes) -> np.ndarray | None:
    """Check that a file decodes to pixels, which are returned, or raises one sentence."""
    read = try_read(lambda: read_image(content))
    if read is None:
        return None
    pixels = read.to_array()
    assert pixels.dtype == np.float32 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size <= 3 * MAX_PIXELS
    assert 0 <= pixels.min() <= pixels.max() <= 1
    eight_bit = read.to_8_bit()
    assert eight_bit.mode in ("L", "RGB")
    np.testing.assert_allclose(np.asarray(eight_bit.convert("RGB")) / 255, pixels, atol=0.5 / 255 + 1e-6)
    return pixels


@given(content=image_files())
def test_valid_images_are_read_and_further_frames_are_mentioned(content):
    with Image.open(io.BytesIO(content)) as picture:
        frames = getattr(picture, "n_frames", 1)
    assert check_decoding(content) is not None
    assert any("the first one is used" in note for note in read_image(content).notes) is (frames > 1)


@given(content=mutate_bytes(image_files()) | st.binary(max_size=60))
@example(content=b"GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00!")
@example(content=b"II*\x00\x08\x00\x00\x00\x00\x00\x0e\x00\x00\x00\x00\x00\x00\x00\x00\x00")
def test_damaged_images_are_read_or_rejected_in_one_sentence(content):
    check_decoding(content)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_undone(kind, turn):
    upright = Image.new("RGB", (60, 40), "white")
    upright.paste("black", (0, 0, 30, 20))  # above, on the left
    backwards = {method: method for method in Image.Transpose} | {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    method = image_reader.ORIENTATION_TRANSPOSES.get(turn)
    exif = Image.Exif()
    exif[0x0112] = turn
    held = upright if method is None else upright.transpose(backwards[method])
    content = encode_image(held, kind, exif=exif)
    pixels = read_image(content).to_array()
    assert pixels.shape == (40, 60, 3)
    assert pixels[5, 5].max() < 0.1 and min(pixels[5, 55].min(), pixels[35, 5].min(), pixels[35, 55].min()) > 0.9


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0abc\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_change_the_pixels(kind, exif):
    content = encode_image(Image.new("RGB", (30, 20), "white"), kind, exif=exif)
    assert read_image(content).to_array().shape == (20, 30, 3)


# --- files that are made to keep a reader busy ------------------------------------------------------------------------


def build_ifd(*entries: tuple[int, int, int, int], after: int = 0) -> bytes:
    """Return a directory of TIFF or EXIF: tag, type, count, and value or offset."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", after)


def build_tiff(*entries: tuple[int, int, int, int], after: int = 0) -> bytes:
    return b"II*\0" + struct.pack("<I", 8) + build_ifd(*entries, after=after)


def build_png(extra_chunks: bytes, header: bytes = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) -> bytes:
    """Return a PNG of one pixel with additional chunks or another header."""
    return b"\x89PNG\r\n\x1a\n" + build_png_chunk(b"IHDR", header) + extra_chunks + encode_image(PIXEL, "PNG")[33:]


def build_png_chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PIXEL = Image.new("L", (1, 1))
GIF, JPEG = (encode_image(PIXEL, kind) for kind in ("GIF", "JPEG"))
ONE_BY_ONE = [
    (256, 3, 1, 1),
    (257, 3, 1, 1),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 8),
    (279, 4, 1, 1),
]
FRAME = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10" + b"\x00" * 20


def build_hostile_tiff(tags: int, size: int) -> bytes:
    """Return many tags, each of nearly the size of the file."""
    return build_tiff(*ONE_BY_ONE, *((1_000 + tag, 1, size, 8) for tag in range(tags))).ljust(size + 8, b"\0")


HOSTILE_TIFF = build_hostile_tiff(2_000, 2 * 10**6)
HUGE = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
COSTLY_FILES: dict[
    str, tuple[str, Callable[[], bytes]]
] = {  # what is said; nothing of those that are pictures all the same
    "a TIFF whose tags are all of it": ("not a picture", lambda: HOSTILE_TIFF),
    "a PNG whose EXIF is all of it": ("", lambda: encode_image(PIXEL, "PNG", exif=b"Exif\0\0" + HOSTILE_TIFF)),
    "a WebP whose EXIF is all of it": ("", lambda: encode_image(PIXEL, "WEBP", exif=b"Exif\0\0" + HOSTILE_TIFF)),
    "a JPEG of much EXIF": ("too many parts", lambda: JPEG[:2] + b"\xff\xe1\x00\x09Exif\0\0A" * 200_000 + JPEG[2:]),
    "a JPEG of many scans": (
        "too many parts",
        lambda: encode_image(Image.new("L", (4_400, 4_400)), "JPEG", progressive=True)[:-2] + SCAN * 10_000,
    ),
    "a TIFF of many frames": (
        "",
        lambda: build_tiff(*ONE_BY_ONE, after=98) + b"".join(build_ifd(after=104 + 6 * n) for n in range(60_000)),
    ),
    "a TIFF whose frames go round": ("", lambda: build_tiff(*ONE_BY_ONE, after=8)),
    "a GIF of many frames": ("", lambda: GIF[:-1] + FRAME * 400_000 + b";"),
    "a PNG of many chunks": ("", lambda: build_png(build_png_chunk(b"prVt") * 50_000)),
    "a PNG of text that unpacks to very much": (
        "",
        lambda: build_png(build_png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))) * 50),
    ),
    "a PNG that claims very much": ("far too large", lambda: build_png(b"", HUGE)),
    "a GIF that claims very much": ("far too large", lambda: GIF[:6] + b"\xff" * 4 + GIF[10:]),
    "a frame beyond the screen": ("far too large", lambda: GIF.replace(FRAME[:9], b",\0\0\0\0" + b"\xff" * 4)),
    "a JPEG that claims very much": (
        "far too large",
        lambda: JPEG.replace(b"\x08\0\1\0\1\1", b"\x08" + b"\xff" * 4 + b"\1"),
    ),
    "a BMP that claims very much": (
        "not a picture",
        lambda: encode_image(PIXEL, "BMP").replace(struct.pack("<ii", 1, 1), b"\xff\xff\xff\x7f" * 2),
    ),
    "a WebP that claims very much": (
        "not a picture",
        lambda: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
    ),
}


@pytest.mark.parametrize("name", COSTLY_FILES)
def test_a_file_made_to_keep_a_reader_busy_does_not(name):
    words, make = COSTLY_FILES[name]
    content = make()
    assert len(content) < MAX_FILE_BYTES
    with time_limit(8):
        read = try_read(lambda: read_image(content), is_valid_message=lambda text: bool(words) and words in text)
    assert (read is None) is bool(words)


def test_patience_ends(monkeypatch):
    """Reading a comment of a GIF takes time quadratic in its length."""
    monkeypatch.setattr(image_reader, "DECODE_TIMEOUT_S", 0.05)
    start = GIF.index(FRAME[:9])
    content = GIF[:start] + b"!\xfe" + (b"\xff" + b"x" * 255) * 40_000 + b"\0" + GIF[start:]
    with time_limit(2), pytest.raises(ValueError, match="not a picture"):
        read_image(content)


@pytest.mark.parametrize("shape", [(1, 1), (1, 60_000), (60_000, 1), (2, 16_000)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
def test_long_and_thin_pictures_are_pictures(kind, shape):
    content = encode_image(Image.new("L", shape, 255), kind)
    assert read_image(content).to_array().shape == (*shape[::-1], 3)


def test_limits_are_named_by_what_they_limit():
    content = encode_image(PIXEL, "PNG") + bytes(MAX_FILE_BYTES)
    with pytest.raises(ValueError, match="too large; pictures may have at most 20 MB"):
        read_image(content)
    side = int(MAX_PIXELS**0.5)
    content = encode_image(Image.new("1", (side, side)), "PNG")
    assert read_image(content).to_array().shape == (side, side, 3)
    content = encode_image(Image.new("1", (side + 1, side + 1)), "PNG")
    with pytest.raises(ValueError, match="20 megapixels; at most 20"):
        read_image(content)
