"""Training loss: the loss of the answers over the ticks, and the loss of the energy."""

import torch
from torch import Tensor

from ctm.models.outputs import compute_answer_mask
from training.config import LossConfig
from training.decoding import AnswerDecoder
from training.energy.losses import TickLabels, energy_loss
from training.tasks.base import Batch


def compute_loss(
    config: LossConfig,
    decoder: AnswerDecoder,
    model: torch.nn.Module,
    batch: Batch,
    device: torch.device,
    mean_share: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of one batch.

    Args:
        config: Settings of the loss.
        decoder: Decoder of the task.
        model: The model, in training mode.
        batch: Samples; moved to `device`.
        device: Device of the model.
        mean_share: Share of the mean over all ticks, for `tick_reduction` "mix".

    Returns:
        The loss, a scalar with gradient, and detached scalars to log.
    """
    inputs = batch.inputs.to(device)
    targets = batch.targets.to(device)
    output = model(inputs, energy_grad_to_trunk=config.energy_grad_to_trunk)
    certainty = output.certainties[:, 1]
    is_correct = decoder.is_correct(output.answers.detach(), targets)
    answer_mask = compute_answer_mask(output.input_ticks, is_correct.size(1))
    answer_loss = decoder.loss(
        output.answers, targets, certainty, config.tick_reduction, config.lookahead, mean_share, answer_mask
    )
    values = {"loss": answer_loss.detach(), "accuracy": is_correct[:, -1].float().mean()}
    certainty = certainty if answer_mask is None else certainty.masked_fill(~answer_mask, -1)
    values["accuracy_certain"] = is_correct.gather(1, certainty.argmax(1, keepdim=True)).float().mean()
    if config.energy_kind == "none":
        return answer_loss, values
    tick_losses = decoder.tick_losses(output.answers.detach(), targets) if config.energy_kind == "gain" else None
    tick_labels = TickLabels(is_correct, answer_mask, tick_losses)
    energy = energy_loss(config.energy_kind, output.energies, tick_labels, config.energy_loss_params)
    values["energy_loss"] = energy.detach()
    return answer_loss + config.energy_weight * energy, values
