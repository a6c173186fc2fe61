"""Losses over all ticks of an unroll: which ticks count for the answer.

Axes: B rows, P positions of the answer, C classes, T ticks. Targets are classes, or `IGNORE_INDEX` at positions that do
not count.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.pace import Pace

IGNORE_INDEX = -100
TickReductionKind = Literal["two_tick", "mean", "mix", "paced"]


@dataclass(frozen=True)
class TickReduction:
    """How the losses of all ticks and positions become one loss.

    Attributes:
        kind: "two_tick" (see `two_tick_loss`), "mean" over all ticks, "mix" of both, or "paced" (see `paced_loss`).
        lookahead: See `per_tick_loss` and `paced_loss`.
        mean_share: Weight of the mean in a mix.
        pace: Timetable of the positions, for "paced".
    """

    kind: TickReductionKind = "two_tick"
    lookahead: int | None = None
    mean_share: float = 0.0
    pace: Pace = field(default_factory=Pace)


def compute_answer_loss(
    reduction: TickReduction,
    answers: Float[Tensor, "B P C T"],
    targets: Int[Tensor, "B P"],
    certainty: Float[Tensor, "B T"],
    answer_mask: Bool[Tensor, "B T"] | None = None,
    lengths: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Return the training loss of answers that are given at every tick.

    Args:
        reduction: Which ticks and positions count.
        answers: Logits.
        targets: Target classes.
        certainty: Certainty at every tick.
        answer_mask: Ticks at which an answer counts; None counts all.
        lengths: See `paced_loss`.
    """
    if reduction.kind == "paced":
        return paced_loss(answers, targets, reduction.pace, reduction.lookahead, answer_mask, lengths)
    losses = per_tick_loss(answers, targets, reduction.lookahead)
    return reduce_tick_losses(reduction.kind, losses, certainty, reduction.mean_share, answer_mask)


