"""Every recipe is read and its machine built; those of pictures take a step on a small file of their data set's schema."""

import re
from pathlib import Path

import pytest
import torch

from ctm import ContinuousThoughtMachine
from tests.pictures import write_data_set
from training.config import read_recipe
from training.loop import measure

ROOT = Path(__file__).parents[2]
RECIPES = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs/published").glob("*.yaml")])
OF_PICTURES = [path for path in RECIPES if "kind: images" in path.read_text("utf-8")]
SHRUNK = {
    "model.iterations": 2, "model.d_model": 16, "model.d_input": 8, "model.heads": 2, "model.n_synch_out": 8,
    "model.n_synch_action": 8, "model.n_random_pairing_self": 0, "model.synapse_depth": 1, "model.memory_length": 3,
    "model.memory_hidden_dims": 2, "model.backbone_type": "resnet18-1", "train.batch_size": 4, "train.eval_samples": 8,
    "train.device": "cpu", "train.mixed_precision": "no", "task.size": 20, "task.crop": 16,
}  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_every_recipe_is_read_and_its_machine_has_the_size_it_states(path):
    text = path.read_text("utf-8")
    assert path.relative_to(ROOT).as_posix() in text.splitlines()[0], "the first line is the command"
    config = read_recipe(path)
    task = config.make_task()
    with torch.device("meta"):
        machine = ContinuousThoughtMachine(config.machine(task), task.shape().in_features)
    count = sum(value.numel() for name, value in machine.named_parameters() if "energy_proj" not in name)
    stated = re.search(r"([\d,]+) parameters without the energy head", text)
    assert count > 1_000 and (not stated or int(stated[1].replace(",", "")) == count)


@pytest.mark.parametrize("path", OF_PICTURES, ids=name_of)
def test_recipes_of_pictures_learn_from_files_of_the_same_schema(path, tmp_path):
    config = read_recipe(path)
    settings = config.make_task().settings
    write_data_set(
        tmp_path, config.make_task().labels(), 24, settings.channels, train=300, columns=(settings.image, settings.label),
        splits=(settings.train, settings.test), kind="JPEG" if settings.streaming else "PNG",
    )  # fmt: skip
    small = config.changed(SHRUNK | {"task.files": str(tmp_path)})
    _, seconds, _ = measure(small, 1)
    assert len(seconds) == 1 and str(tmp_path) not in str(small.portable())
