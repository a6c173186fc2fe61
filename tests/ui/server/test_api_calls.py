"""Test the public API as curl and gradio_client call it: a right answer or one sentence for every request."""

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.paths import ROOT
from tests.ui.anonymous_client import AnonymousClient, anonymous_client, make_file_data, upload_dir

__all__ = ["anonymous_client", "upload_dir"]

EXAMPLE = ROOT / "data" / "examples" / "digit-3.png"
BASE64 = base64.b64encode(EXAMPLE.read_bytes()).decode()
DATA_URL = f"data:image/png;base64,{BASE64}"
REMOTE = "https://files.example/x.png"
META = {"meta": {"_type": "gradio.FileData"}}
JSON_TYPE = {"Content-Type": "application/json"}
FORBIDDEN = ("null", "upstream Gradio app", "Traceback", "<html", "Internal Server Error", "site-packages")
ODD_VALUES: list[Any] = [5, -1, 1.5, True, [], [1], [[]], {}, {"a": {"b": [1]}}, "a\0b", "x" * 900_000]


@pytest.fixture(scope="module")
def client(anonymous_client) -> Client:
    return Client(anonymous_client.address, verbose=False)


@pytest.fixture(scope="module")
def expected(client) -> dict[str, Any]:
    """Return the answer to the example as an uploaded file."""
    return client.predict(handle_file(str(EXAMPLE)), "digits", "ticks=3", api_name="/think_image")


def check_sentence(text: Any) -> str:
    assert isinstance(text, str) and len(text) > 20 and "\n" not in text and text[-1] in ".?!", text
    assert not [word for word in FORBIDDEN if word in text], text
    return text


