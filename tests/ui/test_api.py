"""Test the API of the page with gradio_client."""

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from training.data.foreground import SEVERAL_FIGURES

KEYS = {
    "answer",
    "label",
    "probability",
    "ticks_used",
    "iterations",
    "halted_by",
    "energy",
    "certainty",
    "answers_by_tick",
    "p_correct",
}


@pytest.fixture(scope="module")
def client(server_url):
    return Client(server_url, verbose=False)


@pytest.fixture
def digit_path(tmp_path) -> str:
    grey = np.full((80, 80), 255, np.uint8)
    grey[12:68, 36:46] = 0
    Image.fromarray(grey).save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


def test_there_are_two_endpoints_and_no_others(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/think_image", "/think_sequence"}
    assert [p["parameter_name"] for p in endpoints["/think_image"]["parameters"]] == ["image", "checkpoint", "policy"]
    assert [p["parameter_name"] for p in endpoints["/think_sequence"]["parameters"]] == ["text", "checkpoint", "policy"]


def test_a_picture_is_answered_in_full_and_well_under_a_second(client, digit_path):
    client.predict(handle_file(digit_path), "digits", "ticks=6", api_name="/think_image")
    started = time.perf_counter()
    record = client.predict(handle_file(digit_path), "digits", "ticks=6", api_name="/think_image")
    seconds = time.perf_counter() - started
    assert record.keys() >= KEYS
    assert (
        record["ticks_used"] == 6 == len(record["energy"]) == len(record["certainty"]) == len(record["answers_by_tick"])
    )
    assert record["answer"] in range(10) and record["label"] == str(record["answer"])
    assert seconds < 5, "the limit is loose, for slow machines; the usual time is a tenth of a second"


def test_a_sequence_is_answered(client):
    record = client.predict("1011", "parity-16", "", api_name="/think_sequence")
    assert record.keys() >= KEYS and len(record["answer"]) == 4 and record["label"] in ("even", "odd")
    record = client.predict(
        text="3 7 11 15", checkpoint="arithmetic", policy="same=2|ticks=5", api_name="/think_sequence"
    )
    assert isinstance(record["answer"], int) and record["ticks_used"] <= 5


@pytest.mark.parametrize(
    "text, checkpoint, policy, says",
    [
        ("", "parity-16", "", "Type some bits"),
        ("12", "parity-16", "", "0 and 1 only"),
        ("1 2", "arithmetic", "", "3 to 6 numbers, got 2"),
        ("1 2 3 nan", "arithmetic", "", "not a whole number"),
        ("1", "gone", "", "no checkpoint called"),
        ("1", "parity-16", "energy", "not a halting rule"),
        ("junk " * 200, "parity-16", "", "0 and 1 only"),
        ("x" * 1001, "parity-16", "", "characters"),
        ("<script>alert(1)</script>${7*7}", "parity-16", "", "0 and 1 only"),
    ],
)
def test_wrong_sequences_get_one_sentence(client, text, checkpoint, policy, says):
    with pytest.raises(AppError, match=says) as caught:
        client.predict(text, checkpoint, policy, api_name="/think_sequence")
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)


def list_upload_cases() -> dict[str, tuple[bytes, str]]:
    """Return content and expected part of the error record by file name."""
    whole, blank, large = (io.BytesIO() for _ in range(3))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(whole, "PNG")
    Image.new("L", (50, 50), 255).save(blank, "PNG")
    Image.new("L", (8_000, 5_000)).save(large, "PNG")
    return {
        "cut.png": (whole.getvalue()[:9_000], "cut off"),
        "text.png": (b"no picture at all", "not a picture"),
        "blank.png": (blank.getvalue(), "empty"),
        "large.png": (large.getvalue(), "40 megapixels"),
        "nothing.png": (b"", "not a picture"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    }


@pytest.mark.parametrize("name", list_upload_cases())
def test_wrong_pictures_get_one_sentence(client, tmp_path, name):
    content, says = list_upload_cases()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError, match=says) as caught:
        client.predict(handle_file(str(tmp_path / name)), "digits", "", api_name="/think_image")
    assert "\n" not in str(caught.value)


