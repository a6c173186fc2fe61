"""Losses over all ticks of a thought: which ticks count for the answer.

Answers are (B, P, C, T) logits, targets (B, P) classes with -100 where a position does not count.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = -100


def per_tick_loss(
    answers: Float[Tensor, "B P C T"], targets: Int[Tensor, "B P"], lookahead: int | None = None
) -> Float[Tensor, "B T"]:
    """Cross-entropy at every tick, averaged over the positions that count.

    Args:
        answers, targets: as above.
        lookahead: count only this many positions past the longest right beginning at any tick (the paper's curriculum
            for mazes, section 4.2).
    """
    ticks = answers.size(-1)
    counts = targets != IGNORE_INDEX
    if lookahead is not None:
        right = (predict_classes(answers) == targets.unsqueeze(-1)).long().cumprod(1).sum(1).amax(1)
        counts = counts & (torch.arange(targets.size(1), device=targets.device) < (right + lookahead).unsqueeze(1))
    spread = targets.unsqueeze(-1).expand(-1, -1, ticks)
    losses = F.cross_entropy(answers.transpose(1, 2), spread, ignore_index=IGNORE_INDEX, reduction="none")
    weight = counts.unsqueeze(-1).to(losses.dtype)
    return (losses * weight).sum(1) / weight.sum(1).clamp(min=1)


def two_tick_loss(
    losses: Float[Tensor, "B T"], certainty: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    """Mean of the least loss and the loss at the most certain tick (paper section 3.5, equation 12), of those that count."""
    if answer_mask is not None:
        losses, certainty = losses.masked_fill(~answer_mask, torch.inf), certainty.masked_fill(~answer_mask, -1)
    at_certain = losses.gather(1, certainty.argmax(1, keepdim=True)).squeeze(1)
    return (losses.amin(1) + at_certain).mean() / 2


def reduce_tick_losses(
    reduction: str,
    losses: Float[Tensor, "B T"],
    certainty: Float[Tensor, "B T"],
    mean_share: float,
    answer_mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """The answer's loss: `two_tick_loss`, `mean` over all ticks, or `mix` with that share of the mean.

    Args:
        kind, share: as above.
        losses, certainty: at every tick.
        counts: ticks at which a row may answer; None for all.
    """
    if reduction == "mean":
        return masked_mean(losses, answer_mask)
    if reduction == "two_tick":
        return two_tick_loss(losses, certainty, answer_mask)
    return mean_share * masked_mean(losses, answer_mask) + (1 - mean_share) * two_tick_loss(
        losses, certainty, answer_mask
    )


def masked_mean(values: Float[Tensor, "B T"], answer_mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, ""]:
    """The mean over rows and over the ticks that count."""
    return values.mean() if answer_mask is None else values[answer_mask].mean()


def predict_classes(answers: Float[Tensor, "B P C T"]) -> Int[Tensor, "B P T"]:
    """The class of the largest logit. (`argmax` over an inner, strided axis is many times slower than `max`.)"""
    return answers.detach().max(2).indices


def is_correct(answers: Float[Tensor, "B P C T"], targets: Int[Tensor, "B P"]) -> Bool[Tensor, "B T"]:
    """Whether all positions that count are right, at every tick."""
    target = targets.unsqueeze(-1)
    return ((predict_classes(answers) == target) | (target == IGNORE_INDEX)).all(1)
