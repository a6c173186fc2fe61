"""Tests of the load test: request plan, metrics, and a short run."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.load_metrics import LoadTestResult, compute_metrics, compute_percentiles, compute_ratios
from benchmarks.load_plan import SERVER_BUTTONS, build_plan, iterate_requests
from benchmarks.speed_tables import render_load
from ctm.checkpoint import load
from tests.paths import ROOT
from training.tasks import build_task
from ui.services.image_decoding import decode_image

CALLS = {name: {"fn_index": index, "trigger_id": 10 + index} for index, name in enumerate(SERVER_BUTTONS)}
USAGE_SAMPLE = {"time": 0.0, "cpu": 0.0, "peak_mib": 400.0, "threads": 5, "files": 9}


def make_request_sample(name: str, milliseconds: float, error: str | None = None, **context) -> dict:
    return {"name": name, "start_time": 0.0, "milliseconds": milliseconds, "error": error} | context


def make_result(*latencies_ms: float, **changes) -> LoadTestResult:
    """Return the result of a run with these latencies of requests, the first one incorrect, and one page load."""
    requests = [
        make_request_sample("thought", latency_ms, checkpoint="digits", is_correct=index > 0)
        for index, latency_ms in enumerate(latencies_ms)
    ]
    usage_samples = [USAGE_SAMPLE, USAGE_SAMPLE | {"time": 10.0, "cpu": 5.0, "peak_mib": 500.0, "threads": 7}]
    result = LoadTestResult(2, 10.0, 1.0, [*requests, make_request_sample("page", 30.0)], usage_samples)
    return replace(result, **changes)


def test_importing_the_load_test_does_not_import_gevent():
    imports = "import sys, benchmarks.load_test, benchmarks.render_results"
    code = f"{imports}; sys.exit(bool({{'gevent', 'locust'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", ["digits", "parity-16", "arithmetic"])
def test_requests_are_reproducible_and_accepted_by_the_task(name):
    requests, repeated_requests = ([*iterate_requests(name, CALLS)] for _ in range(2))
    assert requests == repeated_requests and len({request["value"] for request in requests}) > 100
    task = build_task(load(ROOT / "checkpoints" / name).task)
    for request in requests[:20]:
        value = request["value"]
        task_input = task.parse_input(decode_image(value) if value.startswith("data:") else value)
        answer = task.format_answer(task_input, [0] * task_input.positions)
        assert type(request["answer"]) is type(answer.value)
    fn_indices = {request["is_upload"]: request["fn_index"] for request in requests}
    assert fn_indices == ({False: 0, True: 1} if name == "digits" else {False: 2})


def test_an_unknown_checkpoint_is_rejected():
    with pytest.raises(SystemExit, match="no bundled checkpoint gone"):
        list(iterate_requests("gone", CALLS))


def test_plan_has_the_load_and_run_calls_of_the_page():
    config = {
        "components": [
            {"id": 0, "props": {"elem_id": "run-text"}},
            {"id": 1, "props": {"elem_id": "ask-server-sequence"}},
            {"id": 4, "props": {"elem_id": "ask-server-drawing"}},
            {"id": 5, "props": {"elem_id": "ask-server-upload"}},
            {"id": 2, "props": {"value": "a"}},
            {"id": 3, "props": {}},
        ],
        "dependencies": [
            {"id": 5, "targets": [[0, "load"]], "inputs": [3], "queue": False, "backend_fn": False},
            {"id": 6, "targets": [[0, "click"]], "inputs": [2], "queue": True, "backend_fn": False},
            {"id": 7, "targets": [[1, "click"], [2, "submit"]], "inputs": [2], "queue": True, "backend_fn": True},
            {"id": 8, "targets": [[0, "load"]], "inputs": [2, 3], "queue": False, "backend_fn": True},
            {"id": 9, "targets": [[4, "click"], [5, "click"]], "inputs": [2], "queue": True, "backend_fn": True},
        ],
    }
    plan = build_plan(config, ["parity-16"], [0, 1])
    assert plan["on_load"] == [{"fn_index": 8, "trigger_id": 0, "data": ["a", None], "queue": False}]
    assert {(request["fn_index"], request["trigger_id"]) for request in plan["requests"]} == {(7, 1)}
    assert json.loads(json.dumps(plan)) == plan
    with pytest.raises(SystemExit, match="none of the buttons ask-server-drawing, think-drawing"):
        build_plan({**config, "dependencies": config["dependencies"][:-1]}, ["parity-16"], [0, 1])


def test_percentiles_of_many_one_and_no_values():
    assert compute_percentiles([float(n) for n in range(101)]) == {
        "n": 101,
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
        "max": 100.0,
    }
    assert compute_percentiles([7.0]) == {"n": 1, "p50": 7.0, "p95": 7.0, "p99": 7.0, "max": 7.0}
    assert compute_percentiles([]) == {"n": 0}


def test_metrics_cover_the_requests_of_all_runs():
    failure = make_request_sample("thought", 9_000.0, "no answer", checkpoint="digits", is_correct=False)
    page_load = make_request_sample("page", 50.0)
    figures = compute_metrics([make_result(100.0, 200.0), make_result(300.0, request_samples=[failure, page_load])])
    assert figures["visitors"] == 2 and figures["seconds"] == 20.0 and figures["thoughts_per_second"] == 0.1
    assert figures["thought"]["n"] == 2 and figures["thought"]["max"] == 200.0 and figures["page"]["n"] == 2
    assert figures["right"] == figures["by_checkpoint"]["digits"]["right"] == 0.5
    assert figures["errors"] == {"thought: no answer": 1}
    server = {"cpu": 0.5, "peak_mib_before": 400.0, "peak_mib_after": 500.0, "threads": 7, "files": 9}
    assert figures["server"] == server | {"cpu_ms_per_thought": 5000.0} and figures["visitors_cpu"] == 0.1


def test_metrics_without_requests_are_zero_or_empty():
    figures = compute_metrics([make_result()])
    assert figures["thought"] == {"n": 0} and figures["right"] == 0.0 and figures["by_checkpoint"] == {}


def test_ratios_compare_batching_with_no_batching():
    rows = [
        {"batching": batching} | compute_metrics([make_result(*latencies_ms, visitors=visitors)])
        for batching, visitors, latencies_ms in [
            ("off", 1, [80.0]),
            ("off", 9, [200.0]),
            ("on", 1, [80.0]),
            ("on", 9, [100.0] * 2),
        ]
    ]
    single_visitor, many_visitors = compute_ratios(rows)
    assert set(single_visitor.values()) == {1.0}
    assert (
        many_visitors["visitors"] == 9 and many_visitors["thoughts_per_second"] == 2.0 and many_visitors["p95"] == 0.5
    )
    assert compute_ratios(rows[2:]) == []
    versions = [row | {"version": {"off": "baseline", "on": "current"}[row["batching"]]} for row in rows]
    assert compute_ratios(versions, "version", "baseline", "current") == compute_ratios(rows)


@pytest.mark.slow
def test_short_load_test_serves_all_visitors_without_errors(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    path = tmp_path / "benchmarks" / "load.json"
    command = [sys.executable, "-m", "benchmarks.load_test", "--visitors", "2", "--seconds", "3", "--json", str(path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    figures = json.loads(path.read_text("utf-8"))
    single_visitor, two_visitors = figures["rows"]
    assert (single_visitor["visitors"], two_visitors["visitors"], two_visitors["page"]["n"]) == (1, 2, 2)
    assert two_visitors["errors"] == {} and two_visitors["thought"]["n"] > 1 and two_visitors["right"] > 0.5
    table = render_load(figures)
    assert "| current | 2 | on |" in table and "0 errors" in table
