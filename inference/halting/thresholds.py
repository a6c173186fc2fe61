"""Choosing thresholds on a calibration split that nothing else has seen.

Every rule is replayed on curves: what the machine said at every tick, as plain arrays. Nothing here thinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm.models.outputs import compute_answer_mask
from inference.engine import BUDGET
from inference.halting.policies import CertaintyAbove, EnergyBelow, HaltingPolicy, LabelsEmitted, ThresholdPolicy
from inference.tick_history import TickHistory


@dataclass(frozen=True)
class PolicyReplay:
    """What a policy would have done."""

    ticks: Int[Tensor, " n"]  # ticks spent
    answer_tick: Int[Tensor, " n"]  # tick whose answer is taken
    correct: Bool[Tensor, " n"]
    halted_by: list[str]

    @property
    def accuracy(self) -> float:
        return self.correct.float().mean().item()

    @property
    def mean_ticks(self) -> float:
        return self.ticks.float().mean().item()


def replay(
    policy: HaltingPolicy, history: TickHistory, correct: Bool[Tensor, "n T"], min_ticks: int = 1
) -> PolicyReplay:
    """Apply a policy to finished thoughts, sample by sample, as the engine does while thinking.

    Args:
        policy: the rule.
        history: all T ticks of n samples, and for how many of them each one listens.
        right: whether the answer was right, at every tick.
        min_ticks: no thought ends earlier.
    """
    count, budget = correct.shape
    ticks = torch.full((count,), budget)
    halted_by = [BUDGET] * count
    for tick in range(budget, min_ticks - 1, -1):  # backwards: the earliest halt is written last
        so_far = history.truncate(tick)
        for name, rows in reversed(policy.compute_halt_masks(so_far)):
            for row in so_far.mask_ready(rows).nonzero().flatten().tolist():
                ticks[row], halted_by[row] = tick, name
    spent = torch.tensor([cause == BUDGET for cause in halted_by])
    answer_tick = ticks if policy.answers_at_end else torch.where(spent, history.best_tick, ticks)
    return PolicyReplay(ticks, answer_tick, correct.gather(1, answer_tick[:, None] - 1).squeeze(1), halted_by)


@dataclass(frozen=True)
class PolicySweep:
    """What a rule would have done at each of k levels."""

    policies: Sequence[ThresholdPolicy]
    ticks: Int[Tensor, "k n"]  # ticks spent
    answer_tick: Int[Tensor, "k n"]
    correct: Bool[Tensor, "k n"]

    @property
    def accuracy(self) -> Float[Tensor, " k"]:
        return self.correct.float().mean(1)

    @property
    def mean_ticks(self) -> Float[Tensor, " k"]:
        return self.ticks.float().mean(1)


def sweep(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
) -> PolicySweep:
    """Apply a rule at many levels to finished thoughts, all at once; each does what `replay` says of it."""
    policies = [make_policy(candidate) for candidate in thresholds]
    ends = find_first_crossing_tick(
        compute_masked_score(policies[0], history), torch.tensor([policy.level for policy in policies])
    )
    return PolicySweep(policies, *resolve_answers(ends, history.best_tick, correct))


def resolve_answers(
    crossing_ticks: Int[Tensor, "k n"], best_tick: Int[Tensor, " n"], correct: Bool[Tensor, "n T"]
) -> tuple[Int[Tensor, "k n"], Int[Tensor, "k n"], Bool[Tensor, "k n"]]:
    """Ticks spent, ticks that answer and whether those are right, where `ends` is T + 1 for thoughts that no level ends."""
    ticks = crossing_ticks.clamp(max=correct.size(1))
    answer_tick = torch.where(crossing_ticks > correct.size(1), best_tick, ticks)
    return ticks, answer_tick, correct.gather(1, answer_tick.T - 1).T


def compute_masked_score(policy: ThresholdPolicy, history: TickHistory) -> Float[Tensor, "n T"]:
    """A rule's score at every tick; none at ticks at which nothing may be answered yet."""
    score, counts = policy.score(history), compute_answer_mask(history.input_ticks, history.certainty.size(1))
    return score if counts is None else score.masked_fill(~counts, -torch.inf)


def find_first_crossing_tick(score: Float[Tensor, "n T"], levels: Float[Tensor, " k"]) -> Int[Tensor, "k n"]:
    """The first tick, from 1, whose score is above each level; T + 1 where none is."""
    highest = score.cummax(1).values.contiguous()
    levels = levels.to(score.dtype).expand(len(score), -1).contiguous()
    return torch.searchsorted(highest, levels, right=True).T + 1


def get_candidate_thresholds(make_policy: Callable[[float], ThresholdPolicy], history: TickHistory) -> list[float]:
    """Levels of a rule to try, the first of which nothing passes."""
    rule = make_policy(0.0)
    scores = compute_masked_score(rule, history)
    told = scores[scores.isfinite()]
    return [rule.never_threshold, *(compute_quantiles(rule.sign * told, 400) if len(told) else ())]


def choose_threshold(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    tolerance: float,
) -> tuple[HaltingPolicy, float, float]:
    """The policy with the fewest mean ticks that loses at most `tolerance` of the accuracy that its rule can reach.

    Returns:
        The policy, its accuracy, its mean ticks.
    """
    played = sweep(make_policy, thresholds, history, correct)
    accuracy, ticks = played.accuracy, played.mean_ticks
    chosen = int(ticks.masked_fill(accuracy < accuracy.max() - tolerance, torch.inf).argmin())
    return played.policies[chosen], accuracy[chosen].item(), ticks[chosen].item()


def choose_policies(
    history: TickHistory, correct: Bool[Tensor, "n T"], tolerance: float, ctc_length: int | None = None
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
    by_tick = correct.float().mean(0)
    chosen: dict[str, tuple[HaltingPolicy, float, float]] = {}
    rules: dict[str, Callable[[float], ThresholdPolicy]] = {}
    if ctc_length:
        played = replay(LabelsEmitted(ctc_length), history, correct)
        chosen["said"] = LabelsEmitted(ctc_length), played.accuracy, played.mean_ticks
    else:
        rules["certainty"] = CertaintyAbove
    if history.certainty.size(2) > 1:
        rules["certainty of the least certain position"] = lambda level: CertaintyAbove(level, "min")
    if history.energy is not None:
        rules["energy"] = EnergyBelow
    for name, make in rules.items():
        chosen[name] = choose_threshold(make, get_candidate_thresholds(make, history), history, correct, tolerance)
    return {
        name: {
            "policy": str(policy),
            "accuracy": accuracy,
            "mean_ticks": ticks,
            "n": len(correct),
            "best_fixed_tick": int(by_tick.argmax()) + 1,
            "best_fixed_accuracy": by_tick.max().item(),
            **({"tolerance": tolerance} if name in rules else {}),
        }
        for name, (policy, accuracy, ticks) in chosen.items()
    }


def compute_quantiles(values: Float[Tensor, "*n"], count: int = 200) -> list[float]:
    """Evenly spread values, rounded as policies print them."""
    spread = torch.linspace(0, 1, count)
    return sorted({float(f"{value:.4g}") for value in values.flatten().float().quantile(spread).tolist()})
