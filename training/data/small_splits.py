"""Assign the images of small data sets to splits so that none is empty.

A hash of an image decides its split, see `training.tasks.splits`. By chance it leaves a split of a small data set empty. The
missing images then come from the split that has most to spare, which is nearly always the train split: those with the smallest
hashes. The split of an image thus depends on the content of the data set alone, and equal images stay together.
"""

from collections import Counter
from collections.abc import Sequence

from training.tasks.splits import CALIBRATION, TEST, TRAIN, VALIDATION, assign_splits_by_hash

MIN_SPLIT_IMAGES = {
    TRAIN: 2,
    VALIDATION: 2,
    CALIBRATION: 2,
    TEST: 1,
}  # an energy head is fitted on two samples at least


def assign_image_splits(keys: Sequence[bytes], cumulative_percent: tuple[tuple[int, str], ...]) -> list[str]:
    """Return the split of each image.

    Args:
        keys: Hashes of the images, of at least 8 bytes; equal images have equal hashes.
        cumulative_percent: Pairs of a cumulative percentage and a split, ascending up to 100.

    Raises:
        ValueError: There are fewer different images than the splits need. The message says how many.
    """
    split_by_key = dict(zip(keys, assign_splits_by_hash(keys, cumulative_percent), strict=True))
    needed = {split: MIN_SPLIT_IMAGES[split] for _, split in cumulative_percent}
    if len(split_by_key) < sum(needed.values()):
        parts = ", ".join(f"{count} for {split}" for split, count in needed.items())
        raise ValueError(
            f"There are {len(split_by_key)} different pictures that can be used; {sum(needed.values())} are needed at "
            f"least: {parts}."
        )
    sizes = Counter(split_by_key.values())
    for split, count in needed.items():
        while sizes[split] < count:
            donor = max(needed, key=lambda name: sizes[name] - needed[name])
            split_by_key[min(key for key, name in split_by_key.items() if name == donor)] = split
            sizes.update({split: 1, donor: -1})
    return [split_by_key[key] for key in keys]
