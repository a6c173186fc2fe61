"""Training loss: the loss of the answers over the ticks, the auxiliary losses, and the loss of the energy."""

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from ctm import CTMConfig
from ctm.models.outputs import UnrolledOutput, compute_answer_mask
from training.auxiliary_losses import (
    AuxiliaryTargets,
    FeatureProbe,
    Probes,
    StateProbe,
    attention_loss,
    record_features,
)
from training.config import LossConfig, RunConfig
from training.energy.losses import TickLabels, energy_loss
from training.tasks.base import Task
from training.tasks.samples import Batch


def compute_loss(
    config: LossConfig,
    task: Task,
    model: torch.nn.Module,
    batch: Batch,
    device: torch.device,
    progress: float,
    probes: torch.nn.Module | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of one batch.

    Args:
        config: Settings of the loss.
        task: The task, for its decoder and its auxiliary targets.
        model: The model, in training mode.
        batch: Samples; moved to `device`.
        device: Device of the model.
        progress: Share of the steps that are done, in [0, 1].
        probes: Probes of neurons and features (`Probes`); None without their losses.

    Returns:
        The loss, a scalar with gradient, and detached scalars to log.
    """
    inputs = batch.inputs.to(device)
    targets = batch.targets.to(device)
    decoder = task.decoder
    auxiliary_weight = config.compute_auxiliary_weight(progress)
    internals = {"with_internals": True} if auxiliary_weight else {}
    has_feature_loss = auxiliary_weight and config.feature_loss_weight
    with record_features(model) if has_feature_loss else nullcontext([None]) as features:
        output = model(inputs, energy_grad_to_trunk=config.energy_grad_to_trunk, **internals)
    certainty = output.certainties[:, 1]
    is_correct = decoder.is_correct(output.answers.detach(), targets)
    answer_mask = compute_answer_mask(output.input_ticks, is_correct.size(1))
    reduction = config.build_tick_reduction(progress)
    auxiliary = task.compute_auxiliary_targets(batch) if auxiliary_weight or config.early_padding else None
    lengths = auxiliary.lengths.to(device) if auxiliary is not None and config.early_padding else None
    loss = decoder.loss(output.answers, targets, certainty, reduction, answer_mask, lengths)
    values = {"loss": loss.detach(), "accuracy": is_correct[:, -1].float().mean()}
    certainty = certainty if answer_mask is None else certainty.masked_fill(~answer_mask, -1)
    values["accuracy_certain"] = is_correct.gather(1, certainty.argmax(1, keepdim=True)).float().mean()
    if auxiliary is not None and has_feature_loss:
        auxiliary = replace(auxiliary, place_classes=task.compute_place_classes(batch))
    if auxiliary is not None and auxiliary_weight:
        auxiliary_loss, auxiliary_values = compute_auxiliary_loss(
            config, output, features[0], auxiliary.to(device), probes
        )
        loss = loss + auxiliary_weight * auxiliary_loss
        values |= auxiliary_values
    if config.energy_kind == "none":
        return loss, values
    tick_losses = decoder.tick_losses(output.answers.detach(), targets) if config.energy_kind == "gain" else None
    tick_labels = TickLabels(is_correct, answer_mask, tick_losses)
    energy = energy_loss(config.energy_kind, output.energies, tick_labels, config.energy_loss_params)
    values["energy_loss"] = energy.detach()
    return loss + config.energy_weight * energy, values


def compute_auxiliary_loss(
    config: LossConfig,
    output: UnrolledOutput,
    features: Tensor | None,
    targets: AuxiliaryTargets,
    probes: torch.nn.Module | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the auxiliary losses of one batch, each with its weight before it fades.

    Args:
        config: Settings of the loss.
        output: Output of the model with its internals.
        features: Features that the model attends to, shape (B, N, E); None without a feature loss.
        targets: Intermediate steps of the solutions.
        probes: Probes of neurons and features; None without their losses.

    Returns:
        The sum, a scalar with gradient, and detached scalars to log.
    """
    assert output.attention is not None, "the settings are checked before the training"
    losses = {}
    if config.attention_loss_weight:
        places = targets.locate_features(output.attention.size(2))
        losses["attention_loss"] = attention_loss(output.attention, places, config.pace)
    if probes is not None:
        losses |= probes(output.activations, features, targets, config.pace, config.lookahead)
    total = output.answers.new_zeros(())
    for name, loss in losses.items():
        total = total + getattr(config, f"{name}_weight") * loss
    return total, {name: loss.detach() for name, loss in losses.items()}


def build_probes(config: RunConfig, task: Task) -> Probes | None:
    """Build the probes on the CPU; None if the recipe has neither a probe loss nor a feature loss."""
    loss, seed = config.loss, config.train.seed
    if not loss.probe_loss_weight and not loss.feature_loss_weight:
        return None
    model_config = config.build_model_config(task)
    assert isinstance(model_config, CTMConfig), "checked with the settings"
    state = feature = None
    if loss.probe_loss_weight:
        assert task.num_states is not None, "checked with the settings"
        state = StateProbe(model_config.d_model, task.num_states, seed)
    if loss.feature_loss_weight:
        assert task.num_place_classes is not None, "checked with the settings"
        feature = FeatureProbe(model_config.d_input, task.num_place_classes, seed)
    return Probes(state, feature)
