"""What a pad is given and what comes back of it, without a browser."""

import pytest

from tests.ui.conftest import services_over
from training.data.maze import maze_of
from training.tasks import make_task, task_kinds
from ui.components.inputs import build_editor_value, parse_drawing
from ui.paths import STATIC_DIR
from ui.services.image_decoding import decode_image


@pytest.mark.parametrize("kind", task_kinds())
def test_every_pad_that_a_task_names_is_there(kind):
    pad = make_task({"kind": kind}).pad
    assert pad is None or (
        (STATIC_DIR / f"pad-{pad['kind']}.js").is_file() and build_editor_value(pad, "x") == {**pad, "made": "x"}
    )


def test_long_rows_are_typed():
    assert make_task({"kind": "parity", "length": 64, "encoding": "signs"}).pad["fixed"]
    assert make_task({"kind": "parity", "length": 65, "encoding": "signs"}).pad is None


def test_a_picture_to_edit_is_the_one_that_was_given(checkpoints):
    services = services_over(checkpoints)
    example = decode_image(str(services.get_checkpoint_info("mazes").examples[0]))
    pixels = decode_image(
        parse_drawing(build_editor_value({"kind": "maze"}, services.get_editor_image("mazes", example)))
    )
    assert pixels.shape == (15, 15, 3) and (maze_of(pixels).grid == maze_of(example).grid).all()


@pytest.mark.parametrize("value", ["app.py", {"made": "app.py"}, {"made": ["data:"]}, [], 3, None])
def test_nothing_that_names_a_file_of_this_machine_was_drawn(value):
    assert parse_drawing(value) is None
