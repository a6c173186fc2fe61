"""Sentences about the evidence for a halting policy: its guarantee, and its results on the calibration samples."""

import math

from ctm.checkpoint.metadata import PolicyRecord, RiskGuaranteeRecord


def describe_evidence(record: PolicyRecord) -> str:
    """Return the guarantee and the calibration results of a policy in sentences; empty if there are none."""
    sentences = []
    if record.tolerance is not None:
        cost = f"at most {format_points(record.tolerance)} of" if record.tolerance else "no"
        sentences.append(f"It uses the fewest ticks that lose {cost} accuracy.")
    if record.promise and record.n is not None:
        sentences.append(
            f"Stopping early loses at most {100 * record.promise.risk:.3g}% of answers, "
            f"{describe_confidence(record.promise)}, on data like the {record.n:,} calibration samples."
        )
    if record.accuracy is not None and record.mean_ticks is not None and record.n is not None:
        result = f"{format_accuracy(record.accuracy)} correct in {format_mean_ticks(record.mean_ticks)} on average"
        sentences.append(f"On {record.n:,} calibration samples: {result}.")
    return " ".join(sentences)


def format_accuracy(share: float) -> str:
    """Return a share as a percentage with one decimal, and with a second one where it would round up to 100%.

    `formatPercent` of the page does the same: "97.0%", "99.95%", "100.0%" only if all are correct.
    """
    return f"{math.floor(share * 1e4) / 100:.2f}%" if 0.9995 <= share < 1 else f"{share:.1%}"


def format_points(share: float) -> str:
    """Return a share in percentage points: "1 point", "0.5 points"."""
    points = f"{100 * share:.3g}"
    return f"{points} point{'' if points == '1' else 's'}"


def format_mean_ticks(mean: float) -> str:
    """Return a mean number of ticks: "1 tick", "4.1 ticks"."""
    ticks = format_mean(mean)
    return f"{ticks} tick{'' if ticks == '1' else 's'}"


def format_mean(mean: float) -> str:
    """Return a mean with one decimal; a whole number without it: "1", "4.1"."""
    return f"{mean:.1f}".removesuffix(".0")


def describe_confidence(guarantee: RiskGuaranteeRecord) -> str:
    """Return the confidence of a guarantee as a phrase; conformal risk control holds in expectation only."""
    return "on average" if guarantee.method == "crc" else f"with {100 * guarantee.confidence:.3g}% confidence"
