"""Metrics of a halting policy on one model, and their uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inference.halting.frontier import Frontier, OperatingPoints
from training.metrics import spearman_correlation

ACCURACY_SLACK = 0.005  # ticks are compared at the accuracy of the best fixed tick less this
TICK_COSTS = (0.002, 0.005, 0.01, 0.02)  # cost of one tick, in units of accuracy
NUM_BOOTSTRAP_DRAWS = 1_000


@dataclass(frozen=True)
class HaltingMetrics:
    """Reference data for the metrics of all policies of a model, on the same samples.

    Attributes:
        correct: whether the answer of each sample is correct at every tick.
        difficulty: difficulty of each sample.
    """

    correct: Bool[Tensor, "n T"]
    difficulty: Int[Tensor, " n"]

    @property
    def budget(self) -> int:
        """Number of ticks."""
        return self.correct.size(1)

    @property
    def target_accuracy(self) -> float:
        """Accuracy of the best fixed tick less `ACCURACY_SLACK`."""
        return self.correct.double().mean(0).max().item() - ACCURACY_SLACK

    def compute(self, operating_points: OperatingPoints, reference_areas: tuple[float, float]) -> dict[str, Any]:
        """Return the metrics of a policy.

        Args:
            operating_points: the policy at all levels.
            reference_areas: areas under the frontiers of fixed ticks and of the oracle.
        """
        frontier = operating_points.build_frontier(self.budget)
        fixed_area, oracle_area = reference_areas
        span = oracle_area - fixed_area
        reaches_target = operating_points.accuracy >= self.target_accuracy
        tick_statistics = {}
        if reaches_target.any():
            index = int(operating_points.mean_ticks.masked_fill(~reaches_target, torch.inf).argmin())
            tick_statistics = self.compute_tick_statistics(operating_points.ticks[index])
        return {
            "ticks_at_target": frontier.find_min_ticks(self.target_accuracy),
            "area": frontier.area,
            "normalised_area": (frontier.area - fixed_area) / span if span else None,
            "most_accurate": frontier.points[-1][1],
            "regret": self.compute_regrets(operating_points),
            **tick_statistics,
            "corners": [[round(value, 4) for value in corner] for corner in frontier.points],
        }

    def compute_tick_statistics(self, ticks: Tensor) -> dict[str, Any]:
        """Return the 90th percentile of the ticks and their rank correlation with the difficulty."""
        return {
            "ticks_90_percent": int(ticks.double().quantile(0.9)),
            "spearman": spearman_correlation(ticks, self.difficulty),
        }

    def compute_regrets(self, operating_points: OperatingPoints) -> dict[str, float]:
        """Return, for each cost of a tick, the gap between the best level and the best possible halting."""
        ticks_after_first = torch.arange(self.budget).double()
        regrets = {}
        for cost in TICK_COSTS:
            best_possible = (self.correct.double() - cost * ticks_after_first).amax(1).mean()
            best_level = (operating_points.accuracy - cost * (operating_points.mean_ticks - 1)).max()
            regrets[str(cost)] = (best_possible - best_level).item()
        return regrets


def bootstrap_metrics(
    points_by_policy: Mapping[str, OperatingPoints], correct: Bool[Tensor, "n T"]
) -> dict[str, dict[str, list[float]]]:
    """Return ticks at the target and area of every policy over bootstrap samples.

    All policies share the draws, so they may be compared draw by draw. So may models that answer the same samples.

    Args:
        points_by_policy: operating points by name of the policy.
        correct: whether the answer of each sample is correct at every tick.

    Returns:
        For each policy one value per draw; `ticks_at_target` is the budget where the target is not reached.
    """
    count, budget = correct.shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(count, (NUM_BOOTSTRAP_DRAWS, count), generator=generator)
    weights = (
        torch.zeros(NUM_BOOTSTRAP_DRAWS, count).scatter_add_(1, rows, torch.ones(NUM_BOOTSTRAP_DRAWS, count)).T / count
    )
    targets = (correct.float().T @ weights).amax(0).sub(ACCURACY_SLACK).tolist()
    metrics = {}
    for name, operating_points in points_by_policy.items():
        ticks = operating_points.ticks.float() @ weights
        accuracy = operating_points.correct.float() @ weights
        frontiers = [
            Frontier.from_points(ticks[:, draw].tolist(), accuracy[:, draw].tolist(), budget)
            for draw in range(NUM_BOOTSTRAP_DRAWS)
        ]
        ticks_at_target = [
            frontier.find_min_ticks(target) or float(budget)
            for frontier, target in zip(frontiers, targets, strict=True)
        ]
        metrics[name] = {"ticks_at_target": ticks_at_target, "area": [frontier.area for frontier in frontiers]}
    return metrics


def compute_confidence_interval(values: Float[Tensor, " draws"]) -> list[float]:
    """Return the lower end, the median and the upper end of the central 95 %."""
    return values.double().quantile(torch.tensor([0.025, 0.5, 0.975], dtype=torch.double)).tolist()


def risk_coverage(score: Float[Tensor, "n T"], correct: Bool[Tensor, "n T"]) -> float:
    """Return the area under the risk-coverage curve.

    It is the mean error rate of the highest-scored answers, over all coverages and ticks.
    """
    order = score.argsort(0, descending=True)
    num_errors = (~correct).double().gather(0, order).cumsum(0)
    error_rates = num_errors / torch.arange(1, len(score) + 1).unsqueeze(1)
    return error_rates.mean().item()