def test_the_first_frame_of_an_animation_is_used_and_the_notes_say_so(client, tmp_path):
    frames = []
    for left in (30, 60):
        drawing = np.full((100, 100), 255, np.uint8)
        drawing[20:80, left : left + 8] = 0
        frames.append(Image.fromarray(drawing))
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    moving, still = (
        client.predict(handle_file(str(tmp_path / name)), "digits", "", api_name="/think_image")
        for name in ("moving.gif", "still.png")
    )
    assert moving["notes"] == ["The file has several frames; the first one is used."] and still["notes"] == []
    assert moving["label"] == still["label"] and moving["energy"] == still["energy"]


def test_notes_say_what_is_doubtful_about_the_content_of_an_image(client, tmp_path):
    drawing = np.full((100, 160), 235, np.uint8)
    drawing[20:80, 30:38] = drawing[20:80, 110:118] = 215
    Image.fromarray(drawing).save(tmp_path / "two-faint-figures.png")
    response = client.predict(
        handle_file(str(tmp_path / "two-faint-figures.png")), "digits", "", api_name="/think_image"
    )
    assert response["notes"] == [SEVERAL_FIGURES, "The figure is faint: it differs from the background by only 8%."]
    assert all(note in response["sentence"] for note in response["notes"])


def test_pictures_come_as_base64_too_and_never_from_other_servers(client, digit_path):
    """Also where Gradio serves the page by itself."""
    encoded = base64.b64encode(Path(digit_path).read_bytes()).decode()
    upload, text, url = (
        client.predict(value, "digits", "ticks=6", api_name="/think_image")
        for value in (handle_file(digit_path), encoded, f"data:image/png;base64,{encoded}")
    )
    assert upload["energy"] == text["energy"] == url["energy"]
    for value in ("https://files.example/x.png", handle_file("https://files.example/x.png")):
        with pytest.raises(
            AppError, match=r"^Pictures are not fetched from other servers: got 'https://files\.example/x\.png'"
        ):
            client.predict(value, api_name="/think_image")


def test_ticks_that_the_model_does_not_have_are_noted(client):
    record = client.predict("1011", "parity-16", "ticks=80", api_name="/think_sequence")
    note = "The rule ticks=80 needs 80 ticks, but this model has 6: no more than 6 can run."
    assert (record["ticks_used"], record["notes"]) == (6, [note]) and record["sentence"].endswith(note)


def test_no_picture_is_one_sentence(client):
    with pytest.raises(AppError, match="no picture yet"):
        client.predict(None, "digits", "", api_name="/think_image")


@pytest.mark.parametrize("mode", ["CMYK", "I;16"])
def test_unusual_pictures_are_read(client, tmp_path, mode):
    grey = np.full((80, 80), 255, np.uint8)
    grey[12:68, 36:46] = 0
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    picture = Image.fromarray(grey).convert("CMYK") if mode == "CMYK" else Image.fromarray(grey.astype(np.uint16) * 257)
    picture.save(path)
    assert client.predict(handle_file(str(path)), "digits", "", api_name="/think_image")["ticks_used"] >= 1


def test_many_at_once_are_all_answered(client):
    def ask(number: int) -> dict:
        return client.predict(f"{number:b}", "parity-16", "ticks=3", api_name="/think_sequence")

    with ThreadPoolExecutor(8) as pool:
        record = list(pool.map(ask, range(1, 25)))
    assert [len(s["answer"]) for s in record] == [len(f"{number:b}") for number in range(1, 25)]


def test_files_of_the_machine_cannot_be_read(server_url):
    for path in ("/etc/passwd", "app.py", "../app.py", "checkpoints/digits/config.json"):
        assert httpx.get(f"{server_url}gradio_api/file={path}").status_code in (403, 404)
