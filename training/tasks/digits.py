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
from training.data.augmentation import figure_of, grey_of, ground_of, trimmed
from training.data.image_dataset import LOOSE, digest
from training.data.parquet import labels_in, pictures_in, read_table
from training.paths import DATA_DIR, EXAMPLES_DIR
from training.tasks.base import TEST, TRAIN, VALIDATION, Answer, Batch, Given, Task, TaskShape, places_of

SIDE = 28
MEAN, SPREAD = 0.1307, 0.3081  # of the MNIST training pictures


class DigitsSettings(Settings):
    turn: float = Field(12.0, ge=0, le=45, description="largest rotation of a training picture, degrees")
    shift: float = Field(2.0, ge=0, le=8, description="largest shift, pixels")
    scale: float = Field(0.12, ge=0, le=0.5, description="largest change of size")


class Digits(Task):
    name = "digits"
    title = "Handwritten digits"
    takes = "image"
    hint = "draw a digit from 0 to 9, or give a picture of one"
    drawn = True
    Settings = DigitsSettings

    def shape(self) -> TaskShape:
        return TaskShape("resnet18-1", classes=10, in_features=1)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        pictures, labels = pictures_of(split)
        rows = torch.randint(len(labels), (count,), generator=generator)
        chosen = pictures[rows]
        if split in (TRAIN, VALIDATION):  # the energy head must see mistakes, and of pictures as they are there are few
            chosen = moved(chosen, generator, self.settings)
        return make_batch(chosen, labels[rows])

    def all_of(self, split: str) -> Batch:
        """Every picture of a split, as it is."""
        return make_batch(*pictures_of(split))

    def from_file(self, path: str | Path) -> Batch:
        """Every picture of a parquet file with `image` and `label` columns."""
        return make_batch(*read_parquet(Path(path)))

    def read(self, given: Any) -> Given:
        """Read a picture of any size, dark on light or light on dark."""
        pixels = like_mnist(grey_of(np.asarray(given, dtype=np.float32)))
        inputs = make_batch(torch.from_numpy(pixels)[None, None], torch.zeros(1, dtype=torch.long)).inputs
        return Given(inputs, {"kind": "picture", "pixels": pixels}, 1)

    def present(self, given: Given, choices: list[int]) -> Answer:
        digit = choices[0]
        return Answer(digit, str(digit), f"It is {'an' if digit == 8 else 'a'} {digit}")

    def labels(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def examples(self) -> list[Path]:
        return sorted(EXAMPLES_DIR.glob("digit-*.png"))

    def describe(self) -> dict[str, Any]:
        preprocessing = {
            "size": [SIDE, SIDE],
            "channels": 1,
            "mean": [MEAN],
            "std": [SPREAD],
            "strokes": "light on dark",
        }
        return super().describe() | {"preprocessing": preprocessing}


def moved(
    pictures: Float[Tensor, "B 1 28 28"], generator: torch.Generator, settings: DigitsSettings
) -> Float[Tensor, "B 1 28 28"]:
    """Turned, shifted, and made larger or smaller, by as much as the settings allow."""
    count = len(pictures)
    spread = torch.rand(count, 5, generator=generator) * 2 - 1
    angle = torch.deg2rad(spread[:, 0] * settings.turn)
    width, height = 1 + spread[:, 1] * settings.scale, 1 + spread[:, 2] * settings.scale
    x, y = (spread[:, axis] * settings.shift * 2 / SIDE for axis in (3, 4))
    cos, sin = angle.cos(), angle.sin()
    maps = torch.stack((cos / width, -sin / width, x, sin / height, cos / height, y), 1).view(count, 2, 3)
    return F.grid_sample(pictures, F.affine_grid(maps, list(pictures.shape), False), align_corners=False)


def like_mnist(grey: np.ndarray) -> np.ndarray:
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
    strokes = figure_of(grey)
    if strokes.max() < 0.15:
        raise ValueError(
            "The picture is empty: nothing stands out from the background. Draw a digit with thick strokes."
        )
    strokes /= strokes.max()
    if grey.shape == (SIDE, SIDE) and ground_of(grey) < 0.5:
        return strokes  # already as MNIST has it
    cut = trimmed(strokes, 0.3)
    scale = 20 / max(cut.shape)
    size = [max(1, round(length * scale)) for length in cut.shape[::-1]]
    small = np.asarray(
        Image.fromarray(cut).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    )
    return centred(small / max(float(small.max()), 1e-6))


def centred(small: np.ndarray) -> np.ndarray:
    """Paste strokes (at most 20 x 20) so that their centre of mass lies in the middle of a 28 x 28 picture."""
    height, width = small.shape
    mass = small.sum()
    row = (small.sum(1) * np.arange(height)).sum() / mass
    column = (small.sum(0) * np.arange(width)).sum() / mass
    top = int(np.clip(round(SIDE / 2 - 0.5 - row), 0, SIDE - height))
    left = int(np.clip(round(SIDE / 2 - 0.5 - column), 0, SIDE - width))
    picture = np.zeros((SIDE, SIDE), np.float32)
    picture[top : top + height, left : left + width] = small
    return picture


def make_batch(pictures: Float[Tensor, "B 1 28 28"], labels: Int[Tensor, " B"]) -> Batch:
    return Batch((pictures - MEAN) / SPREAD, labels.unsqueeze(1), torch.zeros_like(labels))


@cache
def pictures_of(split: str) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Pictures and labels of a split. Test is the published test file; the others part the training file by content."""
    if split == TEST:
        return read_parquet(DATA_DIR / "test.parquet")
    pictures, labels = read_parquet(DATA_DIR / "train.parquet")
    tested = {picture_hash(picture) for picture in read_parquet(DATA_DIR / "test.parquet")[0]}
    keys = [picture_hash(picture) for picture in pictures]
    places = places_of(keys, LOOSE)
    rows = [
        row for row, (key, place) in enumerate(zip(keys, places, strict=True)) if key not in tested and place == split
    ]
    return pictures[rows], labels[rows]


def picture_hash(picture: Tensor) -> bytes:
    return digest((picture * 255).round().byte().numpy())


def read_parquet(path: Path) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Read `image` (encoded bytes, as the Hub stores them) and `label` columns.

    Raises:
        ValueError: no such file, no such columns, or a row that is not a picture with a label from 0 to 9.
    """
    table = read_table(path, ["image", "label"])
    pictures = torch.empty(len(table), 1, SIDE, SIDE)
    for row, picture in enumerate(pictures_in(table, path.name)):
        grey = np.array(picture.convert("L").resize((SIDE, SIDE)), dtype=np.float32)
        pictures[row, 0] = torch.from_numpy(grey / 255)
    return pictures, torch.tensor(labels_in(table, path.name, classes=10))
