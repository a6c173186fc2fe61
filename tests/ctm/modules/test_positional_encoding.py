"""Tests of positional encodings against their definition, and of backbones against known sizes and shapes."""

import math

import pytest
import torch
from torch.testing import assert_close

from ctm import CTMConfig
from ctm.config import BACKBONES, RESNETS
from ctm.models.registry import count_parameters
from ctm.modules.backbones import ParityBackbone, TokensBackbone, make_backbone
from ctm.modules.positional_encoding import (
    LearnableFourier,
    MultiLearnableFourier,
    Rotational,
    Rotational1D,
    compute_rotations,
)


def rotate(vector, degrees):
    """Return a 2-D vector rotated counterclockwise."""
    x, y = vector
    angle = math.radians(degrees)
    return [math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y]


# --- positions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3), (4, 4), (1, 4), (4, 1), (1, 1), (2, 2)])
def test_rotational_positions_equal_a_loop_over_rows_and_columns(height, width):
    code = Rotational(6)
    with torch.no_grad():
        code.start_vector.copy_(torch.tensor([0.6, -1.3]))
        expected = torch.empty(1, 6, height, width)
        for row in range(height):
            for column in range(width):
                by_row = rotate([0.6, -1.3], 180 * row / max(height - 1, 1))
                by_column = rotate([0.6, -1.3], 180 * column / max(width - 1, 1))
                expected[0, :, row, column] = code.projection(torch.tensor(by_row + by_column))
        assert_close(code(torch.zeros(2, 6, height, width)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_one_dimensional_rotations_equal_a_loop_over_the_sequence(steps):
    code = Rotational1D(6)
    with torch.no_grad():
        vectors = [rotate([0.0, 1.0], 180 * n / max(steps - 1, 1)) for n in range(steps)]
        expected = torch.stack([code.projection(torch.tensor(vector)) for vector in vectors], 1)
        assert_close(code(torch.zeros(2, 6, steps)), expected.unsqueeze(0), rtol=1e-5, atol=1e-5)


def test_rotations_keep_the_length_and_end_opposite():
    rotated_vectors = compute_rotations(9, torch.tensor([3.0, 4.0]))
    assert_close(rotated_vectors.norm(dim=1), torch.full((9,), 5.0))
    assert_close(rotated_vectors[-1], torch.tensor([-3.0, -4.0]))


@pytest.mark.parametrize(("height", "width"), [(3, 5), (1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("kind", [LearnableFourier, MultiLearnableFourier])
def test_fourier_positions_and_their_gradients_are_finite_on_maps_of_width_one(kind, height, width):
    torch.manual_seed(0)
    encoding = kind(6)
    output = encoding(torch.zeros(2, 6, height, width))
    assert output.shape == (1, 6, height, width) and output.isfinite().all()
    output.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoding.parameters())
    flat = output.detach().flatten(2)[0].T
    assert len(flat.unique(dim=0)) == height * width, "two positions have the same code"


def test_a_fourier_position_is_the_encoding_of_its_coordinate():
    """Coordinates are in [0, 1]; x, the column, comes first."""
    torch.manual_seed(0)
    code = LearnableFourier(6)
    out = code(torch.zeros(1, 6, 3, 5))
    for row in range(3):
        for column in range(5):
            angles = code.Wr(torch.tensor([column / 4, row / 2]))
            fourier = torch.cat((angles.cos(), angles.sin())) / math.sqrt(256)
            assert_close(out[0, :, row, column], code.mlp(fourier), rtol=1e-4, atol=1e-4)


def test_mixed_fourier_positions_are_the_weighted_mean_of_their_codes():
    torch.manual_seed(0)
    code = MultiLearnableFourier(6, codes=3)
    features = torch.zeros(1, 6, 3, 2)
    with torch.no_grad():
        code.combination.copy_(torch.tensor([0.0, 1.0, 2.0]))
        weights = torch.tensor([0.0, 1.0, 2.0]).exp()
        expected = sum(
            w * embedder(features) for w, embedder in zip(weights / weights.sum(), code.embedders, strict=True)
        )
        assert_close(code(features), expected)


# --- sequences -------------------------------------------------------------------------------------------------------


def test_tokens_are_embedded_with_their_position():
    backbone = TokensBackbone(vocab_size=5, max_length=4, width=3)
    tokens = torch.tensor([[4, 0, 2], [1, 1, 3]])
    features = backbone(tokens)
    assert features.shape == (2, 3, 3)
    for row in range(2):
        for position in range(3):
            expected = backbone.embedding.weight[tokens[row, position]] + backbone.positions[:, position]
            assert_close(features[row, :, position], expected)


@pytest.mark.parametrize("max_length", [1, 4])
def test_a_sequence_longer_than_its_positions_is_rejected(max_length):
    with pytest.raises(ValueError, match=f"{max_length} "):
        TokensBackbone(vocab_size=5, max_length=max_length, width=3)(torch.zeros(2, 6, dtype=torch.int64))


def test_signs_are_embedded_as_two_tokens():
    backbone = ParityBackbone(3)
    features = backbone(torch.tensor([[1.0, -1.0, 0.0]]))
    minus, plus = backbone.embedding.weight
    assert_close(features[0], torch.stack((plus, minus, minus), 1))


# --- images --------------------------------------------------------------------------------------------------------

# Parameters of torchvision's models (https://pytorch.org/vision/stable/models.html), including their last layer.
TORCHVISION_PARAMETER_COUNTS = {
    "18": 11_689_512,
    "34": 21_797_672,
    "50": 25_557_032,
    "101": 44_549_160,
    "152": 60_192_808,
}


@pytest.mark.parametrize("depth", list(TORCHVISION_PARAMETER_COUNTS))
def test_a_whole_resnet_has_the_known_number_of_parameters(depth):
    with torch.device("meta"):
        _, backbone, _ = make_backbone(f"resnet{depth}-4", 8, 3)
    last_layer = (512 if depth in ("18", "34") else 2_048) * 1_000 + 1_000
    stem = 64 * 3 * 7 * 7 - 64 * 3 * 3 * 3  # 7x7 in torchvision, 3x3 in this backbone
    block = 512 * 128 + 128 * 128 * 9 + 128 * 512 + 2 * (128 + 128 + 512)
    missing = 4 * block if depth == "152" else 0  # the published backbone has 4 blocks for 8 in its second stage
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == TORCHVISION_PARAMETER_COUNTS[depth] - last_layer - stem - missing


@pytest.mark.parametrize("blocks", [1, 2, 7])
def test_a_deep_resnet_has_one_stage_with_all_its_blocks(blocks):
    torch.manual_seed(0)
    _, backbone, channels = make_backbone(f"resnet-64x{blocks}", 8, 3)
    features = backbone.eval()(torch.randn(2, 3, 15, 15))
    assert channels == 64 and features.shape == (2, 64, 8, 8)
    assert len(backbone.layer1) == blocks and not hasattr(backbone, "layer2")
    if blocks == 2:
        _, published, _ = make_backbone("resnet18-1", 8, 3)
        published.load_state_dict(backbone.state_dict())
        assert torch.equal(published.eval()(torch.ones(1, 3, 9, 9)), backbone(torch.ones(1, 3, 9, 9)))


@pytest.mark.parametrize("kind", RESNETS)
def test_every_resnet_halves_the_map_at_every_stage_and_reports_its_channels(kind):
    depth, stages = kind.removeprefix("resnet").split("-")
    with torch.device("meta"):
        initial_rgb, backbone, channels = make_backbone(kind, 8, 1)
        features = backbone.eval()(initial_rgb(torch.empty(2, 1, 32, 48)))
    reduction = 2 ** int(stages)
    assert channels == 64 * reduction // 2 * (1 if depth in ("18", "34") else 4)
    assert features.shape == (2, channels, 32 // reduction, 48 // reduction)


def test_resnet18_1_has_64_channels_at_half_the_size(make_model):
    model = make_model(backbone_type="resnet18-1")
    images = torch.randn(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.backbone(model.initial_rgb(images))
        encoded = model.encode(images)
    assert features.shape == (2, 64, 16, 12) and features.isfinite().all() and features.std() > 0
    assert encoded.attention_map_shape == (16, 12)
    assert encoded.observation.cache.keys.shape == (2, 2, 4, 16 * 12)


def test_shallow_wide_has_2048_channels_at_half_the_size():
    with torch.device("meta"):
        _, backbone, channels = make_backbone("shallow-wide", 8, 3)
        assert backbone.eval()(torch.empty(2, 3, 20, 12)).shape == (2, 2_048, 10, 6)
    assert channels == 2_048


def test_the_mnist_backbone_reduces_grey_images_to_a_quarter_of_the_size():
    _, backbone, channels = make_backbone("mnist_backbone", 8, None)
    assert backbone.eval()(torch.zeros(2, 1, 28, 21)).shape == (2, 8, 7, 5)
    assert channels == 8


@pytest.mark.parametrize("kind", [*BACKBONES, "tokens-7x6", "tokens-99999x99999"])
def test_every_backbone_is_counted_without_being_allocated(kind, tiny_config, allocation_tracker):
    config = CTMConfig.parse(tiny_config | {"backbone_type": kind})
    min_count = count_parameters(CTMConfig.parse(tiny_config | {"backbone_type": "parity_backbone"}))
    with allocation_tracker() as tracker:
        count = count_parameters(config, 3)
    assert count > min_count or kind in ("parity_backbone", "none", "tokens-7x6")
    assert tracker.max_bytes < 10_000


@pytest.mark.parametrize("kind", ["resnet18-1", "shallow-wide", "none"])
def test_a_backbone_without_the_size_of_its_input_is_rejected(kind, tiny_config):
    with pytest.raises(ValueError, match=f"backbone_type={kind} needs in_features"):
        count_parameters(CTMConfig.parse(tiny_config | {"backbone_type": kind}))


def test_without_a_backbone_attention_ignores_the_order_of_positions(make_model):
    model = make_model(backbone_type="none")
    inputs = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))  # 5 features at 7 positions
    assert model.encode(inputs).attention_map_shape == (7,)
    shuffled_inputs = inputs[:, :, torch.randperm(7, generator=torch.Generator().manual_seed(1))]
    with torch.no_grad():
        assert_close(model(shuffled_inputs).answers, model(inputs).answers, rtol=1e-4, atol=5e-5)
