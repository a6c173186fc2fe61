"""Backbones: modules that map the input to features once, before the first tick.

A backbone maps inputs to features `(B, channels, *places)`. Published names and parameter names: `ParityBackbone`,
`MNISTBackbone`, `ShallowWide`, the ResNets of the original repository (a 3x3 stem instead of 7x7, and only the first 1
to 4 stages), so that a published `state_dict` loads. This project adds `resnet-64xN`, one stage of N basic blocks with 64
channels, which can follow long paths over an image; `tokens-VxL`, V symbols at up to L positions with learned positional
embeddings; and `grid-GxL`, the same where the first G * G symbols are the cells of a square grid.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ctm.config import DEEP_RESNET_PATTERN, GRID_PATTERN, TOKENS_PATTERN
from ctm.modules.positional_encoding import compute_rotations

# He et al.'s ResNet-152 has 8 blocks in its second stage; the published CTM backbone has 4.
RESNET_BLOCK_COUNTS = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 4, 36, 3),
}
NUM_GRID_WORDS = 32  # symbols that are not cells


def make_backbone(backbone_type: str, d_input: int, in_features: int | None) -> tuple[nn.Module, nn.Module, int]:
    """Build the modules that the published code calls `initial_rgb` and `backbone`.

    Args:
        backbone_type: `backbone_type` of the config.
        d_input: Width of sequence embeddings.
        in_features: Channels of an image, or features of a raw input; the published code infers it lazily.

    Returns:
        initial_rgb, backbone, and the number of channels of the features.

    Raises:
        ValueError: The backbone needs `in_features`, and it is None.
    """
    if tokens := TOKENS_PATTERN.fullmatch(backbone_type):
        return nn.Identity(), TokensBackbone(int(tokens[1]), int(tokens[2]), d_input), d_input
    if grid := GRID_PATTERN.fullmatch(backbone_type):
        return nn.Identity(), GridBackbone(int(grid[1]), int(grid[2]), d_input), d_input
    if backbone_type == "parity_backbone":
        return nn.Identity(), ParityBackbone(d_input), d_input
    if backbone_type == "mnist_backbone":
        return nn.Identity(), MNISTBackbone(d_input), d_input
    if in_features is None:
        raise ValueError(
            f"backbone_type={backbone_type} needs in_features: channels of a picture, or features of a raw input."
        )
    if backbone_type == "none":
        return nn.Identity(), nn.Identity(), in_features
    if backbone_type == "shallow-wide":
        return nn.Identity(), ShallowWide(in_features), 2048
    if deep := DEEP_RESNET_PATTERN.fullmatch(backbone_type):
        backbone = ResNet(BasicBlock, (int(deep[1]),))
    else:
        depth, stages = backbone_type.removeprefix("resnet").split("-")
        block = BasicBlock if depth in ("18", "34") else Bottleneck
        backbone = ResNet(block, RESNET_BLOCK_COUNTS[depth][: int(stages)])
    return nn.Conv2d(in_features, 3, 1), backbone, backbone.channels


class ParityBackbone(nn.Module):
    """Embedding of two signs: +1, and anything else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2, width)

    def forward(self, signs: Float[Tensor, "B N"]) -> Float[Tensor, "B d N"]:
        """Embed signs."""
        return self.embedding((signs == 1).long()).transpose(1, 2)


