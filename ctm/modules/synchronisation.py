"""Synchronisation: how pairs of neurons move together over a thought (paper section 3.4, equations 6 to 10).

S_ij(t) = sum_k exp(-r_ij (t - k)) z_i(k) z_j(k) / sqrt(sum_k exp(-r_ij (t - k))), kept as two running sums.
Published names: `neuron_select_type`, `decay_params_*` (the rates r, held in [0, 15]), `*_neuron_indices_{left,right}`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ctm.modules.state import SyncAccumulator

MIN_DECAY, MAX_DECAY = 0.0, 15.0


class _ClampDecay(torch.autograd.Function):
    """Clamp to [0, 15] whose gradient vanishes only where it would push further out.

    A plain clamp gives a rate beyond its bound no gradient in either direction, so it never returns.
    """

    @staticmethod
    def forward(ctx, decay):
        ctx.save_for_backward(decay)
        return decay.clamp(MIN_DECAY, MAX_DECAY)

    @staticmethod
    def backward(ctx, grad):
        (decay,) = ctx.saved_tensors
        outward = (decay <= MIN_DECAY) & (grad > 0) | (decay >= MAX_DECAY) & (grad < 0)
        return grad.masked_fill(outward, 0)


def compute_retention(decay: Float[Tensor, " S"]) -> Float[Tensor, "S 1"]:
    """The share exp(-r) of a running sum that is kept from one tick to the next."""
    return torch.exp(-_ClampDecay.apply(decay)).unsqueeze(1)


def choose_neurons(
    neuron_select_type: str,
    synch_type: str,
    neurons: int,
    count: int,
    n_random_pairing_self: int,
    generator: torch.Generator | None,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Draw the neurons that are synchronised, with replacement as published; they never change afterwards.

    Args:
        kind: `neuron_select_type`.
        place: "out" or "action".
        neurons, count: D, and how many of them are selected.
        paired_with_self: `n_random_pairing_self`.
        generator: source of randomness; not used for first-last.

    Returns:
        left and right neuron numbers, to be paired as `expand_pairs` says.
    """
    if neuron_select_type == "first-last":
        first = 0 if synch_type == "out" else neurons - count
        return torch.arange(first, first + count), torch.arange(first, first + count)
    left, right = (torch.randint(neurons, (count,), generator=generator, device="cpu") for _ in range(2))
    if neuron_select_type == "random-pairing":
        right[:n_random_pairing_self] = left[:n_random_pairing_self]
    return left, right


def expand_pairs(
    neuron_select_type: str, left: Int[Tensor, " n"], right: Int[Tensor, " n"]
) -> tuple[Int[Tensor, " S"], Int[Tensor, " S"]]:
    """Neuron numbers of every pair: side by side for random-pairing, else all left with all later right ones."""
    if neuron_select_type == "random-pairing":
        return left, right
    i, j = torch.triu_indices(len(left), len(left), device=left.device)
    return left[i], right[j]


def make_zero_accumulator(size: int, like: Float[Tensor, "D B"]) -> SyncAccumulator:
    """Sums before anything was added."""
    return SyncAccumulator(like.new_zeros(size, like.size(1)), like.new_zeros(size, 1))


def unroll_synchronisation(
    products: Float[Tensor, "T S B"], initial: SyncAccumulator, retention: Float[Tensor, "S 1"]
) -> Float[Tensor, "T S B"]:
    """The synchronisation at each of T ticks, all products being known."""
    sums = []
    sync = initial
    for product in products:
        sync = sync.update(product, retention)
        sums.append(sync)
    alpha = torch.stack([sync.alpha for sync in sums])
    beta = torch.stack([sync.beta for sync in sums])
    return alpha * beta.rsqrt()
