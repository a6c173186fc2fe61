"""Fitting the energy head on held-out samples, with everything else frozen.

A head trained beside the trunk sees hardly any mistakes once the trunk knows its training data, and becomes over-confident.
So it is fitted again on validation samples: what it looks at is worked out once, then only the head learns.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ctm import TickModel, build_model
from ctm.config import ENERGY_HEAD_DEFAULTS, ENERGY_HEAD_INPUT_FLAGS
from ctm.models.outputs import compute_answer_mask
from training.decoding import Reading
from training.energy.losses import ENERGY, IS_A_LOGIT, Kind, Meaning, Truth, energy_loss, softened
from training.evaluation import in_batches, without_repeats
from training.tasks.base import VALIDATION, Batch, Task, generator_for

# An energy is the mean of so many heads. Each holds back another part of the samples, to decide when to stop fitting, and to
# make logits of energies that are to be some; the mean errs less than each where samples are few (bagging, Breiman 1996).
FOLDS = 4
CHECK_EVERY = 100  # steps
PATIENCE = 1_000  # steps after which fitting ends if the held-back loss has not become less
MOST_FELT = 800_000_000  # numbers to keep of all samples, in half precision: 1.6 GB


@dataclass(frozen=True)
class Felt:
    """What an energy head looks at, of n samples at every tick, in any precision, and what is known of their answers."""

    seen: Float[Tensor, "n T F"]
    right: Bool[Tensor, "n T"]
    counts: Bool[Tensor, "n T"]
    losses: Float[Tensor, "n T"] | None

    def truth(self, rows: Tensor | slice) -> Truth:
        return Truth(self.right[rows], self.counts[rows], None if self.losses is None else self.losses[rows])

    def energies(self, head: Callable[[Tensor], Tensor], rows: Tensor | slice) -> Float[Tensor, "B T"]:
        return head(self.seen[rows].float()).squeeze(-1)


def fitting_batches(task: Task, count: int) -> list[Batch]:
    """Validation samples to fit an energy on, drawn with a fixed seed, none twice, in random order: those that came first are
    the likely ones. Pictures are moved as in training, as of those that are there too few are mistaken."""
    generator = generator_for("fit", VALIDATION)
    once = without_repeats(task.draw(VALIDATION, count, generator))
    order = torch.randperm(len(once.inputs), generator=generator)
    return in_batches(Batch(once.inputs[order], once.targets[order], once.difficulty[order]))


def with_energy_head(machine: TickModel, anew: bool) -> TickModel:
    """The machine itself, or where it lacks an energy head that sees enough or is to have another, its twin with a new one."""
    if not anew and all(getattr(machine.config, name) for name in ("energy_head_enabled", *ENERGY_HEAD_INPUT_FLAGS)):
        return machine
    twin = build_model(machine.config.model_copy(update=ENERGY_HEAD_DEFAULTS), machine.in_features)
    trunk = {name: value for name, value in machine.state_dict().items() if ENERGY not in name}
    twin.load_state_dict({**twin.state_dict(), **trunk})
    return twin.eval()


def fit_energy(
    machine: TickModel, reading: Reading, batches: Iterable[Batch], kind: Kind, meaning: Meaning, steps: int, seed: int
) -> dict[str, Any]:
    """Fit `energy_proj` in place, on validation samples, which the trunk was not trained on; see `fit_head`."""
    return fit_head(machine.energy_proj, feel(machine, reading, batches), kind, meaning, steps, seed)


def fit_head(head: nn.Sequential, felt: Felt, kind: Kind, meaning: Meaning, steps: int, seed: int) -> dict[str, Any]:
    """Fit an energy head in place.

    Args:
        head: as `make_energy_head` makes it.
        felt: what it sees, of samples that the trunk was not trained on, in random order.
        kind, meaning: what the energy is to mean.
        steps: optimiser steps at most; every fold is kept as it was when its held-back loss was least.
        seed: draws minibatches.

    Returns:
        What was measured: samples, share of right answers, mean held-back loss before and after. An energy that is to be a
        logit is made one by held-back samples.

    Raises:
        ValueError: there are not two samples.
    """
    count = len(felt.seen)
    if count < 2:
        raise ValueError(f"An energy is fitted on two samples at least, better on thousands; there is {count}.")
    folds = Folds(head, min(FOLDS, count, head[0].out_features), Scaling.of(felt.seen))
    # n samples without a mistake say no more than this of one's chance
    lesson = Lesson(felt, in_parts(count, folds.count), kind, replace(meaning, doubt=1 / (count + 2)))
    best, before, after = learned(folds, lesson, steps, seed)
    if kind in IS_A_LOGIT:
        best.turn(*lesson.into_logits(best))
    head.load_state_dict(best.joined())
    right = felt.right[felt.counts].float().mean().item()
    return {"n": count, "right": right, "loss_before": before, "loss_after": after}


def in_parts(count: int, folds: int) -> list[slice]:
    """What each fold holds back, of samples that are in random order; never all."""
    parts = max(2, folds)
    return [slice(fold * count // parts, (fold + 1) * count // parts) for fold in range(folds)]


def learned(folds: "Folds", lesson: "Lesson", steps: int, seed: int) -> tuple["Folds", float, float]:
    """Folds as they were when what they hold back was told best by each; mean held-back loss before and then."""
    optimizer = torch.optim.AdamW(folds.parameters(), lr=3e-3, weight_decay=0.1)
    generator, count = torch.Generator().manual_seed(seed), len(lesson.felt.seen)
    best, found_at = copy.deepcopy(folds), 0
    before = least = lesson.held_back_losses(folds)
    for step in range(1, steps + 1):
        lesson.loss(folds, torch.randint(count, (256,), generator=generator)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step % CHECK_EVERY == 0 or step == steps) and (
            better := (now := lesson.held_back_losses(folds)) < least
        ).any():
            best.take(folds, better)
            least, found_at = torch.where(better, now, least), step
        if step - found_at >= PATIENCE:
            break
    return best, before.mean().item(), least.mean().item()


@dataclass(frozen=True)
class Lesson:
    """What folds learn from, which of it each holds back, and what their energies are to mean."""

    felt: Felt
    held_back: list[slice]
    kind: Kind
    meaning: Meaning

    def loss(self, folds: "Folds", rows: Tensor) -> Float[Tensor, ""]:
        """Of all folds, each on the rows that it does not hold back."""
        losses = []
        for energies, back in zip(folds(self.felt.seen[rows].float()), self.held_back, strict=True):
            mine = (rows < back.start) | (rows >= back.stop)
            losses.append(energy_loss(self.kind, energies[mine], self.felt.truth(rows[mine]), self.meaning))
        return torch.stack(losses).sum()

    def held_back_losses(self, folds: "Folds") -> Float[Tensor, " K"]:
        losses = [
            energy_loss(self.kind, self.held_back_energies(folds, fold), self.felt.truth(back), self.meaning)
            for fold, back in enumerate(self.held_back)
        ]
        return torch.stack(losses)

    @torch.no_grad()
    def held_back_energies(self, folds: "Folds", fold: int) -> Float[Tensor, "n T"]:
        """A fold's energies of what it holds back."""
        seen = self.felt.seen[self.held_back[fold]]
        return torch.cat([folds(part.float())[fold] for part in seen.split(256)])

    def into_logits(self, folds: "Folds") -> Float[Tensor, "2 K"]:
        """Factors, and what is added, that make energies the logits of being wrong, by what each fold holds back."""
        turns = [
            platt(self.held_back_energies(folds, fold), self.felt.right[back], self.felt.counts[back], self.meaning)
            for fold, back in enumerate(self.held_back)
        ]
        return torch.tensor(turns).T


