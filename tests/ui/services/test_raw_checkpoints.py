"""Tests that checkpoints without a known task are usable: those of the community, built at the sizes of their card."""

import numpy as np
import pytest

from ctm import ContinuousThoughtMachine
from ctm.checkpoint import Checkpoint, save
from ctm.config import CTMConfig
from tests.ui.conftest import make_inference_service
from training.tasks import make_task
from training.tasks.registry import find_compatible_tasks
from training.tasks.splits import make_generator
from ui.services.inference_service import InferenceService
from ui.services.model_catalog import PURPOSE_SEPARATOR

CARD = {
    "iterations": 20,
    "d_model": 256,
    "d_input": 64,
    "heads": 4,
    "n_synch_out": 32,
    "n_synch_action": 32,
    "memory_length": 15,
    "synapse_depth": 4,
    "memory_hidden_dims": 16,
    "neuron_select_type": "random-pairing",
    "dropout": 0.0,
}
DIGITS = CARD | {"iterations": 15, "heads": 2, "d_model": 128, "d_input": 128, "memory_length": 10, "n_synch_out": 16}
MODELS = {
    "brackets": (CARD | {"iterations": 30, "backbone_type": "tokens-4x24", "out_dims": 2}, "0 1 2 3", 2),
    "tracking-quadrant": (CARD | {"backbone_type": "tokens-256x8", "out_dims": 4}, "17 34 51 68", 4),
    "tracking-position": (CARD | {"backbone_type": "grid-16x8", "out_dims": 256}, "17 34 51 68", 256),
    "transfer": (CARD | {"backbone_type": "parity_backbone", "out_dims": 2}, "1 -1 -1 1", 2),
}


def serve_model(directory, config) -> InferenceService:
    model = ContinuousThoughtMachine(CTMConfig.parse(config | {"prediction_reshaper": [-1]}), 1, seed=0).eval()
    save(Checkpoint(model), directory / "bare")
    return make_inference_service(directory)


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_model_without_a_task_answers_with_classes(name, tmp_path):
    config, text, classes = MODELS[name]
    service = serve_model(tmp_path, config)
    assert "raw" in find_compatible_tasks(config | {"prediction_reshaper": [-1]})
    info = service.get_checkpoint_info(f"bare{PURPOSE_SEPARATOR}raw")
    assert info.input_type == "text" and info.title == "Raw symbols" and info.examples
    record = service.predict(f"bare{PURPOSE_SEPARATOR}raw", text, "")
    assert record["ticks"] == config["iterations"] and 0 <= int(record["label"]) < classes
    assert record["sentence"].startswith(f"It answers class {record['label']}.")
    assert record["verdict"] == "unknown" and record["truth"] is None and record["p_correct"] is None
    assert service.predict(f"bare{PURPOSE_SEPARATOR}raw", info.examples[0], "ticks=2")["ticks"] == 2


def test_the_model_of_the_mnist_tutorial_reads_digits(tmp_path):
    config = DIGITS | {"backbone_type": "mnist_backbone", "out_dims": 10}
    service = serve_model(tmp_path, config)
    assert list(find_compatible_tasks(config | {"prediction_reshaper": [-1]})) == ["digits"]
    drawing = np.ones((60, 60, 3), np.float32)
    drawing[10:50, 26:34] = 0
    record = service.predict(f"bare{PURPOSE_SEPARATOR}digits", drawing, "")
    assert record["ticks"] == 15 and record["label"] in "0123456789"


@pytest.mark.parametrize(
    ("backbone", "text", "sentence"),
    [
        ("tokens-4x24", "", "Type up to 24 whole numbers from 0 to 3"),
        ("tokens-4x24", "0 4", "'4' is not a symbol of this checkpoint"),
        ("tokens-4x24", "0 -1", "'-1' is not a symbol"),
        ("tokens-4x2", "0 1 2", "at most 2 numbers, got 3"),
        ("parity_backbone", "1 0", "'0' is not a symbol of this checkpoint. Type up to 1024 numbers, each 1 or -1"),
        ("grid-4x8", "48", "'48' is not a symbol"),
        ("tokens-4x24", "x" * 100, "is not a symbol"),
    ],
)
def test_wrong_symbols_get_one_sentence(backbone, text, sentence):
    task = make_task({"kind": "raw", "backbone": backbone, "classes": 2})
    with pytest.raises(ValueError, match=sentence):
        task.parse_input(text)


def test_structured_outputs_become_positions():
    task = find_compatible_tasks({"backbone_type": "tokens-3x7", "out_dims": 14, "prediction_reshaper": [7, 2]})["raw"]
    assert task["settings"] == {"backbone": "tokens-3x7", "classes": 2, "positions": 7}


def test_the_raw_task_is_no_task_to_train():
    with pytest.raises(ValueError, match="has no samples"):
        make_task({"kind": "raw", "backbone": "tokens-4x24", "classes": 2}).sample("test", 1, make_generator("raw"))
