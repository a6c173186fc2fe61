"""Tests of the load of visitors whose browsers compute: cache, metrics, and a short run."""

import json
import subprocess
import sys

import pytest

from benchmarks.browser_visit_metrics import compute_visit_metrics, render_browser_visits
from benchmarks.http_cache import HTTPCache
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("headers", "request_headers"),
    [
        ({"Cache-Control": "public, max-age=31536000, immutable"}, None),
        ({"Cache-Control": "public, max-age=31536000", "ETag": '"a"'}, None),
        ({"ETag": '"a"'}, {"If-None-Match": '"a"'}),
        ({"Cache-Control": "no-cache", "ETag": '"a"'}, {"If-None-Match": '"a"'}),
        ({"Cache-Control": "no-cache, max-age=31536000", "ETag": '"a"'}, {"If-None-Match": '"a"'}),
        ({"Cache-Control": "max-age=60"}, {}),
        ({"Cache-Control": "no-store", "ETag": '"a"'}, {}),
        ({}, {}),
    ],
)
def test_the_cache_keeps_what_the_headers_permit(headers, request_headers):
    cache = HTTPCache()
    assert cache.get_request_headers("/x") == {}
    cache.store("/x", headers)
    assert cache.get_request_headers("/x") == request_headers
    assert cache.get_request_headers("/y") == {}


def make_sample(
    name: str, milliseconds: float, visit: str | None = None, size: int = 0, error: str | None = None
) -> dict:
    context = {"visit": visit} if visit else {}
    return {"name": name, "start_time": 0.0, "milliseconds": milliseconds, "error": error, "bytes": size} | context


def test_processor_time_is_divided_among_pages_and_predictions_of_each_phase():
    phases = {"open first": [0, 10], "predict first": [10, 30], "open later": [30, 40], "predict later": [40, 60]}
    usage = [
        {"time": time, "cpu": cpu, "peak_mib": 100.0, "threads": 1, "files": 1}
        for time, cpu in ((0, 1.0), (10, 5.0), (30, 5.1), (40, 6.1), (60, 6.1))
    ]
    samples = [
        make_sample("page", 20.0, "first", 500_000),
        make_sample("model", 40.0, "first", 1_500_000),
        make_sample("page", 10.0, "later", 300_000),
        make_sample("queue/join", 30.0),
        make_sample("asset", 1.0, "later", error="503"),
    ]
    results = {
        "start_time": 0,
        "end_time": 60,
        "finished": 2,
        "thoughts": 20,
        "cpu_s": 3.0,
        "samples": samples,
        "phases": phases,
    }
    figures = compute_visit_metrics(results, usage)
    cpu_ms = {"open first": 2000.0, "predict first": 10.0, "open later": 500.0, "predict later": 0.0}
    assert figures["server_cpu_ms"] == pytest.approx(cpu_ms)
    assert figures["server_cpu_ms_per_prediction_with_page"] == 255.0
    assert figures["answers"]["n"] == 4 and figures["answers"]["max"] == 40.0
    assert figures["visits"]["first"] == {"requests": 1.0, "megabytes": 1.0, "model_megabytes": 0.75}
    assert figures["visits"]["later"] == {"requests": 1.0, "megabytes": 0.15, "model_megabytes": 0.0}
    assert figures["errors"] == {"asset: 503": 1}


@pytest.mark.slow
@pytest.mark.browser
def test_a_short_run_loads_the_model_once_for_each_visitor(tmp_path):
    path = tmp_path / "visits.json"
    command = [sys.executable, "-m", "benchmarks.browser_visits", "--visitors", "3", "--predictions", "2"]
    command += ["--pause", "0.1", "0.2", "--spawn-rate", "3", "--json", str(path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert process.returncode == 0, process.stdout + process.stderr
    figures = json.loads(path.read_text("utf-8"))
    assert figures["predictions"] == 12 and figures["errors"] == {}
    assert figures["answers_by_kind"]["model"]["n"] == 3 * figures["recorded"]["model"]
    assert figures["visits"]["first"]["model_megabytes"] > 0.5 and figures["visits"]["later"]["model_megabytes"] == 0
    assert "3 visitors, two visits with 2 predictions each" in render_browser_visits(figures)
