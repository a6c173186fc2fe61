"""Inputs that are generated with a chosen difficulty."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.tasks.difficulty_oracles import CHECKPOINTS, MEASURES, has_difficulty
from training.paths import EXAMPLES_DIR
from training.tasks.registry import build_task, make_task


def read_task(name):
    return build_task(json.loads((Path("checkpoints") / name / "task.json").read_text()))


@pytest.mark.parametrize("name", MEASURES)
def test_generated_texts_have_the_wanted_difficulty(name):
    task = read_task(CHECKPOINTS[name])
    assert task.difficulty_name
    for difficulty in MEASURES[name][1]:
        texts = [task.generate_input(seed, difficulty) for seed in range(3)]
        assert len(set(texts)) > 1 or name == "parity"
        for text in texts:
            assert task.parse_input(text).true_choices is not None
            assert has_difficulty(name, text, difficulty), (text, difficulty)
        assert texts[0] == task.generate_input(0, difficulty)


def test_generated_mazes_have_the_wanted_route_length():
    task = make_task({"kind": "mazes", "side": 11, "route": 30})
    for steps in (4, 18):
        maze = task.parse_input(task.generate_input(1, steps) / np.float32(255))
        assert len(maze.true_choices or ()) == 30 and task.measure_difficulty(maze) == steps
        assert [choice != 4 for choice in maze.true_choices].count(True) == steps


def test_a_dot_is_asked_for_as_far_ahead_as_wanted():
    task = read_task("tracking-position")
    batch = task.draw_test_sample(3, 7)
    assert batch.difficulty.tolist() == [7] and len(batch.inputs) == 1
    ahead = int(task.generate_input(3, 0).split("+")[1])
    assert ahead == 0, "without a bounce and without a frame ahead nothing is left to predict"


@pytest.mark.parametrize(("name", "difficulty"), [("brackets", 9), ("chain", 40), ("arithmetic", 999)])
def test_a_difficulty_without_samples_gets_a_sentence(name, difficulty, monkeypatch):
    monkeypatch.setattr("training.tasks.base.MAX_DRAWN_SAMPLES", 256)
    monkeypatch.setattr("training.tasks.brackets.MAX_DRAWN_SAMPLES", 256)
    with pytest.raises(ValueError, match=rf"There is no new input with {difficulty} .*: choose another number\."):
        read_task(name).generate_input(0, difficulty)


def test_the_bundled_mazes_are_easy_typical_and_hard():
    task = read_task("mazes-15")
    assert [path.name for path in task.get_examples()] == [f"maze-15-{index}.png" for index in range(3)]
    assert all(path.parent == EXAMPLES_DIR for path in task.get_examples())
