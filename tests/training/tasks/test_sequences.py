"""Brackets, chains, a moving dot and questions on digits: every target is what a plain reckoning gives."""

import re
from itertools import pairwise, product
from random import Random

import pytest
import torch

from ctm.modules.input_schedule import EMPTY_CODE, IMAGE_CODE, MINUS, PLUS
from training.tasks import make_task
from training.tasks.brackets import SYMBOLS, compute_stack, count_completions, sample_balanced_sequence
from training.tasks.digits import load_images
from training.tasks.qamnist import resize_and_normalise
from training.tasks.splits import TEST, TRAIN, is_in_split, make_generator
from training.tasks.tracking import reflect_at_walls

SEQUENCE_TASKS = ("arithmetic", "brackets", "chain", "parity", "tracking", "qamnist", "sorting")


def is_balanced(text: str) -> bool:
    """By taking out what closes, until nothing does."""
    while (shorter := text.replace("()", "").replace("[]", "")) != text:
        text = shorter
    return not text


@pytest.mark.parametrize("split", ["train", "test", "deeper"])
def test_half_of_all_brackets_are_balanced_and_the_last_position_labels_it(split):
    batch = make_task({"kind": "brackets"}).sample(split, 100, make_generator(split))
    texts = ["".join(SYMBOLS[symbol] for symbol in row if symbol < 4) for row in batch.inputs.tolist()]
    assert sum(map(is_balanced, texts)) == 50
    for text, target, depth in zip(texts, batch.targets.tolist(), batch.difficulty.tolist(), strict=True):
        assert (target[-1] == 0) is is_balanced(text)
        assert (5 <= depth <= 6) if split == "deeper" else (1 <= depth <= 4)
        assert target[len(text) :] == [target[len(text) - 1]] * (16 - len(text)), "the verdict is held"


def test_the_top_of_the_stack_is_what_may_be_closed_next():
    for row in product(range(4), repeat=5):
        tops, depths = compute_stack(row)
        for place, (top, depth) in enumerate(zip(tops, depths, strict=True), 1):
            begun = "".join(SYMBOLS[symbol] for symbol in row[:place])
            if top == 3:
                assert not any(is_balanced(begun + "".join(end)) for end in product(")]", repeat=place))
            else:
                closes = {1: ")", 2: "]"}.get(top, "")
                assert (depth == 0) is (top == 0) is is_balanced(begun)
                assert any(
                    is_balanced(begun + closes + "".join(end)) for end in product(")]", repeat=max(0, depth - 1))
                )


def test_shapes_of_balanced_rows_are_drawn_evenly():
    assert count_completions(12, 0, 0, 6) == 132, "Catalan's number of six pairs"
    assert count_completions(12, 0, 1, 6) == sum(count_completions(12, 0, depth, depth) for depth in range(1, 7))
    draws = Random(0)
    drawn = [tuple(symbol < 2 for symbol in sample_balanced_sequence(3, 1, 3, draws)) for _ in range(600)]
    counts = [drawn.count(shape) for shape in set(drawn)]
    assert len(counts) == 5 and min(counts) > 70  # of 120 expected; below by chance once in a million


def test_chains_are_reckoned_from_left_to_right():
    task = make_task({"kind": "chain"})
    for split in ("train", "longer"):
        batch = task.sample(split, 60, make_generator(split))
        for row, target, operations in zip(
            batch.inputs.tolist(), batch.targets.tolist(), batch.difficulty.tolist(), strict=True
        ):
            value, values = row[0], [row[0]]
            for operator, digit in zip(row[1::2], row[2::2], strict=True):
                if operator < 13:
                    value = eval(f"{value}{'+-*'[operator - 10]}{digit}") % 10
                values.append(value)
            assert target == values
            assert (operations > 6) is (split == "longer")
    sentence = task.format_answer(task.parse_input("3+4*2-1"), [3, 7, 4, 3]).sentence
    assert sentence == "3 + 4 * 2 - 1 = 3 (mod 10, from left to right)"


def test_a_dot_moves_cell_by_cell_and_turns_at_the_walls():
    for start, speed in product(range(6), range(-2, 3)):
        place, direction, path = start, 1 if speed > 0 else -1, []
        for _ in range(20):
            path.append(place)
            for _ in range(abs(speed)):
                direction = direction if 0 <= place + direction <= 5 else -direction
                place += direction
        assert reflect_at_walls(start + speed * torch.arange(20), 6).tolist() == path


