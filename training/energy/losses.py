"""What an energy is trained to mean. Each kind is a loss over all ticks of a thought; whatever it means, low says: stop here.

calibrated    E = -logit P(right now)
contrastive   the energy-halting fork's: E = m * P(wrong), margin m
balanced      contrastive with m = 1, right and wrong answers weighing the same
ranked        calibrated, and right answers below wrong ones, within a thought and within a tick
hazard        the logit of not yet having settled on the right answer, given that it had not before
hindsight     the logit of doing better later by more than the ticks cost, knowing how the thought goes on
wait          the logit of what a tick of waiting wins: one right answer, shared out among the ticks until it comes; nothing
              where the answer is right now or never again; the default: low also where thinking on is in vain
gain          the logit of the next tick lowering the answer's loss (Zhu et al. 2025, arXiv 2510.25741, stage II)
value         what going on is worth: the gain of stopping where the energy itself would stop, less what its ticks cost
              (optimal stopping, Longstaff and Schwartz 2001); worth nothing below 0
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
ENERGY_HEAD_PREFIX = "energy_proj."  # what the names of a head's weights begin with
CONFIDENT_PROBABILITY = 0.95  # probability of being right at which figures of a training take a machine to halt
LOGIT_KINDS = ("calibrated", "ranked")  # kinds whose energy is minus the logit of being right
RANKING_WEIGHT = 0.5  # weight of the ranking beside the calibrated loss
NUM_RANKING_NEIGHBOURS = 4  # samples of the batch that each is compared with at the same tick
GAIN_STEEPNESS, GAIN_SLACK = 50.0, 0.005  # of the gain: how sharply it tells gains from none, and how much is none


@dataclass(frozen=True)
class TickLabels:
    """What is known of a thought once it is over."""

    correct: Bool[Tensor, "B T"]
    answer_mask: Bool[Tensor, "B T"] | None = None  # ticks at which a row may answer; None for all
    tick_losses: Float[Tensor, "B T"] | None = None  # of the answer

    @property
    def correct_ticks(self) -> Bool[Tensor, "B T"]:
        """Right answers that count."""
        return self.apply_answer_mask(self.correct)

    @property
    def incorrect_ticks(self) -> Bool[Tensor, "B T"]:
        """Wrong answers that count."""
        return self.apply_answer_mask(~self.correct)

    def apply_answer_mask(self, ticks: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        return ticks if self.answer_mask is None else ticks & self.answer_mask

    def masked_mean(self, values: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
        """Over rows and the ticks that count."""
        return values.mean() if self.answer_mask is None else values[self.answer_mask].mean()


@dataclass(frozen=True)
class EnergyLossParams:
    """The settings of the kinds that have any."""

    margin: float = 1.0  # contrastive: energy that wrong answers are pushed above
    cost: float = 0.005  # value, hindsight: of a tick, in right answers
    label_smoothing: float = (
        0.0  # calibrated, ranked: probability left for the opposite of a label: energies stay finite
    )


DEFAULT_LOSS_PARAMS = EnergyLossParams()


def energy_loss(
    kind: EnergyKind,
    energies: Float[Tensor, "B T"],
    tick_labels: TickLabels,
    loss_params: EnergyLossParams = DEFAULT_LOSS_PARAMS,
) -> Float[Tensor, ""]:
    """The loss of a kind of energy."""
    return ENERGY_LOSSES[kind](energies, tick_labels, loss_params)


def calibrated_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    labels = smooth_labels(tick_labels.correct, loss_params.label_smoothing, energies.dtype)
    return tick_labels.masked_mean(F.binary_cross_entropy_with_logits(-energies, labels, reduction="none"))


def smooth_labels(labels: Bool[Tensor, "*n"], smoothing: float, dtype: torch.dtype) -> Float[Tensor, "*n"]:
    """Labels that leave some probability for their opposites."""
    return labels.to(dtype) * (1 - 2 * smoothing) + smoothing


def contrastive_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """For 0 <= E <= m it is m^2 times the Brier score of 1 - E/m."""
    return tick_labels.masked_mean(squared_margin_loss(energies, tick_labels, loss_params.margin))


def balanced_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    values = squared_margin_loss(energies, tick_labels, 1.0)
    return (
        sum(
            (values * part).sum() / part.sum().clamp(min=1)
            for part in (tick_labels.correct_ticks, tick_labels.incorrect_ticks)
        )
        / 2
    )


def squared_margin_loss(energies: Float[Tensor, "B T"], tick_labels: TickLabels, margin: float) -> Float[Tensor, "B T"]:
    return torch.where(tick_labels.correct, energies.square(), F.relu(margin - energies).square())


def ranking_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    right, wrong = tick_labels.correct_ticks, tick_labels.incorrect_ticks
    within = pairwise_order_loss(energies.unsqueeze(2), energies.unsqueeze(1), right.unsqueeze(2) & wrong.unsqueeze(1))
    others = [
        (energies.roll(by, 0), wrong.roll(by, 0)) for by in range(1, min(NUM_RANKING_NEIGHBOURS + 1, len(energies)))
    ]
    across = sum(pairwise_order_loss(energies, theirs, right & bad) for theirs, bad in others) / max(1, len(others))
    return calibrated_loss(energies, tick_labels, loss_params) + RANKING_WEIGHT * (within + across)


def pairwise_order_loss(low: Tensor, high: Tensor, pairs: Tensor) -> Float[Tensor, ""]:
    """How far pairs are from lying one below the other."""
    return (F.softplus(low - high) * pairs).sum() / pairs.sum().clamp(min=1)


def hazard_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Likelihood of the tick from which on the answer is right for good, with the hazard sigmoid(-E) at every tick; thoughts
    that never settle say only when it had not happened yet."""
    settled = tick_labels.apply_answer_mask(tick_labels.correct.flip(1).int().cummin(1).values.flip(1).bool())
    first = settled & (settled.cumsum(1) == 1)
    before = tick_labels.apply_answer_mask(~settled)
    return (F.softplus(-energies) * before + F.softplus(energies) * first).sum(1).mean()


