"""What a finished checkpoint says of its halting: the chance to be right, and rules that keep promises."""

from dataclasses import replace

import pytest
import torch

from inference.halting.policy_parser import parse
from inference.halting.thresholds import replay
from inference.tick_history import TickHistory
from training.energy.correctness import compute_answer_reliability, fit_correctness_model
from training.evaluation import EvaluationCurves
from training.finalize import certify_default_risks, evaluate_policy


def make_curves(count: int, seed: int) -> EvaluationCurves:
    """Thoughts of four ticks that come right sooner or later and show it in energy and certainty; at the last tick many that
    had been right think too long, with the same energy and certainty."""
    generator = torch.Generator().manual_seed(seed)
    right = torch.arange(4) >= torch.randint(0, 4, (count, 1), generator=generator)
    energy = 2.0 * (~right) - 1 + 0.5 * torch.randn(count, 4, generator=generator)
    certainty = 0.3 + 0.5 * right + 0.1 * torch.rand(count, 4, generator=generator)
    right[:, 3] &= torch.rand(count, generator=generator) < 0.3
    choices, nothing = torch.zeros(count, 1, 4, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    return EvaluationCurves(right, choices, certainty.unsqueeze(1), energy, nothing, nothing.unsqueeze(1))


def test_a_ctc_answer_is_a_loss_if_its_complete_emission_would_have_been_correct():
    seen = replace(make_curves(300, 0), spoken=True)
    found = evaluate_policy(parse("ticks=2"), seen)
    assert found["lost"] == (seen.right[:, 3] & ~seen.right[:, 1]).float().mean().item()
    assert evaluate_policy(parse("energy<-1e9"), seen) == {
        "accuracy": seen.right[:, 3].float().mean().item(),
        "mean_ticks": 4.0,
        "lost": 0.0,
    }


def compute_reliability_gap(policy: str, calibration: EvaluationCurves, test: EvaluationCurves) -> float:
    """The gap between what is said of fresh answers and what happens; what is said was learned at the ticks of some rule."""
    chance = fit_correctness_model(
        calibration, replay(parse(policy), TickHistory.from_curves(calibration), calibration.right)
    )
    note = {"energy": {"kind": "wait", "chance": chance.model_dump()}}
    return compute_answer_reliability(test, replay(parse("energy<0"), TickHistory.from_curves(test), test.right), note)[
        "ece"
    ]


def test_the_chance_to_be_right_is_that_of_ticks_that_are_visited():
    seen, fresh = make_curves(3_000, 0), make_curves(3_000, 1)
    assert compute_reliability_gap("energy<0", seen, fresh) < 0.6 * compute_reliability_gap("ticks=4", seen, fresh)


def test_ticks_that_answer_count_more_than_those_that_are_passed(monkeypatch):
    """Where answers differ from all before with the same energy and certainty, as of what is said over the ticks."""
    seen, fresh = make_curves(3_000, 0), make_curves(3_000, 1)
    mostly = torch.rand(3_000, 1, generator=torch.Generator().manual_seed(2)) < 0.9
    for curves in (seen, fresh):
        ends = replay(parse("energy<0"), TickHistory.from_curves(curves), curves.right).answer_tick.unsqueeze(1)
        curves.right.copy_((torch.arange(1, 5) == ends) & mostly)
    apart = compute_reliability_gap("energy<0", seen, fresh)
    monkeypatch.setattr("training.energy.correctness.ANSWER_TICK_WEIGHT", 1)
    assert apart < 0.6 * compute_reliability_gap("energy<0", seen, fresh)


def test_energies_without_a_probability_have_no_correctness_model():
    curves = make_curves(50, 0)
    played = replay(parse("energy<0"), TickHistory.from_curves(curves), curves.right)
    assert compute_answer_reliability(curves, played, {"energy": {"kind": "hazard"}}) is None
    assert compute_answer_reliability(curves, played, {}) is None, (
        "nothing is known of an energy of which nothing is said"
    )
    note = {"energy": {"kind": "calibrated"}}
    assert compute_answer_reliability(curves, played, note)["brier"] <= 1, "a calibrated one is a logit by itself"


def test_guarantees_hold_where_the_full_budget_loses_more_than_stopping_early():
    """Strict levels send thoughts to the last tick, which has forgotten: the order by level would end at the first step."""
    seen, fresh, later = (make_curves(2_000, seed) for seed in (0, 1, 2))
    rules = certify_default_risks(seen, fresh)
    assert list(rules) == [f"energy, at most {risk} lost with confidence 0.95" for risk in (0.01, 0.05)]
    for rule in rules.values():
        found = evaluate_policy(parse(rule["policy"]), later)
        assert found["lost"] <= rule["promise"]["risk"] + 0.01
        assert found["mean_ticks"] == pytest.approx(rule["mean_ticks"], abs=0.1)
    assert certify_default_risks(seen, make_curves(50, 3)) == {}, "too few for any"
