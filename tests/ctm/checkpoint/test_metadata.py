"""JSON beside the weights: files from elsewhere may hold anything, and are refused in one sentence or read as they are."""

import json

import pytest

from ctm.checkpoint import load
from ctm.checkpoint.metadata import read_metadata

MEASURED = {"split": "test", "n": 1, "iterations": 2, "accuracy_halted": 1.0, "mean_ticks": 1.5, "more": None}
GOOD = {
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


def write(folder, **notes) -> None:
    for name, values in notes.items():
        (folder / f"{name}.json").write_text(json.dumps(values))


def test_what_has_the_form_is_read_as_it_is(tmp_path):
    write(tmp_path, **GOOD)
    assert read_metadata(tmp_path) == GOOD


def test_what_is_not_there_is_empty(tmp_path):
    assert read_metadata(tmp_path) == {"task": {}, "halting": {}, "metrics": {}}


@pytest.mark.parametrize(
    ("name", "values", "where"),
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
            {"evaluations": [GOOD["metrics"]["evaluations"][0] | {"mean_ticks": "many"}]},
            "`evaluations.0.mean_ticks`",
        ),
        ("metrics", {"training": "long"}, "`training`"),
    ],
)
def test_another_form_is_refused_and_the_place_named(folder, name, values, where):
    write(folder, **{name: values})
    with pytest.raises(ValueError, match=rf"^{name}\.json is not what it should be: ") as caught:
        load(folder)
    assert where in str(caught.value) and "\n" not in str(caught.value)


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
def test_what_no_screen_could_be_sent_is_refused(folder, text, words):
    (folder / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        load(folder)


def test_a_note_that_is_far_too_large_is_refused_unread(folder):
    (folder / "halting.json").write_text('{"a": "' + "x" * 2_000_000 + '"}')
    with pytest.raises(ValueError, match=r"halting\.json has 2,000,009 bytes"):
        load(folder)
