"""Tests of initial weights from another model, and of frozen parameters."""

import pytest
import torch
from torch.testing import assert_close

from ctm.checkpoint import load
from tests.training.test_trainer import TINY_RECIPE, load_step_weights, make_tiny_config
from training.config import RunConfig
from training.run_dir import RunDir
from training.trainer import Trainer
from training.training_loop import train
from training.weight_transfer import load_initial_weights


def test_frozen_core_is_copied_and_not_trained_on_another_task(tmp_path):
    """The core is copied from one model and does not change; encoder, attention and readout are trained."""
    parity = RunDir(tmp_path / "parity")
    brackets = RunDir(tmp_path / "brackets")
    train(make_tiny_config(steps=2), parity)
    start = load(parity.checkpoint_dir(2)).model
    config = make_tiny_config(steps=6, init_mode="core", freeze="core").model_copy(
        update={"task": {"kind": "brackets", "length": 6}}
    )
    train(config, brackets, init_model=start)
    before, after = start.state_dict(), load_step_weights(brackets, 6)
    core = {name for name in after if name.startswith(("start_", "synapses.", "trace_processor.")) or "indices" in name}
    assert all(torch.equal(before[name], after[name]) for name in core) and len(core) > 10
    initial = Trainer(config).unwrapped_model.state_dict()
    assert not any(torch.equal(initial[name], after[name]) for name in after.keys() - core if "bias" in name)


def test_model_of_another_size_loads_the_matching_weights():
    start = Trainer(make_tiny_config()).unwrapped_model
    wide = Trainer(
        make_tiny_config().model_copy(update={"model": TINY_RECIPE["model"] | {"n_synch_out": 12}})
    ).unwrapped_model
    load_initial_weights(wide, start, "matching")
    wide_state, start_state = wide.state_dict(), start.state_dict()
    assert (
        torch.equal(wide_state["start_trace"], start_state["start_trace"])
        and len(wide_state["out_neuron_indices_left"]) == 12
    )
    other = Trainer(RunConfig.parse(TINY_RECIPE | {"model": {"kind": "ff", "d_model": 5}})).unwrapped_model
    with pytest.raises(ValueError, match="init_from does not fit"):
        load_initial_weights(wide, other, "all")


@pytest.mark.parametrize("backbones", [("resnet-64x2", "resnet-64x4"), ("resnet50-1", "resnet152-2")])
def test_added_residual_blocks_of_an_expanded_model_return_their_input(backbones):
    task = {"kind": "mazes", "side": 7, "route": 4}
    small, deep = (
        Trainer(
            make_tiny_config().model_copy(
                update={"task": task, "model": TINY_RECIPE["model"] | {"backbone_type": backbone_type}}
            )
        ).unwrapped_model.eval()
        for backbone_type in backbones
    )
    load_initial_weights(deep, small, "expand")
    images = torch.rand(3, 3, 7, 7)
    stage = deep.backbone.layer1
    with torch.no_grad():
        features = small.backbone(small.initial_rgb(images))
        added = [block for index, block in enumerate(stage) if index >= len(small.backbone.layer1)]
        for block in added:
            assert_close(block(features), features)
        if backbones[1].startswith("resnet-"):
            assert len(added) == 2
            assert_close(deep(images).answers, small(images).answers)
        else:
            norms = [block.bn3.weight for block in deep.backbone.layer2]
            assert norms[0].all() and not any(weight.any() for weight in norms[1:]), "the first block changes the shape"


def test_expanded_model_has_the_outputs_of_the_small_model():
    """The first positions and outputs of the model for longer rows have the weights of the small model."""
    start, longer = (
        Trainer(
            make_tiny_config().model_copy(update={"task": {"kind": "parity", "length": length}})
        ).unwrapped_model.eval()
        for length in (8, 12)
    )
    small, large = start.state_dict(), longer.state_dict()
    positions = large["backbone.positions"].clone()
    answers = large["output_projector.0.weight"].clone()
    load_initial_weights(longer, start, "expand")
    rows = torch.randint(3, (4, 8))
    with torch.no_grad():
        assert_close(longer(rows).answers[:, :16], start(rows).answers)
    expanded = longer.state_dict()
    assert torch.equal(expanded["backbone.positions"][:, 8:], positions[:, 8:]), (
        "the other positions keep their initial values"
    )
    assert torch.equal(expanded["output_projector.0.weight"][16:], answers[16:])
    load_initial_weights(start, longer, "expand")
    assert all(torch.equal(small[name], value) for name, value in start.state_dict().items()), (
        "larger weights are not truncated"
    )
