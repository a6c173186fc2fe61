"""Logistic regression by Newton's method, and Platt scaling of energies with it."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.energy.losses import EnergyLossParams, smooth_labels


def fit_platt_scaling(
    energies: Float[Tensor, "n T"],
    correct: Bool[Tensor, "n T"],
    answer_mask: Bool[Tensor, "n T"],
    loss_params: EnergyLossParams,
) -> tuple[float, float]:
    """Fit scale and shift that turn energies into minus the logit of being correct (Platt 1999).

    Args:
        energies: Energies of n samples at T ticks.
        correct: Whether the answer at a tick is correct.
        answer_mask: Ticks that count.
        loss_params: Gives the label smoothing.

    Returns:
        Scale and shift; (1, 0) if the energies are higher where answers are correct.
    """
    inputs = torch.stack((energies[answer_mask], torch.ones_like(energies[answer_mask])), 1)
    labels = smooth_labels(~correct[answer_mask], loss_params.label_smoothing, torch.double)
    scale, shift = fit_logistic_regression(inputs.double(), labels)
    return (scale, shift) if scale > 0 and math.isfinite(shift) else (1.0, 0.0)


def fit_logistic_regression(inputs: Float[Tensor, "n F"], labels: Float[Tensor, " n"]) -> list[float]:
    """Fit a logistic regression by Newton's method.

    Args:
        inputs: Features in double precision, with a column of ones for the bias.
        labels: Probabilities in [0, 1].

    Returns:
        One weight for each feature.
    """
    weights = torch.zeros(inputs.size(1), dtype=torch.double)
    for _ in range(50):
        probability = torch.sigmoid(inputs @ weights)
        gradient = inputs.T @ (probability - labels) / len(labels)
        curvature = (probability * (1 - probability)).clamp(min=1e-9)
        hessian = (inputs.T * curvature) @ inputs / len(labels) + 1e-9 * torch.eye(len(weights))
        step = torch.linalg.solve(hessian, gradient)
        weights = weights - step * (10 / step.norm().clamp(min=10))
    return weights.tolist()
