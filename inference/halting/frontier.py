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

from inference.halting.policies import Scored
from inference.halting.policy_parser import THRESHOLDS
from inference.halting.thresholds import answered, ends_of, ready
from inference.tick_history import History

LEVELS = 400
SHOWN = ("energy<", "certainty>", "certainty.min>")  # rules whose frontiers people are shown


@dataclass(frozen=True)
class Family:
    """What k rules, or one rule at k levels, do to n samples."""

    ticks: Int[Tensor, "k n"]  # spent
    right: Bool[Tensor, "k n"] | Float[Tensor, "k n"]  # the answer; a chance for rules that toss coins
    levels: Float[Tensor, " k"] | None = None  # of the score above which a thought ends, where there is one

    @property
    def mean_ticks(self) -> Float[Tensor, " k"]:
        return self.ticks.double().mean(1)

    @property
    def accuracy(self) -> Float[Tensor, " k"]:
        return self.right.double().mean(1)

    def frontier(self, budget: int) -> "Frontier":
        return Frontier.of(self.mean_ticks.tolist(), self.accuracy.tolist(), budget)


@dataclass(frozen=True)
class Frontier:
    """The most accuracy for every budget of mean ticks: corners of a concave line that never falls, from tick 1 to T."""

    corners: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, ticks: Sequence[float], accuracy: Sequence[float], budget: int) -> "Frontier":
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
        width = self.corners[-1][0] - 1
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(self.corners)) / width

    def accuracy_at(self, budget: float) -> float:
        """The most accuracy for this many mean ticks; 0 for fewer than any level takes."""
        if budget < self.corners[0][0]:
            return 0.0
        for (x, y), (then, better) in pairwise(self.corners):
            if budget <= then:
                return better if then == x else y + (better - y) * (budget - x) / (then - x)
        return self.corners[-1][1]

    def ticks_for(self, accuracy: float) -> float | None:
        """The fewest mean ticks for this accuracy; None where it is out of reach."""
        if accuracy <= self.corners[0][1]:
            return self.corners[0][0]
        for (x, y), (then, better) in pairwise(self.corners):
            if accuracy <= better:
                return x + (accuracy - y) * (then - x) / (better - y)
        return None


def of_rule(make: Callable[[float], Scored], history: History, right: Bool[Tensor, "n T"]) -> Family:
    """A rule at levels spread over its scores, from one that ends every thought at once to one that ends none."""
    return of_score(ready(make(0.0), history), history.best_tick, right)


def of_score(score: Float[Tensor, "n T"], best_tick: Int[Tensor, " n"], right: Bool[Tensor, "n T"]) -> Family:
    """Stopping at the first tick whose score is above a level, and answering with the best tick where none is."""
    levels = levels_of(score)
    ticks, _, found = answered(ends_of(score, levels), best_tick, right)
    return Family(ticks, found, levels)


def levels_of(score: Float[Tensor, "n T"]) -> Float[Tensor, " k"]:
    """Levels at evenly spread ranks of the scores; the first is passed by all that is finite, the last by nothing."""
    values = score[score.isfinite()].sort().values
    ranks = torch.linspace(0, len(values) - 1, LEVELS).long()
    below = torch.nextafter(values[:1], torch.tensor(-torch.inf, dtype=values.dtype))
    return torch.cat((below, values[ranks].unique()))


def frontiers_for(
    history: History, right: Bool[Tensor, "n T"], spoken: int | None = None
) -> dict[str, list[list[float]]]:
    """What people are shown of every rule: what its levels reach, without any coin; see `best_of`. An answer that is said over
    the ticks has no thresholds."""
    makes = {form[:-1]: THRESHOLDS[form] for form in SHOWN}
    if history.energy is None:
        del makes["energy"]
    if history.certainty.size(2) == 1:
        del makes["certainty.min"]  # which is the mean
    ideals = {"fixed": fixed(right, history.listening), "oracle": oracle(right, history.listening)}
    found = {name: best_of(family) for name, family in ideals.items()}
    for name, make in {} if spoken else makes.items():
        found[name] = best_of(of_rule(make, history, right), make(0.0).sign)
    return found


def best_of(family: Family, sign: int = 1, most: int = 80) -> list[list[float]]:
    """Mean ticks, accuracy and threshold (or number) of those rules than which no other is as right in as few ticks, from the
    boldest on; about `most` of them at even distances."""
    levels = torch.arange(1, len(family.ticks) + 1) if family.levels is None else sign * family.levels
    known = sorted(zip(family.mean_ticks.tolist(), (-family.accuracy).tolist(), levels.tolist(), strict=True))
    best: list[tuple[float, float, float]] = []
    for ticks, wrong, level in known:
        if not best or -wrong > best[-1][1]:
            best.append((ticks, -wrong, level))
    apart = (best[-1][0] - best[0][0]) / most
    kept = [best[0]]
    for place, one in enumerate(best[1:], 1):
        if one[0] - kept[-1][0] >= apart or place == len(best) - 1:
            kept.append(one)
    return [[round(ticks, 3), round(accuracy, 5), float(f"{level:.7g}")] for ticks, accuracy, level in kept]


def fixed(right: Bool[Tensor, "n T"], listening: Int[Tensor, " n"] | None = None) -> Family:
    """Every thought ends at the same tick, or as soon as all is heard where that is later."""
    ticks = torch.maximum(torch.arange(1, right.size(1) + 1).unsqueeze(1), soonest(right, listening))
    return Family(ticks, right.gather(1, ticks.T - 1).T)


def at_random(family: Family, best_tick: Int[Tensor, " n"], right: Bool[Tensor, "n T"]) -> Family:
    """The same ticks dealt out to the samples by chance: whether it matters *which* thoughts end early. Who is dealt all ticks
    answers with the best one, as under the rule."""
    ends = torch.nn.functional.one_hot(family.ticks - 1, right.size(1)).double().mean(1)  # (k, T)
    at_the_end = right.gather(1, best_tick.unsqueeze(1) - 1)
    return Family(family.ticks, ends @ torch.cat((right[:, :-1], at_the_end), 1).T.double())


def oracle(right: Bool[Tensor, "n T"], listening: Int[Tensor, " n"] | None = None) -> Family:
    """Who knows all answers ends a thought when it is first right, if that is not after a level; else as soon as it may."""
    ticks, least = right.size(1), soonest(right, listening)
    first = torch.where(right.any(1), right.int().argmax(1) + 1, ticks + 1)
    found = first <= torch.maximum(torch.arange(1, ticks + 1).unsqueeze(1), least)
    return Family(torch.where(found, first, least), found)


def soonest(right: Bool[Tensor, "n T"], listening: Int[Tensor, " n"] | None) -> Int[Tensor, " n"]:
    """The first tick at which an answer counts."""
    return torch.ones(len(right), dtype=torch.long) if listening is None else listening + 1
