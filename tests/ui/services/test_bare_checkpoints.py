"""Test published checkpoints, which contain config and weights only: the task is inferred from the config."""

import json

import numpy as np
from PIL import Image

from ctm import ContinuousThoughtMachine, CTMConfig
from ctm.checkpoint import Checkpoint, save
from tests.ui.conftest import SMALL_MODEL_CONFIG, make_checkpoint, make_inference_service
from training.tasks import make_task
from ui.services.inference_service import InferenceService

MAZE_CONFIG = {
    "backbone_type": "resnet18-2",
    "out_dims": 500,
    "prediction_reshaper": [100, 5],
    "energy_head_enabled": False,
}
IMAGENET_CONFIG = {"backbone_type": "resnet18-1", "out_dims": 1000, "energy_head_enabled": False}
PUBLISHED_MAZE_CONFIG = {
    "iterations": 75,
    "d_model": 2048,
    "d_input": 512,
    "heads": 16,
    "n_synch_out": 64,
    "n_synch_action": 32,
    "synapse_depth": 8,
    "memory_length": 25,
    "memory_hidden_dims": 32,
    "backbone_type": "resnet34-2",
    "out_dims": 500,
    "prediction_reshaper": [100, 5],
    "neuron_select_type": "first-last",
}


def serve_checkpoint(directory, config) -> InferenceService:
    model = ContinuousThoughtMachine(CTMConfig.parse(config), 3, seed=0).eval()
    save(Checkpoint(model), directory / "bare")
    assert sorted(path.name for path in (directory / "bare").iterdir()) == ["config.json", "model.safetensors"]
    return make_inference_service(directory)


def make_maze(side: int = 39, route: int = 100) -> np.ndarray:
    return make_task({"kind": "mazes", "side": side, "route": route}).generate_input(0) / np.float32(255)


def test_ctc_emissions_are_complete_without_stored_policies(tmp_path):
    """The answer comes from the last tick, for example of a saved step of a sorting run."""
    directory = make_checkpoint(tmp_path / "sorting", "sorting", heads=0, n_synch_action=0)
    (directory / "halting.json").unlink()
    services = make_inference_service(tmp_path)
    numbers = " ".join(map(str, range(10)))
    record = services.predict("sorting", numbers, "")
    assert next(iter(services.get_checkpoint_info("sorting").policy_options)) == f"ticks={record['iterations']}"
    assert record["ticks"] == record["answer_tick"] == record["iterations"]
    assert services.predict("sorting", numbers, "certainty>1")["answer_tick"] == record["iterations"]


def check_maze(services: InferenceService) -> None:
    info = services.get_checkpoint_info("bare")
    assert (info.title, info.input_type, info.supports_drawing, info.supports_generation) == (
        "Mazes",
        "image",
        False,
        True,
    )
    assert "39 x 39" in info.input_hint and next(iter(info.policy_options.values())).name == "Use every tick"
    record = json.loads(json.dumps(services.predict("bare", make_maze(), ""), allow_nan=False))
    assert record["ticks"] == info.iterations == len(record["routes"]) and record["energy"] is None
    assert record["input"]["channels"] == 3 and record["input"]["width"] == 39
    for route in record["routes"]:
        assert route[:2] == record["input"]["start"] and len(route) % 2 == 0
    answer = record["answer"]
    assert answer["route"][-1] == record["routes"][record["answer_tick"] - 1][-2:]
    assert (
        (answer["steps_left"] == 0)
        == answer["reaches_goal"]
        == record["sentence"].startswith("Solved: it reaches the goal")
    )
    assert len(json.dumps(record)) < 1_000_000


def test_a_bare_maze_model_runs(tmp_path):
    services = serve_checkpoint(tmp_path, SMALL_MODEL_CONFIG | MAZE_CONFIG)
    check_maze(services)
    assert services.predict("bare", make_maze(15, 50), "ticks=2")["input"]["width"] == 15
    generated_maze = services.generate_input("bare", 3)
    assert generated_maze.dtype == np.uint8 and np.array_equal(generated_maze, services.generate_input("bare", 3))


def test_a_bare_imagenet_model_runs(tmp_path):
    services = serve_checkpoint(tmp_path, SMALL_MODEL_CONFIG | IMAGENET_CONFIG)
    info = services.get_checkpoint_info("bare")
    assert info.title == "Pictures" and len(info.examples) >= 2
    record = services.predict("bare", np.asarray(Image.open(info.examples[0]), np.float32) / 255, "")
    assert record["choices"]["of"] == 1000 and len(record["choices"]["labels"]) <= 8 * record["ticks"]
    assert record["likeliest"][0]["label"] == record["label"] and record["label"] in record["sentence"]
    assert record["routes"] is None and record["input"]["width"] == record["input"]["height"] == 224
    assert len(json.dumps(record)) < 500_000


def test_a_maze_model_of_the_published_size_runs(tmp_path):
    check_maze(serve_checkpoint(tmp_path, PUBLISHED_MAZE_CONFIG))
