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

Kind = Literal["calibrated", "contrastive", "balanced", "ranked", "hazard", "hindsight", "wait", "gain", "value"]
ENERGY = "energy_proj."  # what the names of a head's weights begin with
SURE = 0.95  # probability of being right at which figures of a training take a machine to halt
IS_A_LOGIT = ("calibrated", "ranked")  # kinds whose energy is minus the logit of being right
RANKING = 0.5  # weight of the ranking beside the calibrated loss
NEIGHBOURS = 4  # samples of the batch that each is compared with at the same tick
STEEP, SLACK = 50.0, 0.005  # of the gain: how sharply it tells gains from none, and how much is none


@dataclass(frozen=True)
class Truth:
    """What is known of a thought once it is over."""

    right: Bool[Tensor, "B T"]
    counts: Bool[Tensor, "B T"] | None = None  # ticks at which a row may answer; None for all
    losses: Float[Tensor, "B T"] | None = None  # of the answer

    @property
    def good(self) -> Bool[Tensor, "B T"]:
        """Right answers that count."""
        return self.counting(self.right)

    @property
    def bad(self) -> Bool[Tensor, "B T"]:
        """Wrong answers that count."""
        return self.counting(~self.right)

    def counting(self, ticks: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        return ticks if self.counts is None else ticks & self.counts

    def mean(self, values: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
        """Over rows and the ticks that count."""
        return values.mean() if self.counts is None else values[self.counts].mean()


@dataclass(frozen=True)
class Meaning:
    """The settings of the kinds that have any."""

    margin: float = 1.0  # contrastive: energy that wrong answers are pushed above
    cost: float = 0.005  # value, hindsight: of a tick, in right answers
    doubt: float = 0.0  # calibrated, ranked: probability left for the opposite of a label: energies stay finite


PLAIN = Meaning()


def energy_loss(
    kind: Kind, energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning = PLAIN
) -> Float[Tensor, ""]:
    """The loss of a kind of energy."""
    return LOSSES[kind](energies, truth, meaning)


def calibrated(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    labels = softened(truth.right, meaning.doubt, energies.dtype)
    return truth.mean(F.binary_cross_entropy_with_logits(-energies, labels, reduction="none"))


def softened(labels: Bool[Tensor, "*n"], doubt: float, dtype: torch.dtype) -> Float[Tensor, "*n"]:
    """Labels that leave some probability for their opposites."""
    return labels.to(dtype) * (1 - 2 * doubt) + doubt


def contrastive(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    """For 0 <= E <= m it is m^2 times the Brier score of 1 - E/m."""
    return truth.mean(squared(energies, truth, meaning.margin))


def balanced(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    values = squared(energies, truth, 1.0)
    return sum((values * part).sum() / part.sum().clamp(min=1) for part in (truth.good, truth.bad)) / 2


def squared(energies: Float[Tensor, "B T"], truth: Truth, margin: float) -> Float[Tensor, "B T"]:
    return torch.where(truth.right, energies.square(), F.relu(margin - energies).square())


def ranked(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    right, wrong = truth.good, truth.bad
    within = in_order(energies.unsqueeze(2), energies.unsqueeze(1), right.unsqueeze(2) & wrong.unsqueeze(1))
    others = [(energies.roll(by, 0), wrong.roll(by, 0)) for by in range(1, min(NEIGHBOURS + 1, len(energies)))]
    across = sum(in_order(energies, theirs, right & bad) for theirs, bad in others) / max(1, len(others))
    return calibrated(energies, truth, meaning) + RANKING * (within + across)


def in_order(low: Tensor, high: Tensor, pairs: Tensor) -> Float[Tensor, ""]:
    """How far pairs are from lying one below the other."""
    return (F.softplus(low - high) * pairs).sum() / pairs.sum().clamp(min=1)


def hazard(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    """Likelihood of the tick from which on the answer is right for good, with the hazard sigmoid(-E) at every tick; thoughts
    that never settle say only when it had not happened yet."""
    settled = truth.counting(truth.right.flip(1).int().cummin(1).values.flip(1).bool())
    first = settled & (settled.cumsum(1) == 1)
    before = truth.counting(~settled)
    return (F.softplus(-energies) * before + F.softplus(energies) * first).sum(1).mean()


def hindsight(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    now = truth.right.to(energies.dtype)
    best, pays = torch.full_like(now[:, 0], -torch.inf), []
    for tick in range(now.size(1) - 1, -1, -1):
        pays.append(best > now[:, tick])
        best = torch.maximum(best, now[:, tick]) - meaning.cost
    labels = torch.stack(pays[::-1], 1).to(energies.dtype)
    return truth.mean(F.binary_cross_entropy_with_logits(energies, labels, reduction="none"))


def wait(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    won, ahead = [], torch.full_like(energies[:, 0], torch.inf)
    for tick in range(energies.size(1) - 1, -1, -1):
        ahead = torch.where(truth.right[:, tick], 0.0, ahead + 1)
        won.append(torch.where(ahead > 0, 1 / ahead, 0.0))
    labels = torch.stack(won[::-1], 1)
    return truth.mean(F.binary_cross_entropy_with_logits(energies, labels, reduction="none"))


def gain(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    if truth.losses is None:
        raise ValueError(
            "The gain of a tick needs the answer's loss at every tick, which an answer that is said has not."
        )
    gains = F.pad((truth.losses[:, :-1] - truth.losses[:, 1:]).clamp(min=0), (0, 1))
    labels = torch.sigmoid(STEEP * (gains - SLACK))
    return truth.mean(F.binary_cross_entropy_with_logits(energies, labels.to(energies.dtype), reduction="none"))


def value(energies: Float[Tensor, "B T"], truth: Truth, meaning: Meaning) -> Float[Tensor, ""]:
    """Each tick's energy is drawn to what its own rule, stop below 0, would have won from there: no better one is known."""
    now, ticks = truth.right.to(energies.dtype), energies.size(1)
    won, worth = now[:, -1] - meaning.cost, [torch.full_like(now[:, -1], -meaning.cost)]
    for tick in range(ticks - 2, -1, -1):
        worth.append(won - now[:, tick])
        won = torch.where(energies[:, tick] < 0, now[:, tick], won).detach() - meaning.cost
    return truth.mean((energies - torch.stack(worth[::-1], 1)).square())


LOSSES: dict[str, Callable[[Tensor, Truth, Meaning], Tensor]] = {
    "calibrated": calibrated,
    "contrastive": contrastive,
    "balanced": balanced,
    "ranked": ranked,
    "hazard": hazard,
    "hindsight": hindsight,
    "wait": wait,
    "gain": gain,
    "value": value,
}
assert LOSSES.keys() == set(get_args(Kind))


def energy_when_sure(kind: str, margin: float) -> float | None:
    """The energy below which figures of a training take a machine to halt: where an answer is right with probability 0.95,
    where a tick of waiting wins less than the rest of that, or where going on is worth nothing."""
    sure = -math.log(SURE / (1 - SURE))
    known = {"calibrated": sure, "ranked": sure, "wait": sure, "contrastive": (1 - SURE) * margin, "balanced": 1 - SURE}
    return None if kind == "none" else known.get(kind, 0.0)
