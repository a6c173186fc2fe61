"""Every recipe is read and its machine built; each quick one learns, with a smaller machine; those of pictures on small files
of their data set's schema."""

import re
from itertools import repeat
from pathlib import Path

import pytest
import torch

from ctm import build_model
from tests.image_datasets import write_data_set
from tests.paths import ROOT
from training.config import RunConfig, read_recipe
from training.tasks.base import TRAIN, generator_for
from training.trainer import assemble, measure, optimise

QUICK = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs/baselines").glob("*.yaml")])
RECIPES = sorted([*QUICK, *(ROOT / "configs/published").glob("*.yaml")])
OF_PICTURES = [path for path in RECIPES if "kind: images" in path.read_text("utf-8")]
SHRUNK = {
    "model.iterations": 2,
    "model.d_model": 16,
    "model.d_input": 8,
    "model.heads": 2,
    "model.n_synch_out": 8,
    "model.n_synch_action": 8,
    "model.n_random_pairing_self": 0,
    "model.synapse_depth": 1,
    "model.memory_length": 3,
    "model.memory_hidden_dims": 2,
    "train.batch_size": 4,
    "train.eval_samples": 8,
    "train.device": "cpu",
    "train.mixed_precision": "no",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_every_recipe_is_read_and_its_machine_has_the_size_it_states(path):
    text = path.read_text("utf-8")
    assert path.relative_to(ROOT).as_posix() in text.splitlines()[0], "the first line is the command"
    config = read_recipe(path)
    task = config.make_task()
    with torch.device("meta"):
        machine = build_model(config.machine(task), task.shape().in_features)
    count = sum(value.numel() for name, value in machine.named_parameters() if "energy_proj" not in name)
    stated = re.search(r"([\d,]+) parameters without the energy head", text)
    assert count > 1_000 and (not stated or int(stated[1].replace(",", "")) == count)


def small_files(config: RunConfig, folder: Path) -> RunConfig:
    """The recipe on a small data set of its schema, with a small machine."""
    settings = config.make_task().settings
    write_data_set(
        folder,
        config.make_task().labels(),
        24,
        settings.channels,
        train=300,
        columns=(settings.image, settings.label),
        splits=(settings.train, settings.test),
        kind="JPEG" if settings.streaming else "PNG",
    )
    return config.changed(
        SHRUNK | {"model.backbone_type": "resnet18-1", "task.size": 20, "task.crop": 16, "task.files": str(folder)}
    )


@pytest.mark.parametrize("path", QUICK, ids=name_of)
def test_every_quick_recipe_learns(path, tmp_path):
    """Its own task, loss and optimiser step, on one batch again and again: what it cannot learn so, it never will."""
    config = read_recipe(path)
    small = small_files(config, tmp_path) if path in OF_PICTURES else config.changed(shrunk(config))
    accelerator, task, machine, optimizer = assemble(small)
    batch = task.draw(TRAIN, 16, generator_for("learns"))
    model, optimizer = accelerator.prepare(machine, optimizer)
    losses = [
        optimise(small, task.reading, model, optimizer, accelerator, repeat(batch), 0.01, 1.0)["loss"]
        for _ in range(60)
    ]
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0], losses


def shrunk(config: RunConfig) -> dict[str, object]:
    """Changes that make a machine small, of the settings that it has."""
    ticks = {"model.iterations": (config.make_task().shape().spoken or 0) + 2}
    return {
        name: value
        for name, value in (SHRUNK | ticks).items()
        if not name.startswith("model.") or name[6:] in config.model
    }


@pytest.mark.parametrize("path", OF_PICTURES, ids=name_of)
def test_recipes_of_pictures_learn_from_files_of_the_same_schema(path, tmp_path):
    small = small_files(read_recipe(path), tmp_path)
    _, seconds, _ = measure(small, 1)
    assert len(seconds) == 1 and str(tmp_path) not in str(small.portable())
