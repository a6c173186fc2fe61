"""Fit the energy head on held-out samples, with all other weights frozen.

A head that is trained together with the trunk sees hardly any mistakes once the trunk fits its training data, and becomes
over-confident. It is therefore fitted again on validation samples: its inputs are computed once, then only the head trains.
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
from training.tasks.base import Batch, Task
from training.tasks.splits import VALIDATION, make_generator

# The energy is the mean of this many heads. Each holds out a different part of the samples, for early stopping and for Platt
# scaling. The mean has a smaller error than each head where samples are few (bagging, Breiman 1996).
NUM_FOLDS = 4
EVAL_INTERVAL_STEPS = 100
EARLY_STOPPING_PATIENCE_STEPS = 1_000  # steps without a lower held-out loss after which fitting ends
MAX_FEATURE_VALUES = 800_000_000  # features of all samples together, in half precision: 1.6 GB


@dataclass(frozen=True)
class EnergyHeadDataset:
    """Inputs of an energy head, and labels of the answers, for n samples.

    Axes: n samples, T ticks, F features of the head.

    Attributes:
        features: Inputs of the head, in any float precision.
        correct: Whether the answer at a tick is correct.
        answer_mask: Ticks at which an answer counts.
        tick_losses: Loss of the answer at every tick, or None if the answer has none (CTC).
    """

    features: Float[Tensor, "n T F"]
    correct: Bool[Tensor, "n T"]
    answer_mask: Bool[Tensor, "n T"]
    tick_losses: Float[Tensor, "n T"] | None

    def get_labels(self, rows: Tensor | slice) -> TickLabels:
        """Return the labels of some samples."""
        return TickLabels(
            self.correct[rows], self.answer_mask[rows], None if self.tick_losses is None else self.tick_losses[rows]
        )

    def compute_energies(self, head: Callable[[Tensor], Tensor], rows: Tensor | slice) -> Float[Tensor, "B T"]:
        """Return the energies that a head gives to some samples."""
        return head(self.features[rows].float()).squeeze(-1)


def sample_fitting_batches(task: Task, count: int) -> list[Batch]:
    """Draw validation samples to fit an energy head on, with a fixed seed, without repeats, in random order.

    The order is random because frequent samples come first among the draws. Images are augmented as in training:
    without augmentation too few of the answers are wrong.

    Args:
        task: The task.
        count: Number of draws; fewer samples remain after repeats are removed.
    """
    generator = make_generator("fit", VALIDATION)
    samples = deduplicate(task.sample(VALIDATION, count, generator))
    order = torch.randperm(len(samples.inputs), generator=generator)
    return split_into_batches(Batch(samples.inputs[order], samples.targets[order], samples.difficulty[order]))


def with_energy_head(model: TickModel, force_new: bool) -> TickModel:
    """Return a model with an energy head that reads all inputs such a head can have.

    Args:
        model: The model; it does not change.
        force_new: Whether a suitable head is replaced by one with new weights as well.

    Returns:
        The model itself, or a copy in evaluation mode with a new energy head.
    """
    if not force_new and all(getattr(model.config, name) for name in ("energy_head_enabled", *ENERGY_HEAD_INPUT_FLAGS)):
        return model
    new_model = build_model(model.config.model_copy(update=ENERGY_HEAD_DEFAULTS), model.in_features)
    trunk = {name: value for name, value in model.state_dict().items() if ENERGY_HEAD_PREFIX not in name}
    new_model.load_state_dict({**new_model.state_dict(), **trunk})
    return new_model.eval()


def fit_energy(
    model: TickModel,
    decoder: AnswerDecoder,
    batches: Iterable[Batch],
    kind: EnergyKind,
    loss_params: EnergyLossParams,
    max_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Fit `model.energy_proj` in place, on samples that the trunk was not trained on; see `fit_energy_head`."""
    dataset = collect_energy_features(model, decoder, batches)
    return fit_energy_head(model.energy_proj, dataset, kind, loss_params, max_steps, seed)


