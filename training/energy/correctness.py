"""Probability that an answer is correct, from its energy and certainty."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ctm.checkpoint.metadata import CorrectnessModel
from inference.halting.thresholds import PolicyReplay
from inference.tick_history import EvaluationCurves
from training.energy.logistic_regression import fit_logistic_regression
from training.energy.losses import smooth_labels

ANSWER_TICK_WEIGHT = 16  # weight of the tick that answers, relative to a tick before it


def fit_correctness_model(curves: EvaluationCurves, policy_replay: PolicyReplay) -> CorrectnessModel | None:
    """Fit P(correct) by logistic regression on energy and certainty, at the ticks that a halting policy visits.

    Only visited ticks are used: among all ticks with the same energy there may be many later ones, at which the model has
    iterated too long. The tick that answers has more weight, because the probability is reported there.

    Args:
        curves: N evaluated samples, with an energy.
        policy_replay: The halting policy on these samples.

    Returns:
        The model, or None if a coefficient is not finite.
    """
    assert curves.energy is not None
    weight = compute_visit_weights(curves, policy_replay)
    rows = torch.arange(weight.numel()).repeat_interleave(weight.flatten())
    energy, certainty, correct = (
        values.flatten()[rows] for values in (curves.energy, curves.certainty.mean(1), curves.correct)
    )
    # n samples without an error do not show that the error rate is below 1 / (n + 2) (Laplace's rule of succession).
    label_smoothing = 1 / (len(curves.correct) + 2)
    inputs = torch.stack((energy, certainty, torch.ones_like(energy)), 1).double()
    weights = fit_logistic_regression(inputs, smooth_labels(~correct, label_smoothing, torch.double))
    if not all(map(math.isfinite, weights)):
        return None
    return CorrectnessModel(energy=weights[0], certainty=weights[1], bias=weights[2])


def compute_visit_weights(curves: EvaluationCurves, policy_replay: PolicyReplay) -> Int[Tensor, "n T"]:
    """Return the weight of every tick: 0 after the halt, `ANSWER_TICK_WEIGHT` at the tick that answers, else 1."""
    ticks = torch.arange(1, curves.correct.size(1) + 1)
    is_visited = curves.answer_mask & (ticks <= policy_replay.ticks.unsqueeze(1))
    return is_visited * torch.where(ticks == policy_replay.answer_tick.unsqueeze(1), ANSWER_TICK_WEIGHT, 1)


def gather_answer_confidence(
    correctness_model: CorrectnessModel, curves: EvaluationCurves, policy_replay: PolicyReplay
) -> Float[Tensor, " n"]:
    """Return P(correct) at the ticks that answer.

    Args:
        correctness_model: Gives P(correct) for an energy and a certainty.
        curves: Evaluated samples, with an energy.
        policy_replay: The halting policy on these samples.
    """
    assert curves.energy is not None
    p_correct = correctness_model(curves.energy, curves.certainty.mean(1))
    return p_correct.gather(1, policy_replay.answer_tick.unsqueeze(1) - 1).squeeze(1)
