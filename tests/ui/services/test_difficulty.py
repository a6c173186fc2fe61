"""Test the measured accuracy by difficulty that the page shows."""

import json
from pathlib import Path

import pytest

from tests.ui.conftest import make_inference_service
from training.tasks.registry import build_task
from ui.services.difficulty import build_difficulty_scale, describe_example, select_default_level


def build_scale(name: str):
    directory = Path("checkpoints") / name
    metadata = [json.loads((directory / file).read_text()) for file in ("task.json", "metrics.json")]
    return build_difficulty_scale(build_task(metadata[0]), metadata[1]), metadata[1]


def test_mazes_begin_with_a_typical_length_that_is_mostly_solved():
    scale, metrics = build_scale("mazes-15")
    level = scale["levels"][scale["selected"]]
    measured = metrics["evaluations"][0]["by_difficulty"][str(level["level"])]
    assert level == {
        "level": level["level"],
        "accuracy": round(measured["accuracy_halted"], 4),
        "samples": measured["n"],
    }
    assert level["accuracy"] >= 0.9 and 16 <= level["level"] <= 26
    assert (scale["noun"], scale["verb"]) == ("mazes", "solved")


def test_a_model_that_fails_at_the_median_begins_below_it():
    scale, _ = build_scale("parity-64")
    assert all(level["samples"] >= 20 for level in scale["levels"])
    measured = ((1, 0.97, 50), (2, 0.92, 50), (3, 0.4, 50), (4, 0.1, 200))
    mixed = [{"level": level, "accuracy": accuracy, "samples": samples} for level, accuracy, samples in measured]
    assert select_default_level(mixed) == 1, "the hardest one that it solves"
    bad = [{"level": level, "accuracy": accuracy, "samples": 50} for level, accuracy in ((1, 0.2), (2, 0.4), (3, 0.1))]
    assert select_default_level(bad) == 1, "the best one, if none is reliable"


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_a_task_without_difficulties_has_no_slider(name):
    assert build_scale(name)[0] is None


def test_examples_are_labelled_by_what_was_measured():
    scale, _ = build_scale("mazes-15-untaught")
    labels = make_inference_service(Path("checkpoints")).get_checkpoint_info("mazes-15-untaught").example_labels
    assert labels == [
        "Easy: 10 steps to the goal",
        "Typical: 22 steps to the goal",
        "Too hard: 42 steps to the goal",
    ]
    assert describe_example(scale, 7) == "" and describe_example(None, 10) == ""


def test_a_generated_maze_has_the_selected_length():
    service = make_inference_service(Path("checkpoints"))
    scale = service.get_checkpoint_info("mazes-15").difficulty
    task = service.catalog.read_local("mazes-15")[0]
    image = service.generate_input("mazes-15", 3, 4)
    assert task.measure_difficulty(task.parse_input(image / 255)) == scale["levels"][4]["level"]
    for invalid in (None, -1, 999, "4", True):
        assert service.generate_input("mazes-15", 3, invalid).shape == image.shape
