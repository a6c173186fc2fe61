"""Initial weights of token sequences that keep symbols and positions apart (`train.token_init`).

With `separate`, the first half of the embedding holds the symbol, the second half the position. Attention keys start with little of
the symbol and values with little of the position, so a model can search by position and read a symbol from the first step on.
With `circular`, the symbols are also points on circles: symbol s of V begins as the sines and cosines of all multiples of the angle
2 pi s / V, and as s itself. Sums modulo V are rotations of these points. Only initial weights differ: parameter names and shapes
are the published ones.
"""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ctm import TickModel
from ctm.config import Config, get_backbone_type
from ctm.modules.backbones import TokensBackbone

TokenInit: TypeAlias = Literal["default", "separate", "circular"]

LEAK = 0.1  # factor of the other half in keys and values
SCALE = math.sqrt(2)  # half of the width with this scale has the norm of the whole width


def has_token_attention(config: Config) -> bool:
    """Return whether a model attends to a sequence of tokens, with a width that can be divided into symbols and positions."""
    is_divisible = getattr(config, "d_input", 0) % 4 == 0
    return _get_backbone(config).startswith("tokens-") and bool(getattr(config, "heads", 0)) and is_divisible


def check_token_backbone(config: Config, token_init: TokenInit) -> None:
    """Check that the weights of a model can be initialised by `init_tokens`.

    Raises:
        ValueError: The model does not attend to a sequence of tokens, or its width cannot be divided or is too small.
    """
    backbone = _get_backbone(config)
    if not has_token_attention(config):
        raise ValueError(
            f"train.token_init={token_init} needs a model that attends to token sequences, with a d_input that is a multiple of "
            f"4: got the backbone {backbone}. Set train.token_init=default."
        )
    num_symbols = int(backbone.removeprefix("tokens-").split("x")[0])
    width = getattr(config, "d_input", 0)
    if token_init == "circular" and 2 * num_symbols > width:
        raise ValueError(
            f"train.token_init=circular needs a d_input of at least twice the number of symbols, {2 * num_symbols}: got {width}. "
            "Set train.token_init=separate."
        )


def _get_backbone(config: Config) -> str:
    return str(get_backbone_type(config.to_dict()))


@torch.no_grad()
def init_tokens(model: TickModel, token_init: TokenInit) -> None:
    """Initialise embedding, positions, keys and values of a model, in place; random values come from its own weights.

    Args:
        model: A new model; `check_token_backbone` accepts its configuration, except for `default`.
        token_init: See the module; `default` changes nothing.
    """
    if token_init == "default":
        return
    backbone, kv_proj, attention = model.backbone, model.kv_proj, model.attention
    assert isinstance(backbone, TokensBackbone) and isinstance(kv_proj, nn.Sequential)
    assert isinstance(attention, nn.MultiheadAttention) and isinstance(kv_proj[0], nn.Linear)
    width, length = backbone.positions.shape
    half = width // 2
    symbols = backbone.embedding.weight
    symbols[:, half:] = 0
    symbols[:, :half] *= SCALE
    if token_init == "circular":
        features = compute_circular_symbols(len(symbols))
        symbols[:, :half] = 0
        symbols[:, : features.size(1)] = SCALE * features
    backbone.positions[:half] = 0
    backbone.positions[half:] = SCALE * compute_sine_positions(length, half)
    nn.init.eye_(kv_proj[0].weight)
    nn.init.zeros_(kv_proj[0].bias)
    keys, values = attention.in_proj_weight[width : 2 * width], attention.in_proj_weight[2 * width :]
    keys[:, :half] *= LEAK
    values[:, half:] *= LEAK


def compute_circular_symbols(num_symbols: int) -> Float[Tensor, "V V"]:
    """Return the features of every symbol: sines and cosines of its angles, and the symbol itself from -1 to 1.

    The multiples of the angle end at half a turn per symbol, where the sine is 0 and left out.
    """
    symbols = torch.arange(num_symbols)
    angles = 2 * math.pi / num_symbols * symbols.unsqueeze(1)
    cosines = (angles * torch.arange(1, num_symbols // 2 + 1)).cos()
    sines = (angles * torch.arange(1, (num_symbols + 1) // 2)).sin()
    order = 2 * symbols / max(1, num_symbols - 1) - 1
    return torch.cat((cosines, sines, order.unsqueeze(1)), 1)


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
