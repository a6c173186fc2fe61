"""Small data sets: no split is empty, equal images stay together, and the content alone decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.small_splits import MIN_SPLIT_IMAGES, assign_image_splits
from training.tasks.splits import (
    TRAIN,
    TRAIN_FILE_SPLITS,
    TRAIN_FILE_SPLITS_WITH_TEST,
    assign_splits_by_hash,
    digest,
)

PERCENTAGES = [TRAIN_FILE_SPLITS, TRAIN_FILE_SPLITS_WITH_TEST]


@given(st.lists(st.integers(0, 10**6), min_size=7, max_size=60, unique=True), st.sampled_from(PERCENTAGES), st.data())
def test_no_split_is_too_small_whatever_the_hashes_are(numbers, percentages, data):
    keys = [digest(str(number).encode()) for number in numbers]
    splits = assign_image_splits(keys, percentages)
    for _, split in percentages:
        assert splits.count(split) >= MIN_SPLIT_IMAGES[split]
    order = data.draw(st.permutations(range(len(keys))))
    assert assign_image_splits([keys[row] for row in order], percentages) == [splits[row] for row in order]
    assert assign_image_splits([*keys, *keys], percentages) == [*splits, *splits]


@pytest.mark.parametrize("percentages", PERCENTAGES)
def test_the_splits_of_larger_sets_are_those_of_the_hash(percentages):
    keys = [digest(bytes([number, 1])) for number in range(256)]
    assert assign_image_splits(keys, percentages) == assign_splits_by_hash(keys, percentages)


def test_images_come_from_the_train_split():
    keys = [digest(str(number).encode()) for number in range(12)]
    before, after = assign_splits_by_hash(keys, TRAIN_FILE_SPLITS), assign_image_splits(keys, TRAIN_FILE_SPLITS)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert moved and {old for old, _ in moved} == {TRAIN}


@pytest.mark.parametrize("percentages, needed", [(TRAIN_FILE_SPLITS, 6), (TRAIN_FILE_SPLITS_WITH_TEST, 7)])
def test_too_few_images_are_rejected_with_the_number_that_is_needed(percentages, needed):
    keys = [digest(bytes([number])) for number in range(needed - 1)]
    with pytest.raises(
        ValueError, match=f"There are {needed - 1} different pictures .*; {needed} are needed at least: 2 for"
    ):
        assign_image_splits(keys * 3, percentages)
