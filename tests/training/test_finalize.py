"""Tests of the halting policies of a final checkpoint: lost answers, and risk guarantees."""

from dataclasses import replace

import pytest
import torch

from inference.halting.policy_parser import parse
from inference.tick_history import EvaluationCurves
from training.finalize import certify_default_risks, describe_evaluation, evaluate_policy


def make_curves(count: int, seed: int) -> EvaluationCurves:
    """Build unrolls of four ticks.

    Each sample becomes correct at a random tick, at which its energy falls and its certainty rises. At the last tick most
    samples are wrong again, with unchanged energy and certainty.
    """
    generator = torch.Generator().manual_seed(seed)
    correct = torch.arange(4) >= torch.randint(0, 4, (count, 1), generator=generator)
    energy = 2.0 * (~correct) - 1 + 0.5 * torch.randn(count, 4, generator=generator)
    certainty = 0.3 + 0.5 * correct + 0.1 * torch.rand(count, 4, generator=generator)
    correct[:, 3] &= torch.rand(count, generator=generator) < 0.3
    choices = torch.zeros(count, 1, 4, dtype=torch.long)
    zeros = torch.zeros(count, dtype=torch.long)
    return EvaluationCurves(correct, choices, certainty.unsqueeze(1), energy, zeros, zeros.unsqueeze(1))


def test_ctc_answer_counts_as_lost_if_its_complete_emission_is_correct():
    curves = replace(make_curves(300, 0), is_ctc=True)
    figures = evaluate_policy(parse("ticks=2"), curves)
    assert figures["lost"] == (curves.correct[:, 3] & ~curves.correct[:, 1]).float().mean().item()
    assert evaluate_policy(parse("energy<-1e9"), curves) == {
        "accuracy": curves.correct[:, 3].float().mean().item(),
        "mean_ticks": 4.0,
        "lost": 0.0,
    }


def test_risk_guarantees_hold_if_the_last_tick_is_less_accurate_than_earlier_ticks():
    """Strict thresholds halt at the last tick, which is often wrong, so the thresholds are not tested in order."""
    validation, calibration, test = (make_curves(2_000, seed) for seed in (0, 1, 2))
    records = certify_default_risks(validation, calibration)
    assert list(records) == [f"energy, at most {risk} lost with confidence 0.95" for risk in (0.01, 0.05)]
    for record in records.values():
        figures = evaluate_policy(parse(record["policy"]), test)
        assert figures["lost"] <= record["promise"]["risk"] + 0.01
        assert figures["mean_ticks"] == pytest.approx(record["mean_ticks"], abs=0.1)
    assert certify_default_risks(validation, make_curves(50, 3)) == {}, "too few samples for any guarantee"


def test_an_evaluation_is_described_in_words_for_the_log():
    evaluation = {"split": "test", "n": 7268, "iterations": 64, "accuracy_halted": 0.1379, "mean_ticks": 16.57}
    assert describe_evaluation(evaluation) == (
        "Evaluated on 7,268 samples of the split test: 13.8% correct (95% interval 13.0% to 14.6%), in 16.6 of 64 ticks on average."
    )
    one_tick = evaluation | {"iterations": 1, "mean_ticks": 1.0}
    assert (
        describe_evaluation(one_tick)
        == "Evaluated on 7,268 samples of the split test: 13.8% correct (95% interval 13.0% to 14.6%)."
    )
