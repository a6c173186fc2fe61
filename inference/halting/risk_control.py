"""Risk control: thresholds with a guarantee on the share of correct answers that early stopping loses, for any score.

An answer is lost if it would be correct at the full budget and is wrong where the policy stops. Thresholds are ordered
from the safest, which never stops early, to the least conservative one, and the order is fixed before the calibration
samples are looked at. No other stage uses these samples, neither training nor the fitting of the energy head, and each
guarantee uses them once.

    learn then test            Angelopoulos et al. 2021 (arXiv 2110.01052), fixed-sequence testing: with the
                               given confidence over the choice of calibration samples, the share that is lost is at most the risk
    conformal risk control     Angelopoulos et al. 2022 (arXiv 2208.02814): on average over that choice
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inference.halting.policies import HaltingPolicy, PerClassThreshold, ThresholdPolicy
from inference.halting.policy_parser import MAX_POLICY_LENGTH
from inference.halting.threshold_policies import get_choices
from inference.halting.thresholds import compute_masked_score, find_first_crossing_tick, replay, sweep
from inference.tick_history import TickHistory

RiskControlMethod = Literal["ltt", "crc"]
MIN_PROBABILITY_MARGIN = 1e-6  # minimum distance of a risk or a confidence from 0 and 1


@dataclass(frozen=True)
class RiskGuarantee:
    """Guarantee that at most the share `risk` of all answers is lost.

    Attributes:
        risk: Maximum share of lost answers, in (0, 1).
        confidence: Probability with which learn then test holds; conformal risk control holds on average and ignores
            it.
        method: "ltt" for learn then test, "crc" for conformal risk control.

    Raises:
        ValueError: The risk or the confidence is not strictly between 0 and 1.
    """

    risk: float
    confidence: float = 0.95
    method: RiskControlMethod = "ltt"

    def __post_init__(self) -> None:
        for name, value in (("risk", self.risk), ("confidence", self.confidence)):
            if not MIN_PROBABILITY_MARGIN <= value <= 1 - MIN_PROBABILITY_MARGIN:
                raise ValueError(
                    f"{name} must lie between 0 and 1, and no nearer than {MIN_PROBABILITY_MARGIN}: got {value}."
                )

    @property
    def min_samples(self) -> int:
        """Smallest number of calibration samples that can certify this guarantee, if none of them is lost."""
        if self.method == "crc":
            return math.ceil(1 / self.risk - 1 - 1e-9)
        return math.ceil(math.log(1 - self.confidence) / math.log1p(-self.risk) - 1e-9)

    def compute_max_losses(self, count: int) -> int:
        """Return how many of `count` samples may be lost; -1 if not even zero losses suffice."""
        if self.method == "crc":
            return math.floor(self.risk * (count + 1) - 1 + 1e-9)
        max_losses = -1
        while max_losses < count and binomial_cdf(max_losses + 1, count, self.risk) <= 1 - self.confidence:
            max_losses += 1
        return max_losses

    def __str__(self) -> str:
        if self.method == "crc":
            return f"at most {self.risk:.12g} lost on average"
        return f"at most {self.risk:.12g} lost with confidence {self.confidence:.12g}"


def binomial_cdf(max_hits: int, count: int, probability: float) -> float:
    """Return P(X <= max_hits) for X ~ Bin(count, probability)."""
    log_p = math.log(probability)
    log_q = math.log1p(-probability)
    total = 0.0
    for hits in range(min(max_hits, count) + 1):
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        total += math.exp(ways + hits * log_p + (count - hits) * log_q)
    return min(1.0, total)


def find_largest_certified_index(lost: Bool[Tensor, "k n"], guarantee: RiskGuarantee) -> int | None:
    """Return the index of the least conservative threshold that is certified, or None.

    Thresholds are tested from the safest; the first that fails ends the search. This fixed sequence is why learn then
    test needs no correction for multiple tests. Conformal risk control assumes that the loss grows along the sequence;
    where it does not, stopping at the first failure is the conservative choice, and the average holds only
    approximately.

    Args:
        lost: Calibration samples that each threshold loses, the safest first, shape (k, n).
        guarantee: The guarantee to certify.
    """
    max_losses = guarantee.compute_max_losses(lost.size(1))
    failures = (lost.sum(1) > max_losses).nonzero()
    num_certified = len(lost) if not len(failures) else int(failures[0])
    return num_certified - 1 if num_certified else None


def certify_threshold(
    make_policy: Callable[[float], ThresholdPolicy],
    candidate_thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    guarantee: RiskGuarantee,
) -> dict[str, Any] | None:
    """Return the least conservative certified policy with its evidence, or None if not even the safest is certified.

    Args:
        make_policy: Builds the policy from its threshold.
        candidate_thresholds: Thresholds, the safest first, chosen and ordered without these samples.
        history: All T ticks of n calibration samples, which no other stage uses.
        correct: Whether the answer is correct at every tick, shape (n, T).
        guarantee: The guarantee to certify.

    Raises:
        ValueError: The samples are too few for this guarantee, whatever their answers are.
    """
    check_sample_count(len(correct), guarantee, guarantee.min_samples)
    result = sweep(make_policy, candidate_thresholds, history, correct)
    lost = is_correct_at_full_budget(history, correct) & ~result.correct
    if (index := find_largest_certified_index(lost, guarantee)) is None:
        return None
    accuracy = result.accuracy[index].item()
    mean_ticks = result.mean_ticks[index].item()
    return build_policy_record(result.policies[index], accuracy, mean_ticks, lost[index], guarantee)


def certify_class_thresholds(
    make_policy: Callable[[float], ThresholdPolicy],
    candidate_thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    shares: Sequence[float],
    guarantee: RiskGuarantee,
) -> dict[str, Any] | None:
    """Return a policy with one certified threshold per answered class, with its evidence.

    The threshold of a class applies where that class is answered. Of all samples, it loses at most `risk` times the
    share of the class, for all classes at once with the given confidence: the error probability is divided among the
    classes (Bonferroni). A class for which this cannot be certified never stops early.

    Args:
        make_policy: Builds the policy from its threshold.
        candidate_thresholds: Thresholds, chosen without these samples.
        history: All T ticks of n calibration samples, which no other stage uses.
        correct: Whether the answer is correct at every tick, shape (n, T).
        shares: Share of each class among the answers, known without these samples.
        guarantee: The guarantee to certify.

    Raises:
        ValueError: The answer has several positions, the samples are too few for every class, or there are too many
            classes.
    """
    choices = get_choices(history)
    if choices.size(2) > 1:
        raise ValueError("Levels by class need an answer of one position; this model's answers have several.")
    class_guarantees = split_guarantee(guarantee, shares)
    min_samples = min(each.min_samples for each in class_guarantees if each)
    check_sample_count(len(correct), guarantee, min_samples, " by class, for the commonest one")
    ordered = sort_safest_first(make_policy, candidate_thresholds)
    levels = torch.tensor([make_policy(threshold).level for threshold in ordered])
    correct_at_end = is_correct_at_full_budget(history, correct)
    score = compute_masked_score(make_policy(ordered[0]), history)
    thresholds = []
    for label, class_guarantee in enumerate(class_guarantees):
        class_score = score.masked_fill(choices[:, :, 0] != label, -torch.inf)
        lost = find_lost_samples(class_score, levels, correct, correct_at_end)
        index = find_largest_certified_index(lost, class_guarantee) if class_guarantee else None
        thresholds.append(make_policy(0.0).never_threshold if index is None else ordered[index])
    policy = PerClassThreshold(make_policy(0.0), tuple(thresholds))
    if len(str(policy)) > MAX_POLICY_LENGTH:
        raise ValueError(
            f"Levels for {len(shares)} classes make a policy of {len(str(policy)):,} characters; at most "
            f"{MAX_POLICY_LENGTH} are read: omit --per-class."
        )
    result = replay(policy, history, correct)
    lost = correct_at_end & ~result.correct
    return build_policy_record(policy, result.accuracy, result.mean_ticks, lost, guarantee)


def split_guarantee(guarantee: RiskGuarantee, shares: Sequence[float]) -> list[RiskGuarantee | None]:
    """Return the guarantee of every class: its share of the risk, with the error probability divided by Bonferroni.

    Args:
        guarantee: Guarantee for all classes at once.
        shares: Share of each class among the answers.

    Returns:
        One guarantee per class; None for a class without a share.
    """
    confidence = 1 - (1 - guarantee.confidence) / len(shares)
    return [
        replace(guarantee, risk=guarantee.risk * share, confidence=confidence) if share else None for share in shares
    ]


def find_lost_samples(
    score: Float[Tensor, "n T"],
    levels: Float[Tensor, " k"],
    correct: Bool[Tensor, "n T"],
    correct_at_end: Bool[Tensor, " n"],
) -> Bool[Tensor, "k n"]:
    """Return the samples that each level loses.

    They are correct at the full budget, and wrong at the first tick whose score is above the level.

    Args:
        score: Score of every tick; -inf where a sample may not stop.
        levels: Levels of the score.
        correct: Whether the answer is correct at every tick.
        correct_at_end: Whether the answer is correct at the full budget.
    """
    ticks = correct.size(1)
    crossing_ticks = find_first_crossing_tick(score, levels)
    correct_at_stop = correct.gather(1, crossing_ticks.clamp(max=ticks).T - 1).T
    return (crossing_ticks <= ticks) & correct_at_end & ~correct_at_stop


def drop_dominated_thresholds(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
) -> list[float]:
    """Return the candidate thresholds for certification, safest first.

    Fixed-sequence testing stops at the first threshold that fails, and the loss rate is not always monotone: a policy
    that nearly always runs too many ticks can lose more than one that stops early. A threshold is dropped if a less
    conservative one loses fewer validation samples. Any selection that does not use the calibration split keeps the
    guarantee valid. The safest threshold is always kept.

    Args:
        make_policy: Builds the policy from its threshold.
        thresholds: The thresholds to select from.
        history: All T ticks of n validation samples.
        correct: Whether the answer is correct at every tick, shape (n, T).
    """
    ordered = sort_safest_first(make_policy, thresholds)
    lost = is_correct_at_full_budget(history, correct) & ~sweep(make_policy, ordered, history, correct).correct
    num_lost = lost.sum(1)
    min_lost_from_here = num_lost.flip(0).cummin(0).values.flip(0)
    return [threshold for i, threshold in enumerate(ordered) if i == 0 or num_lost[i] <= min_lost_from_here[i]]


def sort_safest_first(make_policy: Callable[[float], ThresholdPolicy], thresholds: Sequence[float]) -> list[float]:
    """Sort thresholds by descending level."""
    return sorted(thresholds, key=lambda threshold: -make_policy(threshold).level)


def is_correct_at_full_budget(history: TickHistory, correct: Bool[Tensor, "n T"]) -> Bool[Tensor, " n"]:
    """Return whether each sample is correct when no policy stops it: at its most certain tick. Shape (n,)."""
    return correct.gather(1, history.best_tick.unsqueeze(1) - 1).squeeze(1)


def check_sample_count(count: int, guarantee: RiskGuarantee, min_samples: int, scope: str = "") -> None:
    """Check that there are enough calibration samples for a guarantee.

    Raises:
        ValueError: There are fewer than `min_samples`.
    """
    if count < min_samples:
        alternative = " or a lower confidence" if guarantee.method == "ltt" else ""
        raise ValueError(
            f"{count:,} calibration samples are too few to certify {guarantee}{scope}, even if not one is lost: it "
            f"takes {min_samples:,}. More samples (--samples) are to be had where a split has no end; else take a "
            f"higher risk{alternative}."
        )


def build_named_policy_record(
    record: dict[str, Any], guarantee: RiskGuarantee, split: str, score: str, per_class: bool = False
) -> dict[str, dict[str, Any]]:
    """Return a certified policy as an entry of `halting.json`, under a name that states the guarantee."""
    evidence = record["promise"] | {"split": split, "score": score, "per_class": per_class}
    return {f"{score}{' by class' if per_class else ''}, {guarantee}": record | {"promise": evidence}}


def build_policy_record(
    policy: HaltingPolicy, accuracy: float, mean_ticks: float, lost: Bool[Tensor, " n"], guarantee: RiskGuarantee
) -> dict[str, Any]:
    """Return a certified policy and its evidence in the format of `halting.json`."""
    return {
        "policy": str(policy),
        "accuracy": accuracy,
        "mean_ticks": mean_ticks,
        "n": len(lost),
        "promise": {**asdict(guarantee), "lost": int(lost.sum()), "allowed": guarantee.compute_max_losses(len(lost))},
    }