class TokensBackbone(nn.Module):
    """Embedding of symbols, plus a learned positional embedding."""

    def __init__(self, vocab_size: int, max_length: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.positions = init_positional_embedding(max_length, width)

    def forward(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B d N"]:
        """Embed symbols.

        Raises:
            ValueError: The sequence is too long.
        """
        check_sequence_length(tokens, self.positions)
        return self.embedding(tokens).transpose(1, 2) + self.positions[:, : tokens.size(1)]


class GridBackbone(nn.Module):
    """Embedding of the cells of a square grid and of other symbols.

    A cell is the sum of a row embedding and a column embedding. A learned positional embedding is added.
    """

    def __init__(self, side: int, max_length: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.rows, self.columns = nn.Embedding(side, width), nn.Embedding(side, width)
        self.words = nn.Embedding(NUM_GRID_WORDS, width)
        self.positions = init_positional_embedding(max_length, width)

    def forward(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B d N"]:
        """Embed symbols.

        Raises:
            ValueError: The sequence is too long.
        """
        check_sequence_length(tokens, self.positions)
        cells = self.side**2
        cell = tokens.clamp(max=cells - 1)
        cell_embedding = self.rows(cell // self.side) + self.columns(cell % self.side)
        word_embedding = self.words((tokens - cells).clamp(min=0))
        embeddings = torch.where((tokens < cells).unsqueeze(2), cell_embedding, word_embedding)
        return embeddings.transpose(1, 2) + self.positions[:, : tokens.size(1)]


def init_positional_embedding(max_length: int, width: int) -> nn.Parameter:
    """Return positional embeddings along a random half circle.

    Neighbouring positions then have similar embeddings.
    """
    directions = torch.randn(width, 2)
    if directions.is_meta:  # there are no values, and PyTorch would import its compiler; see `ctm.models.meta_device`
        return nn.Parameter(directions.new_empty(width, max_length))
    return nn.Parameter(directions @ compute_rotations(max_length, torch.tensor([0.0, 1.0])).T)


def check_sequence_length(tokens: Int[Tensor, "B N"], positions: Float[Tensor, "d L"]) -> None:
    """Check that a sequence is not longer than the positional embedding.

    Raises:
        ValueError: The sequence is longer.
    """
    if tokens.size(1) > positions.size(1):
        raise ValueError(f"This model takes at most {positions.size(1)} symbols, got {tokens.size(1)}.")


class ShallowWide(nn.Module):
    """Two wide gated convolutions."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 4096, 3, stride=2, padding=1),
            nn.GLU(dim=1),
            nn.BatchNorm2d(2048),
            nn.Conv2d(2048, 4096, 3, padding=1, groups=32),
            nn.GLU(dim=1),
            nn.BatchNorm2d(2048),
        )

    def forward(self, images: Float[Tensor, "B c h w"]) -> Float[Tensor, "B d h2 w2"]:
        """Return the features of images, at half the resolution."""
        return self.layers(images)


class MNISTBackbone(nn.Module):
    """Two small convolutions over greyscale images, each followed by 2x2 pooling.

    From the MNIST tutorial of the published code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        # Convolutions, norms and pooling are faster so.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks the argument

    def forward(self, images: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B d h2 w2"]:
        """Return the features of images, at a quarter of the resolution."""
        return self.layers(images)


class ResNet(nn.Module):
    """First stages of a ResNet (He et al. 2015) with a 3x3 stem of stride 1.

    Args:
        block: Class of the blocks.
        block_counts: Blocks of every stage; each stage has twice the channels of the one before, at half the resolution.
    """

    def __init__(self, block: "type[BasicBlock | Bottleneck]", block_counts: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = 64
        self.stages = len(block_counts)
        for stage, count in enumerate(block_counts):
            layer = self._make_layer(block, 64 * 2**stage, count, 1 + (stage > 0))
            setattr(self, f"layer{stage + 1}", layer)

    def _make_layer(
        self, block: "type[BasicBlock | Bottleneck]", planes: int, count: int, stride: int
    ) -> nn.Sequential:
        blocks = [block(self.channels, planes, stride)]
        self.channels = planes * block.expansion
        blocks += [block(self.channels, planes) for _ in range(1, count)]
        return nn.Sequential(*blocks)

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B d h2 w2"]:
        """Return the features of images after the last stage."""
        images = images.contiguous(memory_format=torch.channels_last)  # faster convolutions and pooling
        features = self.maxpool(self.relu(convolve(images, self.conv1, self.bn1)))
        for stage in range(self.stages):
            features = getattr(self, f"layer{stage + 1}")(features)
        return features


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = make_shortcut(channels, planes, stride)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B d h2 w2"]:
        """Apply the block to features."""
        out = self.relu(convolve(x, self.conv1, self.bn1))
        out = convolve(out, self.conv2, self.bn2)
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the 3x3 convolution has the stride."""

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = make_shortcut(channels, planes * 4, stride)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B d h2 w2"]:
        """Apply the block to features."""
        out = self.relu(convolve(x, self.conv1, self.bn1))
        out = self.relu(convolve(out, self.conv2, self.bn2))
        out = convolve(out, self.conv3, self.bn3)
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def convolve(x: Float[Tensor, "B c h w"], conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Float[Tensor, "B d h2 w2"]:
    """Apply a convolution and its batch norm; without training and gradients, fuse them into one convolution."""
    if norm.training or torch.is_grad_enabled():
        return norm(conv(x))
    assert norm.running_mean is not None and norm.running_var is not None, "these norms keep running statistics"
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (conv.weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, norm.bias - norm.running_mean * scale, conv.stride, conv.padding)


def make_shortcut(channels: int, planes: int, stride: int) -> nn.Sequential | None:
    """Return a 1x1 convolution if the block changes the shape, else None."""
    if stride == 1 and channels == planes:
        return None
    return nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