def call(client: AnonymousClient, name: str, body: Any, version: str = "", **headers: str) -> Any:
    """Call an endpoint as curl does. Return the answer, or the sentence of the error."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with client.connect() as http:
        path = f"/gradio_api/call/{version}{name}"
        response = http.post(path, content=content, headers=headers or JSON_TYPE)
        if response.status_code != 200:
            assert response.headers["content-type"] == "application/json", response.text
            return check_sentence(response.json()["detail"])
        stream = http.get(f"{path}/{response.json()['event_id']}").text.strip()
    event, data = stream.removeprefix("event: heartbeat\ndata: null\n\n").split("\n")
    content = json.loads(data.removeprefix("data: "))
    return content[0] if event == "event: complete" else check_sentence(content["error"])


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image", [BASE64, DATA_URL, {"path": DATA_URL}, {"path": DATA_URL, **META}, {"url": DATA_URL}, {"url": BASE64}]
)
def test_pictures_in_the_request_are_read_like_uploads(anonymous_client, expected, image):
    for version, body in (
        ("", {"data": [image, "digits", "ticks=3"]}),
        ("v2/", {"image": image, "checkpoint": "digits", "policy": "ticks=3"}),
    ):
        answer = call(anonymous_client, "think_image", body, version)
        assert answer["energy"] == expected["energy"] and answer["answer"] == expected["answer"]


@pytest.mark.parametrize("image", [BASE64, DATA_URL, {"path": DATA_URL}, {"url": DATA_URL}, {"url": DATA_URL, **META}])
def test_gradio_client_sends_pictures_in_the_request(client, expected, image):
    if "meta" in image:  # gradio_client uploads the path of such a value
        image = image | {"path": str(EXAMPLE)}
    assert client.predict(image, "digits", "ticks=3", api_name="/think_image")["energy"] == expected["energy"]


def test_the_path_that_an_upload_returns_is_a_picture(anonymous_client, expected):
    path = anonymous_client.upload("three.png", EXAMPLE.read_bytes()).json()[0]
    url = f"{anonymous_client.address}/gradio_api/file={path}"
    for image in (path, {"path": path}, make_file_data(path), url, {"path": url, "url": url, **META}):
        answer = call(anonymous_client, "think_image", {"data": [image, "digits", "ticks=3"]})
        assert answer["energy"] == expected["energy"]


@pytest.mark.parametrize("image", [*ODD_VALUES, None, "digit.png", "/etc/passwd", "data:,", "data:image/png;base64,@"])
def test_wrong_pictures_get_one_sentence(anonymous_client, client, image):
    sentence = call(anonymous_client, "think_image", {"data": [image, "digits", ""]})
    assert (isinstance(sentence, str) and "picture" in sentence) or "`image`" in sentence
    with pytest.raises(AppError) as caught:
        client.predict(image, "digits", "", api_name="/think_image")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "image", [REMOTE, {"path": REMOTE}, {"url": REMOTE}, {"path": REMOTE, "url": REMOTE, **META}, handle_file(REMOTE)]
)
def test_remote_pictures_are_not_fetched_and_the_sentence_says_what_works(anonymous_client, client, image):
    sentence = call(anonymous_client, "think_image", {"data": [image, "digits", ""]})
    assert sentence == (
        f"Pictures are not fetched from other servers: got {REMOTE!r}; download the picture, then upload the file "
        '(gradio_client: handle_file("digit.png"); curl: POST /gradio_api/upload), or send it as base64 text or as a data: URL.'
    )
    with pytest.raises(AppError) as caught:
        client.predict(image, "digits", "", api_name="/think_image")
    assert str(caught.value) == sentence


# --- texts and counts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("value", ODD_VALUES)
def test_wrong_texts_get_one_sentence(anonymous_client, client, position, value):
    data: list[Any] = ["101", "parity-16", "ticks=2"]
    data[position] = value
    sentence = call(anonymous_client, "think_sequence", {"data": data})
    assert isinstance(sentence, str)
    with pytest.raises(AppError) as caught:
        client.predict(*data, api_name="/think_sequence")
    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", ["\ud800", make_file_data(REMOTE), make_file_data("/etc/passwd"), {"path": REMOTE}])
def test_values_that_gradio_client_cannot_send_get_one_sentence(anonymous_client, value):
    for position in range(3):
        data = ["101", "parity-16", ""]
        data[position] = value
        assert isinstance(call(anonymous_client, "think_sequence", {"data": data}), str)
    assert isinstance(call(anonymous_client, "think_image", {"data": [value]}), str)


def test_whole_numbers_are_read_as_their_digits(anonymous_client):
    text, number = (call(anonymous_client, "think_sequence", {"data": [value]}) for value in ("10110", 10110))
    assert text["energy"] == number["energy"] and len(text["answer"]) == 5


@pytest.mark.parametrize(
    "version, body",
    [
        ("", {"data": ["10110"]}),
        ("", {"data": ["10110", None]}),
        ("", {"data": ["10110", None, None]}),
        ("", {"data": ["10110", "", ""]}),
        ("", {"data": ["10110"], "session_hash": "mine"}),
        ("v2/", {"text": "10110"}),
        ("v2/", {"text": "10110", "policy": None, "session_hash": "mine"}),
    ],
)
def test_missing_arguments_have_their_defaults(anonymous_client, client, version, body):
    answer = call(anonymous_client, "think_sequence", body, version)
    full = client.predict("10110", "parity-16", "", api_name="/think_sequence")
    assert answer["checkpoint"] == "parity-16" and answer["policy"] == "energy<-0.05"
    assert answer["energy"] == full["energy"] == client.predict("10110", api_name="/think_sequence")["energy"]


def test_too_many_arguments_get_one_sentence(anonymous_client, client):
    data = ["101", "parity-16", "", "more", "more"]
    sentence = call(anonymous_client, "think_sequence", {"data": data})
    assert sentence == (
        "/think_sequence takes at most 3 arguments (text, checkpoint, policy): got 5; remove the others."
    )
    with pytest.raises(AppError) as caught:
        client.predict(*data, api_name="/think_sequence")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "version, body, says",
    [
        ("", {}, "has no `data`: send the list of the arguments: text, checkpoint, policy"),
        ("", b"", "has no `data`"),
        ("", {"data": "101"}, 'must be the list of the arguments: text, checkpoint, policy: got "101"'),
        ("", {"data": {"text": "101"}}, 'got {"text": "101"}'),
        ("", {"data": None}, "got nothing"),
        ("", [], 'must be a JSON object such as {"data": ["10110"]}: got []'),
        ("", 5, "got 5"),
        ("", b"null", "got nothing"),
        ("", b"{", "not valid JSON"),
        ("", b"\xff", "not valid JSON"),
        ("", b"[" * 100_000, "not valid JSON"),
        ("", {"data": ["1"], "session_hash": 5}, "session is invalid: got 5"),
        ("v2/", {"txt": "101"}, 'has no parameter "txt"; its parameters are: text, checkpoint, policy'),
        ("v2/", {"data": ["101"]}, 'has no parameter "data"'),
        ("v2/", {"text": [1]}, "`text` must be a text: got [1]"),
        ("v2/", [], "must be a JSON object"),
        ("v2/", {}, "Type some bits"),
    ],
)
def test_wrong_bodies_get_one_sentence(anonymous_client, version, body, says):
    sentence = call(anonymous_client, "think_sequence", body, version)
    assert isinstance(sentence, str) and says in sentence


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
def test_a_call_without_the_json_header_gets_one_sentence(anonymous_client, content_type):
    """curl sends this header with -d."""
    sentence = call(anonymous_client, "think_sequence", {"data": ["1"]}, **{"Content-Type": content_type})
    assert content_type in sentence and "-H 'Content-Type: application/json'" in sentence


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["", "v2/"])
@pytest.mark.parametrize(
    "name", ["nothing", "think_images", "_predict_image", "predict", "think%20image", "think-image"]
)
def test_an_unknown_endpoint_gets_the_names_of_the_others(anonymous_client, version, name):
    """Private events of the page are no endpoints."""
    sentence = call(anonymous_client, name, {"data": ["101"]}, version)
    assert sentence.endswith("there are: /think_image, /think_sequence.")


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("POST", "run/think_image", {"data": ["a"]}, 404),
        ("POST", "api/think_image", {"data": ["a"]}, 404),
        ("POST", "run/predict", {"data": ["a"]}, 404),
        ("POST", "run/predict", {"data": ["a"], "fn_index": 9999}, 404),
        ("POST", "queue/join", {"data": ["a"], "fn_index": 9999, "session_hash": "a"}, 404),
        ("POST", "queue/join", {"data": ["a"], "fn_index": "x", "session_hash": "a"}, 404),
        ("POST", "queue/join", {"data": ["a"], "fn_index": True, "session_hash": "a"}, 404),
        ("POST", "queue/join", {"fn_index": 0, "session_hash": "a"}, 400),
        ("POST", "queue/join", {"data": [], "fn_index": 0, "session_hash": "a", "trigger_id": "x"}, 422),
        ("POST", "cancel", {}, 422),
        ("POST", "reset", {"event_id": 5}, 422),
        ("POST", "upload", {}, 400),
        ("GET", "call/think_sequence/abc", None, 404),
        ("GET", "call/v2/think_sequence/abc", None, 404),
        ("GET", "call/nothing/abc", None, 404),
        ("GET", "call/think_sequence", None, 404),
        ("GET", "queue/data?session_hash=nobody", None, 404),
        ("PUT", "call/think_image", {}, 404),
    ],
)
def test_every_other_request_gets_one_sentence(anonymous_client, method, path, body, status):
    response = anonymous_client.request(method, f"/gradio_api/{path}", json=body)
    assert response.status_code == status and response.headers["content-type"] == "application/json"
    check_sentence(response.json()["detail"])


def test_a_result_is_fetched_once(anonymous_client):
    path = "/gradio_api/call/think_sequence"
    event_id = anonymous_client.request("POST", path, json={"data": ["1"]}).json()["event_id"]
    assert "event: complete" in anonymous_client.request("GET", f"{path}/{event_id}").text
    response = anonymous_client.request("GET", f"{path}/{event_id}")
    assert response.status_code == 404 and f"There is no event {event_id}" in response.json()["detail"]


def test_an_unexpected_error_gets_a_sentence_and_a_traceback_in_the_log(anonymous_client, client, monkeypatch, capfd):
    def fail(*values: object) -> None:
        raise RuntimeError("the secret of the service")

    monkeypatch.setattr("ui.services.inference_service.InferenceService.predict", fail)
    sentence = call(anonymous_client, "think_sequence", {"data": ["1"]})
    assert sentence.startswith("The app failed at this request; its log has the details")
    with pytest.raises(AppError) as caught:
        client.predict("1", api_name="/think_sequence")
    assert str(caught.value) == sentence and "the secret of the service" in capfd.readouterr().err


def test_a_call_that_is_too_large_gets_one_sentence(anonymous_client):
    sentence = call(anonymous_client, "think_image", {"data": ["A" * 3_000_000]})
    assert sentence == "This is too large: the limit is 2 MB; upload a larger picture with POST /gradio_api/upload."


# --- the published description ---------------------------------------------------------------------------------------


@pytest.fixture
def example_dir(tmp_path, monkeypatch) -> Iterator[None]:
    """Work in a directory with the file that the published example names."""
    (tmp_path / "digit.png").write_bytes(EXAMPLE.read_bytes())
    monkeypatch.chdir(tmp_path)
    yield
    os.chdir(ROOT)


def test_the_published_examples_run(anonymous_client, client, expected, example_dir):
    info = httpx.get(f"{anonymous_client.address}/gradio_api/info").json()["named_endpoints"]
    assert "http" not in json.dumps([endpoint["parameters"] for endpoint in info.values()])
    for name, endpoint in info.items():
        examples = {part["parameter_name"]: part["example_input"] for part in endpoint["parameters"]}
        assert client.predict(*examples.values(), api_name=name)["ticks_used"] >= 1
        assert client.predict(**examples, api_name=name)["ticks_used"] >= 1
    image = info["/think_image"]["parameters"][0]["example_input"]
    answer = client.predict(handle_file(image["url"]), "digits", "ticks=3", api_name="/think_image")
    assert image["path"] == image["url"] == "digit.png" and answer["energy"] == expected["energy"]
