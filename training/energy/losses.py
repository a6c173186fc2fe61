"""Losses of the energy head. Each kind gives the energy another meaning; for every kind a low energy means: halt here.

E is the energy of a tick. All losses are averages over the ticks of an unroll at which an answer counts.

calibrated    E = -logit P(correct now)
contrastive   that of the energy-halting fork: E = m * P(wrong), with margin m
balanced      contrastive with m = 1; correct and wrong answers have equal weight
ranked        calibrated, plus a ranking of correct answers below wrong ones, within an unroll and within a tick
hazard        the logit that the final run of correct answers has not started, if it had not started before
hindsight     the logit that a later tick is better by more than the ticks cost, known from the rest of the unroll
wait          the logit of the gain per tick of waiting: one correct answer, divided among the ticks until it comes; 0 if
              the answer is correct now or never again. The default: it is low also where further ticks do not help
gain          the logit that the next tick lowers the loss of the answer (Zhu et al. 2025, arXiv 2510.25741, stage II)
value         the value of continuing: the gain of halting where the energy itself halts (below 0), minus the cost of the
              ticks until then (optimal stopping, Longstaff and Schwartz 2001)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

EnergyKind = Literal["calibrated", "contrastive", "balanced", "ranked", "hazard", "hindsight", "wait", "gain", "value"]
DEFAULT_ENERGY_KIND: EnergyKind = "wait"
ENERGY_HEAD_PREFIX = "energy_proj."  # prefix of the parameter names of the energy head
CONFIDENT_PROBABILITY = 0.95  # P(correct) at which the validation metrics halt
LOGIT_KINDS = ("calibrated", "ranked")  # kinds whose energy is minus the logit of being correct
RANKING_WEIGHT = 0.5  # weight of the ranking terms relative to the calibrated loss
NUM_RANKING_NEIGHBOURS = 4  # samples of the batch that each sample is compared with at the same tick
GAIN_STEEPNESS = 50.0  # gain: slope of the label around the slack, per unit of loss
GAIN_SLACK = 0.005  # gain: decrease of the loss at which the label is 0.5


@dataclass(frozen=True)
class TickLabels:
    """Labels of a complete unroll of B rows and T ticks.

    Attributes:
        correct: Whether the answer at a tick is correct.
        answer_mask: Ticks at which an answer counts; None counts all.
        tick_losses: Loss of the answer at every tick; None if it is not needed or does not exist.
    """

    correct: Bool[Tensor, "B T"]
    answer_mask: Bool[Tensor, "B T"] | None = None
    tick_losses: Float[Tensor, "B T"] | None = None

    @property
    def correct_ticks(self) -> Bool[Tensor, "B T"]:
        """Ticks with a correct answer that counts."""
        return self.apply_answer_mask(self.correct)

    @property
    def incorrect_ticks(self) -> Bool[Tensor, "B T"]:
        """Ticks with a wrong answer that counts."""
        return self.apply_answer_mask(~self.correct)

    def apply_answer_mask(self, ticks: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        """Return those of the ticks at which an answer counts."""
        return ticks if self.answer_mask is None else ticks & self.answer_mask

    def masked_mean(self, values: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
        """Return the mean over the rows and ticks at which an answer counts."""
        return values.mean() if self.answer_mask is None else values[self.answer_mask].mean()


@dataclass(frozen=True)
class EnergyLossParams:
    """Settings of the losses.

    Attributes:
        margin: Contrastive: energy that wrong answers are pushed above.
        cost: Value, hindsight: cost of one tick, in correct answers.
        label_smoothing: Calibrated, ranked: probability of the opposite label, which keeps the optimal energies finite.
    """

    margin: float = 1.0
    cost: float = 0.005
    label_smoothing: float = 0.0


DEFAULT_LOSS_PARAMS = EnergyLossParams()


def energy_loss(
    kind: EnergyKind,
    energies: Float[Tensor, "B T"],
    tick_labels: TickLabels,
    loss_params: EnergyLossParams = DEFAULT_LOSS_PARAMS,
) -> Float[Tensor, ""]:
    """Return the loss of a kind of energy, a scalar.

    Args:
        kind: Kind of energy.
        energies: Energies of every row and tick.
        tick_labels: Labels of the same unroll.
        loss_params: Settings of the kind.
    """
    return ENERGY_LOSSES[kind](energies, tick_labels, loss_params)


def calibrated_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the cross-entropy of minus the energy as the logit of being correct."""
    labels = smooth_labels(tick_labels.correct, loss_params.label_smoothing, energies.dtype)
    return tick_labels.masked_mean(F.binary_cross_entropy_with_logits(-energies, labels, reduction="none"))


