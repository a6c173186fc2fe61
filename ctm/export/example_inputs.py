"""Example inputs of a model: the shape that its input encoder takes, with any values."""

import torch
from torch import Tensor

from ctm.config import GRID_PATTERN, TOKENS_PATTERN
from ctm.export.interfaces import BATCH, FRAMES, HEIGHT, LENGTH, WIDTH, TensorSpec
from ctm.models.base import TickModel
from ctm.modules.input_schedule import IMAGE_CODE, IMAGE_SIZE

EXAMPLE_ROWS, EXAMPLE_LENGTH, EXAMPLE_HEIGHT, EXAMPLE_WIDTH = 2, 16, 32, 40
INPUT_NAME = "inputs"


def build_example_input(model: TickModel) -> tuple[TensorSpec, Tensor]:
    """Return the description of the input of a model, and an example of two rows."""
    backbone = model.config.backbone_type
    if tokens := TOKENS_PATTERN.fullmatch(backbone) or GRID_PATTERN.fullmatch(backbone):
        length = int(tokens[2])
        axis = LENGTH if length > 1 else "tokens"  # torch exports an axis of example size 1 with this size only
        spec = TensorSpec(INPUT_NAME, (BATCH, axis), f"symbols, at most {length} of them", length)
        return spec, torch.zeros(EXAMPLE_ROWS, length, dtype=torch.long)
    if backbone == "parity_backbone":
        return TensorSpec(INPUT_NAME, (BATCH, LENGTH), "signs"), torch.ones(EXAMPLE_ROWS, EXAMPLE_LENGTH)
    if model.config.has_input_schedule:
        spec = TensorSpec(INPUT_NAME, (BATCH, FRAMES, "frame"), "frames: a code, then the pixels of an image")
        frames = torch.zeros(EXAMPLE_ROWS, EXAMPLE_LENGTH, 1 + IMAGE_SIZE * IMAGE_SIZE)
        frames[..., 0] = IMAGE_CODE
        return spec, frames
    channels = 1 if backbone == "mnist_backbone" else model.in_features or 1
    if backbone == "none":
        return TensorSpec(INPUT_NAME, (BATCH, "features"), "raw input"), torch.zeros(EXAMPLE_ROWS, channels)
    spec = TensorSpec(INPUT_NAME, (BATCH, "channels", HEIGHT, WIDTH), "pixels, normalised")
    return spec, torch.zeros(EXAMPLE_ROWS, channels, EXAMPLE_HEIGHT, EXAMPLE_WIDTH)
