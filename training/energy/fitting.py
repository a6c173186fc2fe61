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
from training.decoding import AnswerDecoder
from training.energy.losses import (
    ENERGY_HEAD_PREFIX,
    LOGIT_KINDS,
    EnergyKind,
    EnergyLossParams,
    TickLabels,
    energy_loss,
    smooth_labels,
)
from training.evaluation import deduplicate, split_into_batches
from training.tasks.base import VALIDATION, Batch, Task, make_generator

# An energy is the mean of so many heads. Each holds back another part of the samples, to decide when to stop fitting, and to
# make logits of energies that are to be some; the mean errs less than each where samples are few (bagging, Breiman 1996).
NUM_FOLDS = 4
EVAL_INTERVAL_STEPS = 100  # steps
EARLY_STOPPING_PATIENCE_STEPS = 1_000  # steps after which fitting ends if the held-back loss has not become less
MAX_FEATURE_VALUES = 800_000_000  # numbers to keep of all samples, in half precision: 1.6 GB


@dataclass(frozen=True)
class EnergyHeadDataset:
    """What an energy head looks at, of n samples at every tick, in any precision, and what is known of their answers."""

    seen: Float[Tensor, "n T F"]
    right: Bool[Tensor, "n T"]
    counts: Bool[Tensor, "n T"]
    losses: Float[Tensor, "n T"] | None

    def get_labels(self, rows: Tensor | slice) -> TickLabels:
        return TickLabels(self.right[rows], self.counts[rows], None if self.losses is None else self.losses[rows])

    def compute_energies(self, head: Callable[[Tensor], Tensor], rows: Tensor | slice) -> Float[Tensor, "B T"]:
        return head(self.seen[rows].float()).squeeze(-1)


def sample_fitting_batches(task: Task, count: int) -> list[Batch]:
    """Validation samples to fit an energy on, drawn with a fixed seed, none twice, in random order: those that came first are
    the likely ones. Pictures are moved as in training, as of those that are there too few are mistaken."""
    generator = make_generator("fit", VALIDATION)
    once = deduplicate(task.sample(VALIDATION, count, generator))
    order = torch.randperm(len(once.inputs), generator=generator)
    return split_into_batches(Batch(once.inputs[order], once.targets[order], once.difficulty[order]))


def with_energy_head(model: TickModel, force_new: bool) -> TickModel:
    """The machine itself, or where it lacks an energy head that sees enough or is to have another, its twin with a new one."""
    if not force_new and all(getattr(model.config, name) for name in ("energy_head_enabled", *ENERGY_HEAD_INPUT_FLAGS)):
        return model
    twin = build_model(model.config.model_copy(update=ENERGY_HEAD_DEFAULTS), model.in_features)
    trunk = {name: value for name, value in model.state_dict().items() if ENERGY_HEAD_PREFIX not in name}
    twin.load_state_dict({**twin.state_dict(), **trunk})
    return twin.eval()


