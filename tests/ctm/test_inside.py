"""Test the arithmetic of the inside view on the bundled checkpoints and on small models."""

import dataclasses

import numpy as np
import pytest
import torch

from ctm import build_model, read_config
from ctm.checkpoint import load
from ctm.inside import (
    REASONS_WITHOUT_VIEW,
    build_window,
    check_has_inside,
    compute_contributions,
    compute_energy_gradient,
    get_neuron_model,
    get_pairs,
    run_neuron_model,
)
from inference import Engine, Recorder, parse
from tests.paths import ROOT
from training.data.image_inputs import read_image_input
from training.tasks import build_task

CHECKPOINTS = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/config.json"))
CTM_CHECKPOINTS = [name for name in CHECKPOINTS if not name.endswith(("-ff", "-lstm"))]
SMALL = {
    "iterations": 5, "d_model": 24, "d_input": 8, "heads": 2, "n_synch_out": 7, "n_synch_action": 6, "synapse_depth": 1,
    "memory_length": 4, "memory_hidden_dims": 3, "out_dims": 6, "prediction_reshaper": [2, 3], "backbone_type": "parity_backbone",
    "energy_head_enabled": True, "energy_hidden_dim": 5,
}  # fmt: skip
VARIANTS = {
    "random": {"neuron_select_type": "random"},
    "first-last": {"neuron_select_type": "first-last"},
    "random-pairing": {"neuron_select_type": "random-pairing", "n_random_pairing_self": 2},
    "linear-norm": {"deep_nlms": False, "do_layernorm_nlm": True},
    "deep-norm": {"do_layernorm_nlm": True, "energy_sees_neurons": True, "energy_sees_certainty": True},
}


def record_unroll(model, inputs) -> Recorder:
    """Record all ticks of one row."""
    recorder = Recorder(10_000)
    recorder.max_bytes = 2**30
    Engine(model, parse("ticks=9999")).run(inputs, recorder)
    return recorder


def make_example(name: str):
    """Return a bundled model, and the inputs of the first example of its task."""
    checkpoint = load(ROOT / "checkpoints" / name)
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    example = task.get_examples()[0] if task.get_examples() else task.generate_input(0)
    user_input = example if task.input_type == "text" else read_image_input(example).to_array()
    return checkpoint.model, task.parse_input(user_input).inputs


def make_small_model(variant: str):
    """Return a small model with random weights, decay rates and temperatures, and an input."""
    model = build_model(read_config(SMALL | VARIANTS[variant]), seed=3).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 1.5 if "decay" in name else 0.3
            parameter.add_(scale * torch.rand(parameter.shape, generator=generator))
    return model, torch.tensor([[1.0, -1, 1, 1, -1, 1, -1, -1, 1]])


