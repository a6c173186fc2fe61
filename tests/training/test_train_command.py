"""Test the commands that train by hand: they are short, and a copied command gives the same settings."""

import shlex
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT
from tests.training.test_trainer import TINY_RECIPE
from training.config import RunConfig, read_recipe
from training.run_dir import RunDir
from training.train_command import add_overrides, shorten_command, split_train_command

PREFIX = "python -m training train configs/tiny.yaml"


@pytest.fixture
def root(tmp_path) -> Path:
    """Return a directory with one recipe."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(yaml.safe_dump(TINY_RECIPE))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, PREFIX),
        ({"train.steps": 12}, PREFIX),
        ({"train.steps": 60, "publish.repo": "ann/x"}, f"{PREFIX} train.steps=60"),
        ({"model.d_model": 20, "optim.lr": 0.1}, f"{PREFIX} model.d_model=20 optim.lr=0.1"),
        ({"init_from": "checkpoints/a b"}, f"{PREFIX} 'init_from=\"checkpoints/a b\"'"),
    ],
)
def test_a_command_has_the_overrides_that_differ_from_its_recipe(root, changes, expected):
    config = read_recipe(root / "configs" / "tiny.yaml").with_overrides(changes)
    command = shorten_command(f"{PREFIX} train.steps=60 train.seed=3 train.steps=3000", config, root)
    assert command == expected
    recipe, overrides = split_train_command(command)
    copied = read_recipe(root / recipe, overrides)
    assert copied == config.with_overrides({"publish.repo": ""}), "a copied command gives the same settings"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_command_of_a_bundled_recipe_needs_no_override(path):
    command = f"python -m training train configs/{path.name}"
    assert shorten_command(f"{command} train.steps=5", read_recipe(path), ROOT) == command


@pytest.mark.parametrize(
    "command",
    ["", "a 'b", "python -m training", f"{PREFIX}x", "python -m training train ../configs/tiny.yaml", "python x.py"],
)
def test_a_command_without_a_readable_recipe_is_not_shortened(root, command):
    assert shorten_command(command, RunConfig.parse(TINY_RECIPE), root) is None


def test_overrides_cannot_remove_a_setting_of_the_model(root):
    model = {key: value for key, value in TINY_RECIPE["model"].items() if key != "dropout"}
    assert shorten_command(PREFIX, RunConfig.parse(TINY_RECIPE | {"model": model}), root) is None


def test_the_last_override_of_a_setting_is_kept_also_under_a_former_name():
    command = add_overrides(f"{PREFIX} train.keep=2 train.steps=60", ["train.save_total_limit=3", "train.steps=9"])
    assert command == f"{PREFIX} train.save_total_limit=3 train.steps=9"


def test_a_run_that_starts_over_repeats_no_setting_in_its_command(root):
    run_dir = RunDir(root / "run")
    run_dir.initialize(RunConfig.parse(TINY_RECIPE))
    run_dir.save_command(f"{PREFIX} train.steps=60")
    run_dir.change_settings(["train.steps=90"])
    assert run_dir.read_command() == f"{PREFIX} train.steps=90"
    assert read_recipe(root / "configs" / "tiny.yaml", shlex.split(run_dir.read_command())[5:]) == run_dir.load_config()
