"""Tests that tasks compute the correct answer of an input, and tell how it differs from the training samples."""

import numpy as np
import pytest

from training.data.maze import COLOURS
from training.tasks import make_task
from training.tasks.arithmetic import COMPOSITIONAL, EXTRAPOLATION, TYPED
from training.tasks.splits import TEST, make_generator

TEXT_KINDS = ("parity", "chain", "brackets", "arithmetic", "qamnist", "sorting", "tracking")


@pytest.mark.parametrize(
    ("settings", "text", "choices"),
    [
        ({"kind": "parity"}, "1011", (1, 1, 0, 1)),
        ({"kind": "chain"}, "3+4*2-1", (3, 7, 4, 3)),
        ({"kind": "chain"}, "3-3+9", (3, 0, 9)),
        ({"kind": "brackets"}, "([)]", (1, 2, 3, 3)),
        ({"kind": "brackets"}, "(())", (1, 1, 1, 0)),
        ({"kind": "arithmetic"}, "3 7 11 15", (0, 1, 9)),
        ({"kind": "arithmetic"}, "13 14 15 16", (0, 1, 7)),
        ({"kind": "arithmetic"}, "2 4 6", (0, 0, 8)),
        ({"kind": "arithmetic"}, "1 2 3 4 5 6", (0, 0, 7)),
        ({"kind": "arithmetic"}, "90 80 70 60", (0, 5, 0)),
        ({"kind": "qamnist"}, "3 7 5 : 1 + 3 - 2", (1,)),
        ({"kind": "qamnist"}, "2 4 : 1 - 2", (8,)),
        ({"kind": "sorting", "count": 3}, "3 -1.5 40", (1, 0, 2)),
        ({"kind": "tracking"}, "3,4 4,5 - 6,7 7,8 8,9 +4", (12, 13)),
        ({"kind": "tracking"}, "13,0 14,0 15,0 14,0 13,0 12,0 +2", (10, 0)),
        ({"kind": "tracking", "target": "quadrant"}, "3,4 4,5 - 6,7 7,8 8,9 +4", (3,)),
    ],
)
def test_the_correct_answer_is_computed(settings, text, choices):
    task = make_task(settings)
    task_input = task.parse_input(text)
    assert task_input.true_choices == choices
    assert task.is_correct(task_input, list(choices))
    wrong = [*choices[:-1], (choices[-1] + 1) % task.get_spec().classes]
    assert task.is_correct(task_input, wrong) is False


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_the_correct_answer_of_a_generated_input_is_that_of_its_sample(kind):
    task = make_task({"kind": kind})
    for seed in range(5):
        task_input = task.parse_input(task.generate_input(seed))
        assert task_input.true_choices is not None and task_input.shift is None
        if kind not in ("qamnist", "brackets"):  # these generate inputs apart from samples
            target = task.sample(TEST, 1, make_generator("invent", seed)).targets[0].tolist()
            assert list(task_input.true_choices) == target[: len(task_input.true_choices)]


def test_the_sentence_decides_which_positions_matter():
    parity, arithmetic = make_task({"kind": "parity"}), make_task({"kind": "arithmetic"})
    assert parity.is_correct(parity.parse_input("1011"), [0, 0, 0, 1])
    assert not arithmetic.is_correct(arithmetic.parse_input("3 7 11 15"), [1, 1, 9])


def test_a_route_is_correct_if_it_reaches_the_goal():
    task = make_task({"kind": "mazes", "side": 7, "route": 10})
    grid = np.ones((7, 7), np.uint8)
    grid[[0, -1]] = grid[:, [0, -1]] = 0
    grid[1, 1], grid[1, 3] = 2, 3
    task_input = task.parse_input(COLOURS[grid])
    moves = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
    by_name = {name: index for index, label in enumerate(task.get_labels()) for name in moves if name in label.lower()}
    detour = [by_name[name] for name in ("down", "right", "right", "up")]
    wait = next(index for index in range(5) if index not in by_name.values())
    assert task.is_correct(task_input, detour + [wait] * 6)
    assert not task.is_correct(task_input, [by_name["down"]] + [wait] * 9)


