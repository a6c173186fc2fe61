"""What a rule can buy: accuracy against mean ticks, over all its levels, beside what is the least and the most to be had.

Choosing between two levels by the toss of a coin is a rule, too, so a frontier is the upper convex hull of what the levels
reach. Everything is worked out on finished thoughts; see `inference.halting.thresholds`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inference.halting.policies import ThresholdPolicy
from inference.halting.policy_parser import THRESHOLD_POLICIES
from inference.halting.thresholds import compute_masked_score, find_first_crossing_tick, resolve_answers
from inference.tick_history import TickHistory

NUM_LEVELS = 400
FRONTIER_POLICIES = ("energy<", "certainty>", "certainty.min>")  # rules whose frontiers people are shown


@dataclass(frozen=True)
class OperatingPoints:
    """What k rules, or one rule at k levels, do to n samples."""

    ticks: Int[Tensor, "k n"]  # spent
    correct: Bool[Tensor, "k n"] | Float[Tensor, "k n"]  # the answer; a chance for rules that toss coins
    levels: Float[Tensor, " k"] | None = None  # of the score above which a thought ends, where there is one

    @property
    def mean_ticks(self) -> Float[Tensor, " k"]:
        return self.ticks.double().mean(1)

    @property
    def accuracy(self) -> Float[Tensor, " k"]:
        return self.correct.double().mean(1)

    def build_frontier(self, budget: int) -> "Frontier":
        return Frontier.from_points(self.mean_ticks.tolist(), self.accuracy.tolist(), budget)


@dataclass(frozen=True)
class Frontier:
    """The most accuracy for every budget of mean ticks: corners of a concave line that never falls, from tick 1 to T."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def from_points(cls, ticks: Sequence[float], accuracy: Sequence[float], budget: int) -> "Frontier":
        hull: list[tuple[float, float]] = []
        for x, y in sorted(zip(ticks, accuracy, strict=True), key=lambda point: (point[0], -point[1])):
            if hull and y <= hull[-1][1]:
                continue
            while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-1][0]) <= (y - hull[-1][1]) * (
                hull[-1][0] - hull[-2][0]
            ):
                hull.pop()
            hull.append((x, y))
        return cls((*hull, (float(budget), hull[-1][1])))

    @property
    def area(self) -> float:
        """Mean accuracy over all budgets from 1 to T ticks; below the first corner there is nothing to be had."""
        width = self.points[-1][0] - 1
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(self.points)) / width

    def find_min_ticks(self, accuracy: float) -> float | None:
        """The fewest mean ticks for this accuracy; None where it is out of reach."""
        if accuracy <= self.points[0][1]:
            return self.points[0][0]
        for (x, y), (then, better) in pairwise(self.points):
            if accuracy <= better:
                return x + (accuracy - y) * (then - x) / (better - y)
        return None


def compute_policy_points(
    make_policy: Callable[[float], ThresholdPolicy], history: TickHistory, correct: Bool[Tensor, "n T"]
) -> OperatingPoints:
    """A rule at levels spread over its scores, from one that ends every thought at once to one that ends none."""
    return compute_score_points(compute_masked_score(make_policy(0.0), history), history.best_tick, correct)


def compute_score_points(
    score: Float[Tensor, "n T"], best_tick: Int[Tensor, " n"], correct: Bool[Tensor, "n T"]
) -> OperatingPoints:
    """Stopping at the first tick whose score is above a level, and answering with the best tick where none is."""
    levels = compute_score_levels(score)
    ticks, _, found = resolve_answers(find_first_crossing_tick(score, levels), best_tick, correct)
    return OperatingPoints(ticks, found, levels)


def compute_score_levels(score: Float[Tensor, "n T"]) -> Float[Tensor, " k"]:
    """Levels at evenly spread ranks of the scores; the first is passed by all that is finite, the last by nothing."""
    values = score[score.isfinite()].sort().values
    ranks = torch.linspace(0, len(values) - 1, NUM_LEVELS).long()
    below = torch.nextafter(values[:1], torch.tensor(-torch.inf, dtype=values.dtype))
    return torch.cat((below, values[ranks].unique()))


