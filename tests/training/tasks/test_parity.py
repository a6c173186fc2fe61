"""Parity as published machines see it."""

import pytest
import torch

from training.tasks import make_task
from training.tasks.parity import PAD_TOKEN, enumerate_sequences
from training.tasks.splits import TEST, TRAIN, make_generator

UNLISTED = 30


@pytest.mark.parametrize("length", [6, UNLISTED])
def test_signs_are_counted_where_they_are_negative(length):
    batch = make_task({"kind": "parity", "encoding": "signs", "length": length}).sample(
        TRAIN, 40, make_generator(length)
    )
    assert batch.inputs.dtype == torch.float32 and set(batch.inputs.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(batch.targets, (batch.inputs < 0).long().cumsum(1) % 2)
    assert set(batch.difficulty.tolist()) == {length}


def test_splits_of_rows_too_many_to_list_are_disjoint():
    task = make_task({"kind": "parity", "encoding": "signs", "length": UNLISTED})
    rows = {
        split: set(map(tuple, task.sample(split, 200, make_generator(split)).inputs.tolist()))
        for split in (TRAIN, TEST)
    }
    assert not rows[TRAIN] & rows[TEST] and len(rows[TEST]) == 200


def test_a_one_is_a_minus_and_rows_have_one_length():
    task = make_task({"kind": "parity", "encoding": "signs", "length": 4})
    assert task.parse_input("0110").inputs.tolist() == [[1.0, -1.0, -1.0, 1.0]]
    assert task.get_spec().backbone == "parity_backbone" and all(len(text) == 4 for text in task.get_examples())
    with pytest.raises(ValueError, match="exactly 4 bits, got 3"):
        task.parse_input("011")


def test_long_rows_have_every_length_and_short_ones_come_from_the_list():
    batch = make_task({"kind": "parity", "length": 64}).sample(TEST, 300, make_generator("long"))
    assert batch.difficulty.min() <= 16 < batch.difficulty.max() <= 64
    for row, length in zip(batch.inputs, batch.difficulty.tolist(), strict=True):
        assert (row[:length] < PAD_TOKEN).all() and (row[length:] == PAD_TOKEN).all()
        if length <= 16:
            assert int((row[:length] << torch.arange(length)).sum()) in enumerate_sequences(TEST, length)
