"""Test the classification of files of a first visit."""

from benchmarks.page_weight import sum_bytes


def test_bytes_are_summed_by_owner_and_kind():
    responses = [
        ("/", 50),
        ("/modules/0123456789abcdef/thought/index.js", 7),
        ("/modules/0123456789abcdef/common/dom.js", 3),
        ("/thumbnails/0123-record.json", 20),
        ("/assets/index.js", 100),
        ("/gradio_api/run/predict", 2),
        ("/static/js/iframeResizer.js", 5),
    ]
    sums = sum_bytes(responses)
    assert sums["own"] == {
        "page": {"requests": 1, "bytes": 50},
        "modules": {"requests": 2, "bytes": 10},
        "thumbnails and recordings": {"requests": 1, "bytes": 20},
    }
    assert {kind: entry["bytes"] for kind, entry in sums["gradio"].items()} == {
        "bundle": 100,
        "events and files": 2,
        "other": 5,
    }
