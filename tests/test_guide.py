"""Tests of the guide: its commands parse, its quotations exist in the source, and its example task works."""

import re

import pytest
import torch
import yaml
from dockerfile_parse import DockerfileParser

from ctm import ContinuousThoughtMachine, CTMConfig
from tests.documents import (
    DOCUMENTS,
    GUIDE,
    check_command,
    find_code_blocks,
    find_quotations,
    list_commands,
    read_sources,
)
from tests.paths import ROOT
from training.config import RunConfig
from training.evaluation import build_split_batches
from training.tasks import make_task
from training.tasks.registry import get_task_types
from ui.server.app_settings import APP_VARIABLES

TEXT = DOCUMENTS[GUIDE]


@pytest.mark.parametrize("words", list_commands(TEXT), ids=" ".join)
def test_commands_are_accepted_by_their_programs(words):
    check_command(words)


def test_guide_and_requirements_name_the_same_hub_client():
    assert '"huggingface_hub==2.4.0"' in TEXT
    assert "huggingface_hub==2.4.0" in (ROOT / "requirements.txt").read_text("utf-8")


@pytest.mark.parametrize("quotation", find_quotations(TEXT))
def test_quoted_texts_exist_in_the_source(quotation):
    """Check each part of a quotation; ellipses and arrows separate the parts."""
    recipes = " ".join(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    hub_texts = {"Duplicate this Space", "evicted", "write", "admin"}
    for part in re.split(r"\s*…\s*|\s*→\s*", quotation):
        is_product_text = part and part not in hub_texts and not part.startswith("run:")
        if is_product_text and part not in read_sources() + recipes:
            pytest.fail(f"the source does not contain {part!r}")


def test_every_app_variable_is_documented_with_the_value_of_the_image():
    rows = dict(re.findall(r"^\| `(\w+)`(?:, `\w+`)? \|.*\| (.*?) ?\|$", TEXT, re.MULTILINE))
    assert set(APP_VARIABLES) <= set(rows)
    image = DockerfileParser(path=str(ROOT / "Dockerfile")).envs
    for name, value in rows.items():
        if value and name in image:
            assert value.startswith(f"`{image[name]}`"), name


@pytest.fixture
def majority_task(monkeypatch):
    """Return the task of the guide, registered as if its file existed."""
    namespace: dict = {"__name__": "training.tasks.majority"}
    exec(compile(find_code_blocks(TEXT, "python")[0], "training/tasks/majority.py", "exec"), namespace)
    monkeypatch.setitem(get_task_types(), "majority", namespace["Majority"])
    return make_task({"kind": "majority"})


def test_example_task_of_the_guide_satisfies_the_task_interface(majority_task):
    config = RunConfig.parse(yaml.safe_load(find_code_blocks(TEXT, "yaml")[0]))
    assert config.task["kind"] == "majority"
    spec = majority_task.get_spec()
    model_config = config.model | {
        "backbone_type": spec.backbone,
        "out_dims": 2,
        "prediction_reshaper": spec.prediction_reshaper,
    }
    model = ContinuousThoughtMachine(CTMConfig.parse(model_config), None).eval()
    previous_rows: set = set()
    for split in ("train", "validation", "calibration", "test"):
        batch = majority_task.sample(split, 300, torch.Generator().manual_seed(0))
        rows = {tuple(row) for row in batch.inputs.tolist()}
        assert rows and not rows & previous_rows
        previous_rows |= rows
        assert torch.equal(batch.targets[:, 0], (batch.inputs.sum(1) > 5).long())
    assert sum(len(batch.inputs) for batch in build_split_batches(majority_task, "validation", 500)) > 20
    for example in majority_task.get_examples():
        task_input = majority_task.parse_input(example)
        choice = model(task_input.inputs).answers[0, :, -1].argmax().item()
        assert majority_task.format_answer(task_input, [choice]).label in majority_task.get_labels()
    with pytest.raises(ValueError, match="Type 11 bits, such as"):
        majority_task.parse_input("0120")