def smooth_labels(labels: Bool[Tensor, "*n"], smoothing: float, dtype: torch.dtype) -> Float[Tensor, "*n"]:
    """Return labels as probabilities: 1 - smoothing for True, smoothing for False."""
    return labels.to(dtype) * (1 - 2 * smoothing) + smoothing


def contrastive_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the squared-margin loss; for 0 <= E <= m it is m^2 times the Brier score of 1 - E/m."""
    return tick_labels.masked_mean(squared_margin_loss(energies, tick_labels, loss_params.margin))


def balanced_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the squared-margin loss with margin 1, the mean of that of correct and that of wrong answers."""
    losses = squared_margin_loss(energies, tick_labels, 1.0)
    mean_losses = [
        (losses * mask).sum() / mask.sum().clamp(min=1)
        for mask in (tick_labels.correct_ticks, tick_labels.incorrect_ticks)
    ]
    return (mean_losses[0] + mean_losses[1]) / 2


def squared_margin_loss(energies: Float[Tensor, "B T"], tick_labels: TickLabels, margin: float) -> Float[Tensor, "B T"]:
    """Return E^2 where the answer is correct, and max(0, margin - E)^2 where it is wrong."""
    return torch.where(tick_labels.correct, energies.square(), F.relu(margin - energies).square())


def ranking_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the calibrated loss plus pairwise ranking losses, within each unroll and between rows at the same tick."""
    right = tick_labels.correct_ticks
    wrong = tick_labels.incorrect_ticks
    within_loss = pairwise_order_loss(
        energies.unsqueeze(2), energies.unsqueeze(1), right.unsqueeze(2) & wrong.unsqueeze(1)
    )
    neighbours = [
        (energies.roll(shift, 0), wrong.roll(shift, 0))
        for shift in range(1, min(NUM_RANKING_NEIGHBOURS + 1, len(energies)))
    ]
    across_loss = sum(
        pairwise_order_loss(energies, neighbour_energies, right & neighbour_wrong)
        for neighbour_energies, neighbour_wrong in neighbours
    ) / max(1, len(neighbours))
    return calibrated_loss(energies, tick_labels, loss_params) + RANKING_WEIGHT * (within_loss + across_loss)


def pairwise_order_loss(low: Tensor, high: Tensor, pairs: Tensor) -> Float[Tensor, ""]:
    """Return the mean of softplus(low - high) over the selected pairs; 0 without pairs."""
    return (F.softplus(low - high) * pairs).sum() / pairs.sum().clamp(min=1)


def hazard_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the negative log-likelihood of the tick from which the answer stays correct, with hazard sigmoid(-E).

    A row that never stays correct is censored: it contributes only the ticks at which the event did not happen.
    """
    stays_correct = tick_labels.apply_answer_mask(tick_labels.correct.flip(1).int().cummin(1).values.flip(1).bool())
    is_event = stays_correct & (stays_correct.cumsum(1) == 1)
    is_before = tick_labels.apply_answer_mask(~stays_correct)
    return (F.softplus(-energies) * is_before + F.softplus(energies) * is_event).sum(1).mean()