@pytest.mark.parametrize("name", CTM_CHECKPOINTS)
def test_bias_and_contributions_add_up_to_every_logit(name):
    if name == "fashion":
        model = load(ROOT / "checkpoints" / name).model
        inputs = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    else:
        model, inputs = make_example(name)
    recorder = record_unroll(model, inputs)
    sync, logits = recorder.get_channel("sync_out"), np.stack(recorder.logits).reshape(len(recorder.logits), -1)
    for tick in (0, len(logits) // 2, len(logits) - 1):
        for target in np.argsort(-logits[tick])[:4].tolist():
            result = compute_contributions(model, sync[tick], target)
            assert result.bias + result.values.sum(dtype=np.float64) == pytest.approx(logits[tick, target], abs=1e-4)
            assert result.output == pytest.approx(logits[tick, target], abs=1e-4)
        margin = compute_contributions(model, sync[tick], 0, 1)
        expected = logits[tick, 0] - logits[tick, 1]
        assert margin.bias + margin.values.sum(dtype=np.float64) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pairs_and_decay_give_the_synchronisation(variant):
    """Compare both synchronisations with the formula of the paper."""
    model, inputs = make_small_model(variant)
    recorder = record_unroll(model, inputs)
    start = model.start_activated_state.detach().numpy()[None]
    activations = np.concatenate((start, recorder.get_channel("post_activations"))).astype(np.float64)
    for kind, channel, offset in (("out", "sync_out", 1), ("action", "sync_action", 0)):
        pairs, sync = get_pairs(model, kind), recorder.get_channel(channel)
        assert len(pairs.left) == sync.shape[1]
        for tick in range(len(sync)):
            last = tick + offset  # the action synchronisation does not know the activations of its own tick
            age = last - np.arange(last + 1)
            weights = np.exp(-pairs.decay[None] * age[:, None])
            products = activations[: last + 1, pairs.left] * activations[: last + 1, pairs.right]
            np.testing.assert_allclose(sync[tick], (weights * products).sum(0) / np.sqrt(weights.sum(0)), atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_model_of_a_neuron_gives_its_activation(variant):
    model, inputs = make_small_model(variant)
    recorder = record_unroll(model, inputs)
    pre, post = recorder.get_channel("pre_activations"), recorder.get_channel("post_activations")
    for neuron in (0, 11, 23):
        neuron_model = get_neuron_model(model, neuron)
        for tick in range(1, len(pre) + 1):
            window = build_window(neuron_model, pre[:, neuron], tick)
            values, gates = run_neuron_model(neuron_model, window)[-1]
            assert values * gates == pytest.approx(post[tick - 1, neuron], abs=1e-5)


@pytest.mark.parametrize("variant", ["random", "deep-norm"])
def test_the_gradient_of_the_energy_equals_that_of_autograd(variant):
    model, inputs = make_small_model(variant)
    recorder = record_unroll(model, inputs)
    sync, post = recorder.get_channel("sync_out")[2], recorder.get_channel("post_activations")[2]
    certainty = recorder.certainty[2]
    result = compute_energy_gradient(model, sync, post, certainty)
    latent = torch.tensor(sync).unsqueeze(1)
    features = model.build_energy_head_input(
        latent, torch.tensor(post).unsqueeze(1), torch.tensor(certainty).unsqueeze(1)
    )
    features = features.squeeze(1).requires_grad_()
    energy = model.energy_proj(features)
    energy.backward()
    expected = (features.grad * features).detach().numpy()
    np.testing.assert_allclose(result.values, expected[: len(sync)], atol=1e-6)
    assert result.bias == pytest.approx(expected[len(sync) :].sum(), abs=1e-6)
    assert result.output == pytest.approx(recorder.energy[2], abs=1e-5)
    assert not result.is_exact


@pytest.mark.parametrize("variant", ["random-pairing", "linear-norm"])
def test_silencing_a_neuron_equals_a_model_whose_last_layer_gives_zero(variant):
    """Zero the start activation and the last layer of the neuron by hand: a gated linear unit of zeros is zero."""
    model, inputs = make_small_model(variant)
    policy = parse("ticks=9999")
    untouched = record_unroll(model, inputs)
    silenced = Recorder(10_000)
    Engine(model, policy, silenced_neurons=(2, 7)).run(inputs, silenced)
    after = record_unroll(model, inputs)
    np.testing.assert_array_equal(after.get_channel("sync_out"), untouched.get_channel("sync_out"))
    layers = [layer for layer in model.trace_processor[0] if hasattr(layer, "w1")]
    with torch.no_grad():
        for neuron in (2, 7):
            model.start_activated_state[neuron] = 0
            layers[-1].w1[:, :, neuron] = 0
            layers[-1].b1[:, neuron] = 0
    by_hand = record_unroll(model, inputs)
    for channel in ("post_activations", "sync_out", "sync_action"):
        np.testing.assert_allclose(silenced.get_channel(channel), by_hand.get_channel(channel), atol=1e-6)
    np.testing.assert_allclose(np.stack(silenced.logits), np.stack(by_hand.logits), atol=1e-6)
    assert (silenced.get_channel("post_activations")[:, [2, 7]] == 0).all()
    assert not np.allclose(np.stack(silenced.logits), np.stack(untouched.logits), atol=1e-3)


def test_the_unroll_of_training_knows_silenced_neurons():
    model, inputs = make_small_model("random-pairing")
    with torch.inference_mode():
        encoded = model.silence_neurons(model.encode(inputs), [4])
        _, neurons, _ = model._unroll(encoded.select_rows(torch.tensor([0])), keep_attention=False)
    assert (neurons[:, 4] == 0).all()
    assert (neurons[:, 5] != 0).any()


@pytest.mark.parametrize("neuron", [-1, 24])
def test_a_neuron_that_does_not_exist_cannot_be_silenced(neuron):
    model, inputs = make_small_model("random-pairing")
    with pytest.raises(ValueError, match="neurons 0 to 23: got"):
        Engine(model, parse("ticks=3"), silenced_neurons=(neuron,)).run(inputs)


@pytest.mark.parametrize("kind", ["ff", "lstm"])
def test_baselines_say_why_they_have_no_inside_view(kind):
    model = load(ROOT / "checkpoints" / f"brackets-{kind}").model
    with pytest.raises(ValueError) as error:
        check_has_inside(model)
    assert str(error.value) == REASONS_WITHOUT_VIEW[kind]
    with pytest.raises(ValueError, match="Only the neurons"):
        Engine(model, parse("ticks=3"), silenced_neurons=(0,)).run(torch.zeros(1, 8, dtype=torch.long))


def test_a_state_keeps_the_mask_when_rows_are_selected():
    model, inputs = make_small_model("random-pairing")
    encoded = model.silence_neurons(model.encode(inputs.expand(3, -1)), [1])
    names = {field.name for field in dataclasses.fields(encoded)}
    assert "neuron_mask" in names
    assert encoded.compact_rows_(torch.tensor([2])).neuron_mask is encoded.neuron_mask
