"""Tests of former names of settings and commands: they are accepted, and settings with a warning."""

import logging

import pytest
import yaml

from training.cli.parser import build_parser
from training.config import RunConfig, read_recipe
from training.settings_aliases import SETTING_ALIASES, TASK_ALIASES
from training.tasks.registry import get_task_types, make_task

MODEL = {
    "iterations": 4,
    "d_model": 16,
    "d_input": 8,
    "heads": 1,
    "n_synch_out": 8,
    "n_synch_action": 8,
    "synapse_depth": 1,
    "memory_length": 4,
    "memory_hidden_dims": 4,
}
RECIPE = {"task": {"kind": "parity", "length": 4}, "model": MODEL}


def write_recipe(path, **groups):
    path.write_text(yaml.safe_dump(RECIPE | groups))
    return path


def test_former_names_are_accepted_with_a_warning(tmp_path, caplog):
    recipe = write_recipe(tmp_path / "old.yaml", train={"keep": 5, "takes": "grown"}, finish={"tolerance": 0.01})
    with caplog.at_level(logging.WARNING):
        config = read_recipe(recipe, ["optim.warmup=7", "finish.fit_steps=9"])
    assert (config.train.save_total_limit, config.train.init_mode) == (5, "expand")
    assert (config.finalize.accuracy_tolerance, config.finalize.fit_steps, config.optim.warmup_steps) == (0.01, 9, 7)
    (message,) = caplog.messages
    for change in (
        "train.keep is now train.save_total_limit",
        "train.init_mode=grown is now train.init_mode=expand",
        "finish is now finalize",
        "finalize.tolerance is now finalize.accuracy_tolerance",
        "optim.warmup is now optim.warmup_steps",
        "finish.fit_steps is now finalize.fit_steps",
    ):
        assert change in message


def test_current_names_give_no_warning(tmp_path, caplog):
    recipe = write_recipe(tmp_path / "new.yaml", train={"save_total_limit": 5}, model=MODEL | {"model_type": "ctm"})
    assert read_recipe(recipe, ["optim.warmup_steps=7"]).model["kind"] == "ctm"
    assert not caplog.messages


@pytest.mark.parametrize(
    "groups, overrides",
    [
        ({"train": {"keep": 1, "save_total_limit": 2}}, []),
        ({"finish": {"fit_steps": 1}, "finalize": {"fit_steps": 2}}, []),
    ],
)
def test_setting_under_both_names_is_an_error(groups, overrides, tmp_path):
    with pytest.raises(ValueError, match="both are set: remove the former"):
        read_recipe(write_recipe(tmp_path / "both.yaml", **groups), overrides)


def test_override_replaces_a_recipe_value_under_the_former_or_current_name(tmp_path):
    recipe = write_recipe(tmp_path / "old.yaml", train={"keep": 5})
    assert read_recipe(recipe, ["train.save_total_limit=3"]).train.save_total_limit == 3
    recipe = write_recipe(tmp_path / "new.yaml", train={"save_total_limit": 5})
    assert read_recipe(recipe, ["train.keep=3"]).train.save_total_limit == 3
    assert RunConfig.parse(RECIPE).with_overrides({"train.keep": 4}).train.save_total_limit == 4


@pytest.mark.parametrize("kind", sorted(TASK_ALIASES))
def test_task_aliases_refer_to_task_settings(kind):
    names = get_task_types()[kind].Settings.model_fields
    assert set(TASK_ALIASES[kind].values()) <= names.keys()
    assert not TASK_ALIASES[kind].keys() & names.keys()


@pytest.mark.parametrize("group", sorted(SETTING_ALIASES))
def test_setting_aliases_refer_to_settings(group):
    names = RunConfig.model_fields[group].annotation.model_fields
    assert set(SETTING_ALIASES[group].values()) <= names.keys()
    assert not SETTING_ALIASES[group].keys() & names.keys()


def test_task_accepts_former_setting_names():
    task = make_task({"kind": "tracking", "ask": "quadrant", "ahead": 3, "further": 5})
    assert (task.settings.target, task.settings.max_horizon, task.settings.ood_horizon) == ("quadrant", 3, 5)


@pytest.mark.parametrize(
    "former, current",
    [
        (["size", "a.yaml"], ["params", "a.yaml"]),
        (["finish", "runs/a", "--out", "b"], ["finalize", "runs/a", "--out", "b"]),
        (["train", "a.yaml", "--folder", "runs/a"], ["train", "a.yaml", "--run-dir", "runs/a"]),
        (["evaluate", "a", "--files", "b"], ["evaluate", "a", "--data-files", "b"]),
        (["fit-energy", "a", "--loss", "calibrated"], ["fit-energy", "a", "--energy-kind", "calibrated"]),
    ],
)
def test_former_commands_and_options_are_aliases(former, current):
    parser = build_parser()
    assert parser.parse_args(former) == parser.parse_args(current)
