"""Fuzz tests of task inputs: any text or image is parsed, or rejected in one sentence."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.strategies import HOSTILE_TEXTS, reduce_examples, time_limit, try_read
from training.data.maze import COLOURS
from training.tasks import make_task
from training.tasks.base import Task
from training.tasks.registry import get_task_types
from training.tasks.samples import TaskInput

SETTINGS_BY_TASK = {
    "parity": {"kind": "parity", "length": 6},
    "parity, signs": {"kind": "parity", "length": 6, "encoding": "signs"},
    "arithmetic": {"kind": "arithmetic"},
    "arithmetic, one digit": {"kind": "arithmetic", "digits": 1},
    "brackets": {"kind": "brackets"},
    "chain": {"kind": "chain"},
    "tracking": {"kind": "tracking"},
    "tracking, quadrant": {"kind": "tracking", "target": "quadrant", "frames": 2},
    "sorting": {"kind": "sorting", "count": 3},
    "qamnist": {"kind": "qamnist"},
    "digits": {"kind": "digits"},
    "images": {"kind": "images", "resize": 40, "crop": 32},
    "images, on black": {
        "kind": "images",
        "resize": 28,
        "crop": 28,
        "channels": 1,
        "mean": [0.3],
        "std": [0.4],
        "names": ["a", "b"],
        "background": "dark",
    },
    "mazes": {"kind": "mazes"},
    "mazes, expanded": {"kind": "mazes", "route": 2, "expand_range": True},
}
TASKS = {name: make_task(settings) for name, settings in SETTINGS_BY_TASK.items()}
TEXT_TASKS = [name for name, task in TASKS.items() if task.input_type == "text"]
IMAGE_TASKS = [name for name, task in TASKS.items() if task.input_type == "image"]

separators = st.sampled_from([" ", ",", ";", "\n", "\t", "", "\u00a0", "\u2028", " , "])
odd_words = st.sampled_from(["0", "1", "01", "-0", "+7", "1e3", "0x1", "\u0663", "\uff11", "nan", "\u00b2", "1_0"])
bracket_like = st.text("([)]+-*:,. 0123456789", max_size=30)
words = st.integers(-3, 1_200).map(str) | odd_words
input_texts = (
    st.builds(str.join, separators, st.lists(words, max_size=7))
    | st.text("01 ,\n", max_size=9)
    | bracket_like
    | st.text(max_size=60)
)


def check_input(task: Task, task_input: TaskInput | None) -> None:
    """Check that a parsed input fits the model, and that every answer to it has a sentence."""
    if task_input is None:
        return
    spec = task.get_spec()
    assert len(task_input.inputs) == 1 and task_input.inputs.dtype in (torch.int64, torch.float32)
    assert torch.isfinite(task_input.inputs.float()).all() and 1 <= task_input.positions <= spec.positions
    classes = spec.ctc_length or spec.classes  # the CTC blank is never part of an answer
    for choice in range(classes if classes < 20 else 2):
        assert task.format_answer(task_input, [choice] * task_input.positions).sentence


@pytest.mark.parametrize("name", TEXT_TASKS)
@given(text=input_texts)
@example("\ud800")
@example("\u0661" * 6)
def test_any_text_is_parsed_or_rejected_in_one_sentence(name, text):
    task = TASKS[name]
    task_input = try_read(lambda: task.parse_input(text))
    check_input(task, task_input)
    if task_input is not None:
        assert task.parse_input(f" {text}\n").inputs.equal(task_input.inputs)
        assert all(item.isascii() and item.isprintable() for item in task_input.display.get("items", []))


@given(st.lists(st.integers(0, 999), min_size=4, max_size=4), st.sampled_from([" ", ", ", ";", "\n"]))
def test_numbers_are_parsed_to_their_digits(numbers, separator):
    task_input = TASKS["arithmetic"].parse_input(separator.join(map(str, numbers)))
    assert task_input.inputs.tolist() == [[int(digit) for number in numbers for digit in f"{number:03d}"]]


@given(st.text("01", min_size=1, max_size=6))
def test_bits_are_parsed_and_padded(bits):
    assert TASKS["parity"].parse_input(bits).inputs.tolist() == [[*map(int, bits), *[2] * (6 - len(bits))]]


@pytest.mark.parametrize(
    "text",
    [*HOSTILE_TEXTS, *(piece * 100_000 for piece in ("1", "1 ", "-", ",", "\u0661"))],
    ids=lambda text: repr(text)[:20],
)
def test_hostile_texts_are_rejected_within_the_time_limit(text):
    with time_limit():
        for name in TEXT_TASKS:
            assert try_read(lambda name=name: TASKS[name].parse_input(text)) is None


sides = st.integers(1, 60) | st.sampled_from([1, 7, 8, 28, 400, 2_001])
shapes = st.tuples(sides, sides).filter(lambda shape: shape[0] * shape[1] <= 200_000)
colours = st.sampled_from([0.0, 1.0, 0.5, 0.14, 0.16, 1e-30]) | st.floats(0, 1, width=32)


@st.composite
def images(draw) -> np.ndarray:
    """Generate images (H, W, 3) or (H, W) with values from 0 to 1: plain, noise, blocks, spots or grey."""
    shape = draw(shapes)
    match draw(st.sampled_from(["plain", "noise", "blocks", "spots", "grey"])):
        case "noise":
            return np.random.default_rng(draw(st.integers(0, 99))).random((*shape, 3), np.float32)
        case "blocks":
            rows = st.lists(st.sampled_from(range(len(COLOURS))), min_size=7, max_size=7)
            grid, scale = draw(st.lists(rows, min_size=5, max_size=9)), draw(st.integers(1, 6))
            return COLOURS[grid].repeat(scale, 0).repeat(scale, 1)
        case "grey":
            return draw(arrays.arrays(np.float32, draw(st.tuples(*[st.integers(1, 12)] * 2)), elements=colours))
    picture = np.full((*shape, 3), draw(colours), np.float32)
    for _ in range(draw(st.integers(0, 4))):
        row, column = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        picture[row : row + draw(st.integers(1, 9)), column : column + draw(st.integers(1, 9))] = draw(colours)
    return picture


@pytest.mark.parametrize("name", IMAGE_TASKS)
@given(pixels=images())
@reduce_examples(2)
def test_any_image_is_parsed_or_rejected_in_one_sentence(name, pixels):
    before = pixels.copy()
    check_input(TASKS[name], try_read(lambda: TASKS[name].parse_input(pixels)))
    np.testing.assert_array_equal(pixels, before)


def test_every_registered_task_is_covered():
    assert {task.name for task in TASKS.values()} == set(get_task_types())
