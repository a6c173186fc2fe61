"""Choosing thresholds on a calibration split that nothing else has seen.

Every rule is replayed on curves: what the machine said at every tick, as plain arrays. Nothing here thinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm.types import may_answer
from inference.engine import BUDGET
from inference.history import History
from inference.policies import CertaintyAbove, EnergyBelow, Policy, Said


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
    answer_tick = torch.where(spent, history.best_tick, ticks)
    return Replay(ticks, answer_tick, right.gather(1, answer_tick[:, None] - 1).squeeze(1), halted_by)


def choose_threshold(
    make: Callable[[float], Policy],
    candidates: Sequence[float],
    history: History,
    right: Bool[Tensor, "n T"],
    tolerance: float,
) -> tuple[Policy, Replay]:
    """The policy with the fewest mean ticks that loses at most `tolerance` of the accuracy that its rule can reach."""
    played = [(policy, replay(policy, history, right)) for policy in map(make, candidates)]
    floor = max(pair[1].accuracy for pair in played) - tolerance
    return min((pair for pair in played if pair[1].accuracy >= floor), key=lambda pair: pair[1].mean_ticks)


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
        name -> {policy, accuracy, mean_ticks, best_fixed_tick, best_fixed_accuracy, n}
    """
    by_tick = right.float().mean(0)
    levels = [i / 200 for i in range(100, 200)] + [0.997, 0.998, 0.999, 0.9995, 0.9999]
    spans: dict[str, tuple[Callable[[float], Policy], list[float]]] = {}
    if spoken:
        spans["said"] = (lambda count: Said(int(count)), [spoken])
    else:
        spans["certainty"] = (CertaintyAbove, levels)
    if history.certainty.size(2) > 1:
        spans["certainty of the least certain position"] = (lambda level: CertaintyAbove(level, "min"), levels)
    if history.energy is not None:
        counts = may_answer(history.listening, history.ticks)
        spans["energy"] = (EnergyBelow, quantiles(history.energy if counts is None else history.energy[counts]))
    rules = {}
    for name, (make, candidates) in spans.items():
        policy, played = choose_threshold(make, candidates, history, right, tolerance)
        rules[name] = {
            "policy": str(policy), "accuracy": played.accuracy, "mean_ticks": played.mean_ticks, "n": len(right),
            "best_fixed_tick": int(by_tick.argmax()) + 1, "best_fixed_accuracy": by_tick.max().item(),
        }  # fmt: skip
    return rules


def quantiles(values: Float[Tensor, "*n"], count: int = 200) -> list[float]:
    """Evenly spread values, rounded as policies print them."""
    spread = torch.linspace(0, 1, count)
    return sorted({float(f"{value:.4g}") for value in values.flatten().float().quantile(spread).tolist()})
