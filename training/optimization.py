"""Optimiser and learning rate."""

import torch
from torch import nn

from ctm import TickModel
from training.config import OptimConfig


def build_optimizer(model: TickModel, config: OptimConfig, probes: nn.Module | None = None) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters, with weight decay on matrices only.

    Args:
        model: The model.
        config: Settings of the optimiser.
        probes: Probes that are trained with the model, without weight decay.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.dim() > 1]
    vectors = [parameter for parameter in trainable if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if probes is not None:
        groups.append({"params": list(probes.parameters()), "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.lr, fused=config.fused or None)


def compute_lr(step: int, total_steps: int, config: OptimConfig) -> float:
    """Return the learning rate of a step.

    It rises linearly, stays constant until `decay_start`, and falls as a cosine to `min_lr_ratio` times the highest rate.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    progress = max(0.0, progress - config.decay_start) / (1 - config.decay_start)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item())
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)
