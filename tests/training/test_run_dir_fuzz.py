"""Fuzz tests of the files of a run directory: truncated, edited or other files are read in part, or rejected."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ctm.io.json_files import write_json
from ctm.io.preallocated import PREALLOCATED_BYTES, preallocate, read_preallocated, write_preallocated
from tests.strategies import (
    are_sentences,
    json_objects,
    json_values,
    mutate_bytes,
    mutate_json,
    reduce_examples,
    try_read,
)
from tests.training.test_config_fuzz import TINY
from training.config import RunConfig
from training.publishing.outbox import Outbox, OutboxEntry, get_entry_dir_name
from training.run_dir import RunDir

STATUS = {"phase": "training", "step": 4, "steps": 12, "time": 1.5, "steps_per_second": 3.5}
LINES = [{"step": 2, "text": "\u2028"}, {"step": 4, "validation_accuracy": 0.25}, {"step": 6, "loss": math.nan}]
LINES_JSON = [json.dumps(line).encode() for line in LINES]
OUTCOME = {"reason": "finished", "sentence": "All 12 steps are done.", "time": 1.5}
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
ODD_FILES = (b"", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{\x00}\x00", b"9" * 5_000, b"null", b"5")
raw = st.binary(max_size=40) | st.sampled_from(ODD_FILES)


def mutate_file(text: str) -> st.SearchStrategy[bytes]:
    """Return a strategy for damaged text files of a run, and for other files."""
    return mutate_bytes(st.just(text.encode())) | raw


def mutate_run_json(values: Any) -> st.SearchStrategy[bytes]:
    """Return a strategy for edited or damaged JSON files of a run."""
    return mutate_json(values).map(lambda value: json.dumps(value).encode()) | mutate_file(json.dumps(values))


def read_file(path: Path, content: bytes, read: Callable[[], Any]) -> Any:
    """Write a file and read it with `read`; return None if it is rejected."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return try_read(read)


@given(content=mutate_run_json(STATUS))
@example(content=b'{"step": "4", "steps": 12}')
@example(content=b'{"step": 1e999}')
@example(content=b'{"step": true}')
def test_status_has_integer_steps_or_is_rejected(content, tmp_path):
    status = read_file(tmp_path / "status.json", content, RunDir(tmp_path).read_status)
    assert status is None or type(status.get("step", 0)) is type(status.get("steps", 0)) is int


@given(content=st.lists(mutate_run_json(LINES[0]) | st.sampled_from(LINES_JSON), max_size=5).map(b"\n".join))
@example(content=b'5\n[1]\n"step"\nnull\n{"step": "x"}\n{"loss": 1}\n{"step": true}\n')
@example(content=b'{"step": 2}\n\xff\xfe\n{"step": 4}\n{"step": 6, "lo')
@example(content=b'{"step": 2}\n' + b"[" * 100_000 + b'\n{"step": 4}')
def test_metrics_are_dicts_with_an_integer_step(content, tmp_path):
    run_dir = RunDir(tmp_path)
    lines = read_file(run_dir.metrics_file, content, run_dir.read_metrics)
    assert lines is not None and all(type(line["step"]) is int for line in lines)
    assert len(lines) >= sum(line in LINES_JSON for line in content.split(b"\n")), "no complete line is lost"
    assert isinstance(run_dir.read_latest_validation(), dict)
    run_dir.truncate_metrics(4)
    assert list(map(str, run_dir.read_metrics())) == [str(line) for line in lines if line["step"] <= 4]


@given(content=mutate_run_json(OUTCOME))
def test_outcome_is_a_dict(content, tmp_path):
    assert isinstance(read_file(tmp_path / "ending.json", content, RunDir(tmp_path).read_outcome), dict)


@given(st.text() | st.sampled_from(["x" * 20_000, "\U0001f9e0" * 2_000, "\x00" * 3_000]))
def test_outcome_of_any_length_is_stored_completely(tmp_path_factory, sentence):
    run_dir = RunDir(tmp_path_factory.mktemp("run"))
    run_dir.reset_outcome()
    run_dir.write_outcome("refused", sentence)
    assert run_dir.read_outcome()["sentence"] == " ".join(sentence.split())


