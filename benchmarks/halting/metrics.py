"""What is measured of a rule on one trunk, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inference.halting.frontier import Frontier, OperatingPoints
from training.metrics import spearman_correlation

ACCURACY_SLACK = 0.005  # accuracy below that of the best fixed tick at which ticks are compared
TICK_COSTS = (0.002, 0.005, 0.01, 0.02)  # of a tick, in right answers
NUM_BOOTSTRAP_DRAWS = 1_000


@dataclass(frozen=True)
class HaltingMetrics:
    """What all rules of a trunk are measured against, on the same samples."""

    correct: Bool[Tensor, "n T"]
    difficulty: Tensor

    @property
    def budget(self) -> int:
        return self.correct.size(1)

    @property
    def target_accuracy(self) -> float:
        return self.correct.double().mean(0).max().item() - ACCURACY_SLACK

    def compute(self, operating_points: OperatingPoints, reference_areas: tuple[float, float]) -> dict[str, Any]:
        """Figures of a rule; `areas` are those of fixed ticks and of the oracle."""
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
        return {
            "ticks_90_percent": int(ticks.double().quantile(0.9)),
            "spearman": spearman_correlation(ticks, self.difficulty),
        }

    def compute_regrets(self, operating_points: OperatingPoints) -> dict[str, float]:
        """What the best level lacks of the best that could be had, where a tick costs so much."""
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
    """Ticks at the target and area of every rule in the same 1,000 bootstrap samples; ticks are all where it is not reached.

    Rules may be compared draw by draw: chance hits all of them alike. So may trunks that answer the same samples.
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
    """Lower end, middle and upper end of the central 95 %."""
    return values.double().quantile(torch.tensor([0.025, 0.5, 0.975], dtype=torch.double)).tolist()


def risk_coverage(score: Float[Tensor, "n T"], correct: Bool[Tensor, "n T"]) -> float:
    """Mean share of wrong answers among the most trusted ones, over all shares of samples and all ticks."""
    order = score.argsort(0, descending=True)
    wrong = (~correct).double().gather(0, order).cumsum(0) / torch.arange(1, len(score) + 1).unsqueeze(1)
    return wrong.mean().item()
