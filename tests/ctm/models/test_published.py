"""Compare outputs with those of the original code, for weights from a formula.

A case is `NAME.json` (class, constructor arguments, manifest of the state_dict) and `NAME.safetensors` (`in.*`, `out.*`).
The environment variable `CTM_GOLDEN_DIR` names another directory of cases.
"""

import json
import math
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ctm import TickModel, build_model, read_config
from ctm.checkpoint import infer_in_features
from ctm.config import Config
from ctm.modules.input_schedule import IMAGE_CODE, NUM_CODES, build_code_table, pack_frames
from tests.paths import ROOT

GOLDEN_DIR = Path(os.environ.get("CTM_GOLDEN_DIR") or ROOT / "tests" / "golden")
CASES = sorted(path.stem for path in GOLDEN_DIR.glob("*.json"))
SUPPORTED_CLASSES = {
    "ContinuousThoughtMachine",
    "ContinuousThoughtMachineSORT",
    "ContinuousThoughtMachineQAMNIST",
    "LSTMBaseline",
    "FFBaseline",
}
NUM_BASELINE_OUTPUTS = {"LSTMBaseline": 2, "FFBaseline": 1}  # outputs in the golden files of the baselines
# The published sorting class forces these on its constructor's arguments.
SORT_CONFIG = {"heads": 0, "n_synch_action": 0, "backbone_type": "none", "positional_embedding_type": "none"}
DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


def compute_golden_value(name: str, shape: list[int], d_model: int) -> torch.Tensor:
    """Return the value that the golden file's formula assigns to a state_dict entry."""
    r = np.random.RandomState(zlib.crc32(name.encode()))
    x = np.asarray(r.standard_normal(shape), dtype=np.float32)
    last = name.split(".")[-1]
    if "neuron_indices" in name:
        return torch.from_numpy(np.asarray(r.randint(0, d_model, size=shape), dtype=np.int64))
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif last == "running_mean":
        x = 0.1 * x
    elif name.startswith("decay_params"):
        x = 0.5 * np.abs(x)
    elif last == "T":
        x = 1 + 0.1 * np.abs(x)
    elif len(shape) <= 1:
        x = 1 + 0.1 * x if last == "weight" else 0.1 * x
    elif last == "w1":
        x = x / np.sqrt(shape[0])
    elif last == "b1":
        x = 0.1 * x
    else:
        x = x / np.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def load_case(name: str) -> tuple[dict, dict[str, torch.Tensor], TickModel]:
    """Return the description of a case, its tensors, and the model with the published weights, loaded strictly."""
    case = json.loads((GOLDEN_DIR / f"{name}.json").read_text())
    if case["class"] not in SUPPORTED_CLASSES:
        pytest.skip(f"{case['class']} is not supported")
    values = case["config"] | (SORT_CONFIG if case["class"].endswith("SORT") else {})
    config = read_config(values)
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in case["state_dict"]}
    model = build_model(config, infer_in_features(config, shapes))
    constants = model.state_dict()
    state_dict = {
        entry["name"]: compute_golden_value(entry["name"], entry["shape"], config.d_model)
        if entry["rule"]
        else constants[entry["name"]]
        for entry in case["state_dict"]
    }
    model.load_state_dict(state_dict, strict=True)
    return case, load_file(GOLDEN_DIR / f"{name}.safetensors"), model.eval()


@pytest.mark.parametrize("name", CASES)
def test_the_manifest_equals_the_published_one(name):
    case, _, model = load_case(name)
    manifest = [(key, list(value.shape), value.dtype) for key, value in model.state_dict().items()]
    assert manifest == [(e["name"], e["shape"], DTYPES[e["dtype"]]) for e in case["state_dict"]]


def load_inputs(config: Config, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the input of a case.

    With an input schedule the published input has two tensors, in which each item is repeated for its ticks.
    """
    if not config.has_input_schedule:
        return tensors["in.x"]
    question = tensors["in.z"][:, :: config.iterations_per_question_part]
    return pack_frames(tensors["in.x"][:, :: config.iterations_per_digit], question, min_frames=99)


@pytest.mark.parametrize("name", CASES)
def test_outputs_equal_the_published_ones(name):
    case, tensors, model = load_case(name)
    has_resnet = "resnet" in case["config"].get("backbone_type", "")
    inputs = load_inputs(model.config, tensors)
    with torch.inference_mode():
        encoded = model.encode(inputs)
        state = model.initial_state(encoded)
        ticks = []
        for _ in range(encoded.ticks):
            state, output = model.tick(state, encoded)
            ticks.append((state, output))
        unrolled = model(inputs)
    outputs = {
        "out.predictions": unrolled.answers,
        "out.certainties": unrolled.certainties,
        "out.synch_out": torch.stack([state.latent for state, _ in ticks]),
        "out.post_activations": torch.stack([state.post_activations for state, _ in ticks]),
    }
    if case["class"] not in NUM_BASELINE_OUTPUTS:
        outputs["out.pre_activations"] = torch.stack([state.pre_activations for state, _ in ticks])
    outputs["out.synch_out_last"] = outputs["out.synch_out"][-1]
    if model.config.has_input_schedule:
        codes = encoded.observation.codes
        num_image_ticks = int((codes[:, 0] == IMAGE_CODE % NUM_CODES).sum())
        attention_maps = [state.attention for state, _ in ticks[:num_image_ticks]]
        outputs["out.attention"] = torch.stack(attention_maps).unsqueeze(3)
        question_codes = codes[num_image_ticks : -model.config.iterations_for_answering]
        indices = model.index_backbone.embedding
        operators = model.operator_backbone.embedding.weight.detach()
        outputs["out.embeddings"] = build_code_table(indices, operators, indices[0])[question_codes]
    elif model.config.heads and case["class"] not in NUM_BASELINE_OUTPUTS:
        outputs["out.synch_action"] = torch.stack([state.sync_action for state, _ in ticks])
        outputs["out.attention"] = torch.stack([state.attention for state, _ in ticks]).unsqueeze(3)
    if unrolled.energies is not None:
        outputs["out.energies"] = outputs["out.energy"] = unrolled.energies
    num_checked = 0
    for key, expected in tensors.items():
        if not key.startswith("out.") or expected.numel() == 0:
            continue
        assert key in outputs, f"{name} holds {key}, which this test does not compare"
        tolerance = 1e-4 if has_resnet and key == "out.predictions" else 1e-5
        difference = (outputs[key].reshape(expected.shape) - expected).abs().max().item()
        assert difference <= tolerance, f"{name}: {key} differs by {difference:.2e}"
        num_checked += 1
    assert num_checked >= NUM_BASELINE_OUTPUTS.get(case["class"], 3), f"{name} checked {num_checked} outputs only"


def test_golden_cases_exist():
    assert CASES, f"no golden case in {GOLDEN_DIR}"
