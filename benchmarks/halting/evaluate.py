"""Evaluate all policies on one frozen model.

Energy heads are fitted on validation samples and deployed thresholds are chosen on calibration samples. Everything is measured on
test samples, where the whole frontier of every policy is swept in the same way.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.halting.frozen_models import FINALIZE_CONFIG, CachedUnrolls, FrozenModel, load_or_compute_unrolls
from benchmarks.halting.metrics import HaltingMetrics, bootstrap_metrics, risk_coverage
from benchmarks.halting.policies_under_test import (
    ANSWER_THRESHOLD_POLICIES,
    DEFAULT_ENERGY_KIND,
    ENERGY_KINDS,
    FORK_LOSS_PARAMS,
    EnergyHead,
    build_energy_history,
    compute_share,
    evaluate_energy_policy,
    evaluate_fork_policies,
    evaluate_give_up_policy,
    evaluate_settling_policy,
    iterate_answer_policies,
    list_threshold_policies,
    load_or_fit_head,
    with_eventually_correct_labels,
)
from benchmarks.halting.timing import measure_time_savings
from ctm.checkpoint.metadata import CorrectnessModel
from inference.halting.frontier import OperatingPoints, compute_shuffled_baseline
from inference.halting.policies import EnergyBelow
from inference.halting.risk_control import (
    RiskGuarantee,
    drop_dominated_thresholds,
    find_largest_certified_index,
    is_correct_at_full_budget,
)
from inference.halting.thresholds import choose_threshold, compute_masked_score, get_candidate_thresholds, replay, sweep
from inference.tick_history import TickHistory
from training.energy.correctness import fit_correctness_model, gather_answer_confidence
from training.energy.losses import LOGIT_KINDS
from training.metrics import compute_reliability, tick_auroc
from training.tasks.splits import CALIBRATION, TEST, VALIDATION

RISK_GUARANTEE = RiskGuarantee(risk=0.01, confidence=0.95)
NUM_RESPLITS = 100
NUM_HEAD_SEEDS = {
    DEFAULT_ENERGY_KIND: 2
}  # the energy that the README reports; 1 head of each other kind. A head is the mean of several folds


@dataclass(frozen=True)
class SplitUnrolls:
    """Unrolls of one model on the three held-out splits."""

    validation: CachedUnrolls
    calibration: CachedUnrolls
    test: CachedUnrolls


def evaluate_frozen_model(frozen_model: FrozenModel) -> dict[str, Any]:
    """Return the results of all policies on a model; `draws` are those of the bootstrap, for comparisons over models."""
    splits = SplitUnrolls(*(load_or_compute_unrolls(frozen_model, split) for split in (VALIDATION, CALIBRATION, TEST)))
    curves = splits.test.curves
    halting_metrics = HaltingMetrics(curves.correct, curves.difficulty)
    felt = splits.validation.energy_dataset
    heads = {
        kind: [load_or_fit_head(frozen_model, kind, kind, seed, felt) for seed in range(NUM_HEAD_SEEDS.get(kind, 1))]
        for kind in ENERGY_KINDS
    }
    eventually_correct_head, fork_head = (
        load_or_fit_head(frozen_model, "hope", "calibrated", 0, with_eventually_correct_labels(felt)),
        load_or_fit_head(frozen_model, "fork", "contrastive", 0, felt, FORK_LOSS_PARAMS),
    )
    points = dict(iterate_answer_policies(splits.test)) | dict(
        iterate_energy_policies(heads, eventually_correct_head, splits.test)
    )
    default_head = heads[DEFAULT_ENERGY_KIND][0]
    points["by chance"] = compute_shuffled_baseline(
        points[f"energy: {DEFAULT_ENERGY_KIND}, head 0"], TickHistory.from_curves(curves).best_tick, curves.correct
    )
    areas = tuple(points[name].build_frontier(halting_metrics.budget).area for name in ("fixed", "oracle"))
    rules = {name: halting_metrics.compute(policy_points, areas) for name, policy_points in points.items()}
    for name, score in iterate_scores(heads, splits.test):
        rules[name] |= {
            "auroc": tick_auroc(score, curves.correct, curves.answer_mask),
            "risk_coverage": risk_coverage(score, curves.correct),
        }
    for head in (head for each in heads.values() for head in each):
        rules[get_head_name(head)]["reliability"] = evaluate_reliability(head, splits)
    accuracy_by_tick = curves.correct.double().mean(0)
    return {
        "name": frozen_model.name,
        "seed": frozen_model.seed,
        "digest": frozen_model.digest,
        "command": frozen_model.training_metadata["command"],
        "n": {split: len(getattr(splits, split).curves.correct) for split in (VALIDATION, CALIBRATION, TEST)},
        "iterations": halting_metrics.budget,
        "target": halting_metrics.target_accuracy,
        "best_fixed": {
            "tick": int(accuracy_by_tick.argmax()) + 1,
            "accuracy": accuracy_by_tick.max().item(),
            "last": accuracy_by_tick[-1].item(),
        },
        "read_out": evaluate_readouts(default_head, splits.test),
        "rules": average_heads(rules),
        "fork": evaluate_fork_policies(fork_head, splits.test),
        "deployed": evaluate_at_calibration_threshold(default_head, splits),
        "promise": evaluate_risk_control(default_head, splits),
        "time": measure_time_savings(
            frozen_model,
            default_head,
            find_energy_threshold(halting_metrics.target_accuracy, points[f"energy: {DEFAULT_ENERGY_KIND}, head 0"]),
        ),
        "draws": average_heads(bootstrap_metrics(points, curves.correct)),
    }


def find_energy_threshold(target_accuracy: float, operating_points: OperatingPoints) -> float:
    """Return the energy threshold with the fewest ticks that reaches the target; else the most accurate one."""
    reaches = operating_points.accuracy >= min(target_accuracy, operating_points.accuracy.max().item())
    return -operating_points.levels[int(operating_points.mean_ticks.masked_fill(~reaches, torch.inf).argmin())].item()


def get_head_name(head: EnergyHead) -> str:
    """Return the name of a head in the results."""
    return f"energy: {head.kind}, head {head.seed}"


def iterate_energy_policies(
    heads: dict[str, list[EnergyHead]], later_head: EnergyHead, test: CachedUnrolls
) -> Iterator[tuple[str, OperatingPoints]]:
    """Yield the names and the operating points of the policies of all heads."""
    for head in (head for each in heads.values() for head in each):
        yield get_head_name(head), evaluate_energy_policy(head, test)
    yield "time to settle", evaluate_settling_policy(heads["hazard"][0], test)
    yield "giving up", evaluate_give_up_policy(heads["calibrated"][0], later_head, test)


def iterate_scores(
    heads: dict[str, list[EnergyHead]], test: CachedUnrolls
) -> Iterator[tuple[str, Float[Tensor, "n T"]]]:
    """Yield the names and the scores that threshold policies compare with their levels."""
    history = TickHistory.from_curves(test.curves)
    for name, make in list_threshold_policies(history):
        yield name, compute_masked_score(make(0.0), history)
    for head in (head for each in heads.values() for head in each):
        yield get_head_name(head), compute_masked_score(EnergyBelow(0.0), build_energy_history(test, head))


def average_heads(rules: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Merge the heads of each policy: the mean of every figure; the corners are those of the first head."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, figures in rules.items():
        groups.setdefault(name.partition(", head ")[0], []).append(figures)
    return {name: each[0] if len(each) == 1 else mean_over_heads(each) for name, each in groups.items()}


def mean_over_heads(measurements: list[Any]) -> Any:
    """Return the mean of the figures of several heads, number by number; None if a head has no value.

    Corners and bins are those of the first head.
    """
    if any(value is None for value in measurements):
        return None
    if isinstance(measurements[0], dict):
        return {
            key: measurements[0][key]
            if key in ("corners", "bins")
            else mean_over_heads([figures.get(key) for figures in measurements])
            for key in measurements[0]
        }
    if isinstance(measurements[0], list):
        return [mean_over_heads(list(values)) for values in zip(*measurements, strict=True)]
    return statistics.fmean(measurements)


def evaluate_reliability(head: EnergyHead, splits: SplitUnrolls) -> dict[str, Any] | None:
    """Measure the calibration of P(correct) of the answers, computed as for a finished checkpoint."""
    seen, fresh = (
        replace(part.curves, energy=head.compute_energies(part.energy_dataset))
        for part in (splits.calibration, splits.test)
    )
    before, after = TickHistory.from_curves(seen), TickHistory.from_curves(fresh)
    policy, _, _ = choose_threshold(
        EnergyBelow,
        get_candidate_thresholds(EnergyBelow, before),
        before,
        seen.correct,
        FINALIZE_CONFIG.accuracy_tolerance,
    )
    chance = (
        CorrectnessModel()
        if head.kind in LOGIT_KINDS
        else fit_correctness_model(seen, replay(policy, before, seen.correct))
    )
    played = replay(policy, after, fresh.correct)
    return (
        None if chance is None else compute_reliability(gather_answer_confidence(chance, fresh, played), played.correct)
    )


def evaluate_readouts(head: EnergyHead, test: CachedUnrolls) -> dict[str, float]:
    """Return the accuracy after all ticks of the last, the most certain (as in the paper) and the lowest-energy tick."""
    right = test.curves.correct
    lowest = compute_masked_score(EnergyBelow(0.0), build_energy_history(test, head)).argmax(1, keepdim=True)
    return {
        "last": compute_share(right[:, -1]),
        "most_certain": compute_share(is_correct_at_full_budget(TickHistory.from_curves(test.curves), right)),
        "lowest_energy": compute_share(right.gather(1, lowest).squeeze(1)),
    }


def evaluate_at_calibration_threshold(head: EnergyHead, splits: SplitUnrolls) -> dict[str, dict[str, Any]]:
    """Choose thresholds on calibration samples, and measure each once on test samples."""
    found = {}
    for name, make in [*ANSWER_THRESHOLD_POLICIES.items(), ("energy", EnergyBelow)]:
        seen, fresh = (
            build_energy_history(part, head) if name == "energy" else TickHistory.from_curves(part.curves)
            for part in (splits.calibration, splits.test)
        )
        policy, accuracy, ticks = choose_threshold(
            make,
            get_candidate_thresholds(make, seen),
            seen,
            splits.calibration.curves.correct,
            FINALIZE_CONFIG.accuracy_tolerance,
        )
        played = replay(policy, fresh, splits.test.curves.correct)
        found[name] = {
            "policy": str(policy),
            "accuracy": played.accuracy,
            "mean_ticks": played.mean_ticks,
            "accuracy_when_chosen": accuracy,
            "mean_ticks_when_chosen": ticks,
        }
    return found


def evaluate_risk_control(head: EnergyHead, splits: SplitUnrolls) -> dict[str, dict[str, Any]]:
    """Certify thresholds on calibration samples, and measure the loss on test samples.

    Returns:
        Policy name -> figures; {} if the calibration samples are too few for any guarantee.
    """
    if len(splits.calibration.curves.correct) < RISK_GUARANTEE.min_samples:
        return {}
    found = {}
    for name, make in (("certainty", ANSWER_THRESHOLD_POLICIES["certainty"]), ("energy", EnergyBelow)):
        seen, *parts = (
            build_energy_history(part, head) if name == "energy" else TickHistory.from_curves(part.curves)
            for part in (splits.validation, splits.calibration, splits.test)
        )
        rights = [splits.calibration.curves.correct, splits.test.curves.correct]
        levels = drop_dominated_thresholds(
            make, get_candidate_thresholds(make, seen), seen, splits.validation.curves.correct
        )
        played = [sweep(make, levels, history, right) for history, right in zip(parts, rights, strict=True)]
        lost = [
            is_correct_at_full_budget(history, right) & ~part.correct
            for history, right, part in zip(parts, rights, played, strict=True)
        ]
        level = find_largest_certified_index(lost[0], RISK_GUARANTEE)
        if level is not None:
            found[name] = {
                "policy": str(make(levels[level])),
                "lost": compute_share(lost[1][level]),
                "accuracy": played[1].accuracy[level].item(),
                "mean_ticks": played[1].mean_ticks[level].item(),
                "re_splits": resample_calibration(torch.cat(lost, 1), len(rights[0])),
            }
    return found


def resample_calibration(lost: Bool[Tensor, "k n"], num_calibration: int) -> dict[str, float]:
    """Return the mean loss and the rate of violated guarantees over random choices of the calibration samples."""
    generator, shares = torch.Generator().manual_seed(0), []
    for _ in range(NUM_RESPLITS):
        order = torch.randperm(lost.size(1), generator=generator)
        level = find_largest_certified_index(lost[:, order[:num_calibration]], RISK_GUARANTEE)
        shares.append(0.0 if level is None else compute_share(lost[level]))
    broken = sum(value > RISK_GUARANTEE.risk for value in shares) / NUM_RESPLITS
    return {"splits": NUM_RESPLITS, "mean_lost": statistics.fmean(shares), "broken": broken}
