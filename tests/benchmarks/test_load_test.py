"""The load test: inputs of its visitors, metrics of requests, and a short run."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks import render_results
from benchmarks.load_plan import build_plan, iterate_inputs
from benchmarks.load_test import LoadTestResult, compute_metrics, compute_percentiles, compute_ratios
from ctm.checkpoint import load
from tests.paths import ROOT
from training.tasks import build_task
from ui.services.image_decoding import decode_image

EVENT_BY_BUTTON = {
    name: {"fn_index": n, "trigger_id": 10 + n}
    for n, name in enumerate(["think-drawing", "think-upload", "think-text"])
}
PROCESS_SAMPLE = {"at": 0.0, "cpu": 0.0, "peak_mib": 400.0, "threads": 5, "files": 9}


def make_request_sample(name: str, milliseconds: float, error: str | None = None, **more) -> dict:
    return {"name": name, "began": 0.0, "milliseconds": milliseconds, "error": error} | more


def make_visit_results(*milliseconds: float, **more) -> LoadTestResult:
    """Return results with requests of these latencies, the first one incorrect, and one page load."""
    thoughts = [
        make_request_sample("thought", each, checkpoint="digits", right=n > 0) for n, each in enumerate(milliseconds)
    ]
    looks = [PROCESS_SAMPLE, PROCESS_SAMPLE | {"at": 10.0, "cpu": 5.0, "peak_mib": 500.0, "threads": 7}]
    return replace(LoadTestResult(2, 10.0, 1.0, [*thoughts, make_request_sample("page", 30.0)], looks), **more)


def test_importing_it_patches_nothing():
    imports = "import sys, benchmarks.load_test, benchmarks.render_results"
    code = f"{imports}; sys.exit(bool({{'gevent', 'locust'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", ["digits", "parity-16", "arithmetic"])
def test_visitors_give_what_can_be_read(name):
    things, again = ([*iterate_inputs(name, EVENT_BY_BUTTON)] for _ in range(2))
    assert things == again and len({thing["given"] for thing in things}) > 100
    task = build_task(load(ROOT / "checkpoints" / name).task)
    for thing in things[:20]:
        given = thing["given"]
        read = task.parse_input(decode_image(given) if given.startswith("data:") else given)
        assert type(thing["answer"]) is type(task.format_answer(read, [0] * read.positions).value)
    uploaded = {thing["upload"]: thing["fn_index"] for thing in things}
    assert uploaded == ({False: 0, True: 1} if name == "digits" else {False: 2})


def test_an_unknown_checkpoint_is_reported():
    with pytest.raises(SystemExit, match="no bundled checkpoint gone"):
        list(iterate_inputs("gone", EVENT_BY_BUTTON))


def test_the_plan_names_the_endpoints_of_the_page():
    config = {
        "components": [
            {"id": 1, "props": {"elem_id": "think-text"}},
            {"id": 2, "props": {"value": "a"}},
            {"id": 3, "props": {}},
        ],
        "dependencies": [
            {"id": 7, "targets": [[1, "click"], [2, "submit"]], "inputs": [2], "queue": True},
            {"id": 8, "targets": [[0, "load"]], "inputs": [2, 3], "queue": False},
        ],
    }
    plan = build_plan(config, ["parity-16"], [0, 1])
    assert plan["on_load"] == [{"fn_index": 8, "trigger_id": 0, "data": ["a", None], "queue": False}]
    assert {(thing["fn_index"], thing["trigger_id"]) for thing in plan["things"]} == {(7, 1)}
    assert json.loads(json.dumps(plan)) == plan


def test_percentiles():
    assert compute_percentiles([float(n) for n in range(101)]) == {
        "n": 101,
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
        "max": 100.0,
    }
    assert compute_percentiles([7.0]) == {"n": 1, "p50": 7.0, "p95": 7.0, "p99": 7.0, "max": 7.0}
    assert compute_percentiles([]) == {"n": 0}


def test_visits_are_summarised_over_all_visitors():
    failed = make_request_sample("thought", 9_000.0, "no answer", checkpoint="digits", right=False)
    figures = compute_metrics(
        [
            make_visit_results(100.0, 200.0),
            make_visit_results(300.0, request_samples=[failed, make_request_sample("page", 50.0)]),
        ]
    )
    assert figures["visitors"] == 2 and figures["seconds"] == 20.0 and figures["thoughts_per_second"] == 0.1
    assert figures["thought"]["n"] == 2 and figures["thought"]["max"] == 200.0 and figures["page"]["n"] == 2
    assert figures["right"] == figures["by_checkpoint"]["digits"]["right"] == 0.5
    assert figures["errors"] == {"thought: no answer": 1}
    server = {"cpu": 0.5, "peak_mib_before": 400.0, "peak_mib_after": 500.0, "threads": 7, "files": 9}
    assert figures["server"] == server | {"cpu_ms_per_thought": 5000.0} and figures["visitors_cpu"] == 0.1


def test_visitors_without_an_answer_are_reported_too():
    figures = compute_metrics([make_visit_results()])
    assert figures["thought"] == {"n": 0} and figures["right"] == 0.0 and figures["by_checkpoint"] == {}


def test_batching_is_reported_relative_to_no_batching():
    rows = [
        {"batching": turn} | compute_metrics([make_visit_results(*times, visitors=visitors)])
        for turn, visitors, times in [
            ("off", 1, [80.0]),
            ("off", 9, [200.0]),
            ("on", 1, [80.0]),
            ("on", 9, [100.0] * 2),
        ]
    ]
    alone, together = compute_ratios(rows)
    assert set(alone.values()) == {1.0}
    assert together["visitors"] == 9 and together["thoughts_per_second"] == 2.0 and together["p95"] == 0.5
    assert compute_ratios(rows[2:]) == []


@pytest.mark.slow
def test_visitors_are_served_without_an_error(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    path = tmp_path / "benchmarks" / "load.json"
    command = [sys.executable, "-m", "benchmarks.load_test", "--visitors", "2", "--seconds", "3", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text("utf-8"))
    alone, together = figures["rows"]
    assert (alone["visitors"], together["visitors"], together["page"]["n"]) == (1, 2, 2)
    assert together["errors"] == {} and together["thought"]["n"] > 1 and together["right"] > 0.5
    monkeypatch.setattr(render_results, "ROOT", tmp_path)
    assert "| 2 | on |" in render_results.build_load_table() and "0 errors" in render_results.build_load_table()
