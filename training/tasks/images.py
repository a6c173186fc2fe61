"""Natural pictures with one name each, seen as ImageNet machines see them: shrunk, the middle cut out, normalised.

Names are read from `data/imagenet_classes.txt`, one a line in the standard order of ImageNet's 1,000 classes; they are those of
torchvision. No pictures are bundled to train on; a parquet file of them can be measured on.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field, model_validator

from ctm.settings import Settings, short
from training.tables import labels_in, pictures_in, read_table
from training.tasks.base import Answer, Batch, Given, Task, TaskShape, sees_pictures

DATA = Path(__file__).parents[2] / "data"
MOST_LOADED = 5_000  # pictures of a file that fit memory: 3 GB of them
LONGEST = 20  # times as long as wide
LEAST_SPREAD = 1e-4  # of colours; with less of it none would be told from another, or from infinity

Three = tuple[float, float, float]


class ImagesSettings(Settings):
    size: int = Field(256, ge=8, le=2_048, description="shorter side that a picture is resized to, pixels")
    crop: int = Field(224, ge=8, le=2_048, description="side of the middle that is cut out and seen")
    mean: Three = Field((0.485, 0.456, 0.406), description="mean of red, green and blue in the training pictures")
    std: Three = Field((0.229, 0.224, 0.225), description="their standard deviation")
    names: Literal["imagenet"] | tuple[str, ...] = Field(
        "imagenet", description="the classes: imagenet, or their names"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ImagesSettings":
        if self.crop > self.size:
            raise ValueError(f"task.crop may be task.size at most: got {self.crop} > {self.size}.")
        if not all(LEAST_SPREAD <= value <= 1 / LEAST_SPREAD for value in self.std):
            raise ValueError(f"task.std holds positive numbers, from {LEAST_SPREAD} on: got {list(self.std)}.")
        if not all(abs(value) <= 1 / LEAST_SPREAD for value in self.mean):
            raise ValueError(f"task.mean holds numbers of colours from 0 to 1: got {list(self.mean)}.")
        if len(self.names) < 2:
            raise ValueError(f"task.names holds at least two names, or is imagenet: got {short(self.names)}.")
        return self


class Images(Task):
    name = "images"
    title = "Pictures"
    takes = "image"
    hint = "a photograph of one thing, an animal or an object; the middle of it is seen"
    Settings = ImagesSettings

    def shape(self) -> TaskShape:
        return TaskShape("resnet18-4", classes=len(self.labels()), in_features=3)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        raise ValueError(
            "The task images has no pictures of its own; measure with --data FILE.parquet, a file with `image` and "
            "`label` columns."
        )

    def from_file(self, path: str | Path) -> Batch:
        """Every picture of a parquet file with `image` and `label` columns."""
        path = Path(path)
        table = read_table(path, ["image", "label"])
        if len(table) > MOST_LOADED:
            raise ValueError(
                f"{path.name} holds {len(table):,} pictures; at most {MOST_LOADED:,} are loaded: split it."
            )
        labels = torch.tensor(labels_in(table, path.name, len(self.labels())))
        crop = self.settings.crop
        inputs = torch.empty(len(table), 3, crop, crop)
        for row, picture in enumerate(pictures_in(table, path.name)):
            inputs[row] = self._normalised(middle_of(picture.convert("RGB"), self.settings.size, crop))
        return Batch(inputs, labels.unsqueeze(1), torch.zeros_like(labels))

    def read(self, given: Any) -> Given:
        pixels = np.asarray(given, dtype=np.float32)
        if pixels.ndim == 2:
            pixels = np.stack([pixels] * 3, -1)
        height, width = pixels.shape[:2]
        if min(height, width) < 1 or max(height, width) > LONGEST * min(height, width):
            raise ValueError(f"The picture is {width} x {height} pixels, too long and thin; cut out what it shows.")
        picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
        middle = middle_of(picture, self.settings.size, self.settings.crop)
        return Given(self._normalised(middle)[None], {"kind": "picture", "pixels": middle}, 1)

    def _normalised(self, pixels: np.ndarray) -> torch.Tensor:
        mean, std = np.array(self.settings.mean, np.float32), np.array(self.settings.std, np.float32)
        return torch.from_numpy(((pixels - mean) / std).transpose(2, 0, 1).copy())

    def present(self, given: Given, choices: list[int]) -> Answer:
        label = self.labels()[choices[0]]
        return Answer(choices[0], label, f'It takes this for "{label}"')

    def labels(self) -> list[str]:
        return list(imagenet_names() if self.settings.names == "imagenet" else self.settings.names)

    def examples(self) -> list[Path]:
        return sorted((DATA / "examples").glob("photo-*.jpg"))

    @classmethod
    def infer(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """A backbone for pictures and one choice of a thousand."""
        shape = list(config.get("prediction_reshaper") or [-1])
        return {} if sees_pictures(config) and config.get("out_dims") == 1000 and shape in ([-1], [1000]) else None

    def describe(self) -> dict[str, Any]:
        settings = self.settings
        preprocessing = {
            "resize_shorter_side": settings.size, "center_crop": settings.crop, "interpolation": "bilinear",
            "channels": 3, "mean": list(settings.mean), "std": list(settings.std),
        }  # fmt: skip
        return super().describe() | {"preprocessing": preprocessing}


def middle_of(picture: Image.Image, size: int, crop: int) -> np.ndarray:
    """Resize so that the shorter side has `size` pixels, and cut out the middle: (crop, crop, 3), 0 to 1."""
    short = min(picture.size)
    width, height = (int(size * side / short) for side in picture.size)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)  # this one blurs before it shrinks
    return np.asarray(resized.crop((left, top, left + crop, top + crop)), np.float32) / 255


@cache
def imagenet_names() -> tuple[str, ...]:
    return tuple((DATA / "imagenet_classes.txt").read_text("utf-8").splitlines())
