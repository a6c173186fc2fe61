"""Contract tests of all registered tasks; they include a new task without a change of this file."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from ctm import ContinuousThoughtMachine
from tests.image_datasets import write_dataset
from tests.paths import ROOT
from training.config import RunConfig, read_recipe
from training.evaluation import build_split_batches, deduplicate
from training.losses import is_correct
from training.tasks import list_task_kinds, make_task
from training.tasks.parity import PAD_TOKEN
from training.tasks.splits import CALIBRATION, TEST, TRAIN, VALIDATION, assign_split, make_generator

SMALL_MODEL_CONFIG = {
    "iterations": 4,
    "d_model": 16,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 8,
    "n_synch_action": 8,
    "synapse_depth": 1,
    "memory_length": 3,
    "memory_hidden_dims": 2,
}


def build_small_model(task) -> ContinuousThoughtMachine:
    """Build a small model for a task."""
    values = {"task": {"kind": task.name, **task.settings.model_dump(mode="json")}, "model": dict(SMALL_MODEL_CONFIG)}
    for key in task.get_spec().config_overrides:
        values["model"].pop(key, None)
    if task.get_spec().ctc_length:
        values["model"]["iterations"] = task.get_spec().ctc_length + 2
    return ContinuousThoughtMachine(RunConfig.parse(values).build_model_config(task), task.get_spec().in_features)


@pytest.fixture(params=list_task_kinds())
def any_task(request):
    return make_task({"kind": request.param})


@pytest.fixture(scope="session")
def image_dataset(tmp_path_factory):
    """Write a small data set, since the task `images` has no images of its own."""
    return write_dataset(tmp_path_factory.mktemp("pictures"), ["a", "b", "c"])


@pytest.fixture(params=[*list_task_kinds(), "images, streamed"])
def task(request, image_dataset):
    kind, _, streamed = request.param.partition(", ")
    small = {"files": str(image_dataset), "size": 12, "crop": 12, "augment": "none", "streaming": bool(streamed)}
    return make_task({"kind": kind} | (small if kind == "images" else {})).with_resolved_settings()


def hash_inputs(batch) -> set[bytes]:
    """Return the inputs of a batch as a set of bytes."""
    return {row.tobytes() for row in batch.inputs.flatten(1).numpy()}


def test_digits_parity_and_arithmetic_are_registered():
    assert set(list_task_kinds()) >= {"digits", "parity", "arithmetic"}


def test_batch_has_the_shapes_of_the_task_spec(task):
    model, spec = build_small_model(task), task.get_spec()
    batch = task.sample(TRAIN, 5, make_generator("x"))
    output = model(batch.inputs)
    assert output.answers.shape[:2] == (5, spec.positions * spec.classes)
    assert batch.targets.shape == (5, spec.ctc_length or spec.positions)
    assert batch.targets.min() >= 0 and batch.targets.max() < spec.classes
    assert len(task.get_labels()) == spec.classes
    assert batch.difficulty.shape == (5,)


def test_batches_depend_on_seed_rank_and_step_only(task):
    first = next(task.iterate_batches(8, seed=1))
    assert hash_inputs(first) == hash_inputs(next(task.iterate_batches(8, seed=1)))
    assert hash_inputs(first) != hash_inputs(next(task.iterate_batches(8, seed=1, rank=1)))
    assert hash_inputs(first) != hash_inputs(next(task.iterate_batches(8, seed=2)))
    stream = task.iterate_batches(8, seed=1)
    next(stream)
    assert hash_inputs(next(stream)) == hash_inputs(next(task.iterate_batches(8, seed=1, start=1)))


def test_splits_have_no_input_in_common(task):
    """Compare sampled inputs of all pairs of splits."""
    inputs_by_split = {}
    for split in task.splits:
        batches = [task.sample(split, 100, make_generator(split, index)) for index in range(2)]
        if not getattr(task.settings, "streaming", False) and (full_split := task.load_full_split(split)) is not None:
            batches = [full_split]
        inputs_by_split[split] = set().union(*map(hash_inputs, batches))
    for a in task.splits:
        for b in task.splits:
            if a < b and not {a, b} <= {TEST, *task.test_subsets}:
                assert not inputs_by_split[a] & inputs_by_split[b], (
                    f"{a} and {b} share {len(inputs_by_split[a] & inputs_by_split[b])} inputs"
                )


def test_held_out_batches_are_reproducible_and_have_no_duplicates(task):
    for split in task.splits:
        if split == TRAIN:
            continue
        first = torch.cat([batch.inputs for batch in build_split_batches(task, split, 200)])
        second = torch.cat([batch.inputs for batch in build_split_batches(task, split, 200)])
        assert torch.equal(first, second)
        assert len({row.tobytes() for row in first.flatten(1).numpy()}) == len(first) > 20


def test_frequent_inputs_have_the_same_share_in_the_test_and_calibration_splits():
    """Lengths are uniform, so the few short rows are sampled often, and deduplicated."""
    task = make_task({"kind": "parity", "length": 16})
    shares = {}
    for split in (VALIDATION, CALIBRATION, TEST):
        lengths = torch.cat([batch.inputs.ne(PAD_TOKEN).sum(1) for batch in build_split_batches(task, split, 4_096)])
        shares[split] = (torch.bincount(lengths, minlength=17) / len(lengths))[10:]
    assert shares[TEST].sum() > 0.95
    # With equally many samples per split the difference would be 0.05.
    assert_close(shares[TEST], shares[CALIBRATION], rtol=0, atol=0.02)
    assert_close(shares[VALIDATION], shares[CALIBRATION], rtol=0, atol=0.02)


def test_every_task_has_a_recipe(task):
    """`test_recipes.py` tests that the recipe learns."""
    recipes = (ROOT / "configs").glob("*.yaml")
    assert any(read_recipe(path).task["kind"] == task.name for path in recipes)


def test_description_builds_the_same_task(any_task):
    description = json.loads(json.dumps(any_task.describe()))
    rebuilt_task = make_task({"kind": description["task"], **description["settings"]})
    assert json.loads(json.dumps(rebuilt_task.describe())) == description


def test_user_input_is_parsed_and_its_answer_is_formatted(any_task):
    """The inputs are all examples, a drawing if the task supports drawings, and generated inputs."""
    task = any_task
    inputs = list(task.get_examples())
    inputs += [np.stack([draw_three()] * 3, -1)] if task.supports_drawing else []
    generated_inputs = [task.generate_input(seed) for seed in range(2)] if task.supports_generation else []
    inputs += [value if task.input_type == "text" else value / 255 for value in generated_inputs]
    assert inputs
    for value in inputs:
        task_input = task.parse_input(
            np.asarray(Image.open(value).convert("RGB")) / 255 if hasattr(value, "suffix") else value
        )
        assert len(task_input.inputs) == 1 and task_input.display["kind"] in ("picture", "sequence")
        answer = task.format_answer(task_input, [0] * task_input.positions)  # a CTC answer may be any sequence
        assert answer.label and answer.sentence and not answer.sentence.endswith(".")
        json.dumps(answer.value)
    model = build_small_model(task)
    choices = task.decoder.choices(model(task_input.inputs).answers)[0].T  # (T, P)
    assert all(
        task.format_answer(task_input, answer[: task_input.positions]).label for answer in task.decoder.decode(choices)
    )


def draw_three() -> np.ndarray:
    """Return an image (H, W) of the digit three: two thick arcs, dark on light."""
    y, x = np.mgrid[0:100, 0:100]
    arcs = [(abs(np.hypot(x - 45, y - center_y) - 20) < 5) & (x > 40) for center_y in (30, 68)]
    return np.where(arcs[0] | arcs[1], 0.1, 0.95)


INVALID_INPUTS = {
    "parity": ["", "   ", "10201", "abc", "1" * 17, "１０", "1 0 1 2", "-1", "nan", "0.5"],
    "brackets": ["", "()x", "(" * 17, "{}", "\uff08\uff09"],
    "chain": ["", "3+", "+3", "33", "3++4", "3/4", "1+1+1+1+1+1+1+1+1+1", "\uff13+4"],
    "tracking": [
        "",
        "1,1 2,2",
        "1,1 2,2 3,3 4,4 5,5 6,6 7",
        "1,1 2,2 3,3 4,4 5,5 16,6 +1",
        "- - - - - 1,1 +1",
        "1,1 2,2 3,3 4,4 5,5 6,6 +99",
        "1;1 2,2 3,3 4,4 5,5 6,6 +1",
    ],
    "sorting": ["", "1 2 3", "1 1 2 3 4 5 6 7 8 9", "a b c d e f g h i j", "1e5 2 3 4 5 6 7 8 9 10", "nan " * 10],
    "arithmetic": [
        "",
        "1 2",
        "1 2 3 4 5 6 7",
        "1 5 9",
        "990 993 996 999",
        "a b c d",
        "1 2 3 nan",
        "1 2 3 1e9",
        "-1 2 3 4",
        "1 2 3 1000",
        "1.5 2 3 4",
        "9" * 900,
        "inf inf inf inf",
        "１ ２ ３ ４",
    ],
}


@pytest.mark.parametrize("kind, text", [(kind, text) for kind, texts in INVALID_INPUTS.items() for text in texts])
def test_invalid_text_is_rejected_in_one_sentence(kind, text):
    with pytest.raises(ValueError) as exc_info:
        make_task({"kind": kind}).parse_input(text)
    message = str(exc_info.value)
    assert "\n" not in message and len(message) < 200 and message.endswith(".")


def test_parity_targets_are_the_parities_of_all_prefixes():
    batch = make_task({"kind": "parity", "length": 8}).sample(TRAIN, 50, make_generator(0))
    for bits, target, length in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.difficulty.tolist(), strict=True
    ):
        expected = [sum(bits[: index + 1]) % 2 for index in range(length)]
        assert target == expected + [expected[-1]] * (8 - length)
        assert bits[length:] == [2] * (8 - length) and set(bits[:length]) <= {0, 1}


def test_arithmetic_target_is_the_next_number_of_the_sequence():
    task = make_task({"kind": "arithmetic"})
    for split in task.splits:
        batch = task.sample(split, 30, make_generator(split))
        for digits, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            numbers = [int("".join(map(str, digits[index : index + 3]))) for index in range(0, 12, 3)]
            next_number = int("".join(map(str, target)))
            assert len({b - a for a, b in zip(numbers, [*numbers[1:], next_number], strict=False)}) == 1


def test_arithmetic_train_and_extrapolation_splits_differ_in_difficulty():
    task = make_task({"kind": "arithmetic"})
    train_batch = task.load_full_split(TRAIN)
    assert train_batch.difficulty.max() <= 20 < task.load_full_split("extrapolation").difficulty.min()
    for position in range(12):  # every digit occurs at every position of the training inputs
        digits = set(train_batch.inputs[:, position].tolist())
        assert digits == set(range(10)), f"position {position} has only the digits {sorted(digits)} in training"


def test_assign_split_is_deterministic_and_has_the_expected_shares():
    splits = [assign_split(str(number).encode()) for number in range(20_000)]
    shares = {name: splits.count(name) / len(splits) for name in set(splits)}
    expected = {"train": 0.80, "validation": 0.05, "calibration": 0.05, "test": 0.10}
    assert all(abs(shares[name] - share) < 0.01 for name, share in expected.items())
    assert assign_split(b"x") == assign_split(b"x")


def test_deduplicate_removes_repeated_inputs():
    task = make_task({"kind": "parity", "length": 2})
    batch = task.sample(TRAIN, 60, make_generator(1))
    assert len(deduplicate(batch).inputs) == len(hash_inputs(batch)) < 60


def test_answer_is_correct_if_every_position_is_correct():
    answers = torch.zeros(1, 2, 3, 2)
    answers[0, 0, 1] = 1
    answers[0, 1, 2, 1] = 1
    assert is_correct(answers, torch.tensor([[1, 2]])).tolist() == [[False, True]]
