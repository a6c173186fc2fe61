"""Tests that metadata files are either read unchanged or rejected with one sentence."""

import json

import pytest

from ctm.checkpoint import load
from ctm.checkpoint.metadata import read_metadata

EVALUATION = {"split": "test", "n": 1, "iterations": 2, "accuracy_halted": 1.0, "mean_ticks": 1.5, "more": None}
VALID_METADATA = {
    "task": {"task": "digits", "settings": {"turn": 1}, "labels": ["a"], "own": {"more": 1}},
    "halting": {
        "energy": {"kind": "calibrated"},
        "policies": {"energy": {"policy": "energy<0", "n": 9}},
        "default": "energy",
    },
    "metrics": {
        "evaluations": [
            {"split": "test", "n": 1, "iterations": 2, "accuracy_halted": 1.0, "mean_ticks": 1.5, "more": None}
        ],
        "date": "2026-11-22",
    },
}


def write_metadata(directory, **metadata) -> None:
    for name, values in metadata.items():
        (directory / f"{name}.json").write_text(json.dumps(values))


def test_valid_metadata_is_read_unchanged(tmp_path):
    write_metadata(tmp_path, **VALID_METADATA)
    assert read_metadata(tmp_path) == VALID_METADATA


def test_missing_metadata_is_empty(tmp_path):
    assert read_metadata(tmp_path) == {"task": {}, "halting": {}, "metrics": {}}


@pytest.mark.parametrize(
    ("name", "values", "location"),
    [
        ("task", {"task": 5}, "`task`"),
        ("task", {"task": "digits", "settings": []}, "`settings`"),
        ("task", {"labels": "abc"}, "`labels`"),
        ("task", {"labels": [1]}, "`labels.0`"),
        ("halting", {"policies": []}, "`policies`"),
        ("halting", {"policies": {"energy": "energy<0"}}, "`policies.energy`"),
        ("halting", {"policies": {"energy": {}}}, "`policies.energy.policy`"),
        ("halting", {"policies": {"energy": {"policy": 5}}}, "`policies.energy.policy`"),
        ("halting", {"policies": {"energy": {"policy": "x" * 501}}}, "`policies.energy.policy`"),
        ("halting", {"default": {}}, "`default`"),
        ("halting", {"energy": None}, "`energy`"),
        ("halting", {"energy": {"margin": 0}}, "`energy.margin`"),
        ("halting", {"energy": {"margin": "1"}}, "`energy.margin`"),
        ("halting", {"energy": {"chance": [1.0, 0.0]}}, "`energy.chance`"),
        ("halting", {"energy": {"chance": {"energy": "1"}}}, "`energy.chance.energy`"),
        ("metrics", {"evaluations": {}}, "`evaluations`"),
        ("metrics", {"evaluations": [{"split": "test"}]}, "`evaluations.0.n`"),
        (
            "metrics",
            {"evaluations": [VALID_METADATA["metrics"]["evaluations"][0] | {"mean_ticks": "many"}]},
            "`evaluations.0.mean_ticks`",
        ),
        ("metrics", {"training": "long"}, "`training`"),
    ],
)
def test_invalid_metadata_is_rejected_with_its_location(checkpoint_dir, name, values, location):
    write_metadata(checkpoint_dir, **{name: values})
    with pytest.raises(ValueError, match=rf"^{name}\.json is not what it should be: ") as exc_info:
        load(checkpoint_dir)
    assert location in str(exc_info.value) and "\n" not in str(exc_info.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"date": "\\ud800"}', "letters that are none"),
        ('{"a": {"b": [1e999]}}', "a number that is none"),
        ('{"a": NaN}', "a number that is none"),
        ('{"a": 1' + "0" * 30 + "}", "more than 64 bits"),
        ('{"a": ' + "[" * 80 + "]" * 80 + "}", "more than 50 levels"),
    ],
)
def test_metadata_that_is_not_serializable_is_rejected(checkpoint_dir, text, words):
    (checkpoint_dir / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        load(checkpoint_dir)


def test_an_oversized_metadata_file_is_rejected_unread(checkpoint_dir):
    (checkpoint_dir / "halting.json").write_text('{"a": "' + "x" * 2_000_000 + '"}')
    with pytest.raises(ValueError, match=r"halting\.json has 2,000,009 bytes"):
        load(checkpoint_dir)
