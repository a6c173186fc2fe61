"""Fixtures with small models and checkpoints, and a tracker of memory allocations."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ctm import TickModel, build_model, read_config
from ctm.checkpoint import WEIGHTS_INDEX_NAME, WEIGHTS_NAME, Checkpoint, save
from ctm.config import CONFIG_CLASSES, SCHEDULED_BACKBONE
from ctm.modules.input_schedule import IMAGE_SIZE, MINUS, PLUS, pack_frames

TINY_CONFIG = {
    "iterations": 4,
    "d_model": 12,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 5,
    "n_synch_action": 4,
    "synapse_depth": 1,
    "memory_length": 5,
    "memory_hidden_dims": 4,
    "backbone_type": "tokens-7x6",
    "out_dims": 6,
}
RAW_INPUT_CHANGES = {"heads": 0, "n_synch_action": 0, "backbone_type": "none"}
SHARD_NAMES = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def tiny_config():
    """Provide the settings of a small model that attends to six tokens."""
    return dict(TINY_CONFIG)


@pytest.fixture
def raw_input_changes():
    """Provide the changes to `tiny_config` for a raw input of 5 features."""
    return dict(RAW_INPUT_CHANGES)


@pytest.fixture
def make_model():
    """Provide a function that builds a small model in eval mode from changes to `tiny_config`."""
    return build_tiny_model


@pytest.fixture
def make_inputs():
    """Provide a function that samples a batch of inputs for a model."""
    return sample_inputs


@pytest.fixture
def allocation_tracker():
    """Provide the class that tracks memory allocations."""
    return AllocationTracker


@pytest.fixture
def checkpoint_dir(tmp_path):
    """Provide a complete checkpoint with metadata and a card, the only entry of its parent directory."""
    metadata = {"task": {"task": "parity"}, "halting": {"policies": {}}, "metrics": {"accuracy": [0.5, 0.75]}}
    return save(
        Checkpoint(build_tiny_model(energy_head_enabled=True), **metadata, card="# Parity\n"),
        tmp_path / "home" / "mine",
    )


@pytest.fixture
def sharded_checkpoint_dir(checkpoint_dir):
    """Provide a checkpoint directory with two weight files."""
    tensors = load_file(checkpoint_dir / WEIGHTS_NAME)
    names = sorted(tensors)
    shard_by_name = {name: SHARD_NAMES[index >= len(names) // 2] for index, name in enumerate(names)}
    for shard in SHARD_NAMES:
        save_file({name: tensors[name] for name in names if shard_by_name[name] == shard}, checkpoint_dir / shard)
    (checkpoint_dir / WEIGHTS_NAME).unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": shard_by_name}
    (checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    return checkpoint_dir


def build_tiny_model(seed: int = 0, kind: str = "ctm", **changes) -> TickModel:
    """Build a small model without neutral weights, such as a bias or a decay of 0."""
    settings = {key: value for key, value in TINY_CONFIG.items() if key in CONFIG_CLASSES[kind].model_fields}
    config = read_config({"kind": kind} | settings | changes)
    takes_images = config.backbone_type.startswith("resnet") or config.backbone_type == "shallow-wide"
    model = build_model(config, 3 if takes_images else 5, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("decay_params"):
                parameter.uniform_(0.05, 1.0, generator=generator)
            else:
                scale = 0.6 if name.endswith("w1") else 0.02 if parameter.dim() == 4 else 0.3
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def sample_inputs(model: TickModel, batch: int = 3, seed: int = 0) -> torch.Tensor:
    """Sample a batch of inputs for a small model."""
    generator = torch.Generator().manual_seed(seed + 2)
    kind = model.config.backbone_type
    if kind.startswith("tokens"):
        return torch.randint(7, (batch, 6), generator=generator)
    if kind == SCHEDULED_BACKBONE:
        return sample_frames([(1 + row % 3, 1 + 2 * (row % 2)) for row in range(batch)], generator)
    if kind == "parity_backbone":
        return torch.randint(2, (batch, 6), generator=generator) * 2.0 - 1
    if kind == "none":
        return torch.randn(batch, 5, generator=generator)
    return torch.randn(batch, 3, 8, 8, generator=generator)


def sample_frames(sizes: list[tuple[int, int]], generator: torch.Generator) -> torch.Tensor:
    """Sample rows with these numbers of images and question tokens."""
    images = [torch.randn(num_images, 1, IMAGE_SIZE, IMAGE_SIZE, generator=generator) for num_images, _ in sizes]
    questions = [
        [
            int(torch.randint(*((MINUS, PLUS + 1) if index % 2 else (0, 5)), (), generator=generator))
            for index in range(num_tokens)
        ]
        for _, num_tokens in sizes
    ]
    return pack_frames(images, questions)


class AllocationTracker(TorchDispatchMode):
    """Record the size in bytes of the largest tensor that an operation allocates while active."""

    max_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for leaf in tree_iter(output):
            if isinstance(leaf, torch.Tensor) and leaf.device.type != "meta":
                self.max_bytes = max(self.max_bytes, leaf.untyped_storage().nbytes())
        return output
