"""Natural pictures: preprocessing as everywhere, names in the standard order."""

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
    """Smooth colours with some edges."""
    y, x = np.mgrid[0:height, 0:width] / 40
    waves = [np.sin(x + y / 3), np.cos(y * 1.3 - x), np.sin(x * y / 9)]
    return np.rint((np.stack(waves, -1) * 0.4 + 0.5 + 0.1 * (x % 2 < 1)[..., None]).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (257, 256), (640, 640), (100, 160), (301, 1024)])
def test_pictures_are_seen_as_by_the_usual_preprocessing(task, size):
    """Against a resize of another library that, too, blurs before it shrinks."""
    width, height = size
    pixels = make_photo(width, height)
    short = min(size)
    resized = [int(256 * side / short) for side in (height, width)]
    whole = torch.from_numpy(pixels).permute(2, 0, 1).float()[None]
    large = F.interpolate(whole, size=resized, mode="bilinear", antialias=True, align_corners=False)[0] / 255
    top, left = (round((side - 224) / 2) for side in resized)
    expected = (large[:, top : top + 224, left : left + 224] - MEAN) / STD
    inputs = task.parse_input(pixels / np.float32(255)).inputs[0]
    assert inputs.shape == (3, 224, 224)
    assert abs(inputs - expected).max() < 0.02, "a step of a byte is 0.018 here"


def test_what_is_shown_is_the_middle_that_is_seen(task):
    read = task.parse_input(make_photo(400, 300) / np.float32(255))
    seen = read.inputs[0] * STD + MEAN
    np.testing.assert_allclose(read.display["pixels"], seen.permute(1, 2, 0), atol=1e-5)
    assert read.positions == 1


def test_grayscale_images_are_accepted_and_thin_ones_are_rejected(task):
    assert task.parse_input(np.full((60, 80), 0.5, np.float32)).inputs.shape == (1, 3, 224, 224)
    with pytest.raises(ValueError, match="3000 x 10 pixels, too long and thin"):
        task.parse_input(np.zeros((10, 3_000, 3), np.float32))


def test_names_are_those_of_imagenet_in_their_order(task):
    names = task.get_labels()
    assert len(names) == len(set(names)) == 1000
    assert [names[index] for index in (0, 1, 281, 504, 657, 999)] == [
        "tench",
        "goldfish",
        "tabby",
        "coffee mug",
        "missile",
        "toilet tissue",
    ]
    answer = task.format_answer(task.parse_input(make_photo(50, 50) / np.float32(255)), [1])
    assert (answer.value, answer.label, answer.sentence) == (1, "goldfish", "Prediction: goldfish")


def test_names_and_preprocessing_can_be_others():
    task = make_task(
        {"kind": "images", "resize": 40, "crop": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "names": ["a", "b"]}
    )
    assert task.get_spec().classes == 2
    pixels = task.parse_input(make_photo(64, 64) / np.float32(255)).inputs
    assert pixels.shape == (1, 3, 32, 32) and pixels.min() >= 0 and pixels.max() <= 1
    assert task.describe()["preprocessing"]["center_crop"] == 32


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"crop": 300}, r"task\.crop must not exceed task\.resize"),
        ({"names": ["a"]}, "at least two names"),
        ({"std": [1, 0, 1]}, "positive"),
    ],
)
def test_wrong_settings_are_rejected(settings, says):
    with pytest.raises(ValueError, match=says):
        make_task({"kind": "images"} | settings)


def test_there_are_none_to_train_on(task):
    with pytest.raises(ValueError, match=r"evaluate with --data FILE\.parquet"):
        task.sample("train", 1, make_generator(0))


def test_a_file_of_pictures_is_read(task, tmp_path):
    content = io.BytesIO()
    Image.fromarray(make_photo(320, 240)).save(content, "PNG")
    path = tmp_path / "pictures.parquet"
    parquet.write_table(
        pyarrow.table({"image": [{"bytes": content.getvalue(), "path": None}] * 2, "label": [3, 999]}), path
    )
    batch = task.load_file(path)
    assert batch.targets.tolist() == [[3], [999]]
    assert torch.equal(batch.inputs[:1], task.parse_input(make_photo(320, 240) / np.float32(255)).inputs)


def test_bundled_photographs_are_small_and_read(task):
    paths = task.get_examples()
    assert len(paths) >= 2
    for path in paths:
        assert path.stat().st_size < 60_000
        task.parse_input(np.asarray(Image.open(path), np.float32) / 255)
