"""Training loss: the loss of the answers over the ticks, the auxiliary losses, and the loss of the energy."""

import torch
from torch import Tensor

from ctm import CTMConfig
from ctm.models.outputs import UnrolledOutput, compute_answer_mask
from training.auxiliary_losses import AuxiliaryTargets, StateProbe, attention_loss
from training.config import LossConfig, RunConfig
from training.energy.losses import TickLabels, energy_loss
from training.tasks.base import Batch, Task


def compute_loss(
    config: LossConfig,
    task: Task,
    model: torch.nn.Module,
    batch: Batch,
    device: torch.device,
    progress: float,
    probe: torch.nn.Module | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of one batch.

    Args:
        config: Settings of the loss.
        task: The task, for its decoder and its auxiliary targets.
        model: The model, in training mode.
        batch: Samples; moved to `device`.
        device: Device of the model.
        progress: Share of the steps that are done, in [0, 1].
        probe: Probe of the intermediate results (`StateProbe`); None without a probe loss.

    Returns:
        The loss, a scalar with gradient, and detached scalars to log.
    """
    inputs = batch.inputs.to(device)
    targets = batch.targets.to(device)
    decoder = task.decoder
    auxiliary_weight = config.compute_auxiliary_weight(progress)
    internals = {"with_internals": True} if auxiliary_weight else {}
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
    if auxiliary is not None and auxiliary_weight:
        auxiliary_loss, auxiliary_values = compute_auxiliary_loss(config, output, auxiliary.to(device), probe)
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
    config: LossConfig, output: UnrolledOutput, targets: AuxiliaryTargets, probe: torch.nn.Module | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the attention loss and the probe loss of one batch, each with its weight before it fades.

    Args:
        config: Settings of the loss.
        output: Output of the model with its internals.
        targets: Intermediate steps of the solutions.
        probe: Probe of the intermediate results; None without a probe loss.

    Returns:
        The sum, a scalar with gradient, and detached scalars to log.
    """
    assert output.attention is not None, "the settings are checked before the training"
    total = output.answers.new_zeros(())
    values = {}
    if config.attention_loss_weight:
        values["attention_loss"] = attention_loss(
            output.attention, targets.locate_features(output.attention.size(2)), config.pace
        )
        total = total + config.attention_loss_weight * values["attention_loss"]
    if probe is not None:
        values["probe_loss"] = probe(output.activations, targets, config.pace, config.lookahead)
        total = total + config.probe_loss_weight * values["probe_loss"]
    return total, {name: value.detach() for name, value in values.items()}


def build_probe(config: RunConfig, task: Task) -> StateProbe | None:
    """Build the probe of the intermediate results on the CPU; None if the recipe has no probe loss."""
    if not config.loss.probe_loss_weight:
        return None
    model_config = config.build_model_config(task)
    assert isinstance(model_config, CTMConfig) and task.num_states is not None, "checked with the settings"
    return StateProbe(model_config.d_model, task.num_states, config.train.seed)
