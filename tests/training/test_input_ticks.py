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
from tests.ctm.modules.test_input_schedule import (
    FRAME_COUNTS,
    INPUT_TICKS,
    SCHEDULE_CONFIG,
    build_tiny_model,
    sample_frames,
)
from training.decoding import PerTickDecoder
from training.energy.fitting import collect_energy_features, fit_energy
from training.energy.losses import EnergyKind, EnergyLossParams, TickLabels, energy_loss
from training.evaluation import EvaluationCurves, evaluate_curves
from training.losses import reduce_tick_losses
from training.metrics import compute_validation_metrics, summarise_curves
from training.tasks.base import (Batch)


def make_batches() -> list[Batch]:
    """Two batches, of which the first is shown less."""
    batches = []
    for sizes in (FRAME_COUNTS[:1] * 3, FRAME_COUNTS):
        frames = sample_frames(sizes, torch.Generator().manual_seed(len(sizes)))
        batches.append(Batch(frames, torch.zeros(len(sizes), 1, dtype=torch.long), torch.zeros(len(sizes)).long()))
    return batches


def replace_input_ticks(curves: EvaluationCurves, value: float) -> EvaluationCurves:
    """The same curves with other numbers where nothing may be answered."""
    here = curves.answer_mask
    certainty = torch.where(here.unsqueeze(1), curves.certainty, value)
    return replace(curves, certainty=certainty, energy=curves.energy.where(here, torch.tensor(-value)))


def test_curves_of_batches_of_several_lengths_start_after_the_input_ticks():
    machine = build_tiny_model(**SCHEDULE_CONFIG)
    curves = evaluate_curves(machine, PerTickDecoder(1), make_batches())
    assert curves.listening.tolist() == [INPUT_TICKS[0]] * 3 + INPUT_TICKS
    assert curves.right.shape == (9, max(INPUT_TICKS) + 4) and not (curves.right & ~curves.answer_mask).any()
    alone = machine(make_batches()[0].inputs)
    assert_close(curves.energy[:3, : INPUT_TICKS[0] + 4], alone.energies, rtol=1e-4, atol=1e-5)
    assert (curves.energy[:3, INPUT_TICKS[0] + 3 :] == curves.energy[:3, -1:]).all()


def test_figures_thresholds_and_replays_do_not_see_the_ticks_before():
    """What was said there is made most certain and most wrong, or least so: nothing changes."""
    curves = evaluate_curves(build_tiny_model(**SCHEDULE_CONFIG), PerTickDecoder(1), make_batches())
    loud, quiet = replace_input_ticks(curves, 1.0), replace_input_ticks(curves, -1.0)
    assert summarise_curves(loud) == summarise_curves(quiet)
    assert compute_validation_metrics(loud, 0.0) == compute_validation_metrics(quiet, 0.0)
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
        reduce_tick_losses(kind, losses, certainty, 0.3, counts),
        reduce_tick_losses(kind, losses[:, 5:], certainty[:, 5:], 0.3),
    )
    right = losses > 0.5
    meaning = EnergyLossParams(margin=0.7, cost=0.1, label_smoothing=0.01)
    for energy in get_args(EnergyKind):
        expected = energy_loss(energy, certainty[:, 5:], TickLabels(right[:, 5:], None, losses[:, 5:]), meaning)
        assert_close(energy_loss(energy, certainty, TickLabels(right, counts, losses), meaning), expected)


def test_the_energy_is_fitted_where_answers_count():
    machine, batches = build_tiny_model(**SCHEDULE_CONFIG), make_batches()
    felt = collect_energy_features(machine, PerTickDecoder(1), batches)
    sync, counts = felt.seen, felt.counts
    assert counts.sum(1).tolist() == [4] * 3 + [max(INPUT_TICKS) + 4 - heard for heard in INPUT_TICKS]
    assert sync.shape[:2] == counts.shape
    said = fit_energy(machine, PerTickDecoder(1), batches, "calibrated", EnergyLossParams(), 20, 0)
    assert said["n"] == 9 and said["loss_after"] <= said["loss_before"]


def test_energy_features_are_kept_as_long_as_there_is_room(monkeypatch):
    machine, batches = build_tiny_model(**SCHEDULE_CONFIG), make_batches()
    whole = collect_energy_features(machine, PerTickDecoder(1), batches)
    assert len(whole.seen) == sum(len(batch.inputs) for batch in batches)
    monkeypatch.setattr("training.energy.fitting.MAX_FEATURE_VALUES", 1)
    assert len(collect_energy_features(machine, PerTickDecoder(1), batches).seen) == len(batches[0].inputs)