def fit_energy(
    model: TickModel,
    decoder: AnswerDecoder,
    batches: Iterable[Batch],
    kind: EnergyKind,
    loss_params: EnergyLossParams,
    max_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Fit `energy_proj` in place, on validation samples, which the trunk was not trained on; see `fit_energy_head`."""
    return fit_energy_head(
        model.energy_proj, collect_energy_features(model, decoder, batches), kind, loss_params, max_steps, seed
    )


def fit_energy_head(
    head: nn.Sequential,
    dataset: EnergyHeadDataset,
    kind: EnergyKind,
    loss_params: EnergyLossParams,
    max_steps: int,
    seed: int,
) -> dict[str, Any]:
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
    count = len(dataset.seen)
    if count < 2:
        raise ValueError(f"An energy is fitted on two samples at least, better on thousands; there is {count}.")
    folds = EnergyHeadEnsemble(head, min(NUM_FOLDS, count, head[0].out_features), FeatureScaler.fit(dataset.seen))
    # n samples without a mistake say no more than this of one's chance
    lesson = CrossValidation(
        dataset, split_into_folds(count, folds.num_folds), kind, replace(loss_params, label_smoothing=1 / (count + 2))
    )
    best, before, after = fit_folds(folds, lesson, max_steps, seed)
    if kind in LOGIT_KINDS:
        best.scale_and_shift_(*lesson.fit_platt_scaling_per_fold(best))
    head.load_state_dict(best.merged_state_dict())
    right = dataset.right[dataset.counts].float().mean().item()
    return {"n": count, "right": right, "loss_before": before, "loss_after": after}


def split_into_folds(num_samples: int, num_folds: int) -> list[slice]:
    """What each fold holds back, of samples that are in random order; never all."""
    parts = max(2, num_folds)
    return [slice(fold * num_samples // parts, (fold + 1) * num_samples // parts) for fold in range(num_folds)]


def fit_folds(
    ensemble: "EnergyHeadEnsemble", cross_validation: "CrossValidation", max_steps: int, seed: int
) -> tuple["EnergyHeadEnsemble", float, float]:
    """Folds as they were when what they hold back was told best by each; mean held-back loss before and then."""
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=3e-3, weight_decay=0.1)
    generator, count = torch.Generator().manual_seed(seed), len(cross_validation.dataset.seen)
    best, found_at = copy.deepcopy(ensemble), 0
    before = least = cross_validation.compute_held_out_losses(ensemble)
    for step in range(1, max_steps + 1):
        cross_validation.compute_loss(ensemble, torch.randint(count, (256,), generator=generator)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step % EVAL_INTERVAL_STEPS == 0 or step == max_steps) and (
            better := (now := cross_validation.compute_held_out_losses(ensemble)) < least
        ).any():
            best.copy_folds_(ensemble, better)
            least, found_at = torch.where(better, now, least), step
        if step - found_at >= EARLY_STOPPING_PATIENCE_STEPS:
            break
    return best, before.mean().item(), least.mean().item()


@dataclass(frozen=True)
class CrossValidation:
    """What folds learn from, which of it each holds back, and what their energies are to mean."""

    dataset: EnergyHeadDataset
    held_out_slices: list[slice]
    kind: EnergyKind
    loss_params: EnergyLossParams

    def compute_loss(self, ensemble: "EnergyHeadEnsemble", rows: Tensor) -> Float[Tensor, ""]:
        """Of all folds, each on the rows that it does not hold back."""
        losses = []
        for energies, back in zip(ensemble(self.dataset.seen[rows].float()), self.held_out_slices, strict=True):
            mine = (rows < back.start) | (rows >= back.stop)
            losses.append(energy_loss(self.kind, energies[mine], self.dataset.get_labels(rows[mine]), self.loss_params))
        return torch.stack(losses).sum()

    def compute_held_out_losses(self, ensemble: "EnergyHeadEnsemble") -> Float[Tensor, " K"]:
        losses = [
            energy_loss(
                self.kind,
                self.compute_held_out_energies(ensemble, fold),
                self.dataset.get_labels(back),
                self.loss_params,
            )
            for fold, back in enumerate(self.held_out_slices)
        ]
        return torch.stack(losses)

    @torch.no_grad()
    def compute_held_out_energies(self, ensemble: "EnergyHeadEnsemble", fold: int) -> Float[Tensor, "n T"]:
        """A fold's energies of what it holds back."""
        seen = self.dataset.seen[self.held_out_slices[fold]]
        return torch.cat([ensemble(part.float())[fold] for part in seen.split(256)])

    def fit_platt_scaling_per_fold(self, ensemble: "EnergyHeadEnsemble") -> Float[Tensor, "2 K"]:
        """Factors, and what is added, that make energies the logits of being wrong, by what each fold holds back."""
        turns = [
            fit_platt_scaling(
                self.compute_held_out_energies(ensemble, fold),
                self.dataset.right[back],
                self.dataset.counts[back],
                self.loss_params,
            )
            for fold, back in enumerate(self.held_out_slices)
        ]
        return torch.tensor(turns).T


class EnergyHeadEnsemble(nn.Module):
    """Smaller energy heads beside each other, which have some of a head's hidden units each; its energy is their mean.

    Args:
        head: to begin with; it stays as it is.
        count: folds; at most the hidden units.
        scaling: of the inputs; what learns are weights for scaled ones.
    """

    def __init__(self, head: nn.Sequential, num_folds: int, scaler: "FeatureScaler"):
        super().__init__()
        self.num_folds, self.scaler, enter, leave = num_folds, scaler, head[0], head[2]
        self.in_proj = scaler.unfuse_from_linear_(copy.deepcopy(enter))
        self.out_weight = nn.Parameter(leave.weight.detach()[0] * num_folds)
        self.out_bias = nn.Parameter(leave.bias.detach().repeat(num_folds))
        whose = torch.arange(enter.out_features) * num_folds // enter.out_features
        self.register_buffer("units", F.one_hot(whose, num_folds).float())

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "K B T"]:
        hidden = F.silu(
            F.linear(features, *self.scaler.fuse_into_linear(self.in_proj))
        )  # weights are far smaller than what is seen
        return (hidden @ (self.out_weight.unsqueeze(1) * self.units) + self.out_bias).movedim(-1, 0)

    @torch.no_grad()
    def copy_folds_(self, source: "EnergyHeadEnsemble", fold_mask: Bool[Tensor, " K"]) -> None:
        """Become what others are, where they are better."""
        units = (self.units @ fold_mask.float()).bool()
        self.in_proj.weight[units], self.in_proj.bias[units] = source.in_proj.weight[units], source.in_proj.bias[units]
        self.out_weight[units], self.out_bias[fold_mask] = source.out_weight[units], source.out_bias[fold_mask]

    @torch.no_grad()
    def scale_and_shift_(self, scale: Float[Tensor, " K"], shift: Float[Tensor, " K"]) -> None:
        """Give every energy a factor, and add something to it."""
        self.out_weight.mul_(self.units @ scale)
        self.out_bias.mul_(scale).add_(shift)

    def merged_state_dict(self) -> dict[str, Tensor]:
        """The weights of the one head whose energy is the mean of all."""
        weight, bias = self.scaler.fuse_into_linear(self.in_proj)
        leave = {"2.weight": self.out_weight.unsqueeze(0) / self.num_folds, "2.bias": self.out_bias.mean().unsqueeze(0)}
        return {"0.weight": weight, "0.bias": bias, **leave}


