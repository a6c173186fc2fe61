"""Figures of evaluation curves: accuracy, AUROC, rank correlation and calibration error."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm.modules.readout import compute_ctc_emission_mask
from inference.tick_history import EvaluationCurves


def summarise_curves(curves: EvaluationCurves) -> dict[str, Any]:
    """Compute the main figures of a set of evaluated samples.

    Returns:
        accuracy_best, best_tick: accuracy at the best fixed tick, and that tick, counted from 1.
        accuracy_last: accuracy at the last tick.
        accuracy_certain: accuracy at the most certain tick of each sample.
        certainty_auroc: see `tick_auroc`.
        accuracy_lowest_energy, energy_auroc: the same two for the energy, if there is one.
    """
    accuracy_by_tick = curves.correct.float().mean(0)
    certainty = curves.certainty.mean(1).masked_fill(~curves.answer_mask, -1)
    values = {
        "accuracy_best": accuracy_by_tick.max().item(),
        "best_tick": int(accuracy_by_tick.argmax()) + 1,
        "accuracy_last": accuracy_by_tick[-1].item(),
        "accuracy_certain": curves.correct.gather(1, certainty.argmax(1, keepdim=True)).float().mean().item(),
        "certainty_auroc": tick_auroc(certainty, curves.correct, curves.answer_mask),
    }
    if curves.energy is not None:
        energy = curves.energy.masked_fill(~curves.answer_mask, torch.inf)
        values["accuracy_lowest_energy"] = (
            curves.correct.gather(1, energy.argmin(1, keepdim=True)).float().mean().item()
        )
        values["energy_auroc"] = tick_auroc(-energy, curves.correct, curves.answer_mask)
    return values


def compute_validation_metrics(curves: EvaluationCurves, energy_threshold: float | None) -> dict[str, Any]:
    """Compute the figures that are logged during training.

    Args:
        curves: Validation samples.
        energy_threshold: A sample halts at the first tick with an energy below it; None skips the figures of the energy.

    Returns:
        accuracy_by_tick; for answers of several positions, and for CTC answers, position_accuracy_last; with an energy also accuracy_halted and
        mean_ticks (ticks used) at the threshold, and energy_right and energy_wrong: the mean energy of correct and of
        wrong answers.
    """
    figures: dict[str, Any] = {
        "accuracy_by_tick": [round(value, 4) for value in curves.correct.float().mean(0).tolist()]
    }
    if curves.is_ctc:
        figures["position_accuracy_last"] = compute_ctc_position_accuracy(curves.choices[:, 0], curves.targets)
    elif curves.targets.size(1) == curves.choices.size(1) > 1:
        figures["position_accuracy_last"] = compute_position_accuracy(curves.choices[:, :, -1], curves.targets)
    if curves.energy is None or energy_threshold is None:
        return figures
    energy = curves.energy.masked_fill(~curves.answer_mask, torch.inf)
    is_low = energy < energy_threshold
    # A sample that never falls below the threshold uses all ticks and answers with its lowest energy.
    answer_index = torch.where(is_low.any(1), is_low.float().argmax(1), energy.argmin(1))
    ticks_used = torch.where(is_low.any(1), answer_index + 1, is_low.size(1))
    figures["accuracy_halted"] = curves.correct.gather(1, answer_index.unsqueeze(1)).float().mean().item()
    figures["mean_ticks"] = ticks_used.float().mean().item()
    for name, mask in (("energy_right", curves.correct), ("energy_wrong", ~curves.correct & curves.answer_mask)):
        if mask.any():
            figures[name] = curves.energy[mask].mean().item()
    return figures


def compute_position_accuracy(choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> float:
    """Return the share of correct positions among those that count; a target below 0 marks one that does not."""
    counts = targets >= 0
    return ((choices == targets) & counts).sum().item() / max(1, int(counts.sum()))


def compute_ctc_position_accuracy(labels: Int[Tensor, "n T"], targets: Int[Tensor, "n L"]) -> float:
    """Return the share of target labels that are emitted at their place in the sequence, over all ticks.

    Args:
        labels: Label or blank of every tick; the blank is class L.
        targets: Target labels in order.
    """
    length = targets.size(1)
    is_emission = compute_ctc_emission_mask(labels, length)
    places = is_emission.cumsum(1) - 1
    expected = targets.gather(1, places.clamp(0, length - 1))
    is_correct = is_emission & (places < length) & (labels == expected)
    return is_correct.sum().item() / targets.numel()


def compute_reliability(
    p_correct: Float[Tensor, " n"], correct: Bool[Tensor, " n"], num_bins: int = 15
) -> dict[str, Any]:
    """Measure how well predicted probabilities of being correct agree with the outcomes.

    Args:
        p_correct: Predicted probability of each of n answers.
        correct: Whether the answer is correct.
        num_bins: Bins of equal width over [0, 1].

    Returns:
        ece: expected calibration error, the mean gap between prediction and accuracy over bins, weighted by count.
        brier: mean squared error of the predictions.
        nll: mean negative log-likelihood, in nats.
        bins: [mean prediction, accuracy, count] of each bin that is not empty (a reliability diagram).
    """
    p_correct = p_correct.double().clamp(1e-12, 1 - 1e-12)
    outcome = correct.double()
    bin_index = (p_correct * num_bins).long().clamp(max=num_bins - 1)
    count = torch.bincount(bin_index, minlength=num_bins)
    mean_prediction, accuracy = (
        torch.bincount(bin_index, weights, num_bins) / count.clamp(min=1) for weights in (p_correct, outcome)
    )
    return {
        "ece": ((mean_prediction - accuracy).abs() * count).sum().item() / len(p_correct),
        "brier": (p_correct - outcome).square().mean().item(),
        "nll": -(outcome * p_correct.log() + (1 - outcome) * (1 - p_correct).log()).mean().item(),
        "bins": [
            [round(mean_prediction[i].item(), 4), round(accuracy[i].item(), 4), int(count[i])]
            for i in range(num_bins)
            if count[i]
        ],
    }


def spearman_correlation(a: Int[Tensor, " n"], b: Int[Tensor, " n"]) -> float | None:
    """Return Spearman's rank correlation; equal values share their mean rank.

    Returns:
        The correlation, or None if all values of `a` or of `b` are equal.
    """
    ranks = []
    for values in (a, b):
        _, index, counts = values.unique(return_inverse=True, return_counts=True)
        if len(counts) < 2:
            return None
        ranks.append((counts.cumsum(0) - (counts - 1) / 2)[index].double())
    return torch.corrcoef(torch.stack(ranks))[0, 1].item()


def tick_auroc(
    score: Float[Tensor, "n T"], correct: Bool[Tensor, "n T"], answer_mask: Bool[Tensor, "n T"] | None = None
) -> float | None:
    """Return the probability that a correct answer scores above a wrong one at the same tick.

    The probability is averaged over ticks with the number of pairs as weight: pooling ticks would favour any score that
    merely rises with time.

    Args:
        score: Higher should mean correct.
        correct: Whether the answer at a tick is correct.
        answer_mask: Ticks that count; None counts all.

    Returns:
        The probability, or None if all answers are correct or all are wrong.
    """
    wins = 0.0
    num_pairs = 0
    wrong = ~correct if answer_mask is None else ~correct & answer_mask
    for tick in range(score.size(1)):
        positives = score[correct[:, tick], tick]
        negatives = score[wrong[:, tick], tick]
        if len(positives) and len(negatives):
            unique, index = torch.cat((positives, negatives)).double().unique(return_inverse=True)
            counts = torch.bincount(index, minlength=len(unique)).double()
            ranks = (counts.cumsum(0) - (counts - 1) / 2)[index]
            wins += (ranks[: len(positives)].sum() - len(positives) * (len(positives) + 1) / 2).item()
            num_pairs += len(positives) * len(negatives)
    return wins / num_pairs if num_pairs else None
