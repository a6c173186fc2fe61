"""Choosing thresholds on a calibration split that nothing else has seen.

Every rule is replayed on curves: what the machine said at every tick, as plain arrays. Nothing here thinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm.models.outputs import may_answer
from inference.engine import BUDGET
from inference.halting.policies import CertaintyAbove, EnergyBelow, Policy, Said, Scored
from inference.tick_history import History


@dataclass(frozen=True)
class Replay:
    """What a policy would have done."""

    ticks: Int[Tensor, " n"]  # ticks spent
    answer_tick: Int[Tensor, " n"]  # tick whose answer is taken
    right: Bool[Tensor, " n"]
    halted_by: list[str]

    @property
    def accuracy(self) -> float:
        return self.right.float().mean().item()

    @property
    def mean_ticks(self) -> float:
        return self.ticks.float().mean().item()


def replay(policy: Policy, history: History, right: Bool[Tensor, "n T"], min_ticks: int = 1) -> Replay:
    """Apply a policy to finished thoughts, sample by sample, as the engine does while thinking.

    Args:
        policy: the rule.
        history: all T ticks of n samples, and for how many of them each one listens.
        right: whether the answer was right, at every tick.
        min_ticks: no thought ends earlier.
    """
    count, budget = right.shape
    ticks = torch.full((count,), budget)
    halted_by = [BUDGET] * count
    for tick in range(budget, min_ticks - 1, -1):  # backwards: the earliest halt is written last
        so_far = history.until(tick)
        for name, rows in reversed(policy.causes(so_far)):
            for row in so_far.allows(rows).nonzero().flatten().tolist():
                ticks[row], halted_by[row] = tick, name
    spent = torch.tensor([cause == BUDGET for cause in halted_by])
    answer_tick = ticks if policy.says else torch.where(spent, history.best_tick, ticks)
    return Replay(ticks, answer_tick, right.gather(1, answer_tick[:, None] - 1).squeeze(1), halted_by)


@dataclass(frozen=True)
class Sweep:
    """What a rule would have done at each of k levels."""

    policies: Sequence[Scored]
    ticks: Int[Tensor, "k n"]  # ticks spent
    answer_tick: Int[Tensor, "k n"]
    right: Bool[Tensor, "k n"]

    @property
    def accuracy(self) -> Float[Tensor, " k"]:
        return self.right.float().mean(1)

    @property
    def mean_ticks(self) -> Float[Tensor, " k"]:
        return self.ticks.float().mean(1)


def sweep(
    make: Callable[[float], Scored], candidates: Sequence[float], history: History, right: Bool[Tensor, "n T"]
) -> Sweep:
    """Apply a rule at many levels to finished thoughts, all at once; each does what `replay` says of it."""
    policies = [make(candidate) for candidate in candidates]
    ends = ends_of(ready(policies[0], history), torch.tensor([policy.level for policy in policies]))
    return Sweep(policies, *answered(ends, history.best_tick, right))


def answered(
    ends: Int[Tensor, "k n"], best_tick: Int[Tensor, " n"], right: Bool[Tensor, "n T"]
) -> tuple[Int[Tensor, "k n"], Int[Tensor, "k n"], Bool[Tensor, "k n"]]:
    """Ticks spent, ticks that answer and whether those are right, where `ends` is T + 1 for thoughts that no level ends."""
    ticks = ends.clamp(max=right.size(1))
    answer_tick = torch.where(ends > right.size(1), best_tick, ticks)
    return ticks, answer_tick, right.gather(1, answer_tick.T - 1).T


def ready(policy: Scored, history: History) -> Float[Tensor, "n T"]:
    """A rule's score at every tick; none at ticks at which nothing may be answered yet."""
    score, counts = policy.score(history), may_answer(history.listening, history.certainty.size(1))
    return score if counts is None else score.masked_fill(~counts, -torch.inf)


def ends_of(score: Float[Tensor, "n T"], levels: Float[Tensor, " k"]) -> Int[Tensor, "k n"]:
    """The first tick, from 1, whose score is above each level; T + 1 where none is."""
    highest = score.cummax(1).values.contiguous()
    levels = levels.to(score.dtype).expand(len(score), -1).contiguous()
    return torch.searchsorted(highest, levels, right=True).T + 1


def levels_of(make: Callable[[float], Scored], seen: History) -> list[float]:
    """Levels of a rule to try, the first of which nothing passes."""
    rule = make(0.0)
    scores = ready(rule, seen)
    told = scores[scores.isfinite()]
    return [rule.never, *(quantiles(rule.sign * told, 400) if len(told) else ())]


def choose_threshold(
    make: Callable[[float], Scored],
    candidates: Sequence[float],
    history: History,
    right: Bool[Tensor, "n T"],
    tolerance: float,
) -> tuple[Policy, float, float]:
    """The policy with the fewest mean ticks that loses at most `tolerance` of the accuracy that its rule can reach.

    Returns:
        The policy, its accuracy, its mean ticks.
    """
    played = sweep(make, candidates, history, right)
    accuracy, ticks = played.accuracy, played.mean_ticks
    chosen = int(ticks.masked_fill(accuracy < accuracy.max() - tolerance, torch.inf).argmin())
    return played.policies[chosen], accuracy[chosen].item(), ticks[chosen].item()


def thresholds_for(
    history: History, right: Bool[Tensor, "n T"], tolerance: float, spoken: int | None = None
) -> dict[str, dict]:
    """The rules that a checkpoint offers, each with its threshold and the evidence it was chosen on.

    Args:
        history, right: curves of calibration samples.
        tolerance: accuracy that a rule may lose against its own most accurate threshold, to save ticks. (A rule can be
            more accurate than every fixed tick: samples are right at different ticks.)
        spoken: length of an answer that is said over the ticks. It ends when all is said; how certain a tick is says
            nothing of the whole then.

    Returns:
        name -> {policy, accuracy, mean_ticks, n, best_fixed_tick, best_fixed_accuracy}, and the tolerance where a threshold
        was chosen
    """
    by_tick = right.float().mean(0)
    chosen: dict[str, tuple[Policy, float, float]] = {}
    rules: dict[str, Callable[[float], Scored]] = {}
    if spoken:
        played = replay(Said(spoken), history, right)
        chosen["said"] = Said(spoken), played.accuracy, played.mean_ticks
    else:
        rules["certainty"] = CertaintyAbove
    if history.certainty.size(2) > 1:
        rules["certainty of the least certain position"] = lambda level: CertaintyAbove(level, "min")
    if history.energy is not None:
        rules["energy"] = EnergyBelow
    for name, make in rules.items():
        chosen[name] = choose_threshold(make, levels_of(make, history), history, right, tolerance)
    return {
        name: {
            "policy": str(policy),
            "accuracy": accuracy,
            "mean_ticks": ticks,
            "n": len(right),
            "best_fixed_tick": int(by_tick.argmax()) + 1,
            "best_fixed_accuracy": by_tick.max().item(),
            **({"tolerance": tolerance} if name in rules else {}),
        }
        for name, (policy, accuracy, ticks) in chosen.items()
    }


def quantiles(values: Float[Tensor, "*n"], count: int = 200) -> list[float]:
    """Evenly spread values, rounded as policies print them."""
    spread = torch.linspace(0, 1, count)
    return sorted({float(f"{value:.4g}") for value in values.flatten().float().quantile(spread).tolist()})
