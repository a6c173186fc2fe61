"""Tests that losses, metrics, thresholds and energy fitting exclude the input ticks."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from ctm.models.outputs import compute_answer_mask
from inference.halting.policies import EnergyBelow
from inference.halting.thresholds import choose_policies, replay
from inference.tick_history import EvaluationCurves, TickHistory
from tests.ctm.modules.test_input_schedule import (
    FRAME_COUNTS,
    INPUT_TICKS,
    SCHEDULE_CONFIG,
    build_tiny_model,
    sample_frames,
)
from training.decoding import PerTickDecoder
from training.energy.features import collect_energy_features
from training.energy.fitting import fit_energy
from training.energy.losses import EnergyKind, EnergyLossParams, TickLabels, energy_loss
from training.evaluation import evaluate_curves
from training.losses import reduce_tick_losses
from training.metrics import compute_validation_metrics, summarise_curves
from training.tasks.samples import Batch


def make_batches() -> list[Batch]:
    """Build two batches, of which the first has fewer input ticks."""
    batches = []
    for sizes in (FRAME_COUNTS[:1] * 3, FRAME_COUNTS):
        frames = sample_frames(sizes, torch.Generator().manual_seed(len(sizes)))
        batches.append(Batch(frames, torch.zeros(len(sizes), 1, dtype=torch.long), torch.zeros(len(sizes)).long()))
    return batches


def replace_input_ticks(curves: EvaluationCurves, value: float) -> EvaluationCurves:
    """Return the curves with other certainties and energies at the input ticks."""
    mask = curves.answer_mask
    certainty = torch.where(mask.unsqueeze(1), curves.certainty, value)
    return replace(curves, certainty=certainty, energy=curves.energy.where(mask, torch.tensor(-value)))


def test_curves_of_batches_of_several_lengths_have_no_correct_answer_at_input_ticks():
    model = build_tiny_model(**SCHEDULE_CONFIG)
    curves = evaluate_curves(model, PerTickDecoder(1), make_batches())
    assert curves.input_ticks.tolist() == [INPUT_TICKS[0]] * 3 + INPUT_TICKS
    assert curves.correct.shape == (9, max(INPUT_TICKS) + 4) and not (curves.correct & ~curves.answer_mask).any()
    output = model(make_batches()[0].inputs)
    assert_close(curves.energy[:3, : INPUT_TICKS[0] + 4], output.energies, rtol=1e-4, atol=1e-5)
    assert (curves.energy[:3, INPUT_TICKS[0] + 3 :] == curves.energy[:3, -1:]).all()


def test_metrics_thresholds_and_replays_ignore_the_input_ticks():
    """Extreme certainties and energies at the input ticks change nothing."""
    curves = evaluate_curves(build_tiny_model(**SCHEDULE_CONFIG), PerTickDecoder(1), make_batches())
    high = replace_input_ticks(curves, 1.0)
    low = replace_input_ticks(curves, -1.0)
    assert summarise_curves(high) == summarise_curves(low)
    assert compute_validation_metrics(high, 0.0) == compute_validation_metrics(low, 0.0)
    assert choose_policies(TickHistory.from_curves(high), high.correct, 0.1) == choose_policies(
        TickHistory.from_curves(low), low.correct, 0.1
    )
    policy_replay = replay(EnergyBelow(99.0), TickHistory.from_curves(high), high.correct)
    assert policy_replay.ticks.tolist() == (curves.input_ticks + 1).tolist()


@pytest.mark.parametrize("kind", ["mean", "two_tick", "mix"])
def test_losses_exclude_the_input_ticks(kind):
    losses = torch.rand(3, 8)
    certainty = torch.rand(3, 8)
    answer_mask = compute_answer_mask(torch.tensor([5, 5, 5]), 8)
    losses[:, :5] = -7
    certainty[:, :5] = 7.0
    assert_close(
        reduce_tick_losses(kind, losses, certainty, 0.3, answer_mask),
        reduce_tick_losses(kind, losses[:, 5:], certainty[:, 5:], 0.3),
    )
    correct = losses > 0.5
    loss_params = EnergyLossParams(margin=0.7, cost=0.1, label_smoothing=0.01)
    for energy_kind in get_args(EnergyKind):
        expected = energy_loss(
            energy_kind, certainty[:, 5:], TickLabels(correct[:, 5:], None, losses[:, 5:]), loss_params
        )
        assert_close(
            energy_loss(energy_kind, certainty, TickLabels(correct, answer_mask, losses), loss_params), expected
        )


def test_energy_is_fitted_at_answer_ticks_only():
    model = build_tiny_model(**SCHEDULE_CONFIG)
    batches = make_batches()
    dataset = collect_energy_features(model, PerTickDecoder(1), batches)
    assert dataset.answer_mask.sum(1).tolist() == [4] * 3 + [max(INPUT_TICKS) + 4 - ticks for ticks in INPUT_TICKS]
    assert dataset.features.shape[:2] == dataset.answer_mask.shape
    metrics = fit_energy(model, PerTickDecoder(1), batches, "calibrated", EnergyLossParams(), 20, 0)
    assert metrics["n"] == 9 and metrics["loss_after"] <= metrics["loss_before"]


def test_energy_features_are_collected_up_to_the_limit(monkeypatch):
    model = build_tiny_model(**SCHEDULE_CONFIG)
    batches = make_batches()
    dataset = collect_energy_features(model, PerTickDecoder(1), batches)
    assert len(dataset.features) == sum(len(batch.inputs) for batch in batches)
    monkeypatch.setattr("training.energy.features.MAX_FEATURE_VALUES", 1)
    assert len(collect_energy_features(model, PerTickDecoder(1), batches).features) == len(batches[0].inputs)
