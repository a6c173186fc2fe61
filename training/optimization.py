"""Optimiser, learning rate and gradient clipping."""

import torch
from accelerate import Accelerator

from ctm import TickModel
from training.config import OptimConfig
from training.energy.losses import ENERGY_HEAD_PREFIX


def build_optimizer(model: TickModel, config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters, with weight decay on matrices only."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.dim() > 1]
    vectors = [parameter for parameter in trainable if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def compute_lr(step: int, total_steps: int, config: OptimConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to `min_lr_ratio` times the highest rate."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item())
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def clip_gradients(accelerator: Accelerator, model: torch.nn.Module, max_norm: float) -> dict[str, float]:
    """Clip the gradients of trunk and energy head separately, in place.

    With one norm over both, large gradients of the energy head would scale down those of the trunk.

    Args:
        accelerator: Unscales the gradients first.
        model: The model.
        max_norm: Largest L2 norm of either part; 0 or less does not clip.

    Returns:
        The norms before clipping.
    """
    accelerator.unscale_gradients()
    norms = {}
    for name, is_energy_head in (("grad_norm", False), ("energy_grad_norm", True)):
        parameters = [
            parameter
            for key, parameter in model.named_parameters()
            if (ENERGY_HEAD_PREFIX in key) == is_energy_head and parameter.grad is not None
        ]
        if parameters:
            norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else float("inf"))
            norms[name] = norm.item()
    return norms
