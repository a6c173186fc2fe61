"""Tests that recipes and overrides read YAML 1.1 booleans and numbers by the type of the setting."""

import pytest
import yaml

from tests.training.test_settings_aliases import RECIPE
from training.config import read_recipe

CASES = [
    ("train.mixed_precision", "no", "no"),
    ("publish.private", "yes", True),
    ("publish.private", "off", False),
    ("model.deep_nlms", "no", False),
    ("train.seed", "010", 10),
    ("optim.lr", "1e-3", 0.001),
    ("train.device", "cpu", "cpu"),
]


@pytest.mark.parametrize("name, text, value", CASES)
def test_override_is_read_by_the_type_of_its_setting(name, text, value, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    group, _, key = name.partition(".")
    config = read_recipe(path, [f"{name}={text}"])
    settings = config.build_model_config(config.make_task()) if group == "model" else getattr(config, group)
    assert getattr(settings, key) == value


@pytest.mark.parametrize("name, text, value", [case for case in CASES if not case[0].startswith("model")])
def test_recipe_value_is_read_by_the_type_of_its_setting(name, text, value, tmp_path):
    path = tmp_path / "recipe.yaml"
    group, _, key = name.partition(".")
    path.write_text(f"{yaml.safe_dump(RECIPE)}{group}: {{{key}: {text}}}\n")
    assert getattr(getattr(read_recipe(path), group), key) == value


@pytest.mark.parametrize("override", ["train.steps=1:30", "train.steps=no", "train.mixed_precision=maybe"])
def test_override_of_another_type_is_an_error(override, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(ValueError, match=override.partition("=")[0]):
        read_recipe(path, [override])
