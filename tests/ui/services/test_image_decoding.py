"""Test the decoding of images from visitors."""

import base64
import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.strategies import HOSTILE_TEXTS, time_limit, try_read
from training.tasks import make_task
from training.tasks.digits import load_images
from ui.services.image_decoding import decode_image, decode_image_with_notes

PREFIXES = ("", "data:", "data:image/png;base64,", "data:,", "data:image/svg+xml,<svg/>", "file://", "//")


def save_image(tmp_path, image: Image.Image, name: str = "picture.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def draw_stroke(mode: str = "L", size: tuple[int, int] = (90, 120), dark: bool = True) -> Image.Image:
    """Return an image of a thick vertical stroke."""
    grey = np.full(size[::-1], 255 if dark else 0, np.uint8)
    grey[20:-20, size[0] // 2 - 6 : size[0] // 2 + 6] = 0 if dark else 255
    return Image.fromarray(grey).convert(mode)


@pytest.mark.parametrize(
    "mode, name",
    [
        ("L", "a.png"),
        ("RGB", "a.jpg"),
        ("CMYK", "a.jpg"),
        ("RGBA", "a.png"),
        ("P", "a.png"),
        ("1", "a.png"),
        ("P", "a.gif"),
        ("RGB", "a.webp"),
        ("RGB", "a.bmp"),
        ("CMYK", "a.tiff"),
        ("LA", "a.png"),
    ],
)
def test_every_usual_mode_and_format_is_read_alike(tmp_path, mode, name):
    pixels = decode_image(save_image(tmp_path, draw_stroke(mode), name))
    assert pixels.shape == (120, 90, 3) and pixels.dtype == np.float32
    assert pixels[60, 45].max() < 0.15 and pixels[60, 5].min() > 0.85


@pytest.mark.parametrize(
    "mode, name",
    [("RGB", "a.png"), ("RGB", "a.jpg"), ("CMYK", "a.jpg"), ("RGBA", "a.png"), ("P", "a.png"), ("P", "a.gif")],
)
def test_colours_stay_what_they_are(tmp_path, mode, name):
    picture = Image.new("RGB", (60, 40), (220, 30, 60))
    picture.paste((20, 160, 200), (30, 0, 60, 40))
    pixels = decode_image(save_image(tmp_path, picture.quantize(8) if mode == "P" else picture.convert(mode), name))
    np.testing.assert_allclose(pixels[20, 10] * 255, (220, 30, 60), atol=12)
    np.testing.assert_allclose(pixels[20, 50] * 255, (20, 160, 200), atol=12)


def test_sixteen_bit_pictures_keep_their_greys(tmp_path):
    deep = np.full((60, 60), 60_000, np.uint16)
    deep[20:40, 20:40] = 3_000
    pixels = decode_image(save_image(tmp_path, Image.fromarray(deep)))
    assert pixels[30, 30] == pytest.approx([3_000 / 65_535] * 3, abs=1e-3)
    assert pixels[0, 0] == pytest.approx([60_000 / 65_535] * 3, abs=1e-3)


def test_transparent_places_are_white(tmp_path):
    picture = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    picture.paste((10, 10, 10, 255), (20, 10, 30, 40))
    pixels = decode_image(save_image(tmp_path, picture))
    assert pixels[0, 0].min() == 1 and pixels[20, 25].max() < 0.1


def test_a_turned_photograph_is_turned_back(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    assert decode_image(save_image(tmp_path, draw_stroke("RGB"), "a.jpg", exif=exif)).shape == (90, 120, 3)


def get_error_message(path) -> str:
    with pytest.raises(ValueError) as caught:
        decode_image(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and "Traceback" not in sentence
    return sentence


def test_what_cannot_be_read_gets_one_sentence(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(whole, "PNG")
    cut, text, empty, svg = (tmp_path / name for name in ("cut.png", "text.png", "empty.png", "a.svg"))
    cut.write_bytes(whole.getvalue()[:9_000])
    text.write_text("this is no picture")
    empty.write_bytes(b"")
    svg.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert "no picture yet" in get_error_message(None)
    assert "cut off" in get_error_message(cut)
    assert "not a picture" in get_error_message(text)
    assert "not a picture" in get_error_message(empty)
    assert "not a picture" in get_error_message(svg)
    assert "Upload it again" in get_error_message(tmp_path / "gone.png")


def test_a_drawing_comes_as_a_data_address():
    content = io.BytesIO()
    draw_stroke().save(content, "PNG")
    address = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    assert decode_image(address)[60, 45].max() < 0.15
    for broken in ("data:image/png;base64,", "data:image/png;base64,%%%", "data:", "data:text/html,hello"):
        assert "not a picture" in get_error_message(broken)


def test_forty_megapixels_are_rejected_before_they_are_decoded(tmp_path):
    path = save_image(tmp_path, Image.new("L", (8_000, 5_000)))
    assert "40 megapixels" in get_error_message(path)


def test_a_decompression_bomb_is_rejected(tmp_path):
    path = save_image(tmp_path, Image.new("1", (30_000, 30_000)))
    assert "megapixels" in get_error_message(path)


def test_the_first_frame_of_an_animation_is_used_and_a_note_says_so(tmp_path):
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 99, 200)]
    path = save_image(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    pixels, notes = decode_image_with_notes(path)
    assert pixels.max() == 0 and notes == ("The file has several frames; the first one is used.",)
    assert decode_image_with_notes(save_image(tmp_path, frames[1]))[1] == ()


@given(st.text(max_size=60), st.sampled_from(PREFIXES))
@example("A" * 3, "data:image/png;base64,")
def test_any_text_is_no_picture(text, begin):
    assert try_read(lambda: decode_image(begin + text)) is None


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_no_pictures(text, tmp_path):
    addresses = (f"data:{text}", f"data:image/png;base64,{text}")
    paths = (str(tmp_path), f"{tmp_path}/{text}", f"{tmp_path}/{text[:200]}/a.png")
    with time_limit():
        for source in (text, *addresses, *paths):
            assert try_read(lambda source=source: decode_image(source)) is None


@pytest.mark.parametrize("dark", [True, False])
def test_a_drawn_digit_is_cropped_centred_and_light_on_dark(tmp_path, dark):
    read = make_task({"kind": "digits"}).parse_input(
        decode_image(save_image(tmp_path, draw_stroke(dark=dark, size=(300, 200))))
    )
    pixels = np.asarray(read.display["pixels"])
    assert pixels.shape == (28, 28) and pixels[0, 0] == 0 and pixels.max() == pytest.approx(1, abs=1e-3)
    rows, columns = np.nonzero(pixels > 0.5)
    assert rows.max() - rows.min() + 1 == 20
    assert abs(columns.mean() - 13.5) <= 1 and abs(rows.mean() - 13.5) <= 1


@pytest.mark.parametrize("picture", [np.ones((50, 50)), np.zeros((50, 50)), np.full((50, 50), 0.4), np.ones((3, 3))])
def test_an_empty_image_is_reported_as_empty(picture):
    with pytest.raises(ValueError, match=r"empty|too small"):
        make_task({"kind": "digits"}).parse_input(picture.astype(np.float32))


def test_an_image_already_like_mnist_is_used_unchanged():
    task = make_task({"kind": "digits"})
    inputs = task.load_full_split("test").inputs[:20]
    for picture, expected in zip(load_images("test")[0][:20, 0].numpy(), inputs, strict=True):
        assert abs(task.parse_input(picture).inputs[0] - expected).max() < 0.05
