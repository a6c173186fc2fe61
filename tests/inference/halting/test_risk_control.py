"""Tests of risk control: exact binomial values, and the rate of violated guarantees over many calibration sets."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from inference.halting.policies import EnergyBelow, PerClassThreshold, SameAnswer
from inference.halting.policy_parser import parse
from inference.halting.risk_control import (
    RiskGuarantee,
    binomial_cdf,
    certify_class_thresholds,
    certify_threshold,
    drop_dominated_thresholds,
    find_largest_certified_index,
    is_correct_at_full_budget,
)
from inference.halting.thresholds import compute_quantiles, replay
from inference.tick_history import TickHistory

TICKS = 10
NUM_DRAWS = 500


@pytest.mark.parametrize(
    "count, max_hits, probability, expected",
    [
        (500, 3, 0.02, 0.009812),
        (1000, 12, 0.02, 0.037605),
        (2000, 10, 0.01, 0.010523),
        (299, 0, 0.01, 0.0495363),
        (298, 0, 0.01, 0.0500366),
        (10, 10, 0.3, 1.0),
        (10, 0, 0.5, 2**-10),
    ],
)
def test_binomial_tails_are_exact(count, max_hits, probability, expected):
    assert binomial_cdf(max_hits, count, probability) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize("risk, min_samples", [(0.01, 299), (0.02, 149), (0.005, 598)])
def test_the_minimum_number_of_samples_is_enough_and_one_less_is_not(risk, min_samples):
    guarantee = RiskGuarantee(risk, 0.95)
    assert guarantee.min_samples == min_samples
    assert guarantee.compute_max_losses(min_samples) == 0 and guarantee.compute_max_losses(min_samples - 1) == -1


@pytest.mark.parametrize("method, expected", [("ltt", [5, 13, 13, 31, 40, 86]), ("crc", [9, 19, 19, 39, 49, 99])])
def test_the_number_of_allowed_losses_is_exact(method, expected):
    max_losses = [
        RiskGuarantee(risk, 0.9, method).compute_max_losses(n) for n in (1000, 2000, 5000) for risk in (0.01, 0.02)
    ]
    assert max_losses == expected


@pytest.mark.parametrize("risk", [0.3, 0.02, 0.01, 0.0017])
def test_conformal_risk_control_needs_the_stated_number_of_samples(risk):
    guarantee = RiskGuarantee(risk, method="crc")
    assert (
        guarantee.compute_max_losses(guarantee.min_samples) == 0
        and guarantee.compute_max_losses(guarantee.min_samples - 1) == -1
    )


def test_the_search_stops_at_the_first_level_that_fails():
    lost = torch.zeros(5, 1000, dtype=torch.bool)
    lost[1, :4] = lost[2, :60] = True  # the third fails, so later levels are not tested
    assert find_largest_certified_index(lost, RiskGuarantee(0.01)) == 1
    assert find_largest_certified_index(lost[2:], RiskGuarantee(0.01)) is None
    assert find_largest_certified_index(lost[:1], RiskGuarantee(0.01)) == 0


def make_samples(count: int, seed: int) -> tuple[TickHistory, Tensor]:
    """Sample unrolls that become correct late or never, with the energies of a calibrated head; some are low too early."""
    generator = torch.Generator().manual_seed(seed)
    first_correct_tick = torch.randint(1, TICKS + 3, (count, 1), generator=generator)
    correct = torch.arange(1, TICKS + 1) >= first_correct_tick
    energy = torch.where(correct, -4.0, 2.0) + 2 * torch.randn(count, TICKS, generator=generator)
    label = torch.randint(3, (count, 1), generator=generator)
    choices = torch.where(correct, label, (label + 1) % 3).unsqueeze(2)
    return TickHistory(torch.rand(count, TICKS, 1, generator=generator), choices, energy), correct


THRESHOLDS = compute_quantiles(make_samples(2_000, 10_000)[0].energy, 150)  # of other samples


def compute_loss_rate(policy, history: TickHistory, correct: Tensor) -> float:
    """Return the share of samples that are correct with all ticks, and wrong under the policy."""
    correct_at_full_budget = correct.gather(1, history.best_tick.unsqueeze(1) - 1).squeeze(1)
    return (correct_at_full_budget & ~replay(policy, history, correct).correct).float().mean().item()


@pytest.mark.parametrize("method", ["ltt", "crc"])
def test_guarantees_hold_over_many_draws_of_calibration_samples(method):
    guarantee = RiskGuarantee(0.05, 0.9, method)
    test_history, correct = make_samples(20_000, 20_000)
    risk_by_policy: dict[str, float] = {}
    risks = []
    for seed in range(NUM_DRAWS):
        record = certify_threshold(EnergyBelow, THRESHOLDS, *make_samples(300, seed), guarantee)
        policy = record["policy"] if record else "ticks=10"
        if policy not in risk_by_policy:
            risk_by_policy[policy] = compute_loss_rate(parse(policy), test_history, correct)
        risks.append(risk_by_policy[policy])
    violation_rate = sum(risk > guarantee.risk for risk in risks) / NUM_DRAWS
    sampling_error = 3 * (0.1 * 0.9 / NUM_DRAWS) ** 0.5
    if method == "ltt":
        assert 0.01 < violation_rate <= 0.1 + sampling_error, "it holds at the stated rate, and policies do stop early"
    else:
        assert sum(risks) / NUM_DRAWS <= guarantee.risk + 0.002
        assert violation_rate > 0.1 + sampling_error, "the guarantee is about the mean"
    assert 0.5 * guarantee.risk < sum(risks) / NUM_DRAWS, "the guarantee is not far from tight"


def test_the_record_has_the_observed_risk():
    history, correct = make_samples(1_000, 1)
    record = certify_threshold(EnergyBelow, THRESHOLDS, history, correct, RiskGuarantee(0.02))
    policy_replay = replay(parse(record["policy"]), history, correct)
    assert (record["accuracy"], record["mean_ticks"]) == pytest.approx(
        (policy_replay.accuracy, policy_replay.mean_ticks)
    )
    assert record["promise"]["lost"] == round(compute_loss_rate(parse(record["policy"]), history, correct) * 1000)
    assert record["promise"]["lost"] <= record["promise"]["allowed"] == RiskGuarantee(0.02).compute_max_losses(1000)
    assert record["n"] == 1000 and record["mean_ticks"] < TICKS


def test_patience_and_any_score_can_be_certified():
    history, correct = make_samples(1_000, 1)
    record = certify_threshold(
        lambda ticks: SameAnswer(int(ticks)), [float(n) for n in range(11, 0, -1)], history, correct, RiskGuarantee(0.1)
    )
    assert record["policy"].startswith("same=")


def test_too_few_samples_are_rejected_with_the_number_needed():
    with pytest.raises(ValueError, match=r"298 calibration samples are too few .* it takes 299\."):
        certify_threshold(EnergyBelow, THRESHOLDS, *make_samples(298, 1), RiskGuarantee(0.01))
    with pytest.raises(ValueError, match="between 0 and 1"):
        RiskGuarantee(0.0)


def test_different_guarantees_have_different_names():
    assert str(RiskGuarantee(0.02, 0.9999)) == "at most 0.02 lost with confidence 0.9999"
    assert str(RiskGuarantee(0.0123456)) != str(RiskGuarantee(0.0123457))


def test_each_class_has_a_threshold_and_loses_at_most_its_share():
    guarantee = RiskGuarantee(0.06, 0.9)
    history, correct = make_samples(3_000, 2)
    is_overconfident = (history.choices[:, :, 0] == 2) & ~correct
    energy = torch.where(is_overconfident, history.energy - 3, history.energy)
    history = TickHistory(history.certainty, history.choices, energy)
    record = certify_class_thresholds(EnergyBelow, THRESHOLDS, history, correct, [1 / 3] * 3, guarantee)
    policy = parse(record["policy"])
    assert isinstance(policy, PerClassThreshold) and str(policy) == record["policy"]
    assert policy.thresholds[2] < min(policy.thresholds[:2]), "the overconfident class needs a stricter threshold"
    policy_replay = replay(policy, history, correct)
    correct_at_full_budget = correct.gather(1, history.best_tick.unsqueeze(1) - 1).squeeze(1)
    answers = history.choices[torch.arange(3_000), policy_replay.answer_tick - 1, 0]
    max_losses = RiskGuarantee(0.02, 1 - 0.1 / 3).compute_max_losses(3_000)
    for label in range(3):
        assert (correct_at_full_budget & ~policy_replay.correct & (answers == label)).sum() <= max_losses


def test_a_class_that_cannot_be_certified_never_halts_a_row():
    history, correct = make_samples(1_000, 3)
    record = certify_class_thresholds(
        EnergyBelow, THRESHOLDS, history, correct, [0.9, 0.099, 0.001], RiskGuarantee(0.05)
    )
    assert parse(record["policy"]).thresholds[2] == -1e9
    with pytest.raises(ValueError, match="too few"):
        certify_class_thresholds(EnergyBelow, THRESHOLDS, *make_samples(50, 3), [0.5, 0.25, 0.25], RiskGuarantee(0.05))
    with pytest.raises(ValueError, match=r"200 classes make a policy of .* omit --per-class"):
        certify_class_thresholds(EnergyBelow, THRESHOLDS, *make_samples(9_000, 3), [1 / 200] * 200, RiskGuarantee(0.5))
    two_position_history = TickHistory(
        history.certainty.expand(-1, -1, 2), history.choices.expand(-1, -1, 2), history.energy
    )
    with pytest.raises(ValueError, match="one position"):
        certify_class_thresholds(
            EnergyBelow, THRESHOLDS, two_position_history, correct, [0.5, 0.5], RiskGuarantee(0.05)
        )


def test_thresholds_that_lose_more_than_earlier_stopping_ones_are_dropped():
    """Two samples become wrong again after they were correct: a strict threshold stops late, a loose one in time."""
    correct = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 1]]).bool()
    history = TickHistory(torch.zeros(2, 4, 1), None, torch.tensor([[3.0, 2.0, 1.0, 4.0], [3.0, 2.0, 1.0, 0.0]]))
    best_is_last = replace(history, certainty=torch.arange(4.0).expand(2, 4).unsqueeze(2))
    assert is_correct_at_full_budget(best_is_last, correct).all()
    levels = [0.5, 1.5, 2.5, 3.5, -9.0]
    assert drop_dominated_thresholds(EnergyBelow, levels, best_is_last, correct) == [-9.0, 0.5, 2.5, 3.5]
