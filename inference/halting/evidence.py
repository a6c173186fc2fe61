"""Sentences about the evidence for a halting policy: its guarantee, and its results on the calibration samples."""

from ctm.checkpoint.metadata import PolicyRecord, RiskGuaranteeRecord


def describe_evidence(record: PolicyRecord) -> str:
    """Return the guarantee and the calibration results of a policy in sentences; empty if there are none."""
    sentences = []
    if record.tolerance is not None:
        cost = f"at most {100 * record.tolerance:.3g} points of" if record.tolerance else "no"
        sentences.append(f"It uses the fewest ticks that lose {cost} accuracy.")
    if record.promise and record.n is not None:
        sentences.append(
            f"Stopping early loses at most {100 * record.promise.risk:.3g}% of answers, "
            f"{describe_confidence(record.promise)}, on data like the {record.n:,} calibration samples."
        )
    if record.accuracy is not None and record.mean_ticks is not None and record.n is not None:
        result = f"{record.accuracy:.1%} correct in {record.mean_ticks:.1f} ticks on average"
        sentences.append(f"On {record.n:,} calibration samples: {result}.")
    return " ".join(sentences)


def describe_confidence(guarantee: RiskGuaranteeRecord) -> str:
    """Return the confidence of a guarantee as a phrase; conformal risk control holds in expectation only."""
    return "on average" if guarantee.method == "crc" else f"with {100 * guarantee.confidence:.3g}% confidence"
