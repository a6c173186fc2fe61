"""Accuracy and ticks to expect of a threshold, from the Pareto frontiers of a checkpoint."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ctm.checkpoint.metadata import HaltingMetadata

FRONTIER_PREFIXES = {"energy": "energy<", "certainty": "certainty>", "certainty.min": "certainty.min>"}


@dataclass(frozen=True)
class EstimatedResult:
    """What a halting policy reaches on samples like those of the frontier.

    Attributes:
        accuracy: Share of correct answers, 0 to 1.
        mean_ticks: Mean number of ticks.
        n: Number of samples behind the estimate.
        split: Split of these samples.
    """

    accuracy: float
    mean_ticks: float
    n: int
    split: str

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON data, rounded."""
        return asdict(self) | {"accuracy": round(self.accuracy, 4), "mean_ticks": round(self.mean_ticks, 2)}


def estimate_result(halting: HaltingMetadata, policy: str) -> EstimatedResult | None:
    """Estimate the accuracy and the mean number of ticks of a policy.

    A policy of the checkpoint was measured. For another threshold of energy or certainty, the estimate is interpolated between
    points of the frontier; beyond its ends, the nearest point counts.

    Args:
        halting: Content of `halting.json`.
        policy: Halting policy as text.

    Returns:
        The estimate; None if the policy is no single threshold, or if the checkpoint has no frontier.
    """
    frontiers = halting.frontiers
    for record in halting.policies.values():
        if record.policy == policy and record.accuracy is not None and record.mean_ticks is not None and record.n:
            split = frontiers.split if frontiers else "calibration"
            return EstimatedResult(record.accuracy, record.mean_ticks, record.n, split)
    if frontiers is None:
        return None
    for name, prefix in FRONTIER_PREFIXES.items():
        if policy.startswith(prefix) and frontiers.rules.get(name):
            return _interpolate(frontiers.rules[name], policy.removeprefix(prefix), frontiers.n, frontiers.split)
    return None


def _interpolate(points: Any, threshold: str, n: int, split: str) -> EstimatedResult | None:
    """Interpolate between points of a frontier (mean ticks, accuracy, threshold); None if the threshold is no number."""
    try:
        level = float(threshold)
    except ValueError:  # such as "0.9&ticks=5"
        return None
    ticks, accuracy, levels = np.array(sorted(points, key=lambda point: point[2]), dtype=float).T
    return EstimatedResult(float(np.interp(level, levels, accuracy)), float(np.interp(level, levels, ticks)), n, split)
