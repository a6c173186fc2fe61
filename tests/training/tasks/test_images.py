"""Tests of the images task: standard ImageNet preprocessing and labels in the standard order."""

import io

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from training.tasks import make_task
from training.tasks.splits import make_generator

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def task():
    return make_task({"kind": "images"})


def make_photo(width: int, height: int) -> np.ndarray:
    """Return an image (height, width, 3) of smooth colours with edges, as uint8."""
    y, x = np.mgrid[0:height, 0:width] / 40
    waves = [np.sin(x + y / 3), np.cos(y * 1.3 - x), np.sin(x * y / 9)]
    return np.rint((np.stack(waves, -1) * 0.4 + 0.5 + 0.1 * (x % 2 < 1)[..., None]).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (257, 256), (640, 640), (100, 160), (301, 1024)])
def test_preprocessing_equals_antialiased_resize_and_center_crop(task, size):
    """Compare with the antialiased resize of PyTorch."""
    width, height = size
    pixels = make_photo(width, height)
    short_side = min(size)
    resized_shape = [int(256 * side / short_side) for side in (height, width)]
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None]
    resized_image = (
        F.interpolate(image, size=resized_shape, mode="bilinear", antialias=True, align_corners=False)[0] / 255
    )
    top, left = (round((side - 224) / 2) for side in resized_shape)
    expected = (resized_image[:, top : top + 224, left : left + 224] - MEAN) / STD
    inputs = task.parse_input(pixels / np.float32(255)).inputs[0]
    assert inputs.shape == (3, 224, 224)
    assert abs(inputs - expected).max() < 0.02, "an 8-bit step is 0.018 after normalisation"


def test_display_has_the_pixels_of_the_center_crop(task):
    task_input = task.parse_input(make_photo(400, 300) / np.float32(255))
    pixels = task_input.inputs[0] * STD + MEAN
    np.testing.assert_allclose(task_input.display["pixels"], pixels.permute(1, 2, 0), atol=1e-5)
    assert task_input.positions == 1


def test_grayscale_images_are_accepted_and_thin_ones_are_rejected(task):
    assert task.parse_input(np.full((60, 80), 0.5, np.float32)).inputs.shape == (1, 3, 224, 224)
    with pytest.raises(ValueError, match="3000 x 10 pixels, too long and thin"):
        task.parse_input(np.zeros((10, 3_000, 3), np.float32))


def test_default_labels_are_the_imagenet_classes_in_order(task):
    labels = task.get_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert [labels[index] for index in (0, 1, 281, 504, 657, 999)] == [
        "tench",
        "goldfish",
        "tabby",
        "coffee mug",
        "missile",
        "toilet tissue",
    ]
    answer = task.format_answer(task.parse_input(make_photo(50, 50) / np.float32(255)), [1])
    assert (answer.value, answer.label, answer.sentence) == (1, "goldfish", "Prediction: goldfish")


def test_labels_and_preprocessing_are_configurable():
    task = make_task(
        {"kind": "images", "resize": 40, "crop": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "names": ["a", "b"]}
    )
    assert task.get_spec().classes == 2
    pixels = task.parse_input(make_photo(64, 64) / np.float32(255)).inputs
    assert pixels.shape == (1, 3, 32, 32) and pixels.min() >= 0 and pixels.max() <= 1
    assert task.describe()["preprocessing"]["center_crop"] == 32


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"crop": 300}, r"task\.crop must not exceed task\.resize"),
        ({"names": ["a"]}, "at least two names"),
        ({"std": [1, 0, 1]}, "positive"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(ValueError, match=message):
        make_task({"kind": "images"} | settings)


def test_training_without_a_dataset_is_rejected(task):
    with pytest.raises(ValueError, match=r"evaluate with --data FILE\.parquet"):
        task.sample("train", 1, make_generator(0))


def test_parquet_file_of_images_is_loaded(task, tmp_path):
    content = io.BytesIO()
    Image.fromarray(make_photo(320, 240)).save(content, "PNG")
    path = tmp_path / "pictures.parquet"
    parquet.write_table(
        pyarrow.table({"image": [{"bytes": content.getvalue(), "path": None}] * 2, "label": [3, 999]}), path
    )
    batch = task.load_file(path)
    assert batch.targets.tolist() == [[3], [999]]
    assert torch.equal(batch.inputs[:1], task.parse_input(make_photo(320, 240) / np.float32(255)).inputs)


def test_bundled_photographs_are_small_and_parsed(task):
    paths = task.get_examples()
    assert len(paths) >= 2
    for path in paths:
        assert path.stat().st_size < 60_000
        task.parse_input(np.asarray(Image.open(path), np.float32) / 255)
