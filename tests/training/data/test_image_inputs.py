"""Tests of images that programs give: every form of one image has the same pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.paths import ROOT
from training.data.image_inputs import read_image_input
from training.data.image_reader import read_image

DIGIT = ROOT / "data/examples/digit-3.png"
PHOTO = ROOT / "data/examples/photo-cat.jpg"


def encode(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


@pytest.mark.parametrize("path", [DIGIT, PHOTO], ids=lambda path: path.stem)
def test_all_forms_of_an_image_are_equal(path):
    content = path.read_bytes()
    expected = read_image(content).to_array()
    image = Image.open(path)
    pixels = np.asarray(image.convert("RGB"))
    for value in (str(path), path, content, bytearray(content), memoryview(content), image, pixels):
        assert np.array_equal(read_image_input(value).to_array(), expected)
    np.testing.assert_allclose(read_image_input(pixels / np.float32(255)).to_array(), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I;16"])
def test_pil_images_of_every_mode_are_read(mode):
    base = Image.open(DIGIT).convert("RGB")
    image = (
        Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257) if mode == "I;16" else base.convert(mode)
    )
    pixels = read_image_input(image).to_array()
    expected = read_image_input(base.convert("L").convert("RGB")).to_array()
    assert pixels.shape == expected.shape and np.abs(pixels - expected).mean() < 0.05


def test_transparency_and_orientation_are_read_as_from_a_file():
    rgba = Image.new("RGBA", (6, 4), (0, 0, 0, 0))
    rgba.putpixel((1, 1), (0, 0, 0, 255))
    from_file = read_image(encode(rgba)).to_array()
    for value in (rgba, np.asarray(rgba), np.asarray(rgba) / 255):
        assert np.array_equal(read_image_input(value).to_array(), from_file)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(Image.open(PHOTO), "JPEG", exif=exif)
    expected = read_image(turned).to_array()
    assert np.array_equal(read_image_input(Image.open(io.BytesIO(turned))).to_array(), expected)
    assert expected.shape != read_image(PHOTO.read_bytes()).to_array().shape


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_of_every_shape_are_read(shape, dtype):
    values = np.random.default_rng(0).integers(0, 256, shape)
    pixels = values.astype(dtype) if dtype == np.uint8 else values.astype(dtype) / 255
    result = read_image_input(pixels).to_array()
    np.testing.assert_allclose(result, np.broadcast_to(values.reshape(4, 6, -1) / 255, (4, 6, 3)), atol=0.003)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere.png", "nowhere.png cannot be read (No such file or directory)"),
        (ROOT, "cannot be read (Is a directory)"),
        ("https://example.com/a.png", "not downloaded"),
        ("a\0b", "cannot be read"),
        (Path("a\0b"), "cannot be read"),
        (b"", "no"),
        (b"text", "Use PNG"),
        (3, "got int 3"),
        (None, "got NoneType None"),
        ([[0, 1], [1, 0]], "got list"),
        (np.zeros((2, 3, 5)), "got (2, 3, 5)"),
        (np.zeros((0, 3)), "got (0, 3)"),
        (np.zeros((1, 2, 3, 3)), "got (1, 2, 3, 3)"),
        (np.zeros((4, 4), np.int64), "got int64"),
        (np.full((4, 4), 2.0), "values in [0, 1]"),
        (np.full((4, 4), np.nan), "values in [0, 1]"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_other_values_get_one_sentence(value, words):
    with pytest.raises(ValueError) as exc_info:
        read_image_input(value)
    assert words in str(exc_info.value) and "\n" not in str(exc_info.value)
