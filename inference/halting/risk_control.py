"""Levels that keep a promise: at most so large a share of answers is lost by stopping early, whatever the score is.

An answer is lost where thinking to the end would have been right and stopping was not. Levels are ordered from the safest,
which never stops early, to the boldest, and the order is fixed before the calibration samples are looked at. Those were seen
by nothing else: neither by training nor by the fitting of the energy, and each promise spends them once.

    learn then test            Angelopoulos et al. 2021 (arXiv 2110.01052), fixed sequence: with the given confidence over the
                               drawing of calibration samples, the share that is lost is at most the risk
    conformal risk control     Angelopoulos et al. 2022 (arXiv 2208.02814): on average over that drawing
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from inference.halting.policies import HaltingPolicy, PerClassThreshold, ThresholdPolicy
from inference.halting.policy_parser import MAX_POLICY_LENGTH
from inference.halting.thresholds import compute_masked_score, find_first_crossing_tick, replay, sweep
from inference.tick_history import TickHistory

RiskControlMethod = Literal["ltt", "crc"]
MIN_PROBABILITY_MARGIN = 1e-6  # that a risk or a confidence may be to 0 or 1


@dataclass(frozen=True)
class RiskGuarantee:
    """At most `risk` of all answers lost."""

    risk: float
    confidence: float = 0.95  # of learn then test; conformal risk control promises an average
    method: RiskControlMethod = "ltt"

    def __post_init__(self):
        for name, value in (("risk", self.risk), ("confidence", self.confidence)):
            if not MIN_PROBABILITY_MARGIN <= value <= 1 - MIN_PROBABILITY_MARGIN:
                raise ValueError(
                    f"{name} must lie between 0 and 1, and no nearer than {MIN_PROBABILITY_MARGIN}: got {value}."
                )

    @property
    def min_samples(self) -> int:
        """So few samples can keep the promise, if none of them is lost."""
        if self.method == "crc":
            return math.ceil(1 / self.risk - 1 - 1e-9)
        return math.ceil(math.log(1 - self.confidence) / math.log1p(-self.risk) - 1e-9)

    def compute_max_losses(self, count: int) -> int:
        """Of so many samples those that may be lost; -1 if even none is too many."""
        if self.method == "crc":
            return math.floor(self.risk * (count + 1) - 1 + 1e-9)
        most = -1
        while most < count and binomial_cdf(most + 1, count, self.risk) <= 1 - self.confidence:
            most += 1
        return most

    def __str__(self) -> str:
        if self.method == "crc":
            return f"at most {self.risk:.12g} lost on average"
        return f"at most {self.risk:.12g} lost with confidence {self.confidence:.12g}"


def binomial_cdf(max_hits: int, count: int, probability: float) -> float:
    """P(X <= most) for X ~ Bin(count, chance)."""
    log_p, log_q, total = math.log(probability), math.log1p(-probability), 0.0
    for hits in range(min(max_hits, count) + 1):
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        total += math.exp(ways + hits * log_p + (count - hits) * log_q)
    return min(1.0, total)


def find_largest_certified_index(lost: Bool[Tensor, "k n"], guarantee: RiskGuarantee) -> int | None:
    """The boldest level that keeps a promise, or None.

    Levels are tried from the safest; the first that fails ends the search. That is what makes learn then test right without
    a price for trying many (its fixed sequence). Conformal risk control takes it that bolder levels lose more; where some do
    not, ending at the first that fails is the cautious choice, and its average holds but approximately.

    Args:
        lost: which calibration samples each level loses, the safest level first.
        promise: as above.
    """
    allowed = guarantee.compute_max_losses(lost.size(1))
    fails = (lost.sum(1) > allowed).nonzero()
    kept = len(lost) if not len(fails) else int(fails[0])
    return kept - 1 if kept else None


def certify_threshold(
    make_policy: Callable[[float], ThresholdPolicy],
    candidate_thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    guarantee: RiskGuarantee,
) -> dict[str, Any] | None:
    """The boldest rule that keeps a promise, with its evidence; None if even the safest level does not.

    Args:
        make: the rule, from its level.
        levels: to try, from the safest to the boldest; chosen and ordered without these samples.
        history, right: of calibration samples, which nothing else has seen.
        promise: what is asked for.

    Raises:
        ValueError: the samples are too few for this promise, whatever they say.
    """
    check_sample_count(len(correct), guarantee, guarantee.min_samples)
    played = sweep(make_policy, candidate_thresholds, history, correct)
    lost = is_correct_at_full_budget(history, correct) & ~played.correct
    if (chosen := find_largest_certified_index(lost, guarantee)) is None:
        return None
    policy, accuracy, ticks = played.policies[chosen], played.accuracy[chosen].item(), played.mean_ticks[chosen].item()
    return build_policy_record(policy, accuracy, ticks, lost[chosen], guarantee)


def certify_class_thresholds(
    make_policy: Callable[[float], ThresholdPolicy],
    candidate_thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    shares: Sequence[float],
    guarantee: RiskGuarantee,
) -> dict[str, Any] | None:
    """A level for each class that is answered; None where nothing can be promised.

    The rule of a class stops where that class is answered and its level is passed. Of all samples, at most `risk` times the
    share of the class are lost by it, for all classes at once with the confidence: each is given its part of the doubt. A
    class of which so much cannot be shown never stops a thought.

    Args:
        make, levels, history, right, promise: as above.
        shares: of each class among the answers, known without these samples.

    Raises:
        ValueError: an answer has several positions, the samples are too few for every class, or there are too many classes.
    """
    assert history.choices is not None
    if history.choices.size(2) > 1:
        raise ValueError("Levels by class need an answer of one position; this machine's answers have several.")
    apart = [
        replace(guarantee, risk=guarantee.risk * share, confidence=1 - (1 - guarantee.confidence) / len(shares))
        if share
        else None
        for share in shares
    ]
    commonest = min((each for each in apart if each), key=lambda each: each.min_samples)
    check_sample_count(len(correct), guarantee, commonest.min_samples, " by class, for the commonest one")
    ordered = sort_safest_first(make_policy, candidate_thresholds)
    ranked = torch.tensor([make_policy(level).level for level in ordered])
    end, score = is_correct_at_full_budget(history, correct), compute_masked_score(make_policy(ordered[0]), history)
    thresholds = []
    for label, each in enumerate(apart):
        mine = score.masked_fill(history.choices[:, :, 0] != label, -torch.inf)
        ends = find_first_crossing_tick(mine, ranked)
        stopped_right = correct.gather(1, ends.clamp(max=correct.size(1)).T - 1).T
        lost = (ends <= correct.size(1)) & end & ~stopped_right
        chosen = find_largest_certified_index(lost, each) if each else None
        thresholds.append(make_policy(0.0).never_threshold if chosen is None else ordered[chosen])
    policy = PerClassThreshold(make_policy(0.0), tuple(thresholds))
    if len(str(policy)) > MAX_POLICY_LENGTH:
        raise ValueError(
            f"Levels for {len(shares)} classes make a rule of {len(str(policy)):,} characters; at most {MAX_POLICY_LENGTH} are read: "
            "leave --per-class away."
        )
    played = replay(policy, history, correct)
    return build_policy_record(policy, played.accuracy, played.mean_ticks, end & ~played.correct, guarantee)


def drop_dominated_thresholds(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
) -> list[float]:
    """Those of some levels to try for a promise, from the safest to the boldest.

    The share that is lost need not grow as a level falls: who nearly always thinks too long loses more than who stops early. A
    level that loses more of these validation samples than a bolder one is left out, so that the search does not end there. What
    is tried may be chosen in any way that does without the calibration samples. The highest level comes first in any case.
    """
    ordered = sort_safest_first(make_policy, thresholds)
    lost = (is_correct_at_full_budget(history, correct) & ~sweep(make_policy, ordered, history, correct).correct).sum(1)
    least_from_here = lost.flip(0).cummin(0).values.flip(0)
    return [level for place, level in enumerate(ordered) if place == 0 or lost[place] <= least_from_here[place]]


def sort_safest_first(make_policy: Callable[[float], ThresholdPolicy], thresholds: Sequence[float]) -> list[float]:
    return sorted(thresholds, key=lambda level: -make_policy(level).level)


def is_correct_at_full_budget(history: TickHistory, correct: Bool[Tensor, "n T"]) -> Bool[Tensor, " n"]:
    """Whether the answer is right when nothing stops the thought: that of the tick which the machine itself trusts most."""
    return correct.gather(1, history.best_tick.unsqueeze(1) - 1).squeeze(1)


def check_sample_count(count: int, guarantee: RiskGuarantee, min_samples: int, scope: str = "") -> None:
    if count < min_samples:
        or_else = " or a lower confidence" if guarantee.method == "ltt" else ""
        raise ValueError(
            f"{count:,} calibration samples are too few to promise {guarantee}{scope}, even if not one is lost: it takes "
            f"{min_samples:,}. More samples (--samples) are to be had where a split has no end; else take a higher risk{or_else}."
        )


def build_named_policy_record(
    record: dict[str, Any], guarantee: RiskGuarantee, split: str, score: str, per_class: bool = False
) -> dict[str, dict[str, Any]]:
    """A promised rule as `halting.json` holds it among the others: under a name that tells all of the promise."""
    told = record["promise"] | {"split": split, "score": score, "per_class": per_class}
    return {f"{score}{' by class' if per_class else ''}, {guarantee}": record | {"promise": told}}


def build_policy_record(
    policy: HaltingPolicy, accuracy: float, mean_ticks: float, lost: Bool[Tensor, " n"], guarantee: RiskGuarantee
) -> dict[str, Any]:
    """What `halting.json` keeps of a promise."""
    return {
        "policy": str(policy),
        "accuracy": accuracy,
        "mean_ticks": mean_ticks,
        "n": len(lost),
        "promise": {**asdict(guarantee), "lost": int(lost.sum()), "allowed": guarantee.compute_max_losses(len(lost))},
    }