def compute_frontiers(
    history: TickHistory, correct: Bool[Tensor, "n T"], ctc_length: int | None = None
) -> dict[str, list[list[float]]]:
    """What people are shown of every rule: what its levels reach, without any coin; see `select_pareto_points`. An answer that is said over
    the ticks has no thresholds."""
    makes = {form[:-1]: THRESHOLD_POLICIES[form] for form in FRONTIER_POLICIES}
    if history.energy is None:
        del makes["energy"]
    if history.certainty.size(2) == 1:
        del makes["certainty.min"]  # which is the mean
    ideals = {
        "fixed": compute_fixed_tick_points(correct, history.input_ticks),
        "oracle": compute_oracle_points(correct, history.input_ticks),
    }
    found = {name: select_pareto_points(family) for name, family in ideals.items()}
    for name, make in {} if ctc_length else makes.items():
        found[name] = select_pareto_points(compute_policy_points(make, history, correct), make(0.0).sign)
    return found


def select_pareto_points(points: OperatingPoints, sign: int = 1, max_points: int = 80) -> list[list[float]]:
    """Mean ticks, accuracy and threshold (or number) of those rules than which no other is as right in as few ticks, from the
    boldest on; about `most` of them at even distances."""
    levels = torch.arange(1, len(points.ticks) + 1) if points.levels is None else sign * points.levels
    known = sorted(zip(points.mean_ticks.tolist(), (-points.accuracy).tolist(), levels.tolist(), strict=True))
    best: list[tuple[float, float, float]] = []
    for ticks, wrong, level in known:
        if not best or -wrong > best[-1][1]:
            best.append((ticks, -wrong, level))
    apart = (best[-1][0] - best[0][0]) / max_points
    kept = [best[0]]
    for place, one in enumerate(best[1:], 1):
        if one[0] - kept[-1][0] >= apart or place == len(best) - 1:
            kept.append(one)
    return [[round(ticks, 3), round(accuracy, 5), float(f"{level:.7g}")] for ticks, accuracy, level in kept]


def compute_fixed_tick_points(
    correct: Bool[Tensor, "n T"], input_ticks: Int[Tensor, " n"] | None = None
) -> OperatingPoints:
    """Every thought ends at the same tick, or as soon as all is heard where that is later."""
    ticks = torch.maximum(
        torch.arange(1, correct.size(1) + 1).unsqueeze(1), get_first_answer_tick(correct, input_ticks)
    )
    return OperatingPoints(ticks, correct.gather(1, ticks.T - 1).T)


def compute_shuffled_baseline(
    points: OperatingPoints, best_tick: Int[Tensor, " n"], correct: Bool[Tensor, "n T"]
) -> OperatingPoints:
    """The same ticks dealt out to the samples by chance: whether it matters *which* thoughts end early. Who is dealt all ticks
    answers with the best one, as under the rule."""
    ends = torch.nn.functional.one_hot(points.ticks - 1, correct.size(1)).double().mean(1)  # (k, T)
    at_the_end = correct.gather(1, best_tick.unsqueeze(1) - 1)
    return OperatingPoints(points.ticks, ends @ torch.cat((correct[:, :-1], at_the_end), 1).T.double())


def compute_oracle_points(
    correct: Bool[Tensor, "n T"], input_ticks: Int[Tensor, " n"] | None = None
) -> OperatingPoints:
    """Who knows all answers ends a thought when it is first right, if that is not after a level; else as soon as it may."""
    ticks, least = correct.size(1), get_first_answer_tick(correct, input_ticks)
    first = torch.where(correct.any(1), correct.int().argmax(1) + 1, ticks + 1)
    found = first <= torch.maximum(torch.arange(1, ticks + 1).unsqueeze(1), least)
    return OperatingPoints(torch.where(found, first, least), found)


def get_first_answer_tick(correct: Bool[Tensor, "n T"], input_ticks: Int[Tensor, " n"] | None) -> Int[Tensor, " n"]:
    """The first tick at which an answer counts."""
    return torch.ones(len(correct), dtype=torch.long) if input_ticks is None else input_ticks + 1
