"""Sequences that begin at a random place of the input, so that every place of a longer input is trained."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def shift_right(
    values: Int[Tensor, "B N"], offsets: Int[Tensor, " B"], fill: int | Int[Tensor, "B N"]
) -> Int[Tensor, "B N"]:
    """Move each row to the right; what is moved beyond the last place is lost.

    Args:
        values: Sequences of the same length.
        offsets: Number of places by which each sequence moves, 0 or more.
        fill: Value of the places before a moved sequence, or a value for each place.
    """
    sources = torch.arange(values.size(1)) - offsets.unsqueeze(1)
    return values.gather(1, sources.clamp(min=0)).where(sources >= 0, fill)


def count_places_to_end(is_token: Bool[Tensor, "B N"]) -> Int[Tensor, " B"]:
    """Return the number of places up to the last token of each row, with the padding before the first one.

    Args:
        is_token: Which places hold a token; the others are padding.
    """
    return (is_token.flip(1).cumsum(1) > 0).sum(1)
