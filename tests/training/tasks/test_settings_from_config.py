"""Tests of the task settings that are inferred from the config of a published model."""

import pytest

from training.tasks import build_task, infer_task_metadata

IMAGENET = {"backbone_type": "resnet152-4", "out_dims": 1000, "prediction_reshaper": [-1], "d_model": 4096}
MAZE = {"backbone_type": "resnet34-2", "out_dims": 500, "prediction_reshaper": [100, 5], "d_model": 2048}
PARITY = {"backbone_type": "parity_backbone", "out_dims": 128, "prediction_reshaper": [64, 2]}


def infer_settings(config) -> dict:
    description = infer_task_metadata(config)
    assert build_task(description).describe() == description == build_task({}, config).describe()
    return {"task": description["task"], **description["settings"]}


def test_settings_of_the_published_models_are_inferred():
    assert infer_settings(IMAGENET)["task"] == "images"
    assert infer_settings(MAZE) == {
        "task": "mazes",
        "side": 39,
        "route": 100,
        "expand_range": False,
        "even_lengths": False,
        "length_draws": 1,
        "longest_route": None,
        "curriculum_route": None,
    }
    assert infer_settings(PARITY) == {
        "task": "parity",
        "length": 64,
        "encoding": "signs",
        "share_full": 0.0,
        "curriculum_length": None,
    }


def test_model_for_small_mazes_gets_small_maze_settings():
    assert infer_settings(MAZE | {"out_dims": 250, "prediction_reshaper": [50, 5]})["side"] == 15


@pytest.mark.parametrize(
    "config",
    [
        IMAGENET | {"out_dims": 10},
        MAZE | {"backbone_type": "tokens-3x16"},
        MAZE | {"prediction_reshaper": [125, 4]},
        PARITY | {"prediction_reshaper": [-1]},
        {"backbone_type": "none", "out_dims": 31},
        {},
    ],
)
def test_no_settings_are_inferred_for_other_models(config):
    assert infer_task_metadata(config) is None
    with pytest.raises(ValueError, match=r"no task\.json"):
        build_task({}, config)
