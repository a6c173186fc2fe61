"""The JavaScript tasks read and answer texts as the Python tasks do: same inputs, same errors, same sentences."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from tests.strategies import HOSTILE_TEXTS
from tests.training.tasks.difficulty_oracles import MEASURES, has_difficulty
from tests.ui.static.ctm.node_tasks import collect_examples, compare, parse, run_jobs, store_digits
from training.tasks.arithmetic import assign_sequence_splits
from training.tasks.base import Task
from training.tasks.parity import MAX_ENUMERATION_LENGTH, assign_code_splits
from training.tasks.registry import build_task
from training.tasks.samples import TaskInput
from training.tasks.splits import TEST, assign_split, is_in_split

SETTINGS = {
    "parity": {"length": 6},
    "parity, long": {"length": 64},
    "parity, signs": {"length": 20, "encoding": "signs"},
    "parity, very long": {"length": 80},
    "arithmetic": {},
    "arithmetic, two digits": {"digits": 2, "trained_difference": 30},
    "arithmetic, random start": {"random_offset": True},
    "brackets": {"deepest": 2},
    "chain": {},
    "chain, short": {"max_operations": 1, "ood_max_operations": 2},
    "chain, random start": {"random_offset": True, "ood_max_operations": 12},
    "tracking": {},
    "tracking, frames": {"horizon_encoding": "frames"},
    "tracking, quadrant": {"target": "quadrant", "frames": 2, "side": 5},
    "sorting": {"count": 3, "gap": 0.1},
    "qamnist": {"operations": 2},
    "qamnist, large": {"digits": 5, "operations": 5, "per_digit": 2, "answering": 3},
    "raw": {"backbone": "tokens-3x5", "classes": 4, "positions": 2},
    "raw, grid": {"backbone": "grid-4x6", "classes": 7},
    "raw, parity": {"backbone": "parity_backbone", "classes": 2, "positions": 8},
}
METADATA = {name: {"task": name.partition(",")[0], "settings": settings} for name, settings in SETTINGS.items()}
NUM_SEEDS = 40

# Unicode of Python and of node may differ in what is assigned, and thus printable.
assigned = st.characters(exclude_categories=["Cn"])
separators = st.sampled_from([" ", ",", ";", "\n", "\t", "", "\u00a0", "\u2028", "\x1c", "\x85", "\ufeff", " , "])
odd_words = st.sampled_from(
    ["0", "01", "-0", "+7", "1e3", "0x1", "\u0663", "\uff11", "nan", "\u00b2", "1_0", "1.", ".5"]
)
numbers = st.integers(-3, 1_200).map(str) | st.floats(-99, 99).map(lambda value: f"{value:.2f}")
cells = st.tuples(st.integers(0, 17), st.integers(0, 17)).map(lambda cell: f"{cell[0]},{cell[1]}")
words = numbers | cells | odd_words | st.sampled_from(["-", "+3", "+99", "+0", ":", "+", "'", '"', "'\""])
input_texts = (
    st.builds(str.join, separators, st.lists(words, max_size=9))
    | st.text("01 ,\n", max_size=9)
    | st.text("([)]", max_size=20)
    | st.text("+-*\u00d7\u2217\u2212 0123456789", max_size=15)
    | st.text(" :+-123", max_size=14)
    | st.text(assigned, max_size=60)
)


def make_valid_texts(name: str, task: Task) -> list[str]:
    """Return texts that a task can read: its examples, generated ones, and slightly changed ones."""
    texts = list(task.get_examples())
    if task.supports_generation:
        texts += [task.generate_input(seed) for seed in range(NUM_SEEDS)]
    if task.name == "tracking":
        texts += [re.sub(r"\+\d+$", f"+{ahead}", texts[0]) for ahead in (8, 9, 12, 13)]
    generator = np.random.default_rng(len(name))
    changed = []
    for text in texts:
        place = int(generator.integers(len(text)))
        other = texts[int(generator.integers(len(texts)))]
        changed += [text[:place] + text[place + 1 :], text[:place] + other[place : place + 1] + text[place + 1 :]]
    return texts + changed


@pytest.mark.parametrize("name", METADATA)
def test_texts_are_read_and_answered_as_in_python(name, tmp_path):
    metadata = METADATA[name]
    task = build_task(metadata)
    texts = dict.fromkeys([*make_valid_texts(name, task), *HOSTILE_TEXTS, *collect_examples(input_texts)])
    accepted = [text for text in texts if isinstance(parse(task, text), TaskInput)]
    assert len(accepted) >= (1 if task.name == "raw" else NUM_SEEDS // 4)
    if task.name == "qamnist":
        store_digits(tmp_path)
    compare({text: text for text in texts}, metadata, tmp_path)


def is_test_sample(task: Task, text: str, task_input: TaskInput) -> bool:
    """Return whether a generated text belongs to the test split; True for tasks whose texts are rounded or hide a part."""
    match task.name:
        case "parity":
            bits = [int(bit) for bit in text]
            if len(bits) > MAX_ENUMERATION_LENGTH:
                return assign_split(b"parity" + bytes(bits)) == TEST
            return assign_code_splits(len(bits))[sum(bit << place for place, bit in enumerate(bits))] == TEST
        case "arithmetic":
            first, second = (int(word) for word in text.split()[:2])
            return assign_sequence_splits(task.settings)[first, second - first] == TEST
        case "brackets":
            return assign_split(b"brackets" + bytes(task_input.context)) == TEST
        case "chain":
            return bool(is_in_split(TEST, "chain", task_input.inputs).all())
    return True


@pytest.mark.parametrize("name", [name for name in METADATA if not name.startswith("raw")])
def test_generated_texts_belong_to_the_test_split(name, tmp_path):
    task = build_task(METADATA[name])
    (texts,) = run_jobs([{"task": METADATA[name], "seeds": list(range(NUM_SEEDS))}], tmp_path)
    assert len(set(texts)) >= NUM_SEEDS // 4
    for text in texts:
        task_input = task.parse_input(text)
        assert task_input.true_choices is not None and task_input.shift is None, text
        assert is_test_sample(task, text, task_input), text


def test_generated_texts_are_distributed_as_samples_of_the_test_split(tmp_path):
    """Compare the mean token of a sample over 100 samples, within five standard errors."""
    names = ["parity, long", "brackets", "chain", "arithmetic", "tracking"]
    jobs: list[dict[str, Any]] = [{"task": METADATA[name], "seeds": list(range(100))} for name in names]
    for name, texts in zip(names, run_jobs(jobs, tmp_path), strict=True):
        task = build_task(METADATA[name])
        in_javascript = torch.cat([task.parse_input(text).inputs for text in texts]).double().mean(1)
        in_python = task.sample(TEST, 100, torch.Generator().manual_seed(1)).inputs.double().mean(1)
        error = ((in_python.var() + in_javascript.var()) / 100).sqrt()
        assert abs(in_python.mean() - in_javascript.mean()) <= 5 * error, name


def test_generated_texts_have_the_wanted_difficulty(tmp_path):
    pairs = [(name, difficulty) for name, (_, levels) in MEASURES.items() for difficulty in levels]
    metadata = {name: {"task": name, "settings": {"length": 64} if name == "parity" else {}} for name in MEASURES}
    store_digits(tmp_path)
    jobs: list[dict[str, Any]] = [
        {"task": metadata[name], "seeds": [0, 1, 2], "difficulty": difficulty} for name, difficulty in pairs
    ]
    for (name, difficulty), texts in zip(pairs, run_jobs(jobs, tmp_path), strict=True):
        assert all(has_difficulty(name, text, difficulty) for text in texts), (name, difficulty, texts)