class Folds(nn.Module):
    """Smaller energy heads beside each other, which have some of a head's hidden units each; its energy is their mean.

    Args:
        head: to begin with; it stays as it is.
        count: folds; at most the hidden units.
        scaling: of the inputs; what learns are weights for scaled ones.
    """

    def __init__(self, head: nn.Sequential, count: int, scaling: "Scaling"):
        super().__init__()
        self.count, self.scaling, enter, leave = count, scaling, head[0], head[2]
        self.enter = scaling.out_of(copy.deepcopy(enter))
        self.leave = nn.Parameter(leave.weight.detach()[0] * count)
        self.bias = nn.Parameter(leave.bias.detach().repeat(count))
        whose = torch.arange(enter.out_features) * count // enter.out_features
        self.register_buffer("units", F.one_hot(whose, count).float())

    def forward(self, seen: Float[Tensor, "B T F"]) -> Float[Tensor, "K B T"]:
        hidden = F.silu(F.linear(seen, *self.scaling.into(self.enter)))  # weights are far smaller than what is seen
        return (hidden @ (self.leave.unsqueeze(1) * self.units) + self.bias).movedim(-1, 0)

    @torch.no_grad()
    def take(self, others: "Folds", which: Bool[Tensor, " K"]) -> None:
        """Become what others are, where they are better."""
        units = (self.units @ which.float()).bool()
        self.enter.weight[units], self.enter.bias[units] = others.enter.weight[units], others.enter.bias[units]
        self.leave[units], self.bias[which] = others.leave[units], others.bias[which]

    @torch.no_grad()
    def turn(self, scale: Float[Tensor, " K"], shift: Float[Tensor, " K"]) -> None:
        """Give every energy a factor, and add something to it."""
        self.leave.mul_(self.units @ scale)
        self.bias.mul_(scale).add_(shift)

    def joined(self) -> dict[str, Tensor]:
        """The weights of the one head whose energy is the mean of all."""
        weight, bias = self.scaling.into(self.enter)
        leave = {"2.weight": self.leave.unsqueeze(0) / self.count, "2.bias": self.bias.mean().unsqueeze(0)}
        return {"0.weight": weight, "0.bias": bias, **leave}


