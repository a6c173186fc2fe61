"""Metrics of the load test."""

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoadTestResult:
    """Requests of the visitors, and the server's usage while all of them were active.

    Attributes:
        visitors: number of visitors.
        seconds: duration, in seconds.
        visitors_cpu_s: CPU time of the visitors themselves, in seconds.
        request_samples: one entry per request, see `benchmarks.locustfile.record_request`.
        usage_samples: usage of the server over time, see `benchmarks.load_test.sample_usage`.
    """

    visitors: int
    seconds: float
    visitors_cpu_s: float
    request_samples: list[dict[str, Any]]
    usage_samples: list[dict[str, float]]


def compute_percentiles(values: list[float]) -> dict[str, float]:
    """Return the count, percentiles and the maximum."""
    if not values:
        return {"n": 0}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    percentiles = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}
    return {"n": len(values)} | {name: round(value, 1) for name, value in percentiles.items()}


def compute_metrics(results: list[LoadTestResult]) -> dict[str, Any]:
    """Return the metrics of runs with equally many visitors; latencies in milliseconds."""
    seconds = sum(result.seconds for result in results)
    samples = [sample for result in results for sample in result.request_samples]
    successes = [sample for sample in samples if not sample["error"]]
    answers = [sample for sample in successes if sample["name"] == "thought"]
    page_loads = [sample for sample in successes if sample["name"] == "page"]
    names = sorted({answer["checkpoint"] for answer in answers})
    server = summarise_usage([result.usage_samples for result in results])
    return {
        "visitors": results[0].visitors,
        "seconds": round(seconds, 1),
        "thoughts_per_second": round(len(answers) / seconds, 2),
        "thought": compute_percentiles([answer["milliseconds"] for answer in answers]),
        "right": compute_accuracy(answers),
        "by_checkpoint": {
            name: compute_checkpoint_metrics([answer for answer in answers if answer["checkpoint"] == name])
            for name in names
        },
        "page": compute_percentiles([sample["milliseconds"] for sample in page_loads]),
        "errors": dict(Counter(f"{sample['name']}: {sample['error']}" for sample in samples if sample["error"])),
        "server": server | {"cpu_ms_per_thought": round(server["cpu"] * seconds / max(1, len(answers)) * 1e3, 1)},
        "visitors_cpu": round(sum(result.visitors_cpu_s for result in results) / seconds, 2),
    }


def compute_checkpoint_metrics(answers: list[dict[str, Any]]) -> dict[str, float]:
    """Return the latency percentiles and the accuracy of one checkpoint."""
    return compute_percentiles([answer["milliseconds"] for answer in answers]) | {"right": compute_accuracy(answers)}


def compute_accuracy(answers: list[dict[str, Any]]) -> float:
    """Return the share of correct answers; answers sent to the wrong visitor would lower it."""
    return round(sum(answer["is_correct"] for answer in answers) / max(1, len(answers)), 4)


def summarise_usage(samples_by_run: list[list[dict[str, float]]]) -> dict[str, float]:
    """Return the mean number of CPUs, the peak memory (MiB) before and after, and the most threads and open files."""
    all_samples = [sample for samples in samples_by_run for sample in samples]
    cpu_seconds, seconds = (
        sum(samples[-1][name] - samples[0][name] for samples in samples_by_run) for name in ("cpu", "time")
    )
    return {
        "cpu": round(cpu_seconds / seconds, 2),
        "peak_mib_before": round(max(samples[0]["peak_mib"] for samples in samples_by_run), 1),
        "peak_mib_after": round(max(samples[-1]["peak_mib"] for samples in samples_by_run), 1),
        "threads": max(sample["threads"] for sample in all_samples),
        "files": max(sample["files"] for sample in all_samples),
    }


def compute_ratios(
    rows: list[dict[str, Any]], key: str = "batching", base: str = "off", other: str = "on"
) -> list[dict[str, float]]:
    """Return for each number of visitors the ratio of the other side to the base.

    Higher is better for the answers per second, lower for the latencies.

    Args:
        rows: metrics of both sides.
        key: key of the rows that tells the sides apart.
        base: its value for the base.
        other: its value for the other side.
    """
    base_rows = {row["visitors"]: row for row in rows if row[key] == base}
    other_rows = {row["visitors"]: row for row in rows if row[key] == other}
    pairs = [(base_rows[visitors], row) for visitors, row in other_rows.items() if visitors in base_rows]
    return [
        {
            "visitors": row["visitors"],
            "thoughts_per_second": row["thoughts_per_second"] / base_row["thoughts_per_second"],
        }
        | {name: row["thought"][name] / base_row["thought"][name] for name in ("p50", "p95", "p99", "max")}
        for base_row, row in pairs
        if base_row["thought"]["n"] and row["thought"]["n"]
    ]
