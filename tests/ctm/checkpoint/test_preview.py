"""Tests of preview.json: its limits hold for every file, and a checkpoint works without a valid one."""

import json

import pytest

from ctm.checkpoint import load
from ctm.checkpoint.preview import MAX_PREVIEW_BYTES, decode_image_url, encode_image_url, read_preview
from ctm.stores import HubStore
from ctm.stores.base import describe_checkpoint_dir
from tests.fake_hub.fixtures import TOKEN, hub, read_dir_files

__all__ = ["hub"]

VALID = {"input_type": "text", "inputs": ["10110"], "record": {"sentence": "It is odd."}}


def write(folder, values) -> None:
    (folder / "preview.json").write_text(values if isinstance(values, str) else json.dumps(values))


def test_a_preview_is_read(tmp_path):
    assert read_preview(tmp_path) is None
    write(tmp_path, VALID)
    preview = read_preview(tmp_path)
    assert (preview.input_type, preview.inputs, preview.record) == tuple(VALID.values())


def test_an_image_is_encoded_and_decoded():
    assert decode_image_url(encode_image_url(b"\x89PNG\0", "png")) == b"\x89PNG\0"


@pytest.mark.parametrize(
    "values",
    [
        "[]",
        "{",
        {"inputs": []},
        VALID | {"input_type": "sound"},
        VALID | {"inputs": ["1"] * 7},
        VALID | {"inputs": ["1" * 1_001]},
        VALID | {"inputs": [1]},
        VALID | {"record": [1]},
        VALID | {"record": {"deep": "\ud800"}},
        VALID | {"input_type": "image", "inputs": ["https://example.com/a.png"]},
        VALID | {"input_type": "image", "inputs": ["data:image/png;base64,?"]},
        VALID | {"input_type": "image", "inputs": ["data:text/html;base64,YQ=="]},
        VALID | {"record": {"data": "x" * MAX_PREVIEW_BYTES}},
    ],
)
def test_an_invalid_preview_is_ignored_and_the_checkpoint_loads(checkpoint_dir, values):
    write(checkpoint_dir, values)
    with pytest.raises(ValueError) as exc_info:
        read_preview(checkpoint_dir)
    assert "preview.json" in str(exc_info.value)
    assert describe_checkpoint_dir(checkpoint_dir, "mine").preview is None and load(checkpoint_dir)


def test_the_preview_is_described_without_the_weights_and_a_large_one_is_not_fetched(hub, checkpoint_dir, tmp_path):
    write(checkpoint_dir, VALID)
    hub.add_repo("alice/small", read_dir_files(checkpoint_dir))
    write(checkpoint_dir, VALID | {"record": {"data": "x" * MAX_PREVIEW_BYTES}})
    hub.add_repo("alice/large", read_dir_files(checkpoint_dir))
    store = HubStore(token=TOKEN, cache_dir=tmp_path / "cache", endpoint=hub.url)
    assert store.describe("alice/small").preview.record == VALID["record"]
    assert not hub.find_requests(r"/resolve/.*model\.safetensors")
    assert store.describe("alice/large").preview is None and load(store.fetch("alice/large"))
    assert not hub.find_requests(r"alice/large/resolve/.*preview\.json")