def paced_loss(
    answers: Float[Tensor, "B P C T"],
    targets: Int[Tensor, "B P"],
    pace: Pace,
    lookahead: int | None = None,
    answer_mask: Bool[Tensor, "B T"] | None = None,
    lengths: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the positions that are due: a position counts at all ticks from its due tick on.

    Args:
        answers: Logits.
        targets: Target classes.
        pace: Timetable of the positions.
        lookahead: Count only this many positions after those that are correct when they are due, from the first one on;
            later positions cannot be solved yet, and their gradients would be noise. None counts all.
        answer_mask: Ticks at which an answer counts; None counts all.
        lengths: Positions of each answer before its padding; the padding is due with its first position. None: every
            position is due in its turn.
    """
    num_positions, num_ticks = answers.size(1), answers.size(3)
    due_ticks = pace.compute_due_ticks(num_positions, num_ticks).to(answers.device).expand_as(targets)
    if lengths is not None:
        positions = torch.arange(num_positions, device=answers.device)
        due_ticks = due_ticks.gather(1, torch.minimum(positions, lengths.unsqueeze(1)))
    ticks = torch.arange(num_ticks, device=answers.device)
    mask = (targets != IGNORE_INDEX).unsqueeze(2) & (ticks >= due_ticks.unsqueeze(2))
    if lookahead is not None:
        is_right = (predict_classes(answers) == targets.unsqueeze(2)) | (targets == IGNORE_INDEX).unsqueeze(2)
        is_right_when_due = is_right.gather(2, due_ticks.unsqueeze(2)).squeeze(2)
        mask = mask & is_within_lookahead(is_right_when_due, lookahead).unsqueeze(2)
    if answer_mask is not None:
        mask = mask & answer_mask.unsqueeze(1)
    losses = compute_cross_entropy(answers, targets)
    return (losses * mask).sum() / mask.sum().clamp(min=1)


def is_within_lookahead(is_right: Bool[Tensor, "B P"], lookahead: int) -> Bool[Tensor, "B P"]:
    """Return which positions lie in the correct prefix of their row, or at most `lookahead` positions after it."""
    prefix_length = is_right.long().cumprod(1).sum(1, keepdim=True)
    return torch.arange(is_right.size(1), device=is_right.device) < prefix_length + lookahead


def per_tick_loss(
    answers: Float[Tensor, "B P C T"], targets: Int[Tensor, "B P"], lookahead: int | None = None
) -> Float[Tensor, "B T"]:
    """Return the cross-entropy at every tick, averaged over the positions that count.

    Args:
        answers: Logits.
        targets: Target classes.
        lookahead: Count only this many positions after the longest correct prefix of any tick (the paper's curriculum
            for mazes, section 4.2); None counts all.
    """
    mask = targets != IGNORE_INDEX
    if lookahead is not None:
        is_right = predict_classes(answers) == targets.unsqueeze(-1)
        prefix_length = is_right.long().cumprod(1).sum(1).amax(1)
        positions = torch.arange(targets.size(1), device=targets.device)
        mask = mask & (positions < (prefix_length + lookahead).unsqueeze(1))
    losses = compute_cross_entropy(answers, targets)
    weight = mask.unsqueeze(-1).to(losses.dtype)
    return (losses * weight).sum(1) / weight.sum(1).clamp(min=1)


def compute_cross_entropy(answers: Float[Tensor, "B P C T"], targets: Int[Tensor, "B P"]) -> Float[Tensor, "B P T"]:
    """Return the cross-entropy of every position at every tick; 0 at positions that do not count."""
    targets_by_tick = targets.unsqueeze(-1).expand(-1, -1, answers.size(-1))
    return F.cross_entropy(answers.transpose(1, 2), targets_by_tick, ignore_index=IGNORE_INDEX, reduction="none")


def two_tick_loss(
    losses: Float[Tensor, "B T"], certainty: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean of the lowest loss and the loss at the most certain tick (paper section 3.5, equation 12).

    Args:
        losses: Loss at every tick.
        certainty: Certainty at every tick.
        answer_mask: Ticks at which an answer counts; None counts all.
    """
    if answer_mask is not None:
        losses = losses.masked_fill(~answer_mask, torch.inf)
        certainty = certainty.masked_fill(~answer_mask, -1)
    loss_at_certain = losses.gather(1, certainty.argmax(1, keepdim=True)).squeeze(1)
    return (losses.amin(1) + loss_at_certain).mean() / 2


def reduce_tick_losses(
    kind: TickReductionKind,
    losses: Float[Tensor, "B T"],
    certainty: Float[Tensor, "B T"],
    mean_share: float,
    answer_mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Reduce the losses of all ticks to one scalar.

    Args:
        kind: "two_tick" (see `two_tick_loss`), "mean" over all ticks, or "mix" of both.
        losses: Loss at every tick.
        certainty: Certainty at every tick.
        mean_share: Weight of the mean in a mix.
        answer_mask: Ticks at which an answer counts; None counts all.
    """
    if kind == "mean":
        return masked_mean(losses, answer_mask)
    if kind == "two_tick":
        return two_tick_loss(losses, certainty, answer_mask)
    return mean_share * masked_mean(losses, answer_mask) + (1 - mean_share) * two_tick_loss(
        losses, certainty, answer_mask
    )


def masked_mean(values: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, ""]:
    """Return the mean over the rows and ticks at which an answer counts; None counts all."""
    return values.mean() if answer_mask is None else values[answer_mask].mean()


def predict_classes(answers: Float[Tensor, "B P C T"]) -> Int[Tensor, "B P T"]:
    """Return the class of the largest logit.

    `max` is used because `argmax` over an inner, strided axis is many times slower.
    """
    return answers.detach().max(2).indices


def is_correct(answers: Float[Tensor, "B P C T"], targets: Int[Tensor, "B P"]) -> Bool[Tensor, "B T"]:
    """Return whether all positions that count are correct, at every tick."""
    target = targets.unsqueeze(-1)
    return ((predict_classes(answers) == target) | (target == IGNORE_INDEX)).all(1)
