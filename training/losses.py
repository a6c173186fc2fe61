"""Losses over all ticks of an unroll: which ticks count for the answer.

Axes: B rows, P positions of the answer, C classes, T ticks. Targets are classes, or `IGNORE_INDEX` at positions that do
not count.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = -100


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
    num_ticks = answers.size(-1)
    mask = targets != IGNORE_INDEX
    if lookahead is not None:
        is_right = predict_classes(answers) == targets.unsqueeze(-1)
        prefix_length = is_right.long().cumprod(1).sum(1).amax(1)
        positions = torch.arange(targets.size(1), device=targets.device)
        mask = mask & (positions < (prefix_length + lookahead).unsqueeze(1))
    targets_by_tick = targets.unsqueeze(-1).expand(-1, -1, num_ticks)
    losses = F.cross_entropy(answers.transpose(1, 2), targets_by_tick, ignore_index=IGNORE_INDEX, reduction="none")
    weight = mask.unsqueeze(-1).to(losses.dtype)
    return (losses * weight).sum(1) / weight.sum(1).clamp(min=1)


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
    reduction: str,
    losses: Float[Tensor, "B T"],
    certainty: Float[Tensor, "B T"],
    mean_share: float,
    answer_mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Reduce the losses of all ticks to one scalar.

    Args:
        reduction: "two_tick" (see `two_tick_loss`), "mean" over all ticks, or "mix" of both.
        losses: Loss at every tick.
        certainty: Certainty at every tick.
        mean_share: Weight of the mean in a mix.
        answer_mask: Ticks at which an answer counts; None counts all.
    """
    if reduction == "mean":
        return masked_mean(losses, answer_mask)
    if reduction == "two_tick":
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
