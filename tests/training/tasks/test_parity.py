"""Tests of the parity task: the signs encoding of published models, and splits of long rows."""

import pytest
import torch

from training.tasks import make_task
from training.tasks.parity import PAD_TOKEN, enumerate_sequences
from training.tasks.splits import TEST, TRAIN, make_generator

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
