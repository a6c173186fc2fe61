"""Handwritten digits: the bundled part of MNIST, or any parquet file with `image` and `label` columns.

Training pictures are shifted, turned and scaled a little, differently at every draw; held-out ones are shown as they are.
"""

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from jaxtyping import Float, Int
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ctm.settings import Settings
from training.tasks.base import CALIBRATION, TEST, TRAIN, VALIDATION, Batch, Given, Task, TaskShape

DATA = Path(__file__).parents[2] / "data"
SIDE = 28
MEAN, SPREAD = 0.1307, 0.3081  # of the MNIST training pictures


class DigitsSettings(Settings):
    turn: float = Field(12, ge=0, le=45, description="largest rotation of a training picture, degrees")
    shift: float = Field(2, ge=0, le=8, description="largest shift, pixels")
    scale: float = Field(0.12, ge=0, le=0.5, description="largest change of size")


class Digits(Task):
    name = "digits"
    title = "Handwritten digits"
    takes = "image"
    hint = "draw a digit from 0 to 9, or give a picture of one"
    Settings = DigitsSettings

    def shape(self) -> TaskShape:
        return TaskShape("resnet18-1", classes=10, in_features=1)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        pictures, labels = pictures_of(split)
        rows = torch.randint(len(labels), (count,), generator=generator)
        chosen = pictures[rows]
        if split in (TRAIN, VALIDATION):  # validation too: the energy head must see mistakes, and seen-as-is ones are few
            chosen = self._move(chosen, generator)
        return make_batch(chosen, labels[rows])

    def all_of(self, split: str) -> Batch:
        """Every picture of a split, as it is."""
        return make_batch(*pictures_of(split))

    def from_file(self, path: str | Path) -> Batch:
        """Every picture of a parquet file with `image` and `label` columns."""
        return make_batch(*read_parquet(Path(path)))

    def _move(self, pictures: Float[Tensor, "B 1 28 28"], generator: torch.Generator) -> Float[Tensor, "B 1 28 28"]:
        count = len(pictures)
        spread = torch.rand(count, 5, generator=generator) * 2 - 1
        angle = torch.deg2rad(spread[:, 0] * self.settings.turn)
        width, height = 1 + spread[:, 1] * self.settings.scale, 1 + spread[:, 2] * self.settings.scale
        x, y = (spread[:, axis] * self.settings.shift * 2 / SIDE for axis in (3, 4))
        cos, sin = angle.cos(), angle.sin()
        maps = torch.stack((cos / width, -sin / width, x, sin / height, cos / height, y), 1).view(count, 2, 3)
        return F.grid_sample(pictures, F.affine_grid(maps, list(pictures.shape), False), align_corners=False)

    def read(self, given: Any) -> Given:
        """Read a grey picture (h, w) of light strokes on dark, values 0 to 1, already cropped to what was drawn."""
        pixels = np.asarray(given, dtype=np.float32)
        assert pixels.shape == (SIDE, SIDE), pixels.shape
        inputs = make_batch(torch.from_numpy(pixels)[None, None], torch.zeros(1, dtype=torch.long)).inputs
        return Given(inputs, {"kind": "picture", "pixels": pixels.tolist()}, 1)

    def say(self, choices: list[int]) -> str:
        return f"a {choices[0]}"

    def labels(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def describe(self) -> dict[str, Any]:
        preprocessing = {"size": [SIDE, SIDE], "channels": 1, "mean": [MEAN], "std": [SPREAD], "strokes": "light on dark"}
        return super().describe() | {"preprocessing": preprocessing}


def make_batch(pictures: Float[Tensor, "B 1 28 28"], labels: Int[Tensor, " B"]) -> Batch:
    return Batch((pictures - MEAN) / SPREAD, labels.unsqueeze(1), torch.zeros_like(labels))


@cache
def pictures_of(split: str) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Pictures and labels of a split. Test is the published test file; the others part the training file by content."""
    if split == TEST:
        return read_parquet(DATA / "test.parquet")
    pictures, labels = read_parquet(DATA / "train.parquet")
    tested = {picture_hash(picture) for picture in read_parquet(DATA / "test.parquet")[0]}
    places = [place_of(picture_hash(picture), tested) for picture in pictures]
    rows = torch.tensor([row for row, place in enumerate(places) if place == split])
    return pictures[rows], labels[rows]


def place_of(digest: bytes, tested: set[bytes]) -> str | None:
    """83 % train, 7 % validation, 10 % calibration; nowhere if the same picture is tested on."""
    if digest in tested:
        return None
    number = int.from_bytes(digest[:8], "big") % 100
    return TRAIN if number < 83 else VALIDATION if number < 90 else CALIBRATION


def picture_hash(picture: Tensor) -> bytes:
    return hashlib.blake2b((picture * 255).round().byte().numpy().tobytes(), digest_size=16).digest()


def read_parquet(path: Path) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Read `image` (encoded bytes, as the Hub stores them) and `label` columns.

    Raises:
        ValueError: no such file, no such columns, or a row that is not a picture with a label from 0 to 9.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        table = parquet.read_table(path, columns=["image", "label"])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path.name} is not a parquet file with `image` and `label` columns: {error}") from None
    pictures = torch.empty(len(table), 1, SIDE, SIDE)
    for row, value in enumerate(table["image"].to_pylist()):
        data = value.get("bytes") if isinstance(value, dict) else value
        try:
            picture = Image.open(io.BytesIO(data)).convert("L").resize((SIDE, SIDE))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: row {row} is not a picture: {error}") from None
        pictures[row, 0] = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    labels = torch.tensor(table["label"].to_pylist())
    if len(labels) == 0 or labels.dtype != torch.long or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path.name}: labels must be whole numbers from 0 to 9.")
    return pictures, labels
