"""Metrics of visitors whose browsers compute, from what `benchmarks.browser_visits` records."""

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.load_metrics import compute_percentiles, summarise_usage

ANSWER_NAMES = ("page", "asset", "model", "heartbeat", "run/predict", "queue/join", "queue/data")
VISIT_KINDS = ("first", "later")


def compute_visit_metrics(results: dict[str, Any], usage_samples: list[dict[str, float]]) -> dict[str, Any]:
    """Compute the metrics.

    Args:
        results: content of the file that `benchmarks.locustfile` writes.
        usage_samples: usage of the server.

    Returns:
        Number of predictions; processor time of the server by phase, for each opened page and each prediction, in milliseconds;
        percentiles of its answers, of all and by kind, in milliseconds; requests and bytes of a visit; usage of the server.
    """
    start_time, end_time = results["start_time"], results["end_time"]
    visitors = results["finished"]
    predictions = results["thoughts"] / len(VISIT_KINDS)  # of all visitors in a phase
    cpu_ms = {
        name: 1e3 * compute_cpu_s(usage_samples, *span) / (visitors if name.startswith("open") else predictions)
        for name, span in results["phases"].items()
    }
    samples = results["samples"]
    successes = [sample for sample in samples if not sample["error"]]
    return {
        "seconds": round(end_time - start_time, 1),
        "predictions": results["thoughts"],
        "server_cpu_ms": {name: round(value, 3) for name, value in cpu_ms.items()},
        "server_cpu_ms_per_prediction_with_page": round(
            1e3 * compute_cpu_s(usage_samples, start_time, end_time) / results["thoughts"], 3
        ),
        "answers": compute_percentiles([sample["milliseconds"] for sample in successes]),
        "answers_by_kind": {
            name: compute_percentiles([sample["milliseconds"] for sample in successes if sample["name"] == name])
            for name in ANSWER_NAMES
        },
        "visits": {kind: summarise_visits(samples, kind, visitors) for kind in VISIT_KINDS},
        "server": summarise_usage([usage_samples]),
        "visitors_cpu": round(results["cpu_s"] / (end_time - start_time), 2),
        "errors": dict(Counter(f"{sample['name']}: {sample['error']}" for sample in samples if sample["error"])),
    }


def compute_cpu_s(usage_samples: list[dict[str, float]], start_time: float, end_time: float) -> float:
    """Return the processor time of the server between two times, in seconds, interpolated between samples."""
    times, cpu_seconds = ([sample[name] for sample in usage_samples] for name in ("time", "cpu"))
    return float(np.interp(end_time, times, cpu_seconds) - np.interp(start_time, times, cpu_seconds))


def summarise_visits(samples: list[dict[str, Any]], kind: str, visitors: int) -> dict[str, float]:
    """Return the mean number of requests for files, and of megabytes, that a visitor sends in all visits of one kind."""
    visit_samples = [sample for sample in samples if sample.get("visit") == kind]
    return {
        "requests": round(len(visit_samples) / visitors, 1),
        "megabytes": round(sum(sample["bytes"] for sample in visit_samples) / visitors / 1e6, 3),
        "model_megabytes": round(
            sum(sample["bytes"] for sample in visit_samples if sample["name"] == "model") / visitors / 1e6, 3
        ),
    }


def render_browser_visits(figures: dict[str, Any]) -> str:
    """Render the metrics as Markdown."""
    answers, server, first, later = (
        figures["answers"],
        figures["server"],
        *(figures["visits"][kind] for kind in VISIT_KINDS),
    )
    cpu_ms = figures["server_cpu_ms"]
    pause = " to ".join(f"{seconds:g}" for seconds in figures["pause"])
    lines = [
        "| measured | value |",
        "|---|---|",
        f"| processor time of the server per prediction, page open | {cpu_ms['predict first']:.2f} ms; later visit "
        f"{cpu_ms['predict later']:.2f} ms |",
        f"| processor time of the server per opened page | {cpu_ms['open first']:,.0f} ms; later visit "
        f"{cpu_ms['open later']:,.0f} ms |",
        f"| page and predictions, per prediction | {figures['server_cpu_ms_per_prediction_with_page']:.1f} ms |",
        f"| answers of the server, p50 / p95 / p99 | {answers['p50']:,.0f} / {answers['p95']:,.0f} / {answers['p99']:,.0f} ms |",
        f"| page, p50 / p95 | {figures['answers_by_kind']['page']['p50']:,.0f} / {figures['answers_by_kind']['page']['p95']:,.0f} ms |",
        f"| first visit: requests, bytes | {first['requests']:g}, {first['megabytes']:.2f} MB, of which the model "
        f"{first['model_megabytes']:.2f} MB |",
        f"| later visit: requests, bytes | {later['requests']:g}, {later['megabytes']:.2f} MB, of which the model "
        f"{later['model_megabytes']:.2f} MB |",
        f"| processors that the server uses | {server['cpu']:.2f} |",
        f"| peak memory of the server | {server['peak_mib_after']:,.0f} MiB |",
        "",
        f"`{figures['command']}`: {figures['visitors']} visitors, two visits with {figures['predictions_each']} predictions each, "
        f"{pause} seconds apart, {figures['spawn_rate']:g} visitors per second open the page; {sum(figures['errors'].values())} "
        "errors. A visitor is an HTTP client that sends the requests of Chromium; predictions are waited for, not computed. Measured "
        f"{figures['date']} on {figures['hardware']['processor']}, {figures['hardware']['cores']} cores, which the visitors share "
        "with the server.",
    ]
    return "\n".join(lines)
