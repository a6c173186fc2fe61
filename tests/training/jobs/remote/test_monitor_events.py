"""Tests of events of remote runs: valid events reproduce the files of the run directory, invalid ones are ignored."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.training.jobs.remote_fixtures import (
    ENTRY_PATH,
    OUTBOX_ENTRY,
    REPO,
    hub,
    loopback_hub,
    scheduler,
    start_scheduler,
    submitted_job,
    wait_for_job,
)
from training.event_stream import EVENT_PREFIX, EVENT_STREAM_ENV, emit_event
from training.jobs.remote.events import apply_event
from training.publishing.outbox import Outbox, OutboxEntry
from training.run_dir import RunDir

__all__ = ["hub", "loopback_hub", "scheduler", "start_scheduler", "submitted_job"]


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
        f"{ENTRY_PATH} {{}}",
        f"{ENTRY_PATH} {json.dumps(OUTBOX_ENTRY | {'created': 2.5})}",
        f"{ENTRY_PATH} {json.dumps(OUTBOX_ENTRY | {'created': 'x'})}",
        f"{ENTRY_PATH} {json.dumps(OUTBOX_ENTRY | {'created': float('inf')})}",
        f"{ENTRY_PATH} {json.dumps(OUTBOX_ENTRY | {'id': '../../up'})}",
        f"{ENTRY_PATH} {json.dumps(OUTBOX_ENTRY | {'state': 'unknown'})}",
        f"outbox/../up/entry.json {json.dumps(OUTBOX_ENTRY)}",
        f"outbox/000000000001500-0123456789ab/checkpoint/config.json {json.dumps(OUTBOX_ENTRY)}",
    ],
)
def test_invalid_events_are_ignored(tmp_path, line):
    run_dir = RunDir(tmp_path / "runs" / "run")
    run_dir.path.mkdir(parents=True)
    apply_event(run_dir, line)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_events_reproduce_the_files_of_the_run(tmp_path, monkeypatch, capsys):
    """Every file in the event stream arrives unchanged, and an outbox entry can be read again."""
    monkeypatch.setenv(EVENT_STREAM_ENV, "1")
    remote_dir, local_dir = (RunDir(tmp_path / name) for name in ("remote", "local"))
    for run_dir in (remote_dir, local_dir):
        run_dir.path.mkdir()
    remote_dir.log_metrics({"step": 1, "loss": float("nan"), "words": "a\u2028b"})
    remote_dir.log_metrics({"step": 2})
    remote_dir.samples.append({"step": 2, "evaluation": 1, "samples": [{"title": "a\u2028b", "record": {"ticks": 1}}]})
    remote_dir.write_status("training", 2, 12, steps_per_second=3.5)
    remote_dir.write_outcome("disk", "Free some space.")
    outbox = Outbox(remote_dir.path)
    (remote_dir.path / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        (remote_dir.path / "checkpoint" / name).write_text("{}")
    outbox._update_entry(
        outbox.enqueue(remote_dir.path / "checkpoint", REPO, "title"), state="waiting", problem="unreachable"
    )
    for line in capsys.readouterr().out.split("\n"):
        assert not line or line.startswith(EVENT_PREFIX)
        apply_event(local_dir, line.removeprefix(EVENT_PREFIX))
    for name in ("status.json", "ending.json"):
        assert json.loads((local_dir.path / name).read_text()) == json.loads((remote_dir.path / name).read_text())
    assert local_dir.metrics_file.read_text() == remote_dir.metrics_file.read_text()
    assert local_dir.samples_file.read_bytes() == remote_dir.samples_file.read_bytes()
    assert Outbox(local_dir.path).entries() == outbox.entries() and isinstance(outbox.entries()[0], OutboxEntry)


def test_event_and_its_newline_are_printed_in_one_write(monkeypatch):
    """Another thread may print at any moment, and an event in the middle of another line is lost."""
    writes: list[str] = []
    monkeypatch.setenv(EVENT_STREAM_ENV, "1")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=writes.append, flush=lambda: None))
    emit_event("status.json", {"step": 1})
    assert [text for text in writes if text] == ['::ctm status.json {"step": 1}\n']


def test_long_log_lines_are_truncated(scheduler, submitted_job):
    job_id, hub_job = submitted_job
    hub_job.append_log("x" * 50_000, "short", f"not at the start {EVENT_PREFIX}metrics.jsonl {{}}")
    hub_job.finish("ERROR")
    wait_for_job(scheduler, job_id)
    lines = Path(scheduler.get_run_dir(job_id).log_file).read_text().split("\n")
    assert [len(line) for line in lines[:2]] == [10_000, 5] and len(lines) == 4
