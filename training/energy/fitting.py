"""Fit the energy head on held-out samples, with all other weights frozen.

A head that is trained together with the trunk sees hardly any mistakes once the trunk fits its training data, and becomes
over-confident. It is therefore fitted again on validation samples: its inputs are computed once, then only the head trains.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ctm import TickModel, build_model
from ctm.config import ENERGY_HEAD_DEFAULTS, ENERGY_HEAD_INPUT_FLAGS
from training.decoding import AnswerDecoder
from training.energy.ensemble import EnergyHeadEnsemble, FeatureScaler
from training.energy.features import EnergyHeadDataset, collect_energy_features
from training.energy.logistic_regression import fit_platt_scaling
from training.energy.losses import ENERGY_HEAD_PREFIX, LOGIT_KINDS, EnergyKind, EnergyLossParams, energy_loss
from training.tasks.samples import Batch

# The energy is the mean of this many heads. Each holds out a different part of the samples, for early stopping and for Platt
# scaling. The mean has a smaller error than each head where samples are few (bagging, Breiman 1996).
NUM_FOLDS = 4
EVAL_INTERVAL_STEPS = 100
EARLY_STOPPING_PATIENCE_STEPS = 1_000  # steps without a lower held-out loss after which fitting ends


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
        raise ValueError(
            f"An energy is fitted on two samples at least, better on thousands; there is {count}. Use more validation "
            "samples, or keep the energy head of the training with finalize.fit_samples=0."
        )
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
    ensemble: EnergyHeadEnsemble, cross_validation: "CrossValidation", max_steps: int, seed: int
) -> tuple[EnergyHeadEnsemble, float, float]:
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

    def compute_loss(self, ensemble: EnergyHeadEnsemble, rows: Tensor) -> Float[Tensor, ""]:
        """Return the sum of the losses of all folds, each on those of the rows that it does not hold out."""
        losses = []
        for energies, held_out in zip(ensemble(self.dataset.features[rows].float()), self.held_out_slices, strict=True):
            mask = (rows < held_out.start) | (rows >= held_out.stop)
            losses.append(energy_loss(self.kind, energies[mask], self.dataset.get_labels(rows[mask]), self.loss_params))
        return torch.stack(losses).sum()

    def compute_held_out_losses(self, ensemble: EnergyHeadEnsemble) -> Float[Tensor, " K"]:
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
    def compute_held_out_energies(self, ensemble: EnergyHeadEnsemble, fold: int) -> Float[Tensor, "n T"]:
        """Return the energies that a fold gives to the samples that it holds out."""
        features = self.dataset.features[self.held_out_slices[fold]]
        return torch.cat([ensemble(part.float())[fold] for part in features.split(256)])

    def fit_platt_scaling_per_fold(self, ensemble: EnergyHeadEnsemble) -> Float[Tensor, "2 K"]:
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
