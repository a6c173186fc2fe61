"""What strangers' checkpoints say of their task, in task.json or by config alone: a task that works, none, or a sentence."""

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
SMALL_SETTINGS = {"images": {"size": 16, "crop": 12, "names": ["a", "b"]}}  # so that reading takes no time
TASK_DESCRIPTIONS = {
    kind: make_task({"kind": kind} | SMALL_SETTINGS.get(kind, {})).describe() for kind in get_task_types()
}

sizes = st.integers(1, 9) | st.sampled_from([10, 32, 100, 250, 513, 1000, 1024, 5000, 10_000, 1_000_000])


@st.composite
def configs(draw) -> dict:
    """Sound configs of machines that could be for anything."""
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
def test_any_sound_config_speaks_for_a_task_that_fits_it_or_for_none(values):
    config = try_read(lambda: CTMConfig.parse(values).to_dict(), are_sentences)
    if config is None:
        return
    described, fitting = infer_task_metadata(config), find_compatible_tasks(config)
    assert described is None or fitting.get(described["task"]) == described
    for kind, description in fitting.items():
        task = build_task(json.loads(json.dumps(description)), config)
        assert task.name == kind and task.get_spec().positions * task.get_spec().classes == config["out_dims"]


@given(st.sampled_from(sorted(TASK_DESCRIPTIONS)).flatmap(lambda kind: mutate_json(TASK_DESCRIPTIONS[kind])))
@example(TASK_DESCRIPTIONS["images"] | {"settings": SMALL_SETTINGS["images"] | {"std": [1e-300, 1, 1]}})
@example(TASK_DESCRIPTIONS["images"] | {"settings": SMALL_SETTINGS["images"] | {"mean": [1e308, 0, 0]}})
@example(TASK_DESCRIPTIONS["parity"] | {"task": "x" * 100_000})
@example({"task": None})
@example({"task": "parity", "settings": {"length": 10**30}})
def test_an_edited_description_is_a_task_or_rejected_in_sentences(description):
    if not isinstance(description.get("task"), str | None) or not isinstance(description.get("settings", {}), dict):
        return  # which ctm.notes refuses
    task = try_read(lambda: build_task(description), are_sentences)
    if task is None or getattr(task.settings, "resize", 0) > 100:
        return
    described = json.loads(json.dumps(task.describe()))
    assert json.loads(json.dumps(build_task(described).describe())) == described
    if task.input_type == "image":
        gifts = [task.generate_input(0) / 255] if task.supports_generation else [np.eye(32, dtype=np.float32)]
    else:
        gifts = task.get_examples()
    for gift in gifts:
        read = try_read(lambda gift=gift: task.parse_input(gift))
        assert read is None or torch.isfinite(read.inputs.float()).all()


@given(st.dictionaries(st.sampled_from(["kind", "length", "side", "route", "names", "size"]), json_values, max_size=4))
def test_any_settings_are_a_task_or_rejected_in_sentences(values):
    task = try_read(lambda: make_task(values), are_sentences)
    assert task is None or task.name == values["kind"]
