"""Tests of the recipes: each is valid, and the quick ones learn with a smaller model.

Recipes of images use small files with the schema of their data set.
"""

import math
import re
from itertools import repeat
from pathlib import Path

import pytest
import torch

from ctm import build_model
from ctm.models.meta_device import use_meta_device
from tests.image_datasets import write_dataset
from tests.paths import ROOT
from training.config import RunConfig, read_recipe
from training.former_recipes import FORMER_RECIPES
from training.tasks.splits import TRAIN, make_generator
from training.trainer import Trainer

QUICK_RECIPES = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs/baselines").glob("*.yaml")])
QUICK_STAGES = [(path, number) for path in QUICK_RECIPES for number in range(len(read_recipe(path).stage_configs))]
PUBLISHED_RECIPES = sorted((ROOT / "configs/published").glob("*.yaml"))
RECIPES = sorted([*QUICK_RECIPES, *PUBLISHED_RECIPES])
IMAGE_RECIPES = [path for path in RECIPES if "kind: images" in path.read_text("utf-8")]
CONSTANT_LR = {"optim.lr": 0.01, "optim.warmup_steps": 0, "optim.min_lr_ratio": 1.0, "train.steps": 1_000_000}
MAX_STEPS = 60
MAX_COUNT = 10  # numbers of a list; a small model learns longer ones too slowly
LARGE_RECIPES = ("imagenet", "mazes-39")
SMALL_MODEL_CHANGES = {
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


def get_recipe_name(path: Path) -> str:
    """Return the path of a recipe below configs/, without suffix."""
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


@pytest.mark.parametrize("path", RECIPES, ids=get_recipe_name)
def test_recipe_is_valid_and_its_model_has_the_documented_parameter_count(path):
    text = path.read_text("utf-8")
    assert path.relative_to(ROOT).as_posix() in text.splitlines()[0], "the first line is the command"
    config = read_recipe(path).last_stage
    task = config.make_task()
    with use_meta_device():
        model = build_model(config.build_model_config(task), task.get_spec().in_features)
    count = sum(value.numel() for name, value in model.named_parameters() if "energy_proj" not in name)
    match = re.search(r"([\d,]+) parameters without the energy head", text)
    assert count > 1_000 and (not match or int(match[1].replace(",", "")) == count)


def test_recipes_train_from_nothing():
    """Experiments with the weights of a bundled model begin with them."""
    starts = {get_recipe_name(path): read_recipe(path).init_from for path in RECIPES}
    assert {name: start for name, start in starts.items() if start} == {
        "mazes-15-paced": "checkpoints/mazes-15-untaught",
        "mazes-39": "checkpoints/mazes-15",
        "transfer": "checkpoints/parity-16-untaught",
    }


@pytest.mark.parametrize("name", FORMER_RECIPES)
def test_former_recipe_names_its_successor(name):
    former = FORMER_RECIPES[name]
    with pytest.raises(ValueError, match=f"configs/{former.successor}.yaml"):
        read_recipe(ROOT / "configs" / f"{name}.yaml")
    assert former.stage <= len(read_recipe(ROOT / "configs" / f"{former.successor}.yaml").stages)


def use_small_dataset(config: RunConfig, directory: Path) -> RunConfig:
    """Return the recipe with a small data set of its schema, of small images, and a small model."""
    return use_local_dataset(config, directory).with_overrides(
        SMALL_MODEL_CHANGES | {"model.backbone_type": "resnet18-1", "task.resize": 20, "task.crop": 16}
    )


def use_local_dataset(config: RunConfig, directory: Path) -> RunConfig:
    """Return the recipe with a small data set of its schema."""
    settings = config.make_task().settings
    write_dataset(
        directory,
        config.make_task().get_labels(),
        24,
        settings.channels,
        train=300,
        columns=(settings.image_column, settings.label_column),
        splits=(settings.train_split, settings.test_split),
        image_format="JPEG" if settings.streaming else "PNG",
    )
    return config.with_overrides({"task.data_files": str(directory)})


@pytest.mark.parametrize(
    ("path", "stage"), QUICK_STAGES, ids=[f"{get_recipe_name(path)}-{stage + 1}" for path, stage in QUICK_STAGES]
)
def test_quick_recipe_reduces_its_loss_on_one_batch(path, stage, tmp_path):
    """Train on one batch repeatedly, with the task, loss and optimiser of one stage of the recipe."""
    config = read_recipe(path).stage_configs[stage]
    small = (
        use_small_dataset(config, tmp_path)
        if path in IMAGE_RECIPES
        else config.with_overrides(select_small_model_changes(config))
    )
    trainer = Trainer(small.with_overrides(CONSTANT_LR))
    trainer.prepare()
    batch = trainer.task.sample(TRAIN, 16, make_generator("learns"))
    losses: list[float] = []
    while not has_learned(losses) and len(losses) < MAX_STEPS:
        losses.append(trainer.train_step(repeat(batch))["loss"])
    assert has_learned(losses), losses


def has_learned(losses: list[float]) -> bool:
    """Return whether the mean of the last three losses is less than 0.9 times the first loss."""
    return len(losses) > 3 and sum(losses[-3:]) / 3 < 0.9 * losses[0]


def select_small_model_changes(config: RunConfig) -> dict[str, object]:
    """Return the overrides that make the model small, of those that it has, and long lists short."""
    task = {"task.count": MAX_COUNT} if config.task.get("count", 0) > MAX_COUNT else {}
    ticks = {"model.iterations": (config.with_overrides(task).make_task().get_spec().ctc_length or 0) + 2}
    return task | {
        name: value
        for name, value in (SMALL_MODEL_CHANGES | ticks).items()
        if not name.startswith("model.") or name[6:] in config.model
    }


@pytest.mark.parametrize("path", IMAGE_RECIPES, ids=get_recipe_name)
def test_image_recipe_trains_on_local_files_without_recording_their_path(path, tmp_path):
    small = use_small_dataset(read_recipe(path), tmp_path)
    seconds, _ = Trainer(small).time_steps(1)
    assert len(seconds) == 1 and str(tmp_path) not in str(small.to_portable_dict())


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in LARGE_RECIPES)) for path in PUBLISHED_RECIPES],
    ids=get_recipe_name,
)
def test_published_recipe_takes_a_step_at_its_size(path, tmp_path):
    """Train the published model on local files with the schema of the published data, in batches of two samples."""
    config = read_recipe(path)
    config = use_local_dataset(config, tmp_path) if path in IMAGE_RECIPES else config
    trainer = Trainer(
        config.with_overrides({"train.batch_size": 2, "train.device": "cpu", "train.mixed_precision": "no"})
    )
    trainer.prepare()
    before = [values.detach().clone() for values in trainer.model.parameters()]
    batch = trainer.task.sample(TRAIN, 2, make_generator("starts"))
    assert math.isfinite(trainer.train_step(iter([batch]))["loss"])
    assert not all(map(torch.equal, trainer.model.parameters(), before))  # the first steps of a warm-up are tiny
