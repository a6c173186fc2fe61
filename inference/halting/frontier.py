"""Accuracy/compute frontiers: accuracy against mean ticks, over all thresholds of a policy.

Lower and upper bounds are computed beside them.

Choosing between two thresholds at random is a policy, too, so a frontier is the upper convex hull of the operating
points. Everything is computed on recorded outputs; see `inference.halting.thresholds`.
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
FRONTIER_POLICIES = ("energy<", "certainty>", "certainty.min>")  # policies whose frontiers are displayed


@dataclass(frozen=True)
class OperatingPoints:
    """Results of k policies, or of one policy at k levels, on n samples.

    Attributes:
        ticks: Ticks run, shape (k, n).
        correct: Whether the answer is correct, shape (k, n); a probability for randomised policies.
        levels: Level of the score that each policy stops above, shape (k,); None without a score.
    """

    ticks: Int[Tensor, "k n"]
    correct: Bool[Tensor, "k n"] | Float[Tensor, "k n"]
    levels: Float[Tensor, " k"] | None = None

    @property
    def mean_ticks(self) -> Float[Tensor, " k"]:
        """Mean ticks of each policy."""
        return self.ticks.double().mean(1)

    @property
    def accuracy(self) -> Float[Tensor, " k"]:
        """Accuracy of each policy."""
        return self.correct.double().mean(1)

    def build_frontier(self, budget: int) -> "Frontier":
        """Return the frontier of these points up to a budget of ticks."""
        return Frontier.from_points(self.mean_ticks.tolist(), self.accuracy.tolist(), budget)


@dataclass(frozen=True)
class Frontier:
    """Highest accuracy for every budget of mean ticks: a concave, non-decreasing line from tick 1 to T.

    Attributes:
        points: Corners of the line, as (mean ticks, accuracy).
    """

    points: tuple[tuple[float, float], ...]

    @classmethod
    def from_points(cls, ticks: Sequence[float], accuracy: Sequence[float], budget: int) -> "Frontier":
        """Compute the upper convex hull of operating points, extended to the budget."""
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
        """Mean accuracy over all budgets from 1 to T ticks; 0 below the first corner."""
        width = self.points[-1][0] - 1
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(self.points)) / width

    def find_min_ticks(self, accuracy: float) -> float | None:
        """Return the fewest mean ticks for an accuracy; None if it is out of reach."""
        if accuracy <= self.points[0][1]:
            return self.points[0][0]
        for (x, y), (next_x, next_y) in pairwise(self.points):
            if accuracy <= next_y:
                return x + (accuracy - y) * (next_x - x) / (next_y - y)
        return None


def compute_policy_points(
    make_policy: Callable[[float], ThresholdPolicy], history: TickHistory, correct: Bool[Tensor, "n T"]
) -> OperatingPoints:
    """Evaluate a policy at levels spread over its scores, from one that halts all at once to one that halts none."""
    return compute_score_points(compute_masked_score(make_policy(0.0), history), history.best_tick, correct)


def compute_score_points(
    score: Float[Tensor, "n T"], best_tick: Int[Tensor, " n"], correct: Bool[Tensor, "n T"]
) -> OperatingPoints:
    """Evaluate stopping at the first tick whose score exceeds a level; the best tick answers if there is none."""
    levels = compute_score_levels(score)
    ticks, _, is_correct = resolve_answers(find_first_crossing_tick(score, levels), best_tick, correct)
    return OperatingPoints(ticks, is_correct, levels)


def compute_score_levels(score: Float[Tensor, "n T"]) -> Float[Tensor, " k"]:
    """Return levels at evenly spaced ranks of the scores: the first below all finite scores, the last above all."""
    values = score[score.isfinite()].sort().values
    ranks = torch.linspace(0, len(values) - 1, NUM_LEVELS).long()
    below = torch.nextafter(values[:1], torch.tensor(-torch.inf, dtype=values.dtype))
    return torch.cat((below, values[ranks].unique()))


def compute_frontiers(
    history: TickHistory, correct: Bool[Tensor, "n T"], ctc_length: int | None = None
) -> dict[str, list[list[float]]]:
    """Compute the operating points of every displayed policy; see `select_pareto_points`.

    A CTC answer has no thresholds, so only the bounds are given.

    Args:
        history: All T ticks of n samples.
        correct: Whether the answer is correct at every tick, shape (n, T).
        ctc_length: Number of labels of a CTC answer.

    Returns:
        Policy name -> points.
    """
    policy_factories = {syntax[:-1]: THRESHOLD_POLICIES[syntax] for syntax in FRONTIER_POLICIES}
    if history.energy is None:
        del policy_factories["energy"]
    if history.certainty.size(2) == 1:
        del policy_factories["certainty.min"]  # equals the mean
    bounds = {
        "fixed": compute_fixed_tick_points(correct, history.input_ticks),
        "oracle": compute_oracle_points(correct, history.input_ticks),
    }
    frontiers = {name: select_pareto_points(points) for name, points in bounds.items()}
    if ctc_length:
        return frontiers
    for name, make_policy in policy_factories.items():
        points = compute_policy_points(make_policy, history, correct)
        frontiers[name] = select_pareto_points(points, make_policy(0.0).sign)
    return frontiers


def select_pareto_points(points: OperatingPoints, sign: int = 1, max_points: int = 80) -> list[list[float]]:
    """Return the Pareto-optimal policies: no other is at least as accurate in fewer ticks.

    Args:
        points: The operating points.
        sign: Sign that turns levels into thresholds.
        max_points: Approximate number of points, at even distances in mean ticks.

    Returns:
        Mean ticks, accuracy and threshold (or index) of each, in order of mean ticks.
    """
    levels = torch.arange(1, len(points.ticks) + 1) if points.levels is None else sign * points.levels
    candidates = sorted(zip(points.mean_ticks.tolist(), (-points.accuracy).tolist(), levels.tolist(), strict=True))
    best: list[tuple[float, float, float]] = []
    for ticks, negative_accuracy, level in candidates:
        if not best or -negative_accuracy > best[-1][1]:
            best.append((ticks, -negative_accuracy, level))
    min_distance = (best[-1][0] - best[0][0]) / max_points
    selection = [best[0]]
    for index, point in enumerate(best[1:], 1):
        if point[0] - selection[-1][0] >= min_distance or index == len(best) - 1:
            selection.append(point)
    return [[round(ticks, 3), round(accuracy, 5), float(f"{level:.7g}")] for ticks, accuracy, level in selection]


def compute_fixed_tick_points(
    correct: Bool[Tensor, "n T"], input_ticks: Int[Tensor, " n"] | None = None
) -> OperatingPoints:
    """Evaluate stopping at each fixed tick, or at the first tick that counts where that is later."""
    ticks = torch.maximum(
        torch.arange(1, correct.size(1) + 1).unsqueeze(1), get_first_answer_tick(correct, input_ticks)
    )
    return OperatingPoints(ticks, correct.gather(1, ticks.T - 1).T)


def compute_shuffled_baseline(
    points: OperatingPoints, best_tick: Int[Tensor, " n"], correct: Bool[Tensor, "n T"]
) -> OperatingPoints:
    """Evaluate the same ticks assigned to the samples at random.

    This is a control for whether it matters which samples stop early.

    A sample that is assigned all ticks answers with its best tick, as under the policy.
    """
    tick_shares = torch.nn.functional.one_hot(points.ticks - 1, correct.size(1)).double().mean(1)  # (k, T)
    correct_at_end = correct.gather(1, best_tick.unsqueeze(1) - 1)
    return OperatingPoints(points.ticks, tick_shares @ torch.cat((correct[:, :-1], correct_at_end), 1).T.double())


def compute_oracle_points(
    correct: Bool[Tensor, "n T"], input_ticks: Int[Tensor, " n"] | None = None
) -> OperatingPoints:
    """Evaluate an oracle that knows the correct answers.

    It stops a sample at its first correct tick, if that is not after a level; otherwise as soon as the sample may stop.
    """
    ticks = correct.size(1)
    min_tick = get_first_answer_tick(correct, input_ticks)
    first_correct = torch.where(correct.any(1), correct.int().argmax(1) + 1, ticks + 1)
    is_reached = first_correct <= torch.maximum(torch.arange(1, ticks + 1).unsqueeze(1), min_tick)
    return OperatingPoints(torch.where(is_reached, first_correct, min_tick), is_reached)


def get_first_answer_tick(correct: Bool[Tensor, "n T"], input_ticks: Int[Tensor, " n"] | None) -> Int[Tensor, " n"]:
    """Return the first tick at which an answer counts, shape (n,)."""
    return torch.ones(len(correct), dtype=torch.long) if input_ticks is None else input_ticks + 1
