"""Metrics of a halting policy on one model, and their uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
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
        correct: whether the answer is correct at every tick, shape (n, T).
        difficulty: difficulty of each sample, shape (n,).
    """

    correct: Bool[Tensor, "n T"]
    difficulty: Tensor

    @property
    def budget(self) -> int:
        """Number of ticks."""
        return self.correct.size(1)

    @property
    def target_accuracy(self) -> float:
        """Accuracy of the best fixed tick less `ACCURACY_SLACK`."""
        return self.correct.double().mean(0).max().item() - ACCURACY_SLACK

    def compute(self, operating_points: OperatingPoints, reference_areas: tuple[float, float]) -> dict[str, Any]:
        """Return the metrics of a policy; `reference_areas` are the areas of fixed ticks and of the oracle."""
        frontier, span = operating_points.build_frontier(self.budget), reference_areas[1] - reference_areas[0]
        reaches = operating_points.accuracy >= self.target_accuracy
        level = int(operating_points.mean_ticks.masked_fill(~reaches, torch.inf).argmin()) if reaches.any() else None
        at_level = {} if level is None else self.compute_tick_statistics(operating_points.ticks[level])
        return {
            "ticks_at_target": frontier.find_min_ticks(self.target_accuracy),
            "area": frontier.area,
            "normalised_area": (frontier.area - reference_areas[0]) / span if span else None,
            "most_accurate": frontier.points[-1][1],
            "regret": self.compute_regrets(operating_points),
            **at_level,
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
        spent = torch.arange(self.budget).double()
        found = {}
        for cost in TICK_COSTS:
            best = (self.correct.double() - cost * spent).amax(1).mean()
            found[str(cost)] = (
                best - (operating_points.accuracy - cost * (operating_points.mean_ticks - 1)).max()
            ).item()
        return found


def bootstrap_metrics(
    operating_points: Mapping[str, OperatingPoints], correct: Bool[Tensor, "n T"]
) -> dict[str, dict[str, list[float]]]:
    """Return ticks at the target and area of every policy over bootstrap samples; the budget where the target is not reached.

    All policies share the draws, so they may be compared draw by draw. So may models that answer the same samples.
    """
    count, budget = correct.shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(count, (NUM_BOOTSTRAP_DRAWS, count), generator=generator)
    weights = (
        torch.zeros(NUM_BOOTSTRAP_DRAWS, count).scatter_add_(1, rows, torch.ones(NUM_BOOTSTRAP_DRAWS, count)).T / count
    )
    targets = (correct.float().T @ weights).amax(0).sub(ACCURACY_SLACK).tolist()
    found = {}
    for name, family in operating_points.items():
        ticks, accuracy = family.ticks.float() @ weights, family.correct.float() @ weights
        frontiers = [
            Frontier.from_points(ticks[:, draw].tolist(), accuracy[:, draw].tolist(), budget)
            for draw in range(NUM_BOOTSTRAP_DRAWS)
        ]
        needed = [
            frontier.find_min_ticks(target) or float(budget)
            for frontier, target in zip(frontiers, targets, strict=True)
        ]
        found[name] = {"ticks_at_target": needed, "area": [frontier.area for frontier in frontiers]}
    return found


def compute_confidence_interval(values: Float[Tensor, " draws"]) -> list[float]:
    """Return the lower end, the median and the upper end of the central 95 %."""
    return values.double().quantile(torch.tensor([0.025, 0.5, 0.975], dtype=torch.double)).tolist()


def risk_coverage(score: Float[Tensor, "n T"], correct: Bool[Tensor, "n T"]) -> float:
    """Return the area under the risk-coverage curve: mean error rate of the highest-scored answers, over all coverages and ticks."""
    order = score.argsort(0, descending=True)
    wrong = (~correct).double().gather(0, order).cumsum(0) / torch.arange(1, len(score) + 1).unsqueeze(1)
    return wrong.mean().item()
