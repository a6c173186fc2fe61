"""Fitting the energy head on held-out samples, with everything else frozen.

A head trained beside the trunk sees hardly any mistakes once the trunk knows its training data, and becomes over-confident.
So it is fitted again on validation samples: what it looks at is worked out once, then only the head learns.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ctm import Thinker, make
from ctm.config import ENERGY_SEES
from ctm.types import may_answer
from training.energies import ENERGY, IS_A_LOGIT, Kind, Meaning, Truth, energy_loss, softened
from training.evaluation import in_batches, without_repeats
from training.reading import Reading
from training.tasks.base import VALIDATION, Batch, Task, generator_for

# Share of the samples that decides when to stop fitting, and makes logits of energies that are to be some.
HELD_BACK = 0.2
CHECK_EVERY = 50  # steps
PATIENCE = 1_000  # steps after which fitting ends if the held-back loss has not become less
MOST_FELT = 400_000_000  # numbers to keep of all samples: 1.6 GB


@dataclass(frozen=True)
class Felt:
    """What an energy head looks at, of n samples at every tick, and what is known of their answers."""

    seen: Float[Tensor, "n T F"]
    right: Bool[Tensor, "n T"]
    counts: Bool[Tensor, "n T"]
    losses: Float[Tensor, "n T"] | None

    def truth(self, rows: Tensor | slice) -> Truth:
        return Truth(self.right[rows], self.counts[rows], None if self.losses is None else self.losses[rows])

    def energies(self, head: Callable[[Tensor], Tensor], rows: Tensor | slice) -> Float[Tensor, "B T"]:
        return head(self.seen[rows]).squeeze(-1)


def fitting_batches(task: Task, count: int) -> list[Batch]:
    """Validation samples to fit an energy on, drawn with a fixed seed, none twice; pictures are moved as in training, as of
    those that are there too few are mistaken."""
    return in_batches(without_repeats(task.draw(VALIDATION, count, generator_for("fit", VALIDATION))))


def with_energy_head(machine: Thinker, anew: bool) -> Thinker:
    """The machine itself, or where it lacks an energy head that sees enough or is to have another, its twin with a new one."""
    settings = dict.fromkeys(("energy_head_enabled", *ENERGY_SEES), True)
    if not anew and all(getattr(machine.config, name) for name in settings):
        return machine
    twin = make(machine.config.model_copy(update=settings), machine.in_features)
    trunk = {name: value for name, value in machine.state_dict().items() if ENERGY not in name}
    twin.load_state_dict({**twin.state_dict(), **trunk})
    return twin.eval()


def fit_energy(
    machine: Thinker, reading: Reading, batches: Iterable[Batch], kind: Kind, meaning: Meaning, steps: int, seed: int
) -> dict[str, Any]:
    """Fit `energy_proj` in place, on validation samples, which the trunk was not trained on; see `fit_head`."""
    return fit_head(machine.energy_proj, feel(machine, reading, batches), kind, meaning, steps, seed)


def fit_head(head: nn.Sequential, felt: Felt, kind: Kind, meaning: Meaning, steps: int, seed: int) -> dict[str, Any]:
    """Fit an energy head in place.

    Args:
        head: as `make_energy_head` makes it.
        felt: what it sees, of samples that the trunk was not trained on.
        kind, meaning: what the energy is to mean.
        steps: optimiser steps at most; the head of the least held-back loss is kept.
        seed: draws minibatches.

    Returns:
        What was measured: samples, share of right answers, held-back loss before and after. An energy that is to be a logit
        is made one by held-back samples.
    """
    count = len(felt.seen)
    back = max(1, int(count * HELD_BACK))
    # n samples without a mistake say no more than this of one's chance
    meaning = replace(meaning, doubt=1 / (count + 2))
    generator = torch.Generator().manual_seed(seed)
    scaling = Scaling.of(felt.seen[back:])
    scaling.out_of(head)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.1)

    def scaled(seen: Tensor) -> Tensor:
        return head(scaling(seen))

    def loss_of(rows: Tensor | slice) -> Tensor:
        return energy_loss(kind, felt.energies(scaled, rows), felt.truth(rows), meaning)

    def held_back_loss() -> float:
        with torch.no_grad():
            return loss_of(slice(0, back)).item()

    before = least = held_back_loss()
    best, found_at = copied(head), 0
    for step in range(1, steps + 1):
        loss_of(back + torch.randint(count - back, (256,), generator=generator)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % CHECK_EVERY == 0 and (now := held_back_loss()) < least:
            least, best, found_at = now, copied(head), step
        if step - found_at >= PATIENCE:
            break
    head.load_state_dict(best)
    with torch.no_grad():
        if kind in IS_A_LOGIT:
            scale, shift = platt(felt, felt.energies(scaled, slice(0, back)), meaning)
            head[2].weight.mul_(scale)
            head[2].bias.mul_(scale).add_(shift)
    scaling.into(head)
    right = felt.right[felt.counts].float().mean().item()
    return {"n": count, "right": right, "loss_before": before, "loss_after": least}


@dataclass(frozen=True)
class Scaling:
    """What is taken off inputs and what they are divided by, so that all vary alike; a head can take it in."""

    mean: Float[Tensor, " F"]
    spread: Float[Tensor, " F"]

    @classmethod
    def of(cls, seen: Float[Tensor, "n T F"]) -> "Scaling":
        """What makes their mean 0 and their spread 1."""
        spread, mean = torch.std_mean(seen, (0, 1))
        return cls(mean, torch.where(spread > 1e-6, spread, 1.0))

    def __call__(self, seen: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        return (seen - self.mean) / self.spread

    @torch.no_grad()
    def into(self, head: nn.Sequential) -> None:
        """From a head for scaled inputs to the same for inputs as they are."""
        head[0].weight.div_(self.spread)
        head[0].bias.sub_(head[0].weight @ self.mean)

    @torch.no_grad()
    def out_of(self, head: nn.Sequential) -> None:
        head[0].bias.add_(head[0].weight @ self.mean)
        head[0].weight.mul_(self.spread)


def copied(head: nn.Sequential) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in head.state_dict().items()}


def platt(felt: Felt, energies: Float[Tensor, "back T"], meaning: Meaning) -> tuple[float, float]:
    """What makes energies of the first samples minus the logit of being right: a factor and what is added (Platt 1999).

    Energies that are higher where answers are right stay as they are.
    """
    counts = felt.counts[: len(energies)]
    inputs = torch.stack((energies[counts], torch.ones_like(energies[counts])), 1)
    wrong = softened(~felt.right[: len(energies)][counts], meaning.doubt, torch.double)
    scale, shift = logistic(inputs.double(), wrong)
    return (scale, shift) if scale > 0 and math.isfinite(shift) else (1.0, 0.0)


def logistic(inputs: Float[Tensor, "n F"], labels: Float[Tensor, " n"]) -> list[float]:
    """Weights of the logistic regression of labels in [0, 1] on inputs, by Newton's method."""
    found = torch.zeros(inputs.size(1), dtype=torch.double)
    for _ in range(50):
        said = torch.sigmoid(inputs @ found)
        slope = inputs.T @ (said - labels) / len(labels)
        bend = (inputs.T * (said * (1 - said)).clamp(min=1e-9)) @ inputs / len(labels) + 1e-9 * torch.eye(len(found))
        step = torch.linalg.solve(bend, slope)
        found = found - step * (10 / step.norm().clamp(min=10))
    return found.tolist()


@torch.no_grad()
def feel(machine: Thinker, reading: Reading, batches: Iterable[Batch]) -> Felt:
    """Think about all samples, as long as there is room to keep what an energy head looks at."""
    machine.eval()
    seen, rights, counts, losses = [], [], [], []
    room = MOST_FELT
    for batch in batches:
        features = machine.encode(batch.inputs)
        state = machine.begin(features)
        felt, answers = [], []
        for _ in range(features.ticks):
            state, output = machine.tick(state, features)
            felt.append(machine.felt(state.latent.T, state.neurons.T, output.certainty.T).T)
            answers.append(output.answer)
        logits = torch.stack(answers, -1)
        seen += torch.stack(felt, 1)
        rights += reading.right(logits, batch.targets)
        may = may_answer(features.listening, features.ticks)
        counts += torch.ones(len(batch.inputs), features.ticks, dtype=torch.bool) if may is None else may
        losses += [] if (lost := reading.losses(logits, batch.targets)) is None else lost
        room -= len(felt) * felt[0].numel()
        if room <= 0:
            break
    # What a thought lacks of the longest one does not count.
    padded = [pad_sequence(parts, True) if parts else None for parts in (seen, rights, counts, losses)]
    return Felt(*padded)
