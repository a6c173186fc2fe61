"""Evaluate thresholds that are chosen on calibration samples, as for a finished checkpoint, on test samples."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from benchmarks.halting.frozen_models import FINALIZE_CONFIG, CachedUnrolls, SplitUnrolls
from benchmarks.halting.policies_under_test import (
    ANSWER_THRESHOLD_POLICIES,
    EnergyHead,
    build_energy_history,
    compute_share,
)
from ctm.checkpoint.metadata import CorrectnessModel
from inference.halting.policies import EnergyBelow, ThresholdPolicy
from inference.halting.risk_control import (
    RiskGuarantee,
    drop_dominated_thresholds,
    find_largest_certified_index,
    is_correct_at_full_budget,
)
from inference.halting.thresholds import PolicySweep, choose_threshold, get_candidate_thresholds, replay, sweep
from inference.tick_history import TickHistory
from training.energy.correctness import fit_correctness_model, gather_answer_confidence
from training.energy.losses import LOGIT_KINDS
from training.metrics import compute_reliability

RISK_GUARANTEE = RiskGuarantee(risk=0.01, confidence=0.95)
NUM_RESPLITS = 100


def evaluate_reliability(head: EnergyHead, splits: SplitUnrolls) -> dict[str, Any] | None:
    """Measure the calibration of P(correct) of the answers, computed as for a finished checkpoint.

    Returns:
        See `training.metrics.compute_reliability`; None if P(correct) cannot be fitted.
    """
    calibration, test = (
        replace(unrolls.curves, energy=head.compute_energies(unrolls.energy_dataset))
        for unrolls in (splits.calibration, splits.test)
    )
    calibration_history, test_history = (TickHistory.from_curves(curves) for curves in (calibration, test))
    policy, _, _ = choose_threshold(
        EnergyBelow,
        get_candidate_thresholds(EnergyBelow, calibration_history),
        calibration_history,
        calibration.correct,
        FINALIZE_CONFIG.accuracy_tolerance,
    )
    correctness_model: CorrectnessModel | None = CorrectnessModel()
    if head.kind not in LOGIT_KINDS:
        calibration_replay = replay(policy, calibration_history, calibration.correct)
        correctness_model = fit_correctness_model(calibration, calibration_replay)
    if correctness_model is None:
        return None
    test_replay = replay(policy, test_history, test.correct)
    p_correct = gather_answer_confidence(correctness_model, test, test_replay)
    return compute_reliability(p_correct, test_replay.correct)


def build_history(unrolls: CachedUnrolls, head: EnergyHead, score_name: str) -> TickHistory:
    """Return the history of a split, with the energies of the head if the score is the energy."""
    return build_energy_history(unrolls, head) if score_name == "energy" else TickHistory.from_curves(unrolls.curves)


def evaluate_at_calibration_threshold(head: EnergyHead, splits: SplitUnrolls) -> dict[str, dict[str, Any]]:
    """Choose thresholds on calibration samples, and measure each once on test samples."""
    figures = {}
    for name, make_policy in [*ANSWER_THRESHOLD_POLICIES.items(), ("energy", EnergyBelow)]:
        calibration_history, test_history = (
            build_history(unrolls, head, name) for unrolls in (splits.calibration, splits.test)
        )
        policy, accuracy, mean_ticks = choose_threshold(
            make_policy,
            get_candidate_thresholds(make_policy, calibration_history),
            calibration_history,
            splits.calibration.curves.correct,
            FINALIZE_CONFIG.accuracy_tolerance,
        )
        test_replay = replay(policy, test_history, splits.test.curves.correct)
        figures[name] = {
            "policy": str(policy),
            "accuracy": test_replay.accuracy,
            "mean_ticks": test_replay.mean_ticks,
            "accuracy_when_chosen": accuracy,
            "mean_ticks_when_chosen": mean_ticks,
        }
    return figures


def evaluate_risk_control(head: EnergyHead, splits: SplitUnrolls) -> dict[str, dict[str, Any]]:
    """Certify thresholds on calibration samples, and measure the loss on test samples.

    Returns:
        Policy name -> figures; {} if the calibration samples are too few for any guarantee.
    """
    num_calibration = len(splits.calibration.curves.correct)
    if num_calibration < RISK_GUARANTEE.min_samples:
        return {}
    figures = {}
    for name, make_policy in (("certainty", ANSWER_THRESHOLD_POLICIES["certainty"]), ("energy", EnergyBelow)):
        validation_history = build_history(splits.validation, head, name)
        thresholds = drop_dominated_thresholds(
            make_policy,
            get_candidate_thresholds(make_policy, validation_history),
            validation_history,
            splits.validation.curves.correct,
        )
        calibration_history, test_history = (
            build_history(unrolls, head, name) for unrolls in (splits.calibration, splits.test)
        )
        _, calibration_lost = sweep_and_find_losses(
            make_policy, thresholds, calibration_history, splits.calibration.curves.correct
        )
        test_sweep, test_lost = sweep_and_find_losses(make_policy, thresholds, test_history, splits.test.curves.correct)
        index = find_largest_certified_index(calibration_lost, RISK_GUARANTEE)
        if index is not None:
            figures[name] = {
                "policy": str(make_policy(thresholds[index])),
                "lost": compute_share(test_lost[index]),
                "accuracy": test_sweep.accuracy[index].item(),
                "mean_ticks": test_sweep.mean_ticks[index].item(),
                "re_splits": resample_calibration(torch.cat((calibration_lost, test_lost), 1), num_calibration),
            }
    return figures


def sweep_and_find_losses(
    make_policy: Callable[[float], ThresholdPolicy],
    thresholds: list[float],
    history: TickHistory,
    correct: Bool[Tensor, "n T"],
) -> tuple[PolicySweep, Bool[Tensor, "k n"]]:
    """Sweep thresholds, and find the answers that each loses: correct with all ticks, wrong where it stops."""
    policy_sweep = sweep(make_policy, thresholds, history, correct)
    return policy_sweep, is_correct_at_full_budget(history, correct) & ~policy_sweep.correct


def resample_calibration(lost: Bool[Tensor, "k n"], num_calibration: int) -> dict[str, float]:
    """Return the mean loss and the rate of violated guarantees over random choices of the calibration samples.

    Args:
        lost: whether each of k thresholds loses the answer of a calibration or test sample.
        num_calibration: number of samples that a random choice takes as calibration samples.
    """
    generator = torch.Generator().manual_seed(0)
    loss_rates = []
    for _ in range(NUM_RESPLITS):
        order = torch.randperm(lost.size(1), generator=generator)
        index = find_largest_certified_index(lost[:, order[:num_calibration]], RISK_GUARANTEE)
        loss_rates.append(0.0 if index is None else compute_share(lost[index]))
    violation_rate = sum(rate > RISK_GUARANTEE.risk for rate in loss_rates) / NUM_RESPLITS
    return {"splits": NUM_RESPLITS, "mean_lost": statistics.fmean(loss_rates), "broken": violation_rate}
