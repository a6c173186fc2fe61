"""Each kind of energy means what it says: optima, hand-made cases, and brute force."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.readout import make_energy_head
from training.energy.fitting import EnergyHeadDataset
from training.energy.losses import EnergyKind, EnergyLossParams, TickLabels, energy_loss

GENERATOR = torch.Generator().manual_seed(0)
CORRECT = torch.rand(6, 7, generator=GENERATOR) > 0.5


def fit_constant_energy(kind: str, correct: Tensor, params: EnergyLossParams) -> float:
    """The energy that has the least loss where nothing tells samples apart."""
    energy = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([energy], lr=0.5, max_iter=200)

    def step():
        optimizer.zero_grad()
        loss = energy_loss(kind, energy.expand(correct.shape), TickLabels(correct), params)
        loss.backward()
        return loss

    optimizer.step(step)
    return energy.item()


def test_the_calibrated_optimum_is_minus_the_logit_of_being_right():
    right = torch.tensor([[True] * 3 + [False]])
    assert fit_constant_energy("calibrated", right, EnergyLossParams()) == pytest.approx(-math.log(3.0), abs=1e-3)


def test_the_contrastive_loss_is_the_brier_score_of_one_minus_e_over_m():
    energies, right = torch.rand(6, 5) * 10, torch.rand(6, 5) > 0.4
    brier = (1 - energies / 10 - right.float()).square().mean()
    found = energy_loss("contrastive", energies, TickLabels(right), EnergyLossParams(margin=10.0)).item()
    assert found == pytest.approx(100 * brier.item(), rel=1e-5)


def test_contrastive_energy_stops_pushing_past_the_margin_and_pulls_right_answers_from_both_sides():
    energies = torch.tensor([[12.0, -2.0]], requires_grad=True)
    energy_loss(
        "contrastive", energies, TickLabels(torch.tensor([[False, True]])), EnergyLossParams(margin=10.0)
    ).backward()
    assert energies.grad[0, 0] == 0
    assert energies.grad[0, 1] < 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_balanced_optimum_does_not_depend_on_how_many_are_right(share):
    right = (torch.arange(100) < 100 * share).unsqueeze(1)
    assert fit_constant_energy("balanced", right, EnergyLossParams()) == pytest.approx(0.5, abs=1e-3)


def test_ranking_pushes_a_wrong_answer_above_a_right_one_in_the_unroll_and_in_the_tick():
    right = torch.tensor([[True, False], [False, False]])
    energies = torch.zeros(2, 2, requires_grad=True)
    plain = energy_loss("calibrated", energies, TickLabels(right))
    ranked = energy_loss("ranked", energies, TickLabels(right))
    assert (ranked - plain).item() == pytest.approx(math.log(2.0)), "half of a pair within, half of a pair across"
    (ranked - plain).backward()
    assert energies.grad[0, 0] > 0 > energies.grad[0, 1] and energies.grad[1, 0] < 0 == energies.grad[1, 1]


def test_the_hazard_is_the_likelihood_of_settling_when_it_settled():
    right = torch.tensor([[True, False, True, True], [False, True, True, False]])
    energies = torch.randn(2, 4, generator=GENERATOR)
    settles = torch.sigmoid(-energies)
    first = (1 - settles[0, 0]) * (1 - settles[0, 1]) * settles[0, 2]
    never = (1 - settles[1]).prod()
    found = energy_loss("hazard", energies, TickLabels(right))
    assert found.item() == pytest.approx(-(first.log() + never.log()).item() / 2, rel=1e-5)


def test_hindsight_knows_whether_going_on_paid():
    cost = 0.15
    labels = torch.zeros(CORRECT.shape)
    for row in range(6):
        for tick in range(7):
            later = [float(CORRECT[row, k]) - cost * (k - tick) for k in range(tick + 1, 7)]
            labels[row, tick] = float(bool(later) and max(later) > float(CORRECT[row, tick]))
    energies = torch.randn(6, 7, generator=GENERATOR)
    expected = F.binary_cross_entropy_with_logits(energies, labels)
    assert energy_loss("hindsight", energies, TickLabels(CORRECT), EnergyLossParams(cost=cost)).item() == pytest.approx(
        expected.item()
    )


def test_waiting_wins_one_right_answer_shared_out_among_the_ticks_until_it_comes():
    labels = torch.zeros(CORRECT.shape)
    for row in range(6):
        for tick in range(7):
            ahead = next((k - tick for k in range(tick, 7) if CORRECT[row, k]), 0)
            labels[row, tick] = 1 / ahead if ahead else 0.0
    energies = torch.randn(6, 7, generator=GENERATOR)
    expected = F.binary_cross_entropy_with_logits(energies, labels)
    assert energy_loss("wait", energies, TickLabels(CORRECT)).item() == pytest.approx(expected.item())
    assert {0.0, 1.0, 0.5} <= set(labels.flatten().tolist()), "right or hopeless, one tick away, two"


def test_value_is_what_the_policy_would_gain_by_continuing():
    cost, energies = 0.1, torch.randn(6, 7, generator=GENERATOR)
    worth = torch.zeros(6, 7)
    for row in range(6):
        for tick in range(7):
            stop = next((k for k in range(tick + 1, 6) if energies[row, k] < 0), 6)
            won = float(CORRECT[row, stop]) - float(CORRECT[row, tick]) - cost * (stop - tick)
            worth[row, tick] = -cost if tick == 6 else won
    expected = (energies - worth).square().mean()
    assert energy_loss("value", energies, TickLabels(CORRECT), EnergyLossParams(cost=cost)).item() == pytest.approx(
        expected.item()
    )


def test_gain_is_high_where_the_next_tick_lowers_the_loss_and_needs_the_loss():
    losses = torch.tensor([[2.0, 1.0, 1.0, 3.0]])
    energies = torch.zeros(1, 4, requires_grad=True)
    energy_loss("gain", energies, TickLabels(CORRECT[:1, :4], None, losses)).backward()
    assert (energies.grad < 0).tolist() == [[True, False, False, False]]
    with pytest.raises(ValueError, match="loss at every tick"):
        energy_loss("gain", energies, TickLabels(CORRECT[:1, :4]))


@pytest.mark.parametrize("kind", get_args(EnergyKind))
def test_a_head_learns_to_be_low_where_it_is_good_to_stop(kind):
    """Samples whose latent shows when they are solved, for good; every kind must find that."""
    solved = torch.randint(1, 8, (400, 1), generator=GENERATOR)
    right = torch.arange(8) >= solved
    latent = torch.stack((right.float(), torch.rand(400, 8, generator=GENERATOR)), 2)
    losses = torch.where(right, 0.01, 2.0 - torch.arange(8) * 0.01)
    felt = EnergyHeadDataset(latent, right, torch.ones_like(right), losses)
    head = make_energy_head(2, 16)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        energy_loss(
            kind,
            felt.compute_energies(head, slice(None)),
            felt.get_labels(slice(None)),
            EnergyLossParams(label_smoothing=0.01),
        ).backward()
        optimizer.step()
    energies = felt.compute_energies(head, slice(None)).detach()
    wrong = ~right if kind != "gain" else ~right & right.roll(-1, 1)  # a gain is seen one tick before only
    wrong[:, -1] = False
    assert (
        energies[right].quantile(0.9) < energies[wrong].quantile(0.1)
        if kind != "gain"
        else (energies[right].mean() < energies[wrong].mean())
    )