def hindsight_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the energy as the logit that a later tick pays for the ticks until then."""
    correct = tick_labels.correct.to(energies.dtype)
    best_later = torch.full_like(correct[:, 0], -torch.inf)
    labels = []  # from the last tick to the first
    for tick in range(correct.size(1) - 1, -1, -1):
        labels.append(best_later > correct[:, tick])
        best_later = torch.maximum(best_later, correct[:, tick]) - loss_params.cost
    targets = torch.stack(labels[::-1], 1).to(energies.dtype)
    return tick_labels.masked_mean(F.binary_cross_entropy_with_logits(energies, targets, reduction="none"))


def wait_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the energy as the logit of 1 / (ticks until the next correct answer).

    The label is 0 where the answer is correct now, and where it is never correct again.
    """
    ticks_until_correct = torch.full_like(energies[:, 0], torch.inf)
    labels = []  # from the last tick to the first
    for tick in range(energies.size(1) - 1, -1, -1):
        ticks_until_correct = torch.where(tick_labels.correct[:, tick], 0.0, ticks_until_correct + 1)
        labels.append(torch.where(ticks_until_correct > 0, 1 / ticks_until_correct, 0.0))
    targets = torch.stack(labels[::-1], 1)
    return tick_labels.masked_mean(F.binary_cross_entropy_with_logits(energies, targets, reduction="none"))


def gain_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the energy as the logit that the next tick lowers the loss of the answer.

    Raises:
        ValueError: The labels have no loss of every tick.
    """
    if tick_labels.tick_losses is None:
        raise ValueError(
            "The gain of a tick needs the answer's loss at every tick, which an answer that is emitted over the ticks does "
            "not have."
        )
    gains = F.pad((tick_labels.tick_losses[:, :-1] - tick_labels.tick_losses[:, 1:]).clamp(min=0), (0, 1))
    labels = torch.sigmoid(GAIN_STEEPNESS * (gains - GAIN_SLACK))
    return tick_labels.masked_mean(
        F.binary_cross_entropy_with_logits(energies, labels.to(energies.dtype), reduction="none")
    )


def value_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Return the squared error of the energy as the value of continuing under its own policy, halt below 0.

    The value of the own policy is the target because no better policy is known.
    """
    correct = tick_labels.correct.to(energies.dtype)
    num_ticks = energies.size(1)
    return_later = correct[:, -1] - loss_params.cost
    values = [torch.full_like(correct[:, -1], -loss_params.cost)]  # from the last tick to the first
    for tick in range(num_ticks - 2, -1, -1):
        values.append(return_later - correct[:, tick])
        halts = energies[:, tick] < 0
        return_later = torch.where(halts, correct[:, tick], return_later).detach() - loss_params.cost
    return tick_labels.masked_mean((energies - torch.stack(values[::-1], 1)).square())


ENERGY_LOSSES: dict[str, Callable[[Tensor, TickLabels, EnergyLossParams], Tensor]] = {
    "calibrated": calibrated_loss,
    "contrastive": contrastive_loss,
    "balanced": balanced_loss,
    "ranked": ranking_loss,
    "hazard": hazard_loss,
    "hindsight": hindsight_loss,
    "wait": wait_loss,
    "gain": gain_loss,
    "value": value_loss,
}
assert ENERGY_LOSSES.keys() == set(get_args(EnergyKind))


def confident_energy_threshold(kind: str, margin: float) -> float | None:
    """Return the energy below which the validation metrics halt a sample.

    Args:
        kind: Kind of energy, or "none".
        margin: Margin of the contrastive kind.

    Returns:
        The energy at which P(correct) is `CONFIDENT_PROBABILITY`; for "wait", at which a tick of waiting gains less than the
        rest of that probability; otherwise 0, where continuing has no value. None for "none".
    """
    confident_logit = -math.log(CONFIDENT_PROBABILITY / (1 - CONFIDENT_PROBABILITY))
    thresholds = {
        "calibrated": confident_logit,
        "ranked": confident_logit,
        "wait": confident_logit,
        "contrastive": (1 - CONFIDENT_PROBABILITY) * margin,
        "balanced": 1 - CONFIDENT_PROBABILITY,
    }
    return None if kind == "none" else thresholds.get(kind, 0.0)
