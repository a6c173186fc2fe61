"""Fitting the energy head on held-out samples, with everything else frozen.

A head trained beside the trunk sees hardly any mistakes once the trunk knows its training data, and becomes over-confident.
So it is fitted again on validation samples: what the answer is read from is worked out once, then only the head learns.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ctm import Thinker
from ctm.readout import energy_of
from ctm.types import may_answer
from training.losses import energy_loss
from training.reading import Reading
from training.tasks.base import Batch

HELD_BACK = 0.2  # share of the samples that decides when to stop fitting
CHECK_EVERY = 20  # steps


def fit_energy(
    machine: Thinker, reading: Reading, batches: Iterable[Batch], kind: str, margin: float, steps: int,
    seed: int,
) -> dict[str, int | float]:  # fmt: skip
    """Fit `energy_proj` in place.

    Args:
        machine: with an energy head.
        reading: how its answers are read.
        batches: validation samples, which the trunk was not trained on.
        kind, margin: the energy loss, as in `LossConfig`.
        steps: optimiser steps; the head of the least held-back loss is kept.
        seed: draws minibatches.

    Returns:
        What was measured: samples, share of right answers, held-back loss before and after.
    """
    latent, right, counts = felt(machine, reading, batches)
    back = max(1, int(len(latent) * HELD_BACK))
    doubt = 1 / (len(latent) + 2)  # n samples without a mistake say no more than this of the chance of one
    generator = torch.Generator().manual_seed(seed)
    head = machine.energy_proj
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=1e-2)

    def loss_of(rows: Tensor) -> Tensor:
        energies = energy_of(head, latent[rows].permute(1, 2, 0))  # (n, T, S) -> (T, S, n) -> (T, n)
        return energy_loss(kind, energies.T, right[rows], margin, doubt, counts[rows])

    def held_back_loss() -> float:
        with torch.no_grad():
            return loss_of(torch.arange(back)).item()

    before = least = held_back_loss()
    best = {name: value.clone() for name, value in head.state_dict().items()}
    for step in range(1, steps + 1):
        rows = back + torch.randint(len(latent) - back, (256,), generator=generator)
        loss_of(rows).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % CHECK_EVERY == 0 and (now := held_back_loss()) < least:
            least, best = now, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best)
    return {"n": len(latent), "right": right[counts].float().mean().item(), "loss_before": before, "loss_after": least}


@torch.no_grad()
def felt(
    machine: Thinker, reading: Reading, batches: Iterable[Batch]
) -> tuple[Float[Tensor, "n T S"], Bool[Tensor, "n T"], Bool[Tensor, "n T"]]:
    """What the answer is read from, of every sample at every tick; whether the answer was right there; whether it counts."""
    machine.eval()
    latents, rights, counts = [], [], []
    for batch in batches:
        features = machine.encode(batch.inputs)
        state = machine.begin(features)
        latent, answers = [], []
        for _ in range(features.ticks):
            state, output = machine.tick(state, features)
            latent.append(state.latent)
            answers.append(output.answer)
        latents += torch.stack(latent, 1)
        rights += reading.right(torch.stack(answers, -1), batch.targets)
        may = may_answer(features.listening, features.ticks)
        counts += torch.ones(len(batch.inputs), features.ticks, dtype=torch.bool) if may is None else may
    # What a thought lacks of the longest one does not count.
    return pad_sequence(latents, True), pad_sequence(rights, True), pad_sequence(counts, True)
