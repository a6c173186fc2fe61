"""How pictures are cut, varied, and brought onto black."""

import numpy as np
import pytest
from PIL import Image

from tests.image_datasets import make_image
from training.data.augmentation import (
    AUTO_AUGMENT_MAGNITUDES,
    CIFAR_POLICY,
    OPERATIONS,
    RANDOM_NUMBERS_PER_IMAGE,
    TRIVIAL_AUGMENT_OPERATIONS,
    apply_operation,
    augment_image,
    random_resized_crop,
    random_shift,
)
from training.data.preprocessing import crop_to_foreground, fit_into_square, resize_center_crop


def make_example(side: int = 32, channels: int = 3, width: int = 0) -> Image.Image:
    return Image.fromarray(make_image(1, 2, side, channels, width).squeeze())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", ["none", "crop-flip", "auto", "trivial"])
@pytest.mark.parametrize("size, crop", [(24, 24), (30, 24)])
def test_a_varied_picture_depends_on_its_numbers_alone(augment, channels, size, crop):
    whole, numbers = (
        make_example(40, channels, 50),
        np.random.default_rng(3).random((40, RANDOM_NUMBERS_PER_IMAGE)).tolist(),
    )
    seen = [np.asarray(augment_image(whole, size, crop, augment, iter(draws))) for draws in numbers]
    again = [np.asarray(augment_image(whole, size, crop, augment, iter(draws))) for draws in numbers]
    np.testing.assert_array_equal(seen, again)
    assert all(one.shape == ((crop, crop, 3) if channels == 3 else (crop, crop)) for one in seen)
    assert len({one.tobytes() for one in seen}) == 1 if augment == "none" else len({one.tobytes() for one in seen}) > 15
    extreme = [
        augment_image(whole, size, crop, augment, iter([value] * RANDOM_NUMBERS_PER_IMAGE))
        for value in (0.0, 1 - 2**-24)
    ]
    assert all(one.size == (crop, crop) for one in extreme)


def test_the_published_policy_is_whole():
    assert len(CIFAR_POLICY) == 25 and len(TRIVIAL_AUGMENT_OPERATIONS) == 14
    names = {name for pair in CIFAR_POLICY for name, _, _ in pair}
    assert names <= OPERATIONS.keys() and set(AUTO_AUGMENT_MAGNITUDES) <= OPERATIONS.keys()
    assert all(0 <= chance <= 1 and 0 <= level <= 9 for pair in CIFAR_POLICY for _, chance, level in pair)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
def test_operations_do_more_the_stronger_they_are_and_keep_the_size(name):
    ramp = np.add.outer(np.arange(32) * 5, np.arange(32) * 2) + 10
    ramp[8:20, 8:20] = 240
    before = Image.fromarray(np.stack([ramp, ramp // 2, 255 - ramp], -1).astype(np.uint8))
    off = [
        np.abs(
            np.asarray(apply_operation(before, name, AUTO_AUGMENT_MAGNITUDES.get(name, 1.0) * share, False), float)
            - np.asarray(before)
        ).mean()
        for share in (0.2, 1.0)
    ]
    assert off[1] >= off[0] and off[1] > 0.5


def test_shifting_moves_whole_pixels_over_black():
    before = np.asarray(make_example(16))
    after = np.asarray(random_shift(Image.fromarray(before), iter([0.99, 0.0])))  # two to the left, two down
    np.testing.assert_array_equal(after[2:, :-2], before[:-2, 2:])
    assert not after[:2].any() and not after[:, -2:].any()


def test_a_random_cut_that_shows_all_is_the_whole_picture():
    square = make_example(24)
    whole = random_resized_crop(square, 24, iter([1.0, 0.5, 0.3, 0.7]))
    np.testing.assert_array_equal(np.asarray(whole), np.asarray(square))
    part = random_resized_crop(square, 24, iter([0.1, 0.5, 0.0, 0.0]))
    assert np.abs(np.asarray(part, float) - np.asarray(square)).mean() > 5


def test_the_middle_of_a_picture_of_that_size_is_that_picture():
    square = make_example(24)
    np.testing.assert_array_equal(np.asarray(resize_center_crop(square, 24, 24)), np.asarray(square))


def test_a_figure_is_trimmed_and_fills_the_square():
    grey = np.zeros((50, 40), np.float32)
    grey[10:30, 5:15] = 0.8  # 20 x 10
    picture = fit_into_square(crop_to_foreground(grey, 0.1), 28)
    rows, columns = np.nonzero(picture > 0.4)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 27, 7, 20)
