"""Test the values of editors without a browser."""

import numpy as np
import pytest

from tests.ui.conftest import make_inference_service
from training.data.maze_reader.reader import parse_maze
from training.tasks import list_task_kinds, make_task
from ui.components.inputs import build_editor_value, parse_drawing
from ui.services.image_decoding import decode_image
from ui.static_files import read_static


@pytest.mark.parametrize("kind", list_task_kinds())
def test_every_editor_that_a_task_names_exists(kind):
    pad = make_task({"kind": kind}).input_editor
    is_known = bool(pad) and f"\n  {pad['kind']}: create" in read_static("editors/component.js")
    assert pad is None or (is_known and build_editor_value(pad, "x") == {**pad, "content": "x"})


def test_long_rows_are_typed():
    assert make_task({"kind": "parity", "length": 64, "encoding": "signs"}).input_editor["fixed"]
    assert make_task({"kind": "parity", "length": 65, "encoding": "signs"}).input_editor is None


def test_a_picture_to_edit_is_the_one_that_was_given(checkpoints_dir):
    services = make_inference_service(checkpoints_dir)
    example = decode_image(str(services.get_checkpoint_info("mazes").examples[0]))
    pixels = decode_image(
        parse_drawing(build_editor_value({"kind": "maze"}, services.get_editor_image("mazes", example)))
    )
    assert pixels.shape == (15, 15, 3) and (parse_maze(pixels).grid == parse_maze(example).grid).all()


def test_a_picture_without_start_and_goal_is_edited_without_them(checkpoints_dir):
    services = make_inference_service(checkpoints_dir)
    example = decode_image(str(services.get_checkpoint_info("mazes").examples[0]))
    plain = np.where((example.min(-1) == example.max(-1))[..., None], example, 1)
    pixels = decode_image(services.get_editor_image("mazes", plain))
    assert pixels.shape == (15, 15, 3) and set(np.unique(pixels)) == {0, 1}
    with pytest.raises(ValueError, match="15 x 15 positions has no red start and no green goal"):
        services.predict("mazes", plain, "")


@pytest.mark.parametrize("value", ["app.py", {"content": "app.py"}, {"content": ["data:"]}, [], 3, None])
def test_a_value_that_names_a_local_file_is_no_drawing(value):
    assert parse_drawing(value) is None