def hindsight_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    now = tick_labels.correct.to(energies.dtype)
    best, pays = torch.full_like(now[:, 0], -torch.inf), []
    for tick in range(now.size(1) - 1, -1, -1):
        pays.append(best > now[:, tick])
        best = torch.maximum(best, now[:, tick]) - loss_params.cost
    labels = torch.stack(pays[::-1], 1).to(energies.dtype)
    return tick_labels.masked_mean(F.binary_cross_entropy_with_logits(energies, labels, reduction="none"))


def wait_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    won, ahead = [], torch.full_like(energies[:, 0], torch.inf)
    for tick in range(energies.size(1) - 1, -1, -1):
        ahead = torch.where(tick_labels.correct[:, tick], 0.0, ahead + 1)
        won.append(torch.where(ahead > 0, 1 / ahead, 0.0))
    labels = torch.stack(won[::-1], 1)
    return tick_labels.masked_mean(F.binary_cross_entropy_with_logits(energies, labels, reduction="none"))


def gain_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    if tick_labels.tick_losses is None:
        raise ValueError(
            "The gain of a tick needs the answer's loss at every tick, which an answer that is said has not."
        )
    gains = F.pad((tick_labels.tick_losses[:, :-1] - tick_labels.tick_losses[:, 1:]).clamp(min=0), (0, 1))
    labels = torch.sigmoid(GAIN_STEEPNESS * (gains - GAIN_SLACK))
    return tick_labels.masked_mean(
        F.binary_cross_entropy_with_logits(energies, labels.to(energies.dtype), reduction="none")
    )


def value_loss(
    energies: Float[Tensor, "B T"], tick_labels: TickLabels, loss_params: EnergyLossParams
) -> Float[Tensor, ""]:
    """Each tick's energy is drawn to what its own rule, stop below 0, would have won from there: no better one is known."""
    now, ticks = tick_labels.correct.to(energies.dtype), energies.size(1)
    won, worth = now[:, -1] - loss_params.cost, [torch.full_like(now[:, -1], -loss_params.cost)]
    for tick in range(ticks - 2, -1, -1):
        worth.append(won - now[:, tick])
        won = torch.where(energies[:, tick] < 0, now[:, tick], won).detach() - loss_params.cost
    return tick_labels.masked_mean((energies - torch.stack(worth[::-1], 1)).square())


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
    """The energy below which figures of a training take a machine to halt: where an answer is right with probability 0.95,
    where a tick of waiting wins less than the rest of that, or where going on is worth nothing."""
    sure = -math.log(CONFIDENT_PROBABILITY / (1 - CONFIDENT_PROBABILITY))
    known = {
        "calibrated": sure,
        "ranked": sure,
        "wait": sure,
        "contrastive": (1 - CONFIDENT_PROBABILITY) * margin,
        "balanced": 1 - CONFIDENT_PROBABILITY,
    }
    return None if kind == "none" else known.get(kind, 0.0)