@dataclass(frozen=True)
class Scaling:
    """What is taken off inputs and what they are divided by, so that all vary alike; a layer can take it in."""

    mean: Float[Tensor, " F"]
    spread: Float[Tensor, " F"]

    @classmethod
    def of(cls, seen: Float[Tensor, "n T F"]) -> "Scaling":
        """What makes their mean 0 and their spread 1; in double precision, without a copy of all."""
        count, parts = seen.size(0) * seen.size(1), seen.split(256)
        mean = torch.stack([part.double().sum((0, 1)) for part in parts]).sum(0) / count
        squares = torch.stack([(part.double() - mean).square().sum((0, 1)) for part in parts]).sum(0)
        spread = (squares / count).sqrt().float()
        return cls(mean.float(), torch.where(spread > 1e-6, spread, 1.0))

    def into(self, layer: nn.Linear) -> tuple[Float[Tensor, "H F"], Float[Tensor, " H"]]:
        """Weight and bias of a layer for scaled inputs that does the same to inputs as they are."""
        weight = layer.weight / self.spread
        return weight, layer.bias - weight @ self.mean

    @torch.no_grad()
    def out_of(self, layer: nn.Linear) -> nn.Linear:
        """The layer itself, from one for inputs as they are to one that does the same to scaled inputs."""
        layer.bias.add_(layer.weight @ self.mean)
        layer.weight.mul_(self.spread)
        return layer


def platt(
    energies: Float[Tensor, "n T"], right: Bool[Tensor, "n T"], counts: Bool[Tensor, "n T"], meaning: Meaning
) -> tuple[float, float]:
    """What makes energies minus the logit of being right: a factor and what is added (Platt 1999).

    Energies that are higher where answers are right stay as they are.
    """
    inputs = torch.stack((energies[counts], torch.ones_like(energies[counts])), 1)
    wrong = softened(~right[counts], meaning.doubt, torch.double)
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
def feel(machine: TickModel, reading: Reading, batches: Iterable[Batch]) -> Felt:
    """Think about all samples, as long as there is room to keep what an energy head looks at."""
    machine.eval()
    seen, rights, counts, losses = [], [], [], []
    room = MOST_FELT
    for batch in batches:
        features = machine.encode(batch.inputs)
        state = machine.initial_state(features)
        felt, answers = [], []
        for _ in range(features.ticks):
            state, output = machine.tick(state, features)
            felt.append(
                machine.build_energy_head_input(state.latent.T, state.neuron_activations.T, output.certainty.T).T
            )
            answers.append(output.answer)
        logits = torch.stack(answers, -1)
        seen += torch.stack(felt, 1).half()
        rights += reading.right(logits, batch.targets)
        may = compute_answer_mask(features.input_ticks, features.ticks)
        counts += torch.ones(len(batch.inputs), features.ticks, dtype=torch.bool) if may is None else may
        losses += [] if (lost := reading.losses(logits, batch.targets)) is None else lost
        room -= len(felt) * felt[0].numel()
        if room <= 0:
            break
    ticks = max(map(len, seen))
    whole = [as_long_as(ticks, parts) if parts else None for parts in (seen, rights, losses)]
    return Felt(whole[0], whole[1], pad_sequence(counts, True), whole[2])


def as_long_as(ticks: int, parts: list[Shaped[Tensor, "_ *F"]]) -> Shaped[Tensor, "n T *F"]:
    """What was noted at every tick of several thoughts. The last tick of a shorter one is repeated; it does not count."""
    return torch.stack([part[torch.arange(ticks).clamp(max=len(part) - 1)] for part in parts])