def fit_energy_head(
    head: nn.Sequential,
    dataset: EnergyHeadDataset,
    kind: EnergyKind,
    loss_params: EnergyLossParams,
    max_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Fit an energy head in place, as a cross-validation ensemble that is merged into one head.

    An energy that should be a logit (`LOGIT_KINDS`) is scaled and shifted to one on held-out samples (Platt scaling).

    Args:
        head: A head as `ctm.modules.readout.make_energy_head` builds it.
        dataset: Samples that the trunk was not trained on, in random order.
        kind: Kind of energy.
        loss_params: Settings of its loss.
        max_steps: Optimiser steps, at most; each fold keeps the weights with its lowest held-out loss.
        seed: Seed of the minibatches.

    Returns:
        n: number of samples; right: share of correct answers; loss_before, loss_after: mean held-out loss.

    Raises:
        ValueError: There are fewer than two samples.
    """
    count = len(dataset.features)
    if count < 2:
        raise ValueError(f"An energy is fitted on two samples at least, better on thousands; there is {count}.")
    num_folds = min(NUM_FOLDS, count, head[0].out_features)
    ensemble = EnergyHeadEnsemble(head, num_folds, FeatureScaler.fit(dataset.features))
    # n samples without an error do not show that the error rate is below 1 / (n + 2) (Laplace's rule of succession).
    loss_params = replace(loss_params, label_smoothing=1 / (count + 2))
    cross_validation = CrossValidation(dataset, split_into_folds(count, ensemble.num_folds), kind, loss_params)
    best, loss_before, loss_after = fit_folds(ensemble, cross_validation, max_steps, seed)
    if kind in LOGIT_KINDS:
        best.scale_and_shift_(*cross_validation.fit_platt_scaling_per_fold(best))
    head.load_state_dict(best.merged_state_dict())
    accuracy = dataset.correct[dataset.answer_mask].float().mean().item()
    return {"n": count, "right": accuracy, "loss_before": loss_before, "loss_after": loss_after}


def split_into_folds(num_samples: int, num_folds: int) -> list[slice]:
    """Return the held-out samples of each fold: disjoint slices, none of which holds all samples."""
    num_parts = max(2, num_folds)
    return [slice(fold * num_samples // num_parts, (fold + 1) * num_samples // num_parts) for fold in range(num_folds)]


def fit_folds(
    ensemble: "EnergyHeadEnsemble", cross_validation: "CrossValidation", max_steps: int, seed: int
) -> tuple["EnergyHeadEnsemble", float, float]:
    """Train all folds, with early stopping per fold.

    Args:
        ensemble: The folds; they train in place.
        cross_validation: Their samples and loss.
        max_steps: Optimiser steps, at most.
        seed: Seed of the minibatches.

    Returns:
        A copy of the ensemble with the best weights of each fold, and the mean held-out loss before and with these weights.
    """
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=3e-3, weight_decay=0.1)
    generator = torch.Generator().manual_seed(seed)
    count = len(cross_validation.dataset.features)
    best = copy.deepcopy(ensemble)
    best_step = 0
    initial_losses = best_losses = cross_validation.compute_held_out_losses(ensemble)
    for step in range(1, max_steps + 1):
        cross_validation.compute_loss(ensemble, torch.randint(count, (256,), generator=generator)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % EVAL_INTERVAL_STEPS == 0 or step == max_steps:
            losses = cross_validation.compute_held_out_losses(ensemble)
            is_better = losses < best_losses
            if is_better.any():
                best.copy_folds_(ensemble, is_better)
                best_losses = torch.where(is_better, losses, best_losses)
                best_step = step
        if step - best_step >= EARLY_STOPPING_PATIENCE_STEPS:
            break
    return best, initial_losses.mean().item(), best_losses.mean().item()


@dataclass(frozen=True)
class CrossValidation:
    """Samples and loss of a cross-validation ensemble.

    Attributes:
        dataset: All samples.
        held_out_slices: The samples that each fold does not train on.
        kind: Kind of energy.
        loss_params: Settings of its loss.
    """

    dataset: EnergyHeadDataset
    held_out_slices: list[slice]
    kind: EnergyKind
    loss_params: EnergyLossParams

    def compute_loss(self, ensemble: "EnergyHeadEnsemble", rows: Tensor) -> Float[Tensor, ""]:
        """Return the sum of the losses of all folds, each on those of the rows that it does not hold out."""
        losses = []
        for energies, held_out in zip(ensemble(self.dataset.features[rows].float()), self.held_out_slices, strict=True):
            mask = (rows < held_out.start) | (rows >= held_out.stop)
            losses.append(energy_loss(self.kind, energies[mask], self.dataset.get_labels(rows[mask]), self.loss_params))
        return torch.stack(losses).sum()

    def compute_held_out_losses(self, ensemble: "EnergyHeadEnsemble") -> Float[Tensor, " K"]:
        """Return the loss of each of K folds on the samples that it holds out."""
        losses = [
            energy_loss(
                self.kind,
                self.compute_held_out_energies(ensemble, fold),
                self.dataset.get_labels(held_out),
                self.loss_params,
            )
            for fold, held_out in enumerate(self.held_out_slices)
        ]
        return torch.stack(losses)

    @torch.no_grad()
    def compute_held_out_energies(self, ensemble: "EnergyHeadEnsemble", fold: int) -> Float[Tensor, "n T"]:
        """Return the energies that a fold gives to the samples that it holds out."""
        features = self.dataset.features[self.held_out_slices[fold]]
        return torch.cat([ensemble(part.float())[fold] for part in features.split(256)])

    def fit_platt_scaling_per_fold(self, ensemble: "EnergyHeadEnsemble") -> Float[Tensor, "2 K"]:
        """Return scale and shift of each fold that turn its energies into the logit of being wrong."""
        scales_and_shifts = [
            fit_platt_scaling(
                self.compute_held_out_energies(ensemble, fold),
                self.dataset.correct[held_out],
                self.dataset.answer_mask[held_out],
                self.loss_params,
            )
            for fold, held_out in enumerate(self.held_out_slices)
        ]
        return torch.tensor(scales_and_shifts).T


class EnergyHeadEnsemble(nn.Module):
    """Energy heads that divide the hidden units of one head among them; the energy of that head is their mean.

    Attributes:
        num_folds: Number of heads (K).
        scaler: Scaling of the inputs; the parameters of this module are weights for scaled inputs.
        units: Head of each hidden unit, one-hot, shape (H, K).
    """

    units: Tensor

    def __init__(self, head: nn.Sequential, num_folds: int, scaler: "FeatureScaler") -> None:
        """Create the heads from the weights of one head.

        Args:
            head: The initial weights; it does not change.
            num_folds: Number of heads (K), at most the number of hidden units.
            scaler: Scaling of the inputs.
        """
        super().__init__()
        self.num_folds = num_folds
        self.scaler = scaler
        in_layer = head[0]
        out_layer = head[2]
        self.in_proj = scaler.unfuse_from_linear_(copy.deepcopy(in_layer))
        self.out_weight = nn.Parameter(out_layer.weight.detach()[0] * num_folds)
        self.out_bias = nn.Parameter(out_layer.bias.detach().repeat(num_folds))
        fold_of_unit = torch.arange(in_layer.out_features) * num_folds // in_layer.out_features
        self.register_buffer("units", F.one_hot(fold_of_unit, num_folds).float())

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "K B T"]:
        """Return the energies of all K heads for unscaled features."""
        # The scaling is fused into the weights, which are far smaller than the features.
        hidden = F.silu(F.linear(features, *self.scaler.fuse_into_linear(self.in_proj)))
        return (hidden @ (self.out_weight.unsqueeze(1) * self.units) + self.out_bias).movedim(-1, 0)

    @torch.no_grad()
    def copy_folds_(self, source: "EnergyHeadEnsemble", fold_mask: Bool[Tensor, " K"]) -> None:
        """Copy the weights of the selected folds from another ensemble, in place."""
        units = (self.units @ fold_mask.float()).bool()
        self.in_proj.weight[units] = source.in_proj.weight[units]
        self.in_proj.bias[units] = source.in_proj.bias[units]
        self.out_weight[units] = source.out_weight[units]
        self.out_bias[fold_mask] = source.out_bias[fold_mask]

    @torch.no_grad()
    def scale_and_shift_(self, scale: Float[Tensor, " K"], shift: Float[Tensor, " K"]) -> None:
        """Multiply the energies of each fold by its scale and add its shift, in place."""
        self.out_weight.mul_(self.units @ scale)
        self.out_bias.mul_(scale).add_(shift)

    def merged_state_dict(self) -> dict[str, Tensor]:
        """Return the weights of the one head, for unscaled inputs, whose energy is the mean of all folds."""
        weight, bias = self.scaler.fuse_into_linear(self.in_proj)
        return {
            "0.weight": weight,
            "0.bias": bias,
            "2.weight": self.out_weight.unsqueeze(0) / self.num_folds,
            "2.bias": self.out_bias.mean().unsqueeze(0),
        }


@dataclass(frozen=True)
class FeatureScaler:
    """Standardisation of features, which can be fused into a linear layer.

    Attributes:
        mean: Subtracted from each feature.
        std: Divides each feature; 1 for a feature that is constant.
    """

    mean: Float[Tensor, " F"]
    std: Float[Tensor, " F"]

    @classmethod
    def fit(cls, features: Float[Tensor, "n T F"]) -> "FeatureScaler":
        """Fit the scaler to features; sums are in double precision, and the features are not copied as a whole."""
        count = features.size(0) * features.size(1)
        parts = features.split(256)
        mean = torch.stack([part.double().sum((0, 1)) for part in parts]).sum(0) / count
        squares = torch.stack([(part.double() - mean).square().sum((0, 1)) for part in parts]).sum(0)
        std = (squares / count).sqrt().float()
        return cls(mean.float(), torch.where(std > 1e-6, std, 1.0))

    def fuse_into_linear(self, layer: nn.Linear) -> tuple[Float[Tensor, "H F"], Float[Tensor, " H"]]:
        """Return weight and bias for unscaled inputs that equal a layer for scaled inputs."""
        weight = layer.weight / self.std
        return weight, layer.bias - weight @ self.mean

    @torch.no_grad()
    def unfuse_from_linear_(self, layer: nn.Linear) -> nn.Linear:
        """Turn a layer for unscaled inputs into the equal layer for scaled inputs, in place; return it."""
        layer.bias.add_(layer.weight @ self.mean)
        layer.weight.mul_(self.std)
        return layer


def fit_platt_scaling(
    energies: Float[Tensor, "n T"],
    correct: Bool[Tensor, "n T"],
    answer_mask: Bool[Tensor, "n T"],
    loss_params: EnergyLossParams,
) -> tuple[float, float]:
    """Fit scale and shift that turn energies into minus the logit of being correct (Platt 1999).

    Args:
        energies: Energies of n samples at T ticks.
        correct: Whether the answer at a tick is correct.
        answer_mask: Ticks that count.
        loss_params: Gives the label smoothing.

    Returns:
        Scale and shift; (1, 0) if the energies are higher where answers are correct.
    """
    inputs = torch.stack((energies[answer_mask], torch.ones_like(energies[answer_mask])), 1)
    labels = smooth_labels(~correct[answer_mask], loss_params.label_smoothing, torch.double)
    scale, shift = fit_logistic_regression(inputs.double(), labels)
    return (scale, shift) if scale > 0 and math.isfinite(shift) else (1.0, 0.0)


def fit_logistic_regression(inputs: Float[Tensor, "n F"], labels: Float[Tensor, " n"]) -> list[float]:
    """Fit a logistic regression by Newton's method.

    Args:
        inputs: Features in double precision, with a column of ones for the bias.
        labels: Probabilities in [0, 1].

    Returns:
        One weight for each feature.
    """
    weights = torch.zeros(inputs.size(1), dtype=torch.double)
    for _ in range(50):
        probability = torch.sigmoid(inputs @ weights)
        gradient = inputs.T @ (probability - labels) / len(labels)
        curvature = (probability * (1 - probability)).clamp(min=1e-9)
        hessian = (inputs.T * curvature) @ inputs / len(labels) + 1e-9 * torch.eye(len(weights))
        step = torch.linalg.solve(hessian, gradient)
        weights = weights - step * (10 / step.norm().clamp(min=10))
    return weights.tolist()


@torch.no_grad()
def collect_energy_features(model: TickModel, decoder: AnswerDecoder, batches: Iterable[Batch]) -> EnergyHeadDataset:
    """Unroll samples and record the inputs of the energy head, until `MAX_FEATURE_VALUES` is reached.

    Args:
        model: The model; it is in evaluation mode afterwards.
        decoder: Decoder of the task.
        batches: The samples; those beyond the limit are not used.

    Returns:
        The inputs in half precision, with labels.
    """
    model.eval()
    features: list[Tensor] = []
    correct: list[Tensor] = []
    answer_masks: list[Tensor] = []
    losses: list[Tensor] = []
    remaining_values = MAX_FEATURE_VALUES
    for batch in batches:
        encoded = model.encode(batch.inputs)
        state = model.initial_state(encoded)
        tick_features = []
        answers = []
        for _ in range(encoded.ticks):
            state, output = model.tick(state, encoded)
            tick_features.append(
                model.build_energy_head_input(state.latent.T, state.neuron_activations.T, output.certainty.T).T
            )
            answers.append(output.answer)
        logits = torch.stack(answers, -1)
        features += torch.stack(tick_features, 1).half()
        correct += decoder.is_correct(logits, batch.targets)
        mask = compute_answer_mask(encoded.input_ticks, encoded.ticks)
        answer_masks += torch.ones(len(batch.inputs), encoded.ticks, dtype=torch.bool) if mask is None else mask
        tick_losses = decoder.tick_losses(logits, batch.targets)
        losses += [] if tick_losses is None else tick_losses
        remaining_values -= len(tick_features) * tick_features[0].numel()
        if remaining_values <= 0:
            break
    num_ticks = max(map(len, features))
    return EnergyHeadDataset(
        features=stack_ticks(num_ticks, features),
        correct=stack_ticks(num_ticks, correct),
        answer_mask=pad_sequence(answer_masks, batch_first=True),
        tick_losses=stack_ticks(num_ticks, losses) if losses else None,
    )


def stack_ticks(num_ticks: int, parts: list[Shaped[Tensor, "_ *F"]]) -> Shaped[Tensor, "n T *F"]:
    """Stack values of several samples; the last tick of a shorter unroll is repeated, and does not count."""
    return torch.stack([part[torch.arange(num_ticks).clamp(max=len(part) - 1)] for part in parts])
