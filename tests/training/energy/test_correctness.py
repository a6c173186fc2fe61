"""Tests of P(correct), the probability that an answer is correct."""

import torch

from inference.halting.policy_parser import parse
from inference.halting.thresholds import replay
from inference.tick_history import EvaluationCurves, TickHistory
from tests.training.test_finalize import make_curves
from training.energy.correctness import fit_correctness_model, gather_answer_confidence
from training.metrics import compute_reliability


def compute_reliability_gap(policy: str, calibration: EvaluationCurves, test: EvaluationCurves) -> float:
    """Return the calibration error on test samples of P(correct) fitted at the ticks that a policy visits."""
    correctness_model = fit_correctness_model(
        calibration, replay(parse(policy), TickHistory.from_curves(calibration), calibration.correct)
    )
    test_replay = replay(parse("energy<0"), TickHistory.from_curves(test), test.correct)
    p_correct = gather_answer_confidence(correctness_model, test, test_replay)
    return compute_reliability(p_correct, test_replay.correct)["ece"]


def test_p_correct_is_fitted_at_the_visited_ticks():
    calibration = make_curves(3_000, 0)
    test = make_curves(3_000, 1)
    assert compute_reliability_gap("energy<0", calibration, test) < 0.6 * compute_reliability_gap(
        "ticks=4", calibration, test
    )


def test_answer_ticks_have_more_weight_than_earlier_ticks(monkeypatch):
    """As with CTC, answer ticks and earlier ticks have the same energy and certainty but differ in correctness."""
    calibration = make_curves(3_000, 0)
    test = make_curves(3_000, 1)
    is_mostly_true = torch.rand(3_000, 1, generator=torch.Generator().manual_seed(2)) < 0.9
    for curves in (calibration, test):
        answer_ticks = replay(parse("energy<0"), TickHistory.from_curves(curves), curves.correct).answer_tick.unsqueeze(
            1
        )
        curves.correct.copy_((torch.arange(1, 5) == answer_ticks) & is_mostly_true)
    weighted_gap = compute_reliability_gap("energy<0", calibration, test)
    monkeypatch.setattr("training.energy.correctness.ANSWER_TICK_WEIGHT", 1)
    assert weighted_gap < 0.6 * compute_reliability_gap("energy<0", calibration, test)
