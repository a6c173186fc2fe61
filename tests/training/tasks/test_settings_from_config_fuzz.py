"""Fuzz tests of task.json and of configs without it: they give a working task, none, or an error message."""

import json

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ctm.config import CTMConfig
from tests.strategies import are_sentences, json_values, mutate_json, try_read
from training.tasks import build_task, find_compatible_tasks, infer_task_metadata, make_task
from training.tasks.registry import get_task_types

CONFIG = {
    "iterations": 4,
    "d_model": 12,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 5,
    "n_synch_action": 4,
    "synapse_depth": 1,
    "memory_length": 5,
    "memory_hidden_dims": 4,
}
SMALL_SETTINGS = {"images": {"size": 16, "crop": 12, "names": ["a", "b"]}}  # small images are parsed fast
TASK_DESCRIPTIONS = {
    kind: make_task({"kind": kind} | SMALL_SETTINGS.get(kind, {})).describe() for kind in get_task_types()
}

sizes = st.integers(1, 9) | st.sampled_from([10, 32, 100, 250, 513, 1000, 1024, 5000, 10_000, 1_000_000])


@st.composite
def configs(draw) -> dict:
    """Generate valid configs of models with any backbone and output shape."""
    backbones = ["resnet18-1", "shallow-wide", "parity_backbone", "tokens-10x12", "tokens-3x16", "mnist_backbone"]
    positions, classes = draw(sizes), draw(st.sampled_from([2, 5, 10, 1000]) | sizes)
    shape = draw(st.sampled_from([[positions, classes], [-1, classes], [positions, -1], [-1], [positions * classes]]))
    backbone = draw(st.sampled_from(backbones))
    return CONFIG | {"backbone_type": backbone, "out_dims": positions * classes, "prediction_reshaper": shape}


@given(configs())
@example(CONFIG | {"backbone_type": "resnet18-1", "out_dims": 10_000, "prediction_reshaper": [2_000, 5]})
@example(CONFIG | {"backbone_type": "resnet18-1", "out_dims": 5, "prediction_reshaper": [1, 5]})
@example(CONFIG | {"backbone_type": "parity_backbone", "out_dims": 2_048, "prediction_reshaper": [1_024, 2]})
@example(CONFIG | {"backbone_type": "parity_backbone", "out_dims": 12, "prediction_reshaper": [-1, 2]})
@example(CONFIG | {"backbone_type": "resnet18-1", "out_dims": 1_000, "prediction_reshaper": [1_000]})
def test_task_inferred_from_any_valid_config_is_compatible_or_none(values):
    config = try_read(lambda: CTMConfig.parse(values).to_dict(), are_sentences)
    if config is None:
        return
    inferred, compatible = infer_task_metadata(config), find_compatible_tasks(config)
    assert inferred is None or compatible.get(inferred["task"]) == inferred
    for kind, description in compatible.items():
        task = build_task(json.loads(json.dumps(description)), config)
        assert task.name == kind and task.get_spec().positions * task.get_spec().classes == config["out_dims"]


@given(st.sampled_from(sorted(TASK_DESCRIPTIONS)).flatmap(lambda kind: mutate_json(TASK_DESCRIPTIONS[kind])))
@example(TASK_DESCRIPTIONS["images"] | {"settings": SMALL_SETTINGS["images"] | {"std": [1e-300, 1, 1]}})
@example(TASK_DESCRIPTIONS["images"] | {"settings": SMALL_SETTINGS["images"] | {"mean": [1e308, 0, 0]}})
@example(TASK_DESCRIPTIONS["parity"] | {"task": "x" * 100_000})
@example({"task": None})
@example({"task": "parity", "settings": {"length": 10**30}})
def test_edited_description_is_a_task_or_rejected_with_a_message(description):
    if not isinstance(description.get("task"), str | None) or not isinstance(description.get("settings", {}), dict):
        return  # reading the checkpoint rejects such a file
    task = try_read(lambda: build_task(description), are_sentences)
    if task is None or getattr(task.settings, "resize", 0) > 100:
        return
    new_description = json.loads(json.dumps(task.describe()))
    assert json.loads(json.dumps(build_task(new_description).describe())) == new_description
    if task.input_type == "image":
        inputs = [task.generate_input(0) / 255] if task.supports_generation else [np.eye(32, dtype=np.float32)]
    else:
        inputs = task.get_examples()
    for value in inputs:
        task_input = try_read(lambda value=value: task.parse_input(value))
        assert task_input is None or torch.isfinite(task_input.inputs.float()).all()


@given(st.dictionaries(st.sampled_from(["kind", "length", "side", "route", "names", "size"]), json_values, max_size=4))
def test_any_settings_are_a_task_or_rejected_with_a_message(values):
    task = try_read(lambda: make_task(values), are_sentences)
    assert task is None or task.name == values["kind"]