@dataclass(frozen=True)
class FeatureScaler:
    """What is taken off inputs and what they are divided by, so that all vary alike; a layer can take it in."""

    mean: Float[Tensor, " F"]
    std: Float[Tensor, " F"]

    @classmethod
    def fit(cls, features: Float[Tensor, "n T F"]) -> "FeatureScaler":
        """What makes their mean 0 and their spread 1; in double precision, without a copy of all."""
        count, parts = features.size(0) * features.size(1), features.split(256)
        mean = torch.stack([part.double().sum((0, 1)) for part in parts]).sum(0) / count
        squares = torch.stack([(part.double() - mean).square().sum((0, 1)) for part in parts]).sum(0)
        spread = (squares / count).sqrt().float()
        return cls(mean.float(), torch.where(spread > 1e-6, spread, 1.0))

    def fuse_into_linear(self, layer: nn.Linear) -> tuple[Float[Tensor, "H F"], Float[Tensor, " H"]]:
        """Weight and bias of a layer for scaled inputs that does the same to inputs as they are."""
        weight = layer.weight / self.std
        return weight, layer.bias - weight @ self.mean

    @torch.no_grad()
    def unfuse_from_linear_(self, layer: nn.Linear) -> nn.Linear:
        """The layer itself, from one for inputs as they are to one that does the same to scaled inputs."""
        layer.bias.add_(layer.weight @ self.mean)
        layer.weight.mul_(self.std)
        return layer


def fit_platt_scaling(
    energies: Float[Tensor, "n T"],
    correct: Bool[Tensor, "n T"],
    answer_mask: Bool[Tensor, "n T"],
    loss_params: EnergyLossParams,
) -> tuple[float, float]:
    """What makes energies minus the logit of being right: a factor and what is added (Platt 1999).

    Energies that are higher where answers are right stay as they are.
    """
    inputs = torch.stack((energies[answer_mask], torch.ones_like(energies[answer_mask])), 1)
    wrong = smooth_labels(~correct[answer_mask], loss_params.label_smoothing, torch.double)
    scale, shift = fit_logistic_regression(inputs.double(), wrong)
    return (scale, shift) if scale > 0 and math.isfinite(shift) else (1.0, 0.0)


def fit_logistic_regression(inputs: Float[Tensor, "n F"], labels: Float[Tensor, " n"]) -> list[float]:
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
def collect_energy_features(model: TickModel, decoder: AnswerDecoder, batches: Iterable[Batch]) -> EnergyHeadDataset:
    """Think about all samples, as long as there is room to keep what an energy head looks at."""
    model.eval()
    seen, rights, counts, losses = [], [], [], []
    room = MAX_FEATURE_VALUES
    for batch in batches:
        features = model.encode(batch.inputs)
        state = model.initial_state(features)
        felt, answers = [], []
        for _ in range(features.ticks):
            state, output = model.tick(state, features)
            felt.append(model.build_energy_head_input(state.latent.T, state.neuron_activations.T, output.certainty.T).T)
            answers.append(output.answer)
        logits = torch.stack(answers, -1)
        seen += torch.stack(felt, 1).half()
        rights += decoder.is_correct(logits, batch.targets)
        may = compute_answer_mask(features.input_ticks, features.ticks)
        counts += torch.ones(len(batch.inputs), features.ticks, dtype=torch.bool) if may is None else may
        losses += [] if (lost := decoder.tick_losses(logits, batch.targets)) is None else lost
        room -= len(felt) * felt[0].numel()
        if room <= 0:
            break
    ticks = max(map(len, seen))
    whole = [stack_ticks(ticks, parts) if parts else None for parts in (seen, rights, losses)]
    return EnergyHeadDataset(whole[0], whole[1], pad_sequence(counts, True), whole[2])


def stack_ticks(num_ticks: int, parts: list[Shaped[Tensor, "_ *F"]]) -> Shaped[Tensor, "n T *F"]:
    """What was noted at every tick of several thoughts. The last tick of a shorter one is repeated; it does not count."""
    return torch.stack([part[torch.arange(num_ticks).clamp(max=len(part) - 1)] for part in parts])
