"""Synchronisation of neuron pairs over the unroll (paper section 3.4, equations 6 to 10).

S_ij(t) = sum_k exp(-r_ij (t - k)) z_i(k) z_j(k) / sqrt(sum_k exp(-r_ij (t - k))), computed from two running sums.
Published names: `neuron_select_type`, `decay_params_*` (the rates r, clamped to [0, 15]),
`*_neuron_indices_{left,right}`.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ctm.modules.state import SyncAccumulator

MIN_DECAY, MAX_DECAY = 0.0, 15.0


class _ClampDecay(torch.autograd.Function):
    """Clamp to [0, 15] whose gradient vanishes only where it points further out.

    A plain clamp gives a rate outside its bounds no gradient in either direction, so the rate never returns.
    """

    @staticmethod
    def forward(ctx: Any, decay: Tensor) -> Tensor:
        ctx.save_for_backward(decay)
        return decay.clamp(MIN_DECAY, MAX_DECAY)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (decay,) = ctx.saved_tensors
        outward = (decay <= MIN_DECAY) & (grad > 0) | (decay >= MAX_DECAY) & (grad < 0)
        return grad.masked_fill(outward, 0)


def compute_retention(decay: Float[Tensor, " S"]) -> Float[Tensor, "S 1"]:
    """Return the fraction exp(-r) of the running sums that is kept from one tick to the next."""
    return torch.exp(-_ClampDecay.apply(decay)).unsqueeze(1)


def choose_neurons(
    neuron_select_type: str,
    synch_type: str,
    neurons: int,
    count: int,
    n_random_pairing_self: int,
    generator: torch.Generator | None,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Draw the synchronised neurons, with replacement as in the published code; the choice is fixed afterwards.

    Args:
        neuron_select_type: `neuron_select_type` of the config.
        synch_type: "out" or "action".
        neurons: Number of neurons D.
        count: Number of selected neurons.
        n_random_pairing_self: Number of neurons paired with themselves.
        generator: Source of randomness; not used for first-last.

    Returns:
        Left and right neuron indices; `expand_pairs` turns them into pairs.
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
    """Return the neuron indices of every pair.

    random-pairing pairs left and right indices elementwise. The other types pair each left index with the right indices
    of the same and of all later positions.
    """
    if neuron_select_type == "random-pairing":
        return left, right
    i, j = torch.triu_indices(len(left), len(left), device=left.device)
    return left[i], right[j]


def make_zero_accumulator(size: int, like: Float[Tensor, "D B"]) -> SyncAccumulator:
    """Return running sums of `size` pairs before the first tick, with batch size, dtype and device of `like`."""
    return SyncAccumulator(like.new_zeros(size, like.size(1)), like.new_zeros(size, 1))


def unroll_synchronisation(
    products: Float[Tensor, "T S B"], initial: SyncAccumulator, retention: Float[Tensor, "S 1"]
) -> Float[Tensor, "T S B"]:
    """Return the synchronisation at each of T ticks.

    Args:
        products: Products of paired activations at every tick.
        initial: Running sums before the first tick.
        retention: Fraction of the sums that is kept from one tick to the next.
    """
    sums: list[SyncAccumulator] = []
    sync = initial
    for product in products:
        sync = sync.update(product, retention)
        sums.append(sync)
    alpha = torch.stack([sync.alpha for sync in sums])
    beta = torch.stack([sync.beta for sync in sums])
    return alpha * beta.rsqrt()
