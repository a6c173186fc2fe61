"""Tests of the parity task: the signs encoding of published models, and splits of long rows."""

import re

import pytest
import torch

from training.losses import IGNORE_INDEX
from training.tasks import make_task
from training.tasks.parity import LONGEST, MAX_ENUMERATION_LENGTH, PAD_TOKEN, enumerate_sequences
from training.tasks.splits import TEST, TRAIN, assign_split, make_generator

LONG_LENGTH = 30  # bits; above MAX_ENUMERATION_LENGTH


@pytest.mark.parametrize("length", [6, LONG_LENGTH])
def test_signs_target_is_the_parity_of_negative_values(length):
    batch = make_task({"kind": "parity", "encoding": "signs", "length": length}).sample(
        TRAIN, 40, make_generator(length)
    )
    assert batch.inputs.dtype == torch.float32 and set(batch.inputs.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(batch.targets, (batch.inputs < 0).long().cumsum(1) % 2)
    assert set(batch.difficulty.tolist()) == {length}


def test_splits_of_rows_beyond_the_enumeration_length_are_disjoint():
    task = make_task({"kind": "parity", "encoding": "signs", "length": LONG_LENGTH})
    rows = {
        split: set(map(tuple, task.sample(split, 200, make_generator(split)).inputs.tolist()))
        for split in (TRAIN, TEST)
    }
    assert not rows[TRAIN] & rows[TEST] and len(rows[TEST]) == 200


def test_signs_input_encodes_one_as_minus_and_has_the_configured_length():
    task = make_task({"kind": "parity", "encoding": "signs", "length": 4})
    assert task.parse_input("0110").inputs.tolist() == [[1.0, -1.0, -1.0, 1.0]]
    assert task.get_spec().backbone == "parity_backbone" and all(len(text) == 4 for text in task.get_examples())
    with pytest.raises(ValueError, match="exactly 4 bits, got 3"):
        task.parse_input("011")


def test_lengths_are_mixed_and_short_rows_belong_to_the_enumerated_split():
    batch = make_task({"kind": "parity", "length": 64}).sample(TEST, 300, make_generator("long"))
    assert batch.difficulty.min() <= 16 < batch.difficulty.max() <= 64
    for row, length in zip(batch.inputs, batch.difficulty.tolist(), strict=True):
        assert (row[:length] < PAD_TOKEN).all() and (row[length:] == PAD_TOKEN).all()
        if length <= 16:
            assert int((row[:length] << torch.arange(length)).sum()) in enumerate_sequences(TEST, length)


def sample_row_by_row(length, split, count, generator):
    """Return rows of a split, each candidate of a long row from one call of the generator."""
    lengths = [n for n in range(1, length + 1) if n > 16 or len(enumerate_sequences(split, n))]
    draws = torch.randint(len(lengths), (2 if split == TRAIN else 1, count), generator=generator).amax(0)
    rows = []
    for draw, fraction in zip(draws.tolist(), torch.rand(count, generator=generator).tolist(), strict=True):
        n = lengths[draw]
        codes = enumerate_sequences(split, n) if n <= 16 else None
        row = [] if codes is None else [int(codes[int(fraction * len(codes))]) >> bit & 1 for bit in range(n)]
        while codes is None and (not row or assign_split(b"parity" + bytes(row)) != split):
            row = torch.randint(2, (n,), generator=generator).tolist()
        rows.append(row + [PAD_TOKEN] * (length - n))
    return rows


@pytest.mark.parametrize("length", [9, 16, LONG_LENGTH, 64])
@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_rows_are_those_of_a_loop_over_single_rows(split, length):
    """Recipes and results of earlier versions depend on these rows."""
    task = make_task({"kind": "parity", "length": length})
    generator, expected_generator = make_generator(length), make_generator(length)
    for count in (1, 70):
        rows = task.sample(split, count, generator).inputs.tolist()
        assert rows == sample_row_by_row(length, split, count, expected_generator)
        assert torch.equal(generator.get_state(), expected_generator.get_state())


def test_a_share_of_the_training_rows_has_the_full_length():
    task = make_task({"kind": "parity", "length": 40, "share_full": 0.5})
    lengths = task.sample(TRAIN, 1_000, make_generator("full")).difficulty
    assert 0.45 < (lengths == 40).float().mean() < 0.6
    plain = make_task({"kind": "parity", "length": 40})
    assert torch.equal(*(t.sample(TEST, 50, make_generator("full")).inputs for t in (task, plain)))


@pytest.mark.parametrize("length", [12, LONG_LENGTH])
def test_the_longest_sequences_are_test_sequences_of_the_full_length(length):
    task = make_task({"kind": "parity", "length": length})
    assert task.reported_splits == (TEST, LONGEST)
    batch = task.sample(LONGEST, 100, make_generator("longest"))
    assert (batch.difficulty == length).all()
    assert (batch.inputs != PAD_TOKEN).all()
    rows = {tuple(row) for row in batch.inputs.tolist()}
    if length <= MAX_ENUMERATION_LENGTH:
        codes = {sum(bit << index for index, bit in enumerate(row)) for row in rows}
        assert codes <= set(enumerate_sequences(TEST, length).tolist())
    else:
        assert {assign_split(b"parity" + bytes(row)) for row in rows} == {TEST}


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_a_stage_of_a_curriculum_draws_the_rows_of_a_shorter_task_for_the_same_model(split):
    stage = make_task({"kind": "parity", "length": 40, "curriculum_length": 20})
    assert stage.get_spec() == make_task({"kind": "parity", "length": 40}).get_spec()
    batch = stage.sample(split, 300, make_generator("stage"))
    shorter = make_task({"kind": "parity", "length": 20}).sample(split, 300, make_generator("stage"))
    assert torch.equal(batch.inputs[:, :20], shorter.inputs)
    assert torch.equal(batch.targets[:, :20], shorter.targets)
    assert (batch.inputs[:, 20:] == PAD_TOKEN).all()
    assert (batch.targets[:, 20:] == IGNORE_INDEX).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 16, "curriculum_length": 17}, "task.curriculum_length must not be above task.length: got 17, 16."),
        (
            {"length": 16, "curriculum_length": 12, "encoding": "signs"},
            "task.curriculum_length needs task.encoding=tokens",
        ),
    ],
)
def test_a_curriculum_that_the_model_cannot_read_is_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_task({"kind": "parity"} | settings)