def test_what_is_seen_of_a_dot_has_one_continuation():
    """Every start and velocity is tried: all that agree with the frames agree on the answer."""
    task = make_task({"kind": "tracking", "side": 7, "max_horizon": 4, "ood_horizon": 6})
    batch = task.sample(TRAIN, 40, make_generator("one"))
    every = [
        [reflect_at_walls(torch.tensor(start + speed * step), 7).item() for step in range(12)]
        for start in range(7)
        for speed in range(-2, 3)
    ]
    for (*cells, asked), target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        seen = [None if cell == 49 else divmod(cell, 7) for cell in cells]
        for axis in (0, 1):
            fits = [line for line in every if all(s is None or line[f] == s[axis] for f, s in enumerate(seen))]
            assert {line[5 + asked - 50] for line in fits} == {target[axis]}


def test_a_quarter_is_where_the_cell_is():
    cells, quarters = (
        make_task({"kind": "tracking", "target": ask}).sample(TEST, 50, make_generator("same"))
        for ask in ("position", "quadrant")
    )
    assert torch.equal(cells.inputs, quarters.inputs)
    assert torch.equal((cells.targets >= 8).long() @ torch.tensor([2, 1]), quarters.targets[:, 0])


def test_questions_on_digits_have_the_answer_that_reckoning_gives():
    task = make_task({"kind": "qamnist", "operations": 2})
    pictures, labels = load_images(TEST)
    digit_of = {
        row.numpy().tobytes(): label
        for row, label in zip(resize_and_normalise(pictures).flatten(1), labels.tolist(), strict=True)
    }
    batch, longer = (task.sample(split, 40, make_generator("reckon")) for split in (TEST, "longer"))
    assert set(batch.difficulty.tolist()) == {1, 2} and set(longer.difficulty.tolist()) == {3, 4}
    both = zip([*batch.inputs, *longer.inputs], [*batch.targets.tolist(), *longer.targets.tolist()], strict=True)
    for frames, (target,) in both:
        codes = frames[:, 0].long().tolist()
        digits = [digit_of[frame[1:].numpy().tobytes()] for frame in frames if frame[0] == IMAGE_CODE]
        question = [code for code in codes if code not in (IMAGE_CODE, EMPTY_CODE)]
        value = digits[question[0]]
        for sign, place in zip(question[1::2], question[2::2], strict=True):
            value += {PLUS: 1, MINUS: -1}[sign] * digits[place]
        assert value % 10 == target
        assert codes == sorted(codes, key=lambda code: (code != IMAGE_CODE) + (code == EMPTY_CODE))
    read = task.parse_input("3 7 5 : 1 + 3 - 2")
    assert read.context == "3 + 5 - 7" and read.inputs.shape[1:] == batch.inputs.shape[1:]
    shown = [digit_of[frame[1:].numpy().tobytes()] for frame in read.inputs[0] if frame[0] == IMAGE_CODE]
    assert shown == [3, 7, 5]
    assert all(a["until"] + 1 == b["from"] for a, b in pairwise(read.display["phases"]))


def test_only_questions_to_train_on_may_name_a_single_digit():
    task = make_task({"kind": "qamnist", "operations": 2})
    shares = {
        split: (task.sample(split, 400, make_generator("plain", split)).difficulty == 0).float().mean().item()
        for split in ("train", "validation", "calibration", "test")
    }
    assert 0.15 < shares.pop("train") < 0.35
    assert not any(shares.values())


def test_draws_without_a_row_of_the_split_are_repeated():
    """With one list per draw, all lists may be rejected; the mask of no rows must still be a mask."""
    assert is_in_split(TEST, "sorting", torch.empty(0, 10)).dtype == torch.bool
    task = make_task({"kind": "sorting"})
    assert task.generate_input(11) == "-0.29 -1.60 -0.82 0.71 1.58 0.86 0.39 -0.19 -1.64 1.21"


@pytest.mark.parametrize(
    "choices, label, sentence",
    [
        ([1, 0, 2], "-1 2 7", "In order: -1 2 7"),
        ([1, 0], "2 of 3 numbers", "It output only 2 of the 3 numbers: -1 2"),
        ([1, 1, 2], "some numbers twice", "It output some numbers more than once: -1 -1 7"),
        ([], "0 of 3 numbers", "It output none of the numbers"),
    ],
)
def test_a_sorting_answer_names_the_numbers_that_were_output(choices, label, sentence):
    task = make_task({"kind": "sorting", "count": 3})
    answer = task.format_answer(task.parse_input("2 -1 7"), choices)
    assert (answer.label, answer.sentence) == (label, sentence)


@pytest.mark.parametrize("kind", SEQUENCE_TASKS)
def test_what_a_task_makes_up_is_held_out_and_read_as_it_is(kind):
    task = make_task({"kind": kind})
    made = [task.generate_input(seed) for seed in range(4)]
    assert len(set(made)) == 4 and made == [task.generate_input(seed) for seed in range(4)]
    for text in made:
        assert task.parse_input(text).inputs.equal(task.parse_input(re.sub(" +", "  ", text)).inputs)
