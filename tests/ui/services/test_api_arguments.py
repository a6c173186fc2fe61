"""Test which JSON values the public API accepts, and the sentences about the others."""

import base64
from pathlib import Path

import pytest

from tests.paths import ROOT
from ui.services.api_arguments import parse_image_argument, parse_text_argument
from ui.services.image_decoding import decode_image

EXAMPLE = ROOT / "data" / "examples" / "digit-3.png"
CONTENT = EXAMPLE.read_bytes()
BASE64 = base64.b64encode(CONTENT).decode()
DATA_URL = f"data:image/png;base64,{BASE64}"
META = {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture
def upload(tmp_path) -> Path:
    path = tmp_path / "uploads" / "ab12" / "a digit.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (tmp_path / "secret.png").write_bytes(CONTENT)
    return path


def parse(value, upload) -> str:
    return parse_image_argument(value, [upload.parents[1]])


@pytest.mark.parametrize(
    "make_value",
    [
        lambda path: str(path),
        lambda path: f"  {path}\n",
        lambda path: {"path": str(path)},
        lambda path: {"path": str(path), "url": None, **META},
        lambda path: {"path": str(path), "url": "https://files.example/x.png"},
        lambda path: {"url": f"http://127.0.0.1:7860/gradio_api/file={path}"},
        lambda path: f"https://lab-ctm.hf.space/gradio_api/file={str(path).replace(' ', '%20')}",
        lambda path: {"path": f"http://127.0.0.1:7860/gradio_api/file={path}", **META},
        lambda path: BASE64,
        lambda path: BASE64.rstrip("="),
        lambda path: BASE64.replace("+", "-").replace("/", "_"),
        lambda path: "\n".join(BASE64[start : start + 76] for start in range(0, len(BASE64), 76)),
        lambda path: DATA_URL,
        lambda path: DATA_URL.replace("image/png", ""),
        lambda path: DATA_URL.replace("data:", "DATA:"),
        lambda path: "data:image/png," + "".join(f"%{byte:02x}" for byte in CONTENT),
        lambda path: {"path": DATA_URL},
        lambda path: {"path": DATA_URL, **META},
        lambda path: {"url": DATA_URL},
        lambda path: {"url": BASE64, "path": None},
        lambda path: {"url": DATA_URL, "path": "digit.png"},
    ],
)
def test_every_way_to_send_a_picture_gives_its_pixels(upload, make_value):
    assert (decode_image(parse(make_value(upload), upload)) == decode_image(EXAMPLE)).all()
    parsed = parse(make_value(upload), upload)
    assert parse(parsed, upload) == parsed, "the value is parsed before and after Gradio reads it"


@pytest.mark.parametrize(
    "value, got",
    [
        (5, "5"),
        (1.5, "1.5"),
        (True, "True"),
        ([], "[]"),
        ([BASE64], "['iVBOR"),
        ({"image": {"path": "x"}}, "{'image'"),
        ({"background": None, "layers": [], "composite": None}, "{'background'"),
        ({"path": 5}, "5"),
        ({"path": ["x"]}, "['x']"),
        ({"path": {"path": "x"}}, "{'path': 'x'}"),
        ({"url": 7, "path": None}, "7"),
    ],
)
def test_values_that_are_no_pictures_are_named(upload, value, got):
    with pytest.raises(ValueError, match=r"^`image` must be a picture: got ") as caught:
        parse(value, upload)
    assert f"got {got}" in str(caught.value) and 'handle_file("digit.png")' in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "  ", {}, {"path": None}, {"path": "", "url": ""}, {"url": None, **META}])
def test_an_empty_picture_is_reported_as_missing(upload, value):
    with pytest.raises(ValueError, match=r"^There is no picture yet: `image` is empty; upload the file"):
        parse(value, upload)


@pytest.mark.parametrize(
    "value",
    [
        "https://files.example/x.png",
        "HTTP://files.example/x.png",
        "ftp://files.example/x.png",
        "file:///etc/passwd",
        "//files.example/x.png",
        "https://files.example/gradio_api/file=/etc/passwd",
        {"path": "https://files.example/x.png", "url": "https://files.example/x.png", **META},
        {"url": "http://169.254.169.254/latest"},
    ],
)
def test_remote_pictures_are_rejected_with_what_works_instead(upload, value):
    with pytest.raises(ValueError, match=r"^Pictures are not fetched from other servers: got ") as caught:
        parse(value, upload)
    source = value if isinstance(value, str) else value.get("url")
    message = str(caught.value)
    assert repr(source) in message and "data: URL" in message and 'handle_file("digit.png")' in message


@pytest.mark.parametrize(
    "text", ["digit.png", "/etc/passwd", "C:\\digit.png", "hello", "\ud800", "a\0b", "é" * 99, "zz" * 300_000, "~", "."]
)
def test_a_local_path_is_rejected_with_the_way_to_upload_it(upload, text):
    with pytest.raises(ValueError, match=r"is neither an uploaded file nor base64 text nor a data: URL: got") as caught:
        parse(text, upload)
    assert 'handle_file("digit.png")' in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(
        ValueError, match=r"^There is no uploaded file .* or it is no longer available; upload the file"
    ):
        parse({"path": text, **META}, upload)


def test_files_outside_of_the_uploads_are_not_read(upload):
    secret = upload.parents[2] / "secret.png"
    (upload.parent / "link.png").symlink_to(secret)
    for path in (secret, upload.parent / "../../../secret.png", upload.parent / "link.png", upload.parents[1]):
        for value in (str(path), {"path": str(path), **META}, {"url": f"/gradio_api/file={path}"}):
            with pytest.raises(ValueError) as caught:
                parse(value, upload)
            assert "\n" not in str(caught.value)


def test_an_upload_that_was_deleted_is_reported(upload):
    upload.unlink()
    with pytest.raises(ValueError, match="no longer available; upload the file"):
        parse(str(upload), upload)


@pytest.mark.parametrize("url", ["data:image/png;base64,@@@", "data:;base64,a", "data:image/png;base64,é"])
def test_a_damaged_data_url_is_reported(upload, url):
    with pytest.raises(ValueError, match=r"^The data: URL of `image` is not valid base64: got 'data:"):
        parse(url, upload)


@pytest.mark.parametrize(
    "value, text",
    [("a", "a"), (" a b\n", "a b"), (10110, "10110"), (-3, "-3"), (None, "usual"), ("", "usual"), (" ", "usual")],
)
def test_texts_whole_numbers_and_null_are_text_arguments(value, text):
    assert parse_text_argument("policy", value, "usual", "write a policy") == text


@pytest.mark.parametrize("value", [True, 1.5, float("nan"), [], ["a"], {}, {"path": "x"}, [[[[]]]]])
def test_other_values_are_no_text_arguments(value):
    with pytest.raises(ValueError) as caught:
        parse_text_argument("policy", value, "usual", "write a policy")
    assert str(caught.value) == f"`policy` must be a text: got {value!r}; write a policy."
