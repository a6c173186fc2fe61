"""What is measured of a rule on one trunk, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inference.halting.frontier import Frontier, OperatingPoints
from training.evaluation import rank_correlation

SLACK = 0.005  # accuracy below that of the best fixed tick at which ticks are compared
COSTS = (0.002, 0.005, 0.01, 0.02)  # of a tick, in right answers
DRAWS = 1_000


@dataclass(frozen=True)
class Ruler:
    """What all rules of a trunk are measured against, on the same samples."""

    right: Bool[Tensor, "n T"]
    difficulty: Tensor

    @property
    def budget(self) -> int:
        return self.right.size(1)

    @property
    def target(self) -> float:
        return self.right.double().mean(0).max().item() - SLACK

    def measured(self, family: OperatingPoints, areas: tuple[float, float]) -> dict[str, Any]:
        """Figures of a rule; `areas` are those of fixed ticks and of the oracle."""
        frontier, span = family.build_frontier(self.budget), areas[1] - areas[0]
        reaches = family.accuracy >= self.target
        level = int(family.mean_ticks.masked_fill(~reaches, torch.inf).argmin()) if reaches.any() else None
        at_level = {} if level is None else self.at(family.ticks[level])
        return {
            "ticks_at_target": frontier.find_min_ticks(self.target),
            "area": frontier.area,
            "normalised_area": (frontier.area - areas[0]) / span if span else None,
            "most_accurate": frontier.points[-1][1],
            "regret": self.regrets(family),
            **at_level,
            "corners": [[round(value, 4) for value in corner] for corner in frontier.points],
        }

    def at(self, ticks: Tensor) -> dict[str, Any]:
        return {
            "ticks_90_percent": int(ticks.double().quantile(0.9)),
            "spearman": rank_correlation(ticks, self.difficulty),
        }

    def regrets(self, family: OperatingPoints) -> dict[str, float]:
        """What the best level lacks of the best that could be had, where a tick costs so much."""
        spent = torch.arange(self.budget).double()
        found = {}
        for cost in COSTS:
            best = (self.right.double() - cost * spent).amax(1).mean()
            found[str(cost)] = (best - (family.accuracy - cost * (family.mean_ticks - 1)).max()).item()
        return found


def resampled(families: Mapping[str, OperatingPoints], right: Bool[Tensor, "n T"]) -> dict[str, dict[str, list[float]]]:
    """Ticks at the target and area of every rule in the same 1,000 bootstrap samples; ticks are all where it is not reached.

    Rules may be compared draw by draw: chance hits all of them alike. So may trunks that answer the same samples.
    """
    count, budget = right.shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(count, (DRAWS, count), generator=generator)
    weights = torch.zeros(DRAWS, count).scatter_add_(1, rows, torch.ones(DRAWS, count)).T / count
    targets = (right.float().T @ weights).amax(0).sub(SLACK).tolist()
    found = {}
    for name, family in families.items():
        ticks, accuracy = family.ticks.float() @ weights, family.correct.float() @ weights
        frontiers = [
            Frontier.from_points(ticks[:, draw].tolist(), accuracy[:, draw].tolist(), budget) for draw in range(DRAWS)
        ]
        needed = [
            frontier.find_min_ticks(target) or float(budget)
            for frontier, target in zip(frontiers, targets, strict=True)
        ]
        found[name] = {"ticks_at_target": needed, "area": [frontier.area for frontier in frontiers]}
    return found


def interval(values: Float[Tensor, " draws"]) -> list[float]:
    """Lower end, middle and upper end of the central 95 %."""
    return values.double().quantile(torch.tensor([0.025, 0.5, 0.975], dtype=torch.double)).tolist()


def risk_coverage(score: Float[Tensor, "n T"], right: Bool[Tensor, "n T"]) -> float:
    """Mean share of wrong answers among the most trusted ones, over all shares of samples and all ticks."""
    order = score.argsort(0, descending=True)
    wrong = (~right).double().gather(0, order).cumsum(0) / torch.arange(1, len(score) + 1).unsqueeze(1)
    return wrong.mean().item()
