"""Image files of every kind: the pixels that are read, what is said about them, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmarks.image_encodings import (
    DARK_COLORS,
    LIGHT_COLORS,
    build_chunk,
    build_png,
    build_tiff,
    draw_on_alpha,
    encode_cut,
    encode_key,
    encode_large_jpeg,
    encode_sheet,
    insert_chunk,
    save,
    to_8_bit,
)
from benchmarks.image_kinds import ENCODERS
from training.data.image_errors import UnreadableImage
from training.data.image_reader import MAX_JPEG_PIXELS, MAX_PIXELS, read_image

CASES = [
    (group, name) for group, encoders in ENCODERS.items() for name in encoders if group not in ("large JPEG", "cut off")
]


def draw_bar(height: int = 60, width: int = 48) -> np.ndarray:
    """A thick bar with soft edges left of the center, black on white, so that every turn of the image is noticed."""
    x = np.arange(width)
    bar = np.clip(9 - np.abs(x - width // 3), 0, 2) / 2
    drawing = np.ones((height, width), np.float32)
    drawing[height // 6 : height // 2] -= bar.astype(np.float32)
    return drawing


def read_gray(content: bytes) -> np.ndarray:
    return read_image(content).to_array().mean(-1)


def read_strokes(content: bytes) -> np.ndarray:
    """Return the difference from the top left corner, where all drawings are empty."""
    gray = read_gray(content)
    strokes = np.abs(gray - gray[0, 0])
    return strokes / strokes.max()


@pytest.mark.parametrize("group, name", CASES, ids=": ".join)
def test_a_drawing_is_read_alike_from_every_kind_of_file(group, name):
    drawing = draw_bar(160, 128)
    for seed in range(3):
        strokes = read_strokes(ENCODERS[group][name](drawing, np.random.default_rng(seed)))
        assert strokes.shape == drawing.shape
        is_soft = group in (
            "light strokes on transparent",
            "dark strokes on transparent",
            "ground declared transparent",
        )
        assert np.abs(strokes - (1 - drawing)).mean() < (0.06 if is_soft else 0.02)
        assert ((strokes > 0.5) == (drawing < 0.5)).mean() > 0.97


@pytest.mark.parametrize("colors, ground", [(LIGHT_COLORS, 0), (DARK_COLORS, 1)])
@pytest.mark.parametrize("opacity", [1.0, 0.3])
def test_the_ground_under_strokes_is_what_they_stand_out_from(colors, ground, opacity):
    for seed in range(6):
        image = draw_on_alpha(draw_bar(), np.random.default_rng(seed), colors, opacity)
        assert read_gray(save(image, "PNG"))[0, 0] == ground


def test_a_ground_that_was_declared_transparent_comes_back():
    drawing = draw_bar()
    for is_light_on_dark, level in ((True, 255), (True, 60), (False, 0), (False, 190)):
        content = encode_key(0, is_light_on_dark, level)(drawing, np.random.default_rng(0))
        with Image.open(io.BytesIO(content)) as image:
            assert "transparency" in image.info
            original = np.asarray(image.convert("L")) / 255
        np.testing.assert_allclose(read_gray(content), original, atol=1e-6)


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_sheet_with_transparent_corners_goes_on(is_dark):
    gray = read_gray(encode_sheet(is_dark)(draw_bar(120, 96), np.random.default_rng(1)))
    assert np.ptp([gray[0, 0], gray[0, -1], gray[-1, 0], gray[60, 3], gray[100, 60]]) < 0.01
    assert bool(gray[0, 0] < 0.5) is is_dark


def test_a_picture_without_contrast_stays_without():
    empty = np.zeros((20, 20, 4), np.uint8)
    for pixels in (empty, empty + 255, empty + np.array([9, 9, 9, 0], np.uint8)):
        assert np.ptp(read_gray(save(Image.fromarray(pixels), "PNG"))) == 0


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("byte_order", ["II", "MM"])
def test_grays_of_many_bits_keep_their_precision(bits, byte_order):
    ramp = np.linspace(0, 1, 64)[None].repeat(16, 0)
    content = build_tiff(np.rint(ramp * (2**bits - 1)).astype(np.uint16), byte_order)
    np.testing.assert_allclose(read_gray(content), ramp, atol=1 / 2**bits)


@pytest.mark.parametrize("color_type, channels", [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colors_of_many_bits_use_their_range(bits, color_type, channels):
    ramp = np.linspace(0, 1, 64)[None].repeat(16, 0)
    pixels = np.stack([ramp, ramp[:, ::-1], ramp / 2, np.ones_like(ramp)], -1)
    pixels = pixels[..., :3] if color_type == 2 else pixels if color_type == 6 else pixels[..., [0, 3]]
    values = np.rint(pixels * (2**bits - 1)).astype(">u2").reshape(16, -1)
    found = read_image(build_png((64, 16, 16, color_type), values)).to_array()
    expected = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, 2)
    np.testing.assert_allclose(found, expected, atol=1 / 254)


@pytest.mark.parametrize("size", [24, 50])
def test_a_large_jpeg_is_read_at_a_smaller_size(size):
    read = read_image(encode_large_jpeg(size)(draw_bar(), np.random.default_rng(0))).image
    assert 1e6 < read.width * read.height < 9e6 and abs(read.height / read.width - 60 / 48) < 0.01


def test_the_limits_on_pixels_are_named():
    huge = struct.pack(">IIBBBBB", 60_000, 2_001, 8, 0, 0, 0, 0)
    png = save(Image.new("L", (1, 1)), "PNG")
    png = png[:8] + build_chunk(b"IHDR", huge) + png[33:]
    jpeg = save(Image.new("L", (1, 1)), "JPEG").replace(
        b"\x08\0\1\0\1\1", b"\x08" + struct.pack(">HH", 2_001, 60_000) + b"\1"
    )
    for content, limit in ((png, MAX_PIXELS), (jpeg, MAX_JPEG_PIXELS)):
        with pytest.raises(UnreadableImage, match=f"has 120 megapixels; at most {limit // 10**6} are read"):
            read_image(content)


def test_a_file_that_lacks_its_last_bytes_is_read_and_it_is_said():
    noisy = np.random.default_rng(0)
    drawing = np.clip(draw_bar(300, 240) + noisy.normal(0, 0.03, (300, 240)), 0, 1)
    for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})):
        whole = read_gray(save(to_8_bit(drawing).convert("RGB"), kind, **options))
        for share in (0, 0.005, 0.01):
            encoded = save(to_8_bit(drawing).convert("RGB"), kind, **options)
            read = read_image(encoded[: -max(2, round(share * len(encoded)))])
            assert np.abs(read.to_array().mean(-1) - whole).mean() < 0.02
            assert not read.notes or read.notes == ("The file is cut off at its end.",)
        for share in (0.8, 0.9):
            with pytest.raises(UnreadableImage, match="cut off"):
                read_image(encoded[: -round(share * len(encoded))])
    with pytest.raises(UnreadableImage, match=r"only 9\d% of it is in the file"):
        read_image(encode_cut(0.06)(drawing, np.random.default_rng(0)))


def test_other_frames_and_pages_are_said_to_be_left_out():
    for kind, encoder in ENCODERS["several frames"].items():
        (note,) = read_image(encoder(draw_bar(), np.random.default_rng(0))).notes
        assert ("several pages" if kind == "TIFF" else "several frames") in note
    assert not read_image(save(to_8_bit(draw_bar()), "PNG")).notes


def test_text_in_a_png_does_not_matter_and_damage_to_its_pixels_does():
    png = save(to_8_bit(draw_bar()), "PNG")
    bomb = build_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(10**7)))
    for chunk in (
        bomb,
        bomb * 5,
        build_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0junk"),
        build_chunk(b"eXIf", bytes(50)),
    ):
        np.testing.assert_array_equal(read_gray(insert_chunk(png, chunk)), read_gray(png))
    with pytest.raises(UnreadableImage, match="damaged"):
        read_image(png[:20] + b"\xff" + png[21:])


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "The file is empty"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "is a HEIC picture"),
        (b"\xff\x0a" + bytes(20), "is a JPEG XL picture"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG drawing"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x89PNG\r\n\x1a\nxxxx", "The PNG file is damaged, cut off or of an unusual kind"),
        (b"\0\0\0\x20ftypavif" + bytes(40), "The AVIF file is damaged"),
        (b"hello", "This file is not a picture"),
    ],
)
def test_files_that_are_no_pictures_are_named(content, says):
    with pytest.raises(UnreadableImage, match=says) as caught:
        read_image(content)
    sentence = str(caught.value)
    assert "not a picture that can be read" in sentence and "object at" not in sentence and "\n" not in sentence
    assert sentence.endswith("Use PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF.")


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (3, 15_000)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_long_and_thin_images_are_read(kind, size):
    image = Image.new("L", size, 200)
    assert read_image(save(image, kind)).image.size == size
    image.putpixel((0, 0), 0)
    assert read_image(save(image.convert("RGBA"), "PNG")).image.size == size
