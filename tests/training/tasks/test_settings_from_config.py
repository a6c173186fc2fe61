"""What a bare published config speaks for."""

import pytest

from training.tasks import infer_task, task_of

IMAGENET = {"backbone_type": "resnet152-4", "out_dims": 1000, "prediction_reshaper": [-1], "d_model": 4096}
MAZE = {"backbone_type": "resnet34-2", "out_dims": 500, "prediction_reshaper": [100, 5], "d_model": 2048}
PARITY = {"backbone_type": "parity_backbone", "out_dims": 128, "prediction_reshaper": [64, 2]}


def settings_of(config) -> dict:
    description = infer_task(config)
    assert task_of(description).describe() == description == task_of({}, config).describe()
    return {"task": description["task"], **description["settings"]}


def test_the_published_machines_are_recognised():
    assert settings_of(IMAGENET)["task"] == "images"
    assert settings_of(MAZE) == {"task": "mazes", "side": 39, "route": 100, "expand_range": False}
    assert settings_of(PARITY) == {"task": "parity", "length": 64, "encoding": "signs"}


def test_a_machine_for_small_mazes_is_thought_to_know_small_ones():
    assert settings_of(MAZE | {"out_dims": 250, "prediction_reshaper": [50, 5]})["side"] == 15


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
def test_others_are_left_open(config):
    assert infer_task(config) is None
    with pytest.raises(ValueError, match=r"no task\.json"):
        task_of({}, config)
