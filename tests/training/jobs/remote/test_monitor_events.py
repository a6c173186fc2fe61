"""What a run elsewhere prints: its files arrive here as they are, and nothing else becomes one."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.training.jobs.remote_fixtures import ENTRY, OWN, REPO, app, here, hub, runner, sent, wait
from training.jobs.remote.monitor import apply_event
from training.publishing.outbox import Entry, Outbox
from training.run_dir import ECHO, ECHOED, RunFolder, echo

__all__ = ["app", "here", "hub", "runner", "sent"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "metrics.jsonl",
        "metrics.jsonl ",
        "metrics.jsonl {",
        'metrics.jsonl "text"',
        "metrics.jsonl [1]",
        "metrics.jsonl {}",
        'metrics.jsonl {"step": "3"}',
        'metrics.jsonl {"step": true}',
        "metrics.jsonl " + "[" * 100_000,
        'metrics.jsonl {"step": 1, "text": "' + "x" * 200_000 + '"}',
        'status.json {"phase": "x", "step": NaN, "steps": 1}',
        'status.json {"phase": "x", "step": 1, "steps": 1, "speed": NaN}',
        'status.json {"phase": [], "step": 1, "steps": 2}',
        'ending.json {"reason": "finished"}',
        'config.yaml {"step": 1}',
        'log.txt {"step": 1}',
        'lock {"step": 1}',
        '../metrics.jsonl {"step": 1}',
        '/etc/metrics.jsonl {"step": 1}',
        'checkpoint/metrics.jsonl {"step": 1}',
        'metrics.jsonl\u2028 {"step": 1}',
        'metrics.jsonl\n {"step": 1}',
        f"{OWN} {{}}",
        f"{OWN} {json.dumps(ENTRY | {'created': 2.5})}",
        f"{OWN} {json.dumps(ENTRY | {'created': 'x'})}",
        f"{OWN} {json.dumps(ENTRY | {'created': float('inf')})}",
        f"{OWN} {json.dumps(ENTRY | {'id': '../../up'})}",
        f"{OWN} {json.dumps(ENTRY | {'state': 'sunny'})}",
        f"outbox/../up/entry.json {json.dumps(ENTRY)}",
        f"outbox/000000000001500-0123456789ab/checkpoint/config.json {json.dumps(ENTRY)}",
    ],
)
def test_lines_that_no_run_prints_are_passed_over(tmp_path, line):
    folder = RunFolder(tmp_path / "runs" / "run")
    folder.path.mkdir(parents=True)
    apply_event(folder, line)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_run_prints_is_what_it_wrote(tmp_path, monkeypatch, capsys):
    """Every file of a run folder that is echoed arrives as it is; an entry of an outbox can be read again."""
    monkeypatch.setenv(ECHO, "1")
    there, here = (RunFolder(tmp_path / name) for name in ("there", "here"))
    for folder in (there, here):
        folder.path.mkdir()
    there.log({"step": 1, "loss": float("nan"), "words": "a\u2028b"})
    there.log({"step": 2})
    there.say("training", 2, 12, steps_per_second=3.5)
    there.note_ending("disk", "Make room.")
    outbox = Outbox(there.path)
    (there.path / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        (there.path / "checkpoint" / name).write_text("{}")
    outbox._note(outbox.put(there.path / "checkpoint", REPO, "title"), state="waiting", problem="away")
    for line in capsys.readouterr().out.split("\n"):
        assert not line or line.startswith(ECHOED)
        apply_event(here, line.removeprefix(ECHOED))
    for name in ("status.json", "ending.json"):
        assert json.loads((here.path / name).read_text()) == json.loads((there.path / name).read_text())
    assert here.metrics.read_text() == there.metrics.read_text()
    assert Outbox(here.path).entries() == outbox.entries() and isinstance(outbox.entries()[0], Entry)


def test_a_line_and_its_end_are_printed_in_one_piece(monkeypatch):
    """Another thread of the same program may print at any moment, and a line that begins in another one is lost."""
    written: list[str] = []
    monkeypatch.setenv(ECHO, "1")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=written.append, flush=lambda: None))
    echo("status.json", {"step": 1})
    assert [text for text in written if text] == ['::ctm status.json {"step": 1}\n']


def test_a_log_is_kept_line_by_line_however_long(runner, sent):
    id, there = sent
    there.say("x" * 50_000, "short", f"not at the start {ECHOED}metrics.jsonl {{}}")
    there.finish("ERROR")
    wait(runner, id)
    lines = Path(runner.get_run_dir(id).log_file).read_text().split("\n")
    assert [len(line) for line in lines[:2]] == [10_000, 5] and len(lines) == 4
