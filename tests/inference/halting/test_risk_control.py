"""Promises are kept: exact binomial values, and the share of calibration sets that break them over many drawings."""

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
    "count, most, chance, tail",
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
def test_tails_are_exact(count, most, chance, tail):
    assert binomial_cdf(most, count, chance) == pytest.approx(tail, abs=6e-7)


@pytest.mark.parametrize("risk, needed", [(0.01, 299), (0.02, 149), (0.005, 598)])
def test_so_few_samples_are_enough_and_one_less_is_not(risk, needed):
    promise = RiskGuarantee(risk, 0.95)
    assert promise.min_samples == needed
    assert promise.compute_max_losses(needed) == 0 and promise.compute_max_losses(needed - 1) == -1


@pytest.mark.parametrize("method, allowed", [("ltt", [5, 13, 13, 31, 40, 86]), ("crc", [9, 19, 19, 39, 49, 99])])
def test_the_number_of_allowed_losses_is_exact(method, allowed):
    found = [
        RiskGuarantee(risk, 0.9, method).compute_max_losses(n) for n in (1000, 2000, 5000) for risk in (0.01, 0.02)
    ]
    assert found == allowed


@pytest.mark.parametrize("risk", [0.3, 0.02, 0.01, 0.0017])
def test_conformal_risk_control_needs_the_stated_number_of_samples(risk):
    promise = RiskGuarantee(risk, method="crc")
    assert (
        promise.compute_max_losses(promise.min_samples) == 0
        and promise.compute_max_losses(promise.min_samples - 1) == -1
    )


def test_the_search_ends_at_the_first_level_that_fails():
    lost = torch.zeros(5, 1000, dtype=torch.bool)
    lost[1, :4] = lost[2, :60] = True  # the third is too bold; what comes after it is not asked any more
    assert find_largest_certified_index(lost, RiskGuarantee(0.01)) == 1
    assert find_largest_certified_index(lost[2:], RiskGuarantee(0.01)) is None
    assert find_largest_certified_index(lost[:1], RiskGuarantee(0.01)) == 0


def make_samples(count: int, seed: int) -> tuple[TickHistory, Tensor]:
    """Samples that become right late or never; some seem ready too soon. Their energies are what a calibrated head says."""
    generator = torch.Generator().manual_seed(seed)
    solved = torch.randint(1, TICKS + 3, (count, 1), generator=generator)
    right = torch.arange(1, TICKS + 1) >= solved
    energy = torch.where(right, -4.0, 2.0) + 2 * torch.randn(count, TICKS, generator=generator)
    label = torch.randint(3, (count, 1), generator=generator)
    choices = torch.where(right, label, (label + 1) % 3).unsqueeze(2)
    return TickHistory(torch.rand(count, TICKS, 1, generator=generator), choices, energy), right


THRESHOLDS = compute_quantiles(make_samples(2_000, 10_000)[0].energy, 150)  # of other samples


def compute_loss_rate(policy, history: TickHistory, right: Tensor) -> float:
    end = right.gather(1, history.best_tick.unsqueeze(1) - 1).squeeze(1)
    return (end & ~replay(policy, history, right).correct).float().mean().item()


@pytest.mark.parametrize("method", ["ltt", "crc"])
def test_guarantees_hold_over_many_draws_of_calibration_samples(method):
    promise = RiskGuarantee(0.05, 0.9, method)
    truth, right = make_samples(20_000, 20_000)
    known: dict[str, float] = {}
    risks = []
    for seed in range(NUM_DRAWS):
        found = certify_threshold(EnergyBelow, THRESHOLDS, *make_samples(300, seed), promise)
        rule = found["policy"] if found else "ticks=10"
        if rule not in known:
            known[rule] = compute_loss_rate(parse(rule), truth, right)
        risks.append(known[rule])
    broken = sum(risk > promise.risk for risk in risks) / NUM_DRAWS
    noise = 3 * (0.1 * 0.9 / NUM_DRAWS) ** 0.5
    if method == "ltt":
        assert 0.01 < broken <= 0.1 + noise, "kept as often as was said, and not by never stopping"
    else:
        assert sum(risks) / NUM_DRAWS <= promise.risk + 0.002
        assert broken > 0.1 + noise, "it is an average that was promised"
    assert 0.5 * promise.risk < sum(risks) / NUM_DRAWS, "and it is bold"


