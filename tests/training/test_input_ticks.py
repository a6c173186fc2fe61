"""Ticks at which a sample is still shown things count nowhere: not in losses, figures, thresholds, nor for the energy."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from ctm.models.outputs import compute_answer_mask
from inference.halting.policies import EnergyBelow
from inference.halting.thresholds import choose_policies, replay
from inference.tick_history import TickHistory
from tests.ctm.modules.test_input_schedule import HEARD, SHOWN, SIZES, build, draw_frames
from training.decoding import AtEveryTick
from training.energy.fitting import feel, fit_energy
from training.energy.losses import Kind, Meaning, Truth, energy_loss
from training.evaluation import Curves, curves_of, live_figures, summarise
from training.losses import trunk_loss
from training.tasks.base import Batch


def samples() -> list[Batch]:
    """Two batches, of which the first is shown less."""
    batches = []
    for sizes in (SIZES[:1] * 3, SIZES):
        frames = draw_frames(sizes, torch.Generator().manual_seed(len(sizes)))
        batches.append(Batch(frames, torch.zeros(len(sizes), 1, dtype=torch.long), torch.zeros(len(sizes)).long()))
    return batches


def without(curves: Curves, changed: float) -> Curves:
    """The same curves with other numbers where nothing may be answered."""
    here = curves.counts
    certainty = torch.where(here.unsqueeze(1), curves.certainty, changed)
    return replace(curves, certainty=certainty, energy=curves.energy.where(here, torch.tensor(-changed)))


def test_curves_of_batches_of_several_lengths_count_from_where_all_is_heard():
    machine = build(**SHOWN)
    curves = curves_of(machine, AtEveryTick(1), samples())
    assert curves.listening.tolist() == [HEARD[0]] * 3 + HEARD
    assert curves.right.shape == (9, max(HEARD) + 4) and not (curves.right & ~curves.counts).any()
    alone = machine(samples()[0].inputs)
    assert_close(curves.energy[:3, : HEARD[0] + 4], alone.energies, rtol=1e-4, atol=1e-5)
    assert (curves.energy[:3, HEARD[0] + 3 :] == curves.energy[:3, -1:]).all()


def test_figures_thresholds_and_replays_do_not_see_the_ticks_before():
    """What was said there is made most certain and most wrong, or least so: nothing changes."""
    curves = curves_of(build(**SHOWN), AtEveryTick(1), samples())
    loud, quiet = without(curves, 1.0), without(curves, -1.0)
    assert summarise(loud) == summarise(quiet)
    assert live_figures(loud, 0.0) == live_figures(quiet, 0.0)
    assert choose_policies(TickHistory.from_curves(loud), loud.right, 0.1) == choose_policies(
        TickHistory.from_curves(quiet), quiet.right, 0.1
    )
    played = replay(EnergyBelow(99.0), TickHistory.from_curves(loud), loud.right)
    assert played.ticks.tolist() == (curves.listening + 1).tolist()


@pytest.mark.parametrize("kind", ["mean", "two_tick", "mix"])
def test_losses_are_those_of_the_ticks_that_count(kind):
    losses, certainty, counts = torch.rand(3, 8), torch.rand(3, 8), compute_answer_mask(torch.tensor([5, 5, 5]), 8)
    losses[:, :5], certainty[:, :5] = -7, 7.0
    assert_close(
        trunk_loss(kind, losses, certainty, 0.3, counts), trunk_loss(kind, losses[:, 5:], certainty[:, 5:], 0.3)
    )
    right = losses > 0.5
    meaning = Meaning(margin=0.7, cost=0.1, doubt=0.01)
    for energy in get_args(Kind):
        expected = energy_loss(energy, certainty[:, 5:], Truth(right[:, 5:], None, losses[:, 5:]), meaning)
        assert_close(energy_loss(energy, certainty, Truth(right, counts, losses), meaning), expected)


def test_the_energy_is_fitted_where_answers_count():
    machine, batches = build(**SHOWN), samples()
    felt = feel(machine, AtEveryTick(1), batches)
    sync, counts = felt.seen, felt.counts
    assert counts.sum(1).tolist() == [4] * 3 + [max(HEARD) + 4 - heard for heard in HEARD]
    assert sync.shape[:2] == counts.shape
    said = fit_energy(machine, AtEveryTick(1), batches, "calibrated", Meaning(), 20, 0)
    assert said["n"] == 9 and said["loss_after"] <= said["loss_before"]


def test_what_is_felt_is_kept_as_long_as_there_is_room(monkeypatch):
    machine, batches = build(**SHOWN), samples()
    whole = feel(machine, AtEveryTick(1), batches)
    assert len(whole.seen) == sum(len(batch.inputs) for batch in batches)
    monkeypatch.setattr("training.energy.fitting.MOST_FELT", 1)
    assert len(feel(machine, AtEveryTick(1), batches).seen) == len(batches[0].inputs)
