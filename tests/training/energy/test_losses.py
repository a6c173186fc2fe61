"""Tests of the energy losses against their definitions: optima, small cases, and brute force."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.readout import make_energy_head
from training.energy.features import EnergyHeadDataset
from training.energy.losses import EnergyKind, EnergyLossParams, TickLabels, energy_loss

GENERATOR = torch.Generator().manual_seed(0)
CORRECT = torch.rand(6, 7, generator=GENERATOR) > 0.5


def fit_constant_energy(kind: str, correct: Tensor, params: EnergyLossParams) -> float:
    """Return the constant energy with the lowest loss."""
    energy = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([energy], lr=0.5, max_iter=200)

    def step():
        optimizer.zero_grad()
        loss = energy_loss(kind, energy.expand(correct.shape), TickLabels(correct), params)
        loss.backward()
        return loss

    optimizer.step(step)
    return energy.item()


def test_calibrated_optimum_is_the_negative_logit_of_the_accuracy():
    correct = torch.tensor([[True] * 3 + [False]])
    assert fit_constant_energy("calibrated", correct, EnergyLossParams()) == pytest.approx(-math.log(3.0), abs=1e-3)


def test_contrastive_loss_is_the_scaled_brier_score_of_one_minus_energy_over_margin():
    energies, correct = torch.rand(6, 5) * 10, torch.rand(6, 5) > 0.4
    brier = (1 - energies / 10 - correct.float()).square().mean()
    loss = energy_loss("contrastive", energies, TickLabels(correct), EnergyLossParams(margin=10.0)).item()
    assert loss == pytest.approx(100 * brier.item(), rel=1e-5)


def test_contrastive_gradient_is_zero_for_wrong_answers_above_the_margin():
    energies = torch.tensor([[12.0, -2.0]], requires_grad=True)
    energy_loss(
        "contrastive", energies, TickLabels(torch.tensor([[False, True]])), EnergyLossParams(margin=10.0)
    ).backward()
    assert energies.grad[0, 0] == 0
    assert energies.grad[0, 1] < 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_balanced_optimum_does_not_depend_on_the_share_of_correct_answers(share):
    correct = (torch.arange(100) < 100 * share).unsqueeze(1)
    assert fit_constant_energy("balanced", correct, EnergyLossParams()) == pytest.approx(0.5, abs=1e-3)


def test_ranked_loss_raises_wrong_answers_above_correct_ones_of_the_unroll_and_of_the_tick():
    correct = torch.tensor([[True, False], [False, False]])
    energies = torch.zeros(2, 2, requires_grad=True)
    calibrated_loss = energy_loss("calibrated", energies, TickLabels(correct))
    ranked_loss = energy_loss("ranked", energies, TickLabels(correct))
    assert (ranked_loss - calibrated_loss).item() == pytest.approx(math.log(2.0)), (
        "one pair within the unroll and one pair across, with weight 0.5 each"
    )
    (ranked_loss - calibrated_loss).backward()
    assert energies.grad[0, 0] > 0 > energies.grad[0, 1] and energies.grad[1, 0] < 0 == energies.grad[1, 1]


def test_hazard_loss_is_the_negative_log_likelihood_of_the_observed_tick():
    correct = torch.tensor([[True, False, True, True], [False, True, True, False]])
    energies = torch.randn(2, 4, generator=GENERATOR)
    hazard = torch.sigmoid(-energies)
    first = (1 - hazard[0, 0]) * (1 - hazard[0, 1]) * hazard[0, 2]
    never = (1 - hazard[1]).prod()
    loss = energy_loss("hazard", energies, TickLabels(correct))
    assert loss.item() == pytest.approx(-(first.log() + never.log()).item() / 2, rel=1e-5)


def test_hindsight_label_is_one_if_a_later_tick_gains_more_than_it_costs():
    cost = 0.15
    labels = torch.zeros(CORRECT.shape)
    for row in range(6):
        for tick in range(7):
            later_gains = [float(CORRECT[row, k]) - cost * (k - tick) for k in range(tick + 1, 7)]
            labels[row, tick] = float(bool(later_gains) and max(later_gains) > float(CORRECT[row, tick]))
    energies = torch.randn(6, 7, generator=GENERATOR)
    expected = F.binary_cross_entropy_with_logits(energies, labels)
    assert energy_loss("hindsight", energies, TickLabels(CORRECT), EnergyLossParams(cost=cost)).item() == pytest.approx(
        expected.item()
    )


def test_wait_label_is_the_inverse_number_of_ticks_until_the_next_correct_tick():
    labels = torch.zeros(CORRECT.shape)
    for row in range(6):
        for tick in range(7):
            num_ticks = next((k - tick for k in range(tick, 7) if CORRECT[row, k]), 0)
            labels[row, tick] = 1 / num_ticks if num_ticks else 0.0
    energies = torch.randn(6, 7, generator=GENERATOR)
    expected = F.binary_cross_entropy_with_logits(energies, labels)
    assert energy_loss("wait", energies, TickLabels(CORRECT)).item() == pytest.approx(expected.item())
    assert {0.0, 1.0, 0.5} <= set(labels.flatten().tolist()), "correct or never correct, one tick away, two ticks away"


def test_value_target_is_the_gain_of_the_policy_by_continuing():
    cost = 0.1
    energies = torch.randn(6, 7, generator=GENERATOR)
    value = torch.zeros(6, 7)
    for row in range(6):
        for tick in range(7):
            stop = next((k for k in range(tick + 1, 6) if energies[row, k] < 0), 6)
            gain = float(CORRECT[row, stop]) - float(CORRECT[row, tick]) - cost * (stop - tick)
            value[row, tick] = -cost if tick == 6 else gain
    expected = (energies - value).square().mean()
    assert energy_loss("value", energies, TickLabels(CORRECT), EnergyLossParams(cost=cost)).item() == pytest.approx(
        expected.item()
    )


def test_gain_label_is_one_where_the_next_tick_lowers_the_loss():
    losses = torch.tensor([[2.0, 1.0, 1.0, 3.0]])
    energies = torch.zeros(1, 4, requires_grad=True)
    energy_loss("gain", energies, TickLabels(CORRECT[:1, :4], None, losses)).backward()
    assert (energies.grad < 0).tolist() == [[True, False, False, False]]
    with pytest.raises(ValueError, match="loss at every tick"):
        energy_loss("gain", energies, TickLabels(CORRECT[:1, :4]))


@pytest.mark.parametrize("kind", get_args(EnergyKind))
def test_energy_head_learns_low_energies_at_correct_ticks(kind):
    """One feature is 1 at correct ticks; a head of every kind of energy learns lower energies there."""
    solved_tick = torch.randint(1, 8, (400, 1), generator=GENERATOR)
    correct = torch.arange(8) >= solved_tick
    features = torch.stack((correct.float(), torch.rand(400, 8, generator=GENERATOR)), 2)
    losses = torch.where(correct, 0.01, 2.0 - torch.arange(8) * 0.01)
    dataset = EnergyHeadDataset(features, correct, torch.ones_like(correct), losses)
    head = make_energy_head(2, 16)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        energy_loss(
            kind,
            dataset.compute_energies(head, slice(None)),
            dataset.get_labels(slice(None)),
            EnergyLossParams(label_smoothing=0.01),
        ).backward()
        optimizer.step()
    energies = dataset.compute_energies(head, slice(None)).detach()
    wrong = ~correct if kind != "gain" else ~correct & correct.roll(-1, 1)  # a gain occurs only one tick before
    wrong[:, -1] = False
    assert (
        energies[correct].quantile(0.9) < energies[wrong].quantile(0.1)
        if kind != "gain"
        else (energies[correct].mean() < energies[wrong].mean())
    )
