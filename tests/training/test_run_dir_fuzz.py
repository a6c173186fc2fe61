"""Files of a run folder, cut off, edited or from elsewhere: read as far as they are sound, or said to be broken."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ctm.io.atomic import PREALLOCATED_BYTES, preallocate, read_preallocated, write_json, write_preallocated
from tests.strategies import are_sentences, damaged, edited, groups, plain, share, told
from tests.training.test_config_fuzz import TINY
from training.config import RunConfig
from training.publishing.outbox import Entry, Outbox, place_of
from training.run_dir import RunFolder

STATUS = {"phase": "training", "step": 4, "steps": 12, "time": 1.5, "steps_per_second": 3.5}
LINES = [{"step": 2, "text": "\u2028"}, {"step": 4, "validation_accuracy": 0.25}, {"step": 6, "loss": math.nan}]
WRITTEN = [json.dumps(line).encode() for line in LINES]
ENDING = {"reason": "finished", "sentence": "All 12 steps are done.", "time": 1.5}
ENTRY = {
    "id": "0123456789ab",
    "repo": "alice/x",
    "private": False,
    "title": "run: step 4",
    "source": "a b",
    "created": 1.5,
    "state": "waiting",
    "tries": 2,
    "next_try": 7.5,
    "problem": "",
    "revision": "",
    "url": "",
    "ended": 0.0,
}
ODD = (b"", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{\x00}\x00", b"9" * 5_000, b"null", b"5")
raw = st.binary(max_size=40) | st.sampled_from(ODD)


def broken(text: str) -> st.SearchStrategy[bytes]:
    """A file of a run, damaged, or another."""
    return damaged(st.just(text.encode())) | raw


def changed(values: Any) -> st.SearchStrategy[bytes]:
    """JSON of a run, edited or damaged."""
    return edited(values).map(lambda value: json.dumps(value).encode()) | broken(json.dumps(values))


def reading(path: Path, content: bytes, read: Callable[[], Any]) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return told(read)


@given(content=changed(STATUS))
@example(content=b'{"step": "4", "steps": 12}')
@example(content=b'{"step": 1e999}')
@example(content=b'{"step": true}')
def test_a_status_tells_whole_steps_or_is_broken(content, tmp_path):
    said = reading(tmp_path / "status.json", content, RunFolder(tmp_path).status)
    assert said is None or type(said.get("step", 0)) is type(said.get("steps", 0)) is int


@given(content=st.lists(changed(LINES[0]) | st.sampled_from(WRITTEN), max_size=5).map(b"\n".join))
@example(content=b'5\n[1]\n"step"\nnull\n{"step": "x"}\n{"loss": 1}\n{"step": true}\n')
@example(content=b'{"step": 2}\n\xff\xfe\n{"step": 4}\n{"step": 6, "lo')
@example(content=b'{"step": 2}\n' + b"[" * 100_000 + b'\n{"step": 4}')
def test_lines_of_metrics_are_groups_with_a_step(content, tmp_path):
    folder = RunFolder(tmp_path)
    lines = reading(folder.metrics, content, folder.read_metrics)
    assert lines is not None and all(type(line["step"]) is int for line in lines)
    assert len(lines) >= sum(line in WRITTEN for line in content.split(b"\n")), "whole lines are all there"
    assert isinstance(folder.last_validation(), dict)
    folder.forget_after(4)
    assert list(map(str, folder.read_metrics())) == [str(line) for line in lines if line["step"] <= 4]


@given(content=changed(ENDING))
def test_an_ending_is_a_group_or_not_there(content, tmp_path):
    assert isinstance(reading(tmp_path / "ending.json", content, RunFolder(tmp_path).ending), dict)


@given(st.text() | st.sampled_from(["x" * 20_000, "\U0001f9e0" * 2_000, "\x00" * 3_000]))
def test_an_ending_is_kept_whole_however_long_it_is(tmp_path_factory, sentence):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    folder.forget_ending()
    folder.note_ending("refused", sentence)
    assert folder.ending()["sentence"] == " ".join(sentence.split())


def test_what_is_filled_in_leaves_nothing_of_before(tmp_path):
    path = tmp_path / "a.json"
    preallocate(path)
    write_preallocated(path, {"a": "x" * 10_000})
    write_preallocated(path, {"b": 1})
    assert read_preallocated(path) == {"b": 1} and path.stat().st_size == PREALLOCATED_BYTES


@given(content=changed({"init_from": "hub:alice/x@main"}))
def test_an_origin_is_a_text_or_broken(content, tmp_path):
    assert isinstance(reading(tmp_path / "origin.json", content, RunFolder(tmp_path).origin), str | None)


@given(content=st.binary(max_size=40))
def test_a_command_is_a_text(content, tmp_path):
    assert isinstance(reading(tmp_path / "command.txt", content, RunFolder(tmp_path).command), str)


@given(content=broken(yaml.safe_dump(TINY)))
@example(content=b"a: &a [x]\nb: [*a]\n")
@example(content=b"!!int ''")
@example(content=b"!!timestamp never")
@example(content=b"? " * 5_000)
@share(2)
def test_settings_are_settings_or_broken(content, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    config = told(RunFolder(tmp_path).config, are_sentences)
    assert config is None or isinstance(config, RunConfig)


@pytest.mark.parametrize("name", ["1", "00000004", "4\u00b2", "\u0664", "4a", "-4", "4.0", "9" * 200])
def test_only_numbers_are_steps(name, tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (folder.trainer(4)).mkdir(parents=True)
    (folder.trainer(4) / "progress.pt").write_bytes(b"")
    assert folder.steps() == ([4] if name == "00000004" else [])


# --- publications ----------------------------------------------------------------------------------------------------


def laid(run: Path, content: bytes, place: str = place_of(Entry(**ENTRY))) -> Outbox:
    """An outbox that holds a sound entry and one like this."""
    good = json.dumps(ENTRY | {"id": "good", "created": 9.0}).encode()
    for name, text in ((place, content), ("000000000009000-good", good)):
        (run / "outbox" / name / "checkpoint").mkdir(parents=True, exist_ok=True)
        (run / "outbox" / name / "entry.json").write_bytes(text)
    return Outbox(run, lambda: 0.0)


@given(content=changed(ENTRY))
@example(content=json.dumps(ENTRY | {"id": "../../../up"}).encode())
@example(content=json.dumps(ENTRY | {"created": 1e400}).encode())
@example(content=json.dumps(ENTRY | {"created": float("nan")}).encode())
@example(content=json.dumps(ENTRY | {"state": "sunny"}).encode())
@example(content=json.dumps(ENTRY | {"tries": []}).encode())
@example(content=json.dumps(ENTRY | {"added": "later"}).encode())
@example(content=b'{"id": 3}')
@example(content=b"[]")
def test_a_broken_publication_does_not_hide_the_others(content, tmp_path):
    outbox = laid(tmp_path, content)
    entries = outbox.entries()
    assert entries[-1].id == "good" and len(entries) <= 2
    for entry in entries:
        assert (outbox.path / place_of(entry)).resolve().parent == outbox.path.resolve()
        assert entry.say() and entry.message
    assert outbox.waits() is not None


def test_nothing_is_removed_beside_an_outbox(tmp_path):
    """An entry that calls itself something else would be ended in another folder."""
    away = tmp_path / "up" / "checkpoint"
    away.mkdir(parents=True)
    outbox = laid(tmp_path / "run", json.dumps(ENTRY | {"id": "/../../../up"}).encode())
    (outbox.path / "000000000001500-").mkdir()
    outbox.give_up("No more.")
    assert away.is_dir() and [entry.state for entry in outbox.entries()] == ["given up"]


@given(values=groups | plain.map(lambda value: {"a": value}))
def test_json_that_was_written_is_read_as_it_was(values, tmp_path):
    try:
        write_json(tmp_path / "a.json", values)
    except ValueError:
        assert "nan" in str(values).lower() or "inf" in str(values)
    else:
        assert read_preallocated(tmp_path / "a.json") == values