def test_writing_a_preallocated_file_removes_its_old_content(tmp_path):
    path = tmp_path / "a.json"
    preallocate(path)
    write_preallocated(path, {"a": "x" * 10_000})
    write_preallocated(path, {"b": 1})
    assert read_preallocated(path) == {"b": 1} and path.stat().st_size == PREALLOCATED_BYTES


@given(content=mutate_run_json({"init_from": "hub:alice/x@main"}))
def test_origin_is_a_string_or_none_or_rejected(content, tmp_path):
    assert isinstance(read_file(tmp_path / "origin.json", content, RunDir(tmp_path).read_origin), str | None)


@given(content=st.binary(max_size=40))
def test_command_is_a_string(content, tmp_path):
    assert isinstance(read_file(tmp_path / "command.txt", content, RunDir(tmp_path).read_command), str)


@given(content=mutate_file(yaml.safe_dump(TINY)))
@example(content=b"a: &a [x]\nb: [*a]\n")
@example(content=b"!!int ''")
@example(content=b"!!timestamp never")
@example(content=b"? " * 5_000)
@reduce_examples(2)
def test_settings_are_valid_or_rejected(content, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    config = try_read(RunDir(tmp_path).load_config, are_sentences)
    assert config is None or isinstance(config, RunConfig)


@pytest.mark.parametrize("name", ["1", "00000004", "4\u00b2", "\u0664", "4a", "-4", "4.0", "9" * 200])
def test_only_decimal_directory_names_are_steps(name, tmp_path):
    run_dir = RunDir(tmp_path)
    (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (run_dir.trainer_state_dir(4)).mkdir(parents=True)
    (run_dir.trainer_state_dir(4) / "progress.pt").write_bytes(b"")
    assert run_dir.list_steps() == ([4] if name == "00000004" else [])


# --- outbox ----------------------------------------------------------------------------------------------------------


def write_outbox(run: Path, content: bytes, entry_path: str = get_entry_dir_name(OutboxEntry(**ENTRY))) -> Outbox:
    """Write an outbox with a valid entry, and with an entry of this content."""
    good = json.dumps(ENTRY | {"id": "good", "created": 9.0}).encode()
    for name, text in ((entry_path, content), ("000000000009000-good", good)):
        (run / "outbox" / name / "checkpoint").mkdir(parents=True, exist_ok=True)
        (run / "outbox" / name / "entry.json").write_bytes(text)
    return Outbox(run, lambda: 0.0)


@given(content=mutate_run_json(ENTRY))
@example(content=json.dumps(ENTRY | {"id": "../../../up"}).encode())
@example(content=json.dumps(ENTRY | {"created": 1e400}).encode())
@example(content=json.dumps(ENTRY | {"created": float("nan")}).encode())
@example(content=json.dumps(ENTRY | {"state": "unknown"}).encode())
@example(content=json.dumps(ENTRY | {"tries": []}).encode())
@example(content=json.dumps(ENTRY | {"added": "later"}).encode())
@example(content=b'{"id": 3}')
@example(content=b"[]")
def test_invalid_outbox_entry_does_not_hide_the_others(content, tmp_path):
    outbox = write_outbox(tmp_path, content)
    entries = outbox.entries()
    assert entries[-1].id == "good" and len(entries) <= 2
    for entry in entries:
        assert (outbox.path / get_entry_dir_name(entry)).resolve().parent == outbox.path.resolve()
        assert entry.format_status() and entry.commit_message
    assert outbox.seconds_until_due() is not None


def test_abandoning_entries_deletes_nothing_outside_the_outbox(tmp_path):
    """The id of an entry could name a directory outside of the outbox."""
    outside = tmp_path / "up" / "checkpoint"
    outside.mkdir(parents=True)
    outbox = write_outbox(tmp_path / "run", json.dumps(ENTRY | {"id": "/../../../up"}).encode())
    (outbox.path / "000000000001500-").mkdir()
    outbox.abandon_pending("No more.")
    assert outside.is_dir() and [entry.state for entry in outbox.entries()] == ["given up"]


@given(values=json_objects | json_values.map(lambda value: {"a": value}))
def test_json_is_read_as_written(values, tmp_path):
    try:
        write_json(tmp_path / "a.json", values)
    except ValueError:
        assert "nan" in str(values).lower() or "inf" in str(values)
    else:
        assert read_preallocated(tmp_path / "a.json") == values
