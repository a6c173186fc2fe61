"""Handwritten digits: the bundled part of MNIST, or any parquet file with `image` and `label` columns.

Training pictures are shifted, turned and scaled a little, differently at every draw; held-out ones are shown as they are.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ctm.settings import Settings
from training.data.parquet import iterate_image_column, read_label_column, read_table
from training.data.preprocessing import background_level, crop_to_foreground, extract_foreground, to_grayscale
from training.paths import DATA_DIR, EXAMPLES_DIR
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, TRAIN_FILE_SPLITS, VALIDATION, assign_splits_by_hash, digest

IMAGE_SIZE = 28
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081  # of the MNIST training pictures


class DigitsSettings(Settings):
    max_rotation: float = Field(12.0, ge=0, le=45, description="largest rotation of a training picture, degrees")
    max_shift: float = Field(2.0, ge=0, le=8, description="largest shift, pixels")
    max_scale_change: float = Field(0.12, ge=0, le=0.5, description="largest change of size")


class Digits(Task):
    name = "digits"
    title = "Handwritten digits"
    input_type = "image"
    input_hint = "draw a digit from 0 to 9, or give a picture of one"
    supports_drawing = True
    Settings = DigitsSettings

    def get_spec(self) -> TaskSpec:
        return TaskSpec("resnet18-1", classes=10, in_features=1)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        pictures, labels = load_images(split)
        rows = torch.randint(len(labels), (count,), generator=generator)
        chosen = pictures[rows]
        if split in (TRAIN, VALIDATION):  # the energy head must see mistakes, and of pictures as they are there are few
            chosen = random_affine(chosen, generator, self.settings)
        return build_batch(chosen, labels[rows])

    def load_full_split(self, split: str) -> Batch:
        """Every picture of a split, as it is."""
        return build_batch(*load_images(split))

    def load_file(self, path: str | Path) -> Batch:
        """Every picture of a parquet file with `image` and `label` columns."""
        return build_batch(*read_digit_parquet(Path(path)))

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Read a picture of any size, dark on light or light on dark."""
        pixels = convert_to_mnist_format(to_grayscale(np.asarray(raw_input, dtype=np.float32)))
        inputs = build_batch(torch.from_numpy(pixels)[None, None], torch.zeros(1, dtype=torch.long)).inputs
        return TaskInput(inputs, {"kind": "picture", "pixels": pixels}, 1)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        digit = choices[0]
        return TaskAnswer(digit, str(digit), f"It is {'an' if digit == 8 else 'a'} {digit}")

    def get_labels(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def get_examples(self) -> list[Path]:
        return sorted(EXAMPLES_DIR.glob("digit-*.png"))

    def describe(self) -> dict[str, Any]:
        preprocessing = {
            "size": [IMAGE_SIZE, IMAGE_SIZE],
            "channels": 1,
            "mean": [MNIST_MEAN],
            "std": [MNIST_STD],
            "strokes": "light on dark",
        }
        return super().describe() | {"preprocessing": preprocessing}


def random_affine(
    images: Float[Tensor, "B 1 28 28"], generator: torch.Generator, settings: DigitsSettings
) -> Float[Tensor, "B 1 28 28"]:
    """Turned, shifted, and made larger or smaller, by as much as the settings allow."""
    count = len(images)
    spread = torch.rand(count, 5, generator=generator) * 2 - 1
    angle = torch.deg2rad(spread[:, 0] * settings.max_rotation)
    width, height = 1 + spread[:, 1] * settings.max_scale_change, 1 + spread[:, 2] * settings.max_scale_change
    x, y = (spread[:, axis] * settings.max_shift * 2 / IMAGE_SIZE for axis in (3, 4))
    cos, sin = angle.cos(), angle.sin()
    maps = torch.stack((cos / width, -sin / width, x, sin / height, cos / height, y), 1).view(count, 2, 3)
    return F.grid_sample(images, F.affine_grid(maps, list(images.shape), False), align_corners=False)


def convert_to_mnist_format(grey: np.ndarray) -> np.ndarray:
    """Crop, shrink and centre a drawn digit as MNIST's were: 20 pixels long, centre of mass in the middle of 28 x 28.

    Args:
        grey: (h, w), 0 black to 1 white.

    Raises:
        ValueError: nothing stands out from the background.
    """
    if grey.ndim != 2 or min(grey.shape) < 8:
        raise ValueError(
            f"The picture is too small to hold a digit: got {' x '.join(map(str, grey.shape[::-1]))} pixels."
        )
    strokes = extract_foreground(grey)
    if strokes.max() < 0.15:
        raise ValueError(
            "The picture is empty: nothing stands out from the background. Draw a digit with thick strokes."
        )
    strokes /= strokes.max()
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE) and background_level(grey) < 0.5:
        return strokes  # already as MNIST has it
    cut = crop_to_foreground(strokes, 0.3)
    scale = 20 / max(cut.shape)
    size = [max(1, round(length * scale)) for length in cut.shape[::-1]]
    small = np.asarray(
        Image.fromarray(cut).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    )
    return center_by_mass(small / max(float(small.max()), 1e-6))


def center_by_mass(small: np.ndarray) -> np.ndarray:
    """Paste strokes (at most 20 x 20) so that their centre of mass lies in the middle of a 28 x 28 picture."""
    height, width = small.shape
    mass = small.sum()
    row = (small.sum(1) * np.arange(height)).sum() / mass
    column = (small.sum(0) * np.arange(width)).sum() / mass
    top = int(np.clip(round(IMAGE_SIZE / 2 - 0.5 - row), 0, IMAGE_SIZE - height))
    left = int(np.clip(round(IMAGE_SIZE / 2 - 0.5 - column), 0, IMAGE_SIZE - width))
    picture = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    picture[top : top + height, left : left + width] = small
    return picture


def build_batch(images: Float[Tensor, "B 1 28 28"], labels: Int[Tensor, " B"]) -> Batch:
    return Batch((images - MNIST_MEAN) / MNIST_STD, labels.unsqueeze(1), torch.zeros_like(labels))


@cache
def load_images(split: str) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Pictures and labels of a split. Test is the published test file; the others part the training file by content."""
    if split == TEST:
        return read_digit_parquet(DATA_DIR / "test.parquet")
    pictures, labels = read_digit_parquet(DATA_DIR / "train.parquet")
    tested = {hash_image(picture) for picture in read_digit_parquet(DATA_DIR / "test.parquet")[0]}
    keys = [hash_image(picture) for picture in pictures]
    places = assign_splits_by_hash(keys, TRAIN_FILE_SPLITS)
    rows = [
        row for row, (key, place) in enumerate(zip(keys, places, strict=True)) if key not in tested and place == split
    ]
    return pictures[rows], labels[rows]


def hash_image(image: Tensor) -> bytes:
    return digest((image * 255).round().byte().numpy())


def read_digit_parquet(path: Path) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Read `image` (encoded bytes, as the Hub stores them) and `label` columns.

    Raises:
        ValueError: no such file, no such columns, or a row that is not a picture with a label from 0 to 9.
    """
    table = read_table(path, ["image", "label"])
    pictures = torch.empty(len(table), 1, IMAGE_SIZE, IMAGE_SIZE)
    for row, picture in enumerate(iterate_image_column(table, path.name)):
        grey = np.array(picture.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE)), dtype=np.float32)
        pictures[row, 0] = torch.from_numpy(grey / 255)
    return pictures, torch.tensor(read_label_column(table, path.name, num_classes=10))
