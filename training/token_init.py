"""Initial weights of token sequences that keep symbols and positions apart (`train.token_init=separate`).

The first half of the embedding holds the symbol, the second half the position. Attention keys start with little of the symbol and
values with little of the position, so a model can search by position and read a symbol from the first step on. Only initial
weights differ: parameter names and shapes are the published ones.
"""

import math

import torch
from torch import Tensor, nn

from ctm import TickModel
from ctm.config import Config, get_backbone_type
from ctm.modules.backbones import TokensBackbone

LEAK = 0.1  # factor of the other half in keys and values
SCALE = math.sqrt(2)  # half of the width with this scale has the norm of the whole width


def has_token_attention(config: Config) -> bool:
    """Return whether a model attends to a sequence of tokens, with a width that can be divided into symbols and positions."""
    is_divisible = getattr(config, "d_input", 0) % 4 == 0
    return _get_backbone(config).startswith("tokens-") and bool(getattr(config, "heads", 0)) and is_divisible


def check_token_backbone(config: Config) -> None:
    """Check that the weights of a model can be initialised by `separate_symbols_from_positions`.

    Raises:
        ValueError: The model does not attend to a sequence of tokens, or its width cannot be divided.
    """
    if not has_token_attention(config):
        raise ValueError(
            "train.token_init=separate needs a model that attends to token sequences, with a d_input that is a multiple of 4: "
            f"got the backbone {_get_backbone(config)}. Set train.token_init=default."
        )


def _get_backbone(config: Config) -> str:
    return str(get_backbone_type(config.to_dict()))


@torch.no_grad()
def separate_symbols_from_positions(model: TickModel) -> None:
    """Initialise embedding, positions, keys and values of a model, in place; random values come from its own weights.

    Args:
        model: A new model that `check_token_backbone` accepts.
    """
    backbone, kv_proj, attention = model.backbone, model.kv_proj, model.attention
    assert isinstance(backbone, TokensBackbone) and isinstance(kv_proj, nn.Sequential)
    assert isinstance(attention, nn.MultiheadAttention) and isinstance(kv_proj[0], nn.Linear)
    width, length = backbone.positions.shape
    half = width // 2
    symbols = backbone.embedding.weight
    symbols[:, half:] = 0
    symbols[:, :half] *= SCALE
    backbone.positions[:half] = 0
    backbone.positions[half:] = SCALE * compute_sine_positions(length, half)
    nn.init.eye_(kv_proj[0].weight)
    nn.init.zeros_(kv_proj[0].bias)
    keys, values = attention.in_proj_weight[width : 2 * width], attention.in_proj_weight[2 * width :]
    keys[:, :half] *= LEAK
    values[:, half:] *= LEAK


def compute_sine_positions(length: int, width: int) -> Tensor:
    """Return sines and cosines of every position, shape (width, length).

    The angle of the fastest pair advances by a quarter turn per position, that of the slowest one by half a turn over the whole
    length.
    """
    num_pairs = width // 2
    share = torch.arange(num_pairs) / max(1, num_pairs - 1)
    frequencies = math.pi / 2 * (2 / max(2, length)) ** share
    angles = frequencies.unsqueeze(1) * torch.arange(length)
    return torch.cat((angles.sin(), angles.cos()))