def test_the_record_equals_the_observed_risk():
    history, right = make_samples(1_000, 1)
    found = certify_threshold(EnergyBelow, THRESHOLDS, history, right, RiskGuarantee(0.02))
    played = replay(parse(found["policy"]), history, right)
    assert (found["accuracy"], found["mean_ticks"]) == pytest.approx((played.accuracy, played.mean_ticks))
    assert found["promise"]["lost"] == round(compute_loss_rate(parse(found["policy"]), history, right) * 1000)
    assert found["promise"]["lost"] <= found["promise"]["allowed"] == RiskGuarantee(0.02).compute_max_losses(1000)
    assert found["n"] == 1000 and found["mean_ticks"] < TICKS


def test_patience_and_any_score_can_be_certified():
    history, right = make_samples(1_000, 1)
    found = certify_threshold(
        lambda ticks: SameAnswer(int(ticks)), [float(n) for n in range(11, 0, -1)], history, right, RiskGuarantee(0.1)
    )
    assert found["policy"].startswith("same=")


def test_too_few_samples_are_rejected_with_the_number_needed():
    with pytest.raises(ValueError, match=r"298 calibration samples are too few .* it takes 299\."):
        certify_threshold(EnergyBelow, THRESHOLDS, *make_samples(298, 1), RiskGuarantee(0.01))
    with pytest.raises(ValueError, match="between 0 and 1"):
        RiskGuarantee(0.0)


def test_different_guarantees_have_different_names():
    assert str(RiskGuarantee(0.02, 0.9999)) == "at most 0.02 lost with confidence 0.9999"
    assert str(RiskGuarantee(0.0123456)) != str(RiskGuarantee(0.0123457))


def test_each_class_has_a_level_and_loses_no_more_than_its_share():
    promise = RiskGuarantee(0.06, 0.9)
    history, right = make_samples(3_000, 2)
    hard = history.choices[:, :, 0] == 2  # an answer that is given too surely
    history = TickHistory(
        history.certainty, history.choices, torch.where(hard & ~right, history.energy - 3, history.energy)
    )
    found = certify_class_thresholds(EnergyBelow, THRESHOLDS, history, right, [1 / 3] * 3, promise)
    policy = parse(found["policy"])
    assert isinstance(policy, PerClassThreshold) and str(policy) == found["policy"]
    assert policy.thresholds[2] < min(policy.thresholds[:2]), "it has to be surer of that one"
    played = replay(policy, history, right)
    end = right.gather(1, history.best_tick.unsqueeze(1) - 1).squeeze(1)
    answered = history.choices[torch.arange(3_000), played.answer_tick - 1, 0]
    for label in range(3):
        assert (end & ~played.correct & (answered == label)).sum() <= RiskGuarantee(
            0.02, 1 - 0.1 / 3
        ).compute_max_losses(3_000)


def test_a_class_that_cannot_be_certified_never_halts_a_row():
    history, right = make_samples(1_000, 3)
    found = certify_class_thresholds(EnergyBelow, THRESHOLDS, history, right, [0.9, 0.099, 0.001], RiskGuarantee(0.05))
    assert parse(found["policy"]).thresholds[2] == -1e9
    with pytest.raises(ValueError, match="too few"):
        certify_class_thresholds(EnergyBelow, THRESHOLDS, *make_samples(50, 3), [0.5, 0.25, 0.25], RiskGuarantee(0.05))
    with pytest.raises(ValueError, match=r"200 classes make a policy of .* omit --per-class"):
        certify_class_thresholds(EnergyBelow, THRESHOLDS, *make_samples(9_000, 3), [1 / 200] * 200, RiskGuarantee(0.5))
    wide = TickHistory(history.certainty.expand(-1, -1, 2), history.choices.expand(-1, -1, 2), history.energy)
    with pytest.raises(ValueError, match="one position"):
        certify_class_thresholds(EnergyBelow, THRESHOLDS, wide, right, [0.5, 0.5], RiskGuarantee(0.05))


def test_thresholds_that_lose_more_than_earlier_stopping_ones_are_dropped():
    """Two thoughts that come right and think on: a strict level waits until they are wrong again, a bold one does not."""
    right = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 1]]).bool()
    history = TickHistory(torch.zeros(2, 4, 1), None, torch.tensor([[3.0, 2.0, 1.0, 4.0], [3.0, 2.0, 1.0, 0.0]]))
    best_is_last = replace(history, certainty=torch.arange(4.0).expand(2, 4).unsqueeze(2))
    assert is_correct_at_full_budget(best_is_last, right).all()
    levels = [0.5, 1.5, 2.5, 3.5, -9.0]
    assert drop_dominated_thresholds(EnergyBelow, levels, best_is_last, right) == [-9.0, 0.5, 2.5, 3.5]