def test_a_route_beyond_the_answer_is_correct_as_far_as_the_answer_goes():
    task = make_task({"kind": "mazes", "side": 15, "route": 10, "longest_route": 50})
    task_input = task.parse_input(task.generate_input(0, difficulty=24) / 255)
    choices = list(task_input.true_choices)
    assert task.is_correct(task_input, choices)
    assert task.format_answer(task_input, choices).label == "on the way"
    wait = task.get_labels().index("wait")
    assert not task.is_correct(task_input, [*choices[:-1], wait])


# --- differences from the training samples ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text", "split", "words"),
    [
        ({"kind": "arithmetic"}, "0 24 48 72", EXTRAPOLATION, "step is larger than 20"),
        ({"kind": "arithmetic"}, "13 14 15 16", COMPOSITIONAL, "left out of training"),
        ({"kind": "arithmetic"}, "3 7 11 16", None, "not equal"),
        ({"kind": "brackets"}, "(((((())))))", "deeper", "nested 6 deep"),
        ({"kind": "sorting", "count": 3}, "1 1.0001 400", None, "closer to each other"),
        ({"kind": "tracking"}, "0,0 9,9 0,0 9,9 0,0 9,9 +1", None, "No dot of constant speed"),
        ({"kind": "tracking"}, "1,1 1,1 - - - - +1", None, "several motions"),
    ],
)
def test_inputs_unlike_the_training_samples_are_told_apart(settings, text, split, words):
    task_input = make_task(settings).parse_input(text)
    assert words in task_input.shift.sentence and task_input.shift.split == split


def test_a_maze_of_another_size_differs_from_training():
    grid = np.zeros((5, 7), np.uint8)
    grid[1:-1, 1:-1] = 1
    grid[1, 1], grid[3, 5] = 2, 3
    task_input = make_task({"kind": "mazes", "side": 15, "route": 50}).parse_input(COLOURS[grid])
    assert task_input.shift.sentence == "The maze has 7 x 5 places; the model was trained on 15 x 15."


@pytest.mark.parametrize("text", ["0 0 0 0", "100 90 80 70", "7 8 9 10 11"])
def test_familiar_sequences_have_no_shift(text):
    task_input = make_task({"kind": "arithmetic"}).parse_input(text)
    shift = task_input.shift
    assert shift is None or shift.split == COMPOSITIONAL


def test_typed_sequences_are_held_out_and_small():
    task = make_task({"kind": "arithmetic"})
    batch = task.load_full_split(TYPED)
    numbers = (batch.inputs.unflatten(1, (4, 3)) * batch.inputs.new_tensor([100, 10, 1])).sum(2)
    steps = numbers[:, 1] - numbers[:, 0]
    assert len(numbers) > 20 and numbers[:, 0].max() <= 100 and 1 <= steps.abs().min() <= steps.abs().max() <= 10
    training = {tuple(row) for row in task.load_full_split("train").inputs.tolist()}
    assert not training & {tuple(row) for row in batch.inputs.tolist()}


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("chain", "1+1+1+1+1+1+1+1", "at most 6 operations, got 7"),
        ("tracking", "3,4 4,5 - 6,7 7,8 8,9 +9", r"\+0 to \+8: got '\+9'"),
        ("arithmetic", "990 993 996 999", "the next number would be 1002"),
        ("arithmetic", "9 6 3 0", "the next number would be -3"),
        ("arithmetic", "1 5 9", "the one before 1 would be -3.*type one more number"),
        ("arithmetic", "1 2", "3 to 6 numbers, got 2"),
        ("arithmetic", "1 2 3 4 5 6 7", "3 to 6 numbers, got 7"),
    ],
)
def test_untrained_lengths_and_unreadable_answers_are_rejected(kind, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_task({"kind": kind}).parse_input(text)


@pytest.mark.parametrize("kind", ["chain", "tracking"])
def test_splits_of_untrained_symbols_are_no_results(kind):
    assert make_task({"kind": kind}).reported_splits == (TEST,)


def test_a_false_reason_is_not_stated():
    task = make_task({"kind": "brackets"})
    task_input = task.parse_input("([)]")
    assert task.format_answer(task_input, [1, 2, 3, 3]).sentence.endswith(
        ": bracket 3 closes a bracket that was never opened"
    )
    assert task.format_answer(task_input, [1, 2, 2, 3]).sentence.endswith(
        ": one closes a bracket that was never opened"
    )
