"""Choice of thresholds on a calibration split that is used for nothing else.

Policies are replayed on the recorded outputs of all ticks (`EvaluationCurves`); the model is not run.

The first tick at which a policy stops is computed in three ways: by the engine while the model runs, by `replay` for
any policy on recorded outputs, and by `sweep` for many thresholds of one policy at once. Tests compare all three.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm.models.outputs import compute_answer_mask
from inference.engine import BUDGET
from inference.halting.policies import (
    CertaintyAbove,
    EnergyBelow,
    HaltingPolicy,
    LabelsEmitted,
    SignalAbove,
    ThresholdPolicy,
)
from inference.tick_history import EvaluationCurves, TickHistory

ROUNDING = 1e-6  # differences of accuracy that are due to single precision


@dataclass(frozen=True)
class PolicyReplay:
    """Result of a policy on n samples.

    Attributes:
        ticks: Ticks run, shape (n,).
        answer_tick: Tick whose answer is taken, from 1, shape (n,).
        correct: Whether that answer is correct, shape (n,).
        halted_by: For each sample the policy that halted it, or "budget".
    """

    ticks: Int[Tensor, " n"]
    answer_tick: Int[Tensor, " n"]
    correct: Bool[Tensor, " n"]
    halted_by: list[str]

    @property
    def accuracy(self) -> float:
        """Share of correct answers."""
        return self.correct.float().mean().item()

    @property
    def mean_ticks(self) -> float:
        """Mean number of ticks run."""
        return self.ticks.float().mean().item()


def replay(policy: HaltingPolicy, history: TickHistory, correct: Bool[Tensor, "n T"]) -> PolicyReplay:
    """Apply a policy to recorded samples, one by one, with the result that the engine gives.

    Args:
        policy: The policy.
        history: All T ticks of n samples.
        correct: Whether the answer is correct at every tick, shape (n, T).
    """
    count, budget = correct.shape
    ticks = torch.full((count,), budget)
    halted_by = [BUDGET] * count
    for tick in range(budget, 0, -1):  # backwards: the earliest halt is written last
        prefix = history.truncate(tick)
        for name, rows in reversed(policy.compute_halt_masks(prefix)):
            for row in prefix.mask_ready(rows).nonzero().flatten().tolist():
                ticks[row], halted_by[row] = tick, name
    is_exhausted = torch.tensor([reason == BUDGET for reason in halted_by])
    answer_tick = ticks if policy.answers_at_end else torch.where(is_exhausted, history.best_tick, ticks)
    return PolicyReplay(ticks, answer_tick, correct.gather(1, answer_tick[:, None] - 1).squeeze(1), halted_by)


@dataclass(frozen=True)
class PolicySweep:
    """Result of a policy on n samples at each of k thresholds.

    Attributes:
        policies: The k policies.
        ticks: Ticks run, shape (k, n).
        answer_tick: Tick whose answer is taken, from 1, shape (k, n).
        correct: Whether that answer is correct, shape (k, n).
    """

    policies: Sequence[ThresholdPolicy]
    ticks: Int[Tensor, "k n"]
    answer_tick: Int[Tensor, "k n"]
    correct: Bool[Tensor, "k n"]

    @property
    def accuracy(self) -> Float[Tensor, " k"]:
        """Share of correct answers at each threshold."""
        return self.correct.float().mean(1)

    @property
    def mean_ticks(self) -> Float[Tensor, " k"]:
        """Mean number of ticks at each threshold."""
        return self.ticks.float().mean(1)


def sweep(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
) -> PolicySweep:
    """Apply a policy at many thresholds to recorded samples, all at once; each gives the result of `replay`.

    Args:
        make_policy: Builds the policy from its threshold.
        thresholds: The k thresholds.
        history: All T ticks of n samples.
        correct: Whether the answer is correct at every tick, shape (n, T).
    """
    policies = [make_policy(threshold) for threshold in thresholds]
    crossing_ticks = find_first_crossing_tick(
        compute_masked_score(policies[0], history), torch.tensor([policy.level for policy in policies])
    )
    return PolicySweep(policies, *resolve_answers(crossing_ticks, history.best_tick, correct))


def resolve_answers(
    crossing_ticks: Int[Tensor, "k n"], best_tick: Int[Tensor, " n"], correct: Bool[Tensor, "n T"]
) -> tuple[Int[Tensor, "k n"], Int[Tensor, "k n"], Bool[Tensor, "k n"]]:
    """Turn crossing ticks into ticks run, answer ticks and whether those answers are correct.

    Args:
        crossing_ticks: First tick above each level, from 1; T + 1 if there is none. Shape (k, n).
        best_tick: Answer tick of samples that never halt, shape (n,).
        correct: Whether the answer is correct at every tick, shape (n, T).
    """
    ticks = crossing_ticks.clamp(max=correct.size(1))
    answer_tick = torch.where(crossing_ticks > correct.size(1), best_tick, ticks)
    return ticks, answer_tick, correct.gather(1, answer_tick.T - 1).T


def compute_masked_score(policy: ThresholdPolicy, history: TickHistory) -> Float[Tensor, "n T"]:
    """Return the score of a policy at every tick, shape (n, T); -inf at ticks before an answer counts."""
    score = policy.score(history)
    answer_mask = compute_answer_mask(history.input_ticks, history.certainty.size(1))
    return score if answer_mask is None else score.masked_fill(~answer_mask, -torch.inf)


def find_first_crossing_tick(score: Float[Tensor, "n T"], levels: Float[Tensor, " k"]) -> Int[Tensor, "k n"]:
    """Return the first tick, from 1, whose score exceeds each level; T + 1 if there is none. Shape (k, n)."""
    running_max = score.cummax(1).values.contiguous()
    levels = levels.to(score.dtype).expand(len(score), -1).contiguous()
    return torch.searchsorted(running_max, levels, right=True).T + 1


def get_candidate_thresholds(make_policy: Callable[[float], ThresholdPolicy], history: TickHistory) -> list[float]:
    """Return thresholds to try, the first of which no score passes."""
    policy = make_policy(0.0)
    scores = compute_masked_score(policy, history)
    finite_scores = scores[scores.isfinite()]
    quantiles = compute_quantiles(policy.sign * finite_scores, 400) if len(finite_scores) else ()
    return [policy.never_threshold, *quantiles]


def choose_threshold(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: Sequence[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    tolerance: float,
) -> tuple[HaltingPolicy, float, float]:
    """Return the policy with the fewest mean ticks within `tolerance` of the best accuracy of its thresholds.

    Args:
        make_policy: Builds the policy from its threshold.
        thresholds: The thresholds to try.
        history: All T ticks of n calibration samples.
        correct: Whether the answer is correct at every tick, shape (n, T).
        tolerance: Accuracy that may be lost.

    Returns:
        The policy, its accuracy, its mean ticks.
    """
    result = sweep(make_policy, thresholds, history, correct)
    best = select_threshold([result], [result.accuracy.max().item() - tolerance])
    return result.policies[best], result.accuracy[best].item(), result.mean_ticks[best].item()


def select_threshold(results: Sequence[PolicySweep], min_accuracies: Sequence[float]) -> int:
    """Return the index of the threshold with the fewest ticks that reaches an accuracy on each of several sets of samples.

    If there is none, thresholds that miss the accuracy of a set by the least count as reaching it.

    Args:
        results: Result of a policy at the same k thresholds on each set.
        min_accuracies: Accuracy to reach on each set.
    """
    surplus = torch.stack([result.accuracy - level for result, level in zip(results, min_accuracies, strict=True)])
    worst = surplus.amin(0)
    mean_ticks = torch.stack([result.mean_ticks for result in results]).mean(0)
    return int(mean_ticks.masked_fill(worst < min(0.0, worst.max().item()), torch.inf).argmin())


def choose_policies(
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
    tolerance: float,
    ctc_length: int | None = None,
    shifted: Mapping[str, EvaluationCurves] | None = None,
) -> dict[str, dict[str, Any]]:
    """Choose the policies of a checkpoint, each with its threshold and the evidence for it.

    All thresholds have the same target: the accuracy of the most accurate policy, less `tolerance`. A policy that does not
    reach it gets its most accurate threshold. (A policy can be more accurate than every fixed tick, because different
    samples are correct at different ticks.) Samples that differ from the calibration samples have a target of their own,
    and a threshold reaches the target of each set.

    Args:
        history: All T ticks of n calibration samples, with the signal `margin` if that policy is wanted.
        correct: Whether the answer is correct at every tick, shape (n, T).
        tolerance: Accuracy that a policy may lose against the most accurate one, to save ticks.
        ctc_length: Number of labels of a CTC answer. It ends when all are emitted; the certainty of one tick says
            nothing about the whole answer then.
        shifted: Curves of further sets of samples by split, with the same signals.

    Returns:
        name -> {policy, accuracy, mean_ticks, n, best_fixed_tick, best_fixed_accuracy}, and the tolerance if a
        threshold was chosen; `shifted` has accuracy, mean_ticks and n of the further sets. Empty for a model of one tick,
        which has nothing to halt.
    """
    if correct.size(1) == 1:
        return {}
    shifted = shifted or {}
    samples = [(history, correct), *((TickHistory.from_curves(curves), curves.correct) for curves in shifted.values())]
    accuracy_by_tick = correct.float().mean(0)
    best_fixed = {
        "best_fixed_tick": int(accuracy_by_tick.argmax()) + 1,
        "best_fixed_accuracy": accuracy_by_tick.max().item(),
    }
    records: dict[str, dict[str, Any]] = {}
    if ctc_length:
        emitted = replay(LabelsEmitted(ctc_length), history, correct)
        policy = str(LabelsEmitted(ctc_length))
        records["said"] = {"policy": policy, "accuracy": emitted.accuracy, "mean_ticks": emitted.mean_ticks}
    sweeps = {
        name: sweep_samples(make_policy, samples)
        for name, make_policy in select_policy_factories(history, bool(ctc_length)).items()
    }
    targets = [
        max((results[index].accuracy.max().item() for results in sweeps.values()), default=0.0) - tolerance
        for index in range(len(samples))
    ]
    for name, results in sweeps.items():
        chosen = select_threshold(results, targets)
        figures = [
            {"accuracy": result.accuracy[chosen].item(), "mean_ticks": result.mean_ticks[chosen].item()}
            for result in results
        ]
        records[name] = {"policy": str(results[0].policies[chosen]), **figures[0], "tolerance": tolerance}
        if shifted:
            records[name]["shifted"] = {
                split: figure | {"n": len(curves.correct)}
                for figure, (split, curves) in zip(figures[1:], shifted.items(), strict=True)
            }
    return {name: record | {"n": len(correct)} | best_fixed for name, record in records.items()}


def sweep_samples(
    make_policy: Callable[[float], ThresholdPolicy], samples: Sequence[tuple[TickHistory, Tensor]]
) -> list[PolicySweep]:
    """Apply a policy to several sets of samples at the same thresholds, those of all sets.

    Args:
        make_policy: Builds the policy from its threshold.
        samples: History and correctness of every set.
    """
    candidates = [get_candidate_thresholds(make_policy, history) for history, _ in samples]
    thresholds = list(dict.fromkeys(itertools.chain.from_iterable(candidates)))
    return [sweep(make_policy, thresholds, history, correct) for history, correct in samples]


def select_policy_factories(history: TickHistory, is_ctc: bool) -> dict[str, Callable[[float], ThresholdPolicy]]:
    """Return the threshold policies that a history has the scores of, by their names in halting.json."""
    factories: dict[str, Callable[[float], ThresholdPolicy]] = {}
    if not is_ctc:
        factories["certainty"] = CertaintyAbove
    if history.certainty.size(2) > 1:
        factories["certainty of the least certain position"] = lambda level: CertaintyAbove(level, "min")
    if "margin" in history.signals and not is_ctc:
        factories["margin"] = lambda level: SignalAbove("margin", level)
    if history.energy is not None:
        factories["energy"] = EnergyBelow
    return factories


def choose_default_policy(policies: dict[str, dict[str, Any]]) -> str | None:
    """Return the name of the policy with the fewest mean ticks among those that reach the common target accuracies.

    Args:
        policies: Result of `choose_policies`.

    Returns:
        The name; None without policies. A CTC answer is complete when all labels are emitted, so that policy comes first.
    """
    if "said" in policies or not policies:
        return "said" if policies else None
    figures = {name: [record, *record.get("shifted", {}).values()] for name, record in policies.items()}
    best_accuracies = [max(entry["accuracy"] for entry in entries) for entries in zip(*figures.values(), strict=True)]

    def rank(name: str) -> tuple[float, float]:
        losses = [best - entry["accuracy"] for best, entry in zip(best_accuracies, figures[name], strict=True)]
        excess = max(losses) - policies[name]["tolerance"]
        return max(excess, ROUNDING), sum(entry["mean_ticks"] for entry in figures[name])

    return min(policies, key=rank)


def compute_quantiles(values: Float[Tensor, "*n"], count: int = 200) -> list[float]:
    """Return evenly spaced quantiles, rounded to the digits that policies print."""
    ranks = torch.linspace(0, 1, count)
    return sorted({float(f"{value:.4g}") for value in values.flatten().float().quantile(ranks).tolist()})
