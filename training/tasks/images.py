"""Pictures with one name each: of a data set of the Hub to learn from, or as ImageNet machines see them.

Without a data set, names are those of ImageNet: `data/imagenet_classes.txt`, one a line in the standard order of its 1,000
classes, as torchvision has them. `training.data.image_dataset` says where pictures come from,
`training.data.augmentation` how they are varied.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from ctm.messages import truncate_repr
from training.data.augmentation import RANDOM_NUMBERS_PER_IMAGE, AugmentationPolicy, augment_image
from training.data.image_dataset import DataSettings, load_class_names, load_in_memory
from training.data.parquet import iterate_image_column, read_label_column, read_table
from training.data.preprocessing import (
    background_level,
    crop_to_foreground,
    extract_foreground,
    fit_into_square,
    to_grayscale,
)
from training.data.streaming import iterate_training_batches, load_held_out_images
from training.paths import DATA_DIR, EXAMPLES_DIR
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec, has_image_backbone
from training.tasks.splits import TRAIN, make_generator

MAX_LOADED_BYTES = 2 * 2**30  # bytes of pictures as the machine takes them, of a file or of a held-out split
FASHION_MNIST = "fashion_mnist"  # a data set of which examples are bundled
MAX_SINGLE_STAGE_SIZE = 64  # pixels; larger pictures need more than one stage to be seen
MIN_CONTRAST = 0.15  # of what stands out from its ground
MAX_ASPECT_RATIO = 20  # times as long as wide
MIN_STD = 1e-4  # of colours; with less of it none would be told from another, or from infinity


class ImagesSettings(DataSettings):
    mean: tuple[float, ...] = Field(
        (0.485, 0.456, 0.406), description="mean of red, green and blue (or of grey) in the training pictures"
    )
    std: tuple[float, ...] = Field((0.229, 0.224, 0.225), description="their standard deviation")
    names: Literal["imagenet"] | tuple[str, ...] | None = Field(
        None, description="the classes: imagenet, or their names; not given: as the data set has them"
    )
    background: Literal["any", "dark"] = Field(
        "any", description="dark: images show one object on black, and the input of a user is converted to that"
    )
    augment: AugmentationPolicy = Field(
        "crop-flip",
        description="how training pictures are varied: not, by random cuts and mirroring, by AutoAugment, or by "
        "TrivialAugment besides cuts and mirroring",
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "ImagesSettings":
        if not {len(self.mean), len(self.std)} <= {1, self.channels}:
            raise ValueError(f"task.mean and task.std hold one number, or one a channel: {self.channels}.")
        if not all(MIN_STD <= value <= 1 / MIN_STD for value in self.std):
            raise ValueError(f"task.std holds positive numbers, from {MIN_STD} on: got {list(self.std)}.")
        if not all(abs(value) <= 1 / MIN_STD for value in self.mean):
            raise ValueError(f"task.mean holds numbers of colours from 0 to 1: got {list(self.mean)}.")
        if self.names is not None and len(self.names) < 2:
            raise ValueError(f"task.names holds at least two names, or is imagenet: got {truncate_repr(self.names)}.")
        return self


class Images(Task):
    name = "images"
    title = "Pictures"
    input_type = "image"
    machine_local_settings = ("data_files",)
    Settings = ImagesSettings

    @property
    def input_hint(self) -> str:
        if self.settings.background == "dark":
            return "a picture of one thing on a plain ground, light or dark; it is seen as light on black"
        return "a photograph of one thing, an animal or an object; the middle of it is seen"

    def get_spec(self) -> TaskSpec:
        backbone = "resnet18-4" if self.settings.crop > MAX_SINGLE_STAGE_SIZE else "resnet18-1"
        return TaskSpec(backbone, classes=len(self.get_labels()), in_features=self.settings.channels)

    def with_resolved_settings(self) -> "Images":
        settings = self.settings
        if settings.names is not None or not settings.display_name:
            return self
        return Images(settings.model_copy(update={"names": load_class_names(self._data_settings)}))

    @property
    def _data_settings(self) -> DataSettings:
        """The settings that decide what is read."""
        return DataSettings.model_validate(self.settings.model_dump(include=set(DataSettings.model_fields)))

    def _load_images(self, split: str) -> tuple[UInt8[np.ndarray, "n h w c"], np.ndarray]:
        settings, classes = self.settings, len(self.get_labels())
        if settings.streaming:
            part = load_held_out_images(self._data_settings, classes).splits[split]
        else:
            part = load_in_memory(
                self._data_settings, classes, settings.crop if settings.augment == "none" else settings.resize
            )[split]
        return part.pixels, part.labels

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Samples of a split; held-out ones are drawn once each, and as far as they fit memory, so there may be fewer."""
        if split == TRAIN and self.settings.streaming:
            seed = int(torch.randint(2**31, (), generator=generator))
            _, found = next(iterate_training_batches(self._data_settings, len(self.get_labels()), count, seed))
            return self._build_training_batch(found, generator)
        pixels, labels = self._load_images(split)
        if split != TRAIN:
            rows = torch.randperm(len(labels), generator=generator)[: min(count, self._max_loaded_images)].numpy()
            return self._build_batch(pixels[rows], labels[rows])
        rows = torch.randint(len(labels), (count,), generator=generator).tolist()
        return self._build_training_batch(
            [(Image.fromarray(pixels[row].squeeze()), int(labels[row])) for row in rows], generator
        )

    def iterate_batches(
        self, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, *, start: int = 0
    ) -> Iterator[Batch]:
        if not self.settings.streaming:
            yield from super().iterate_batches(batch_size, seed, rank, world_size, start=start)
        found = iterate_training_batches(
            self._data_settings, len(self.get_labels()), batch_size, seed, rank, world_size, start
        )
        for number, pictures in found:
            yield self._build_training_batch(pictures, make_generator(TRAIN, seed, 0, number))

    def load_full_split(self, split: str) -> Batch:
        """The pictures of a held-out split as they are, as far as they fit memory."""
        pixels, labels = self._load_images(split)
        most = self._max_loaded_images
        return self._build_batch(pixels[:most], labels[:most])

    @property
    def _max_loaded_images(self) -> int:
        return MAX_LOADED_BYTES // (4 * self.settings.channels * self.settings.crop**2)

    def _build_training_batch(self, images: list[tuple[Image.Image, int]], generator: torch.Generator) -> Batch:
        """A batch of these pictures, each varied in its own way."""
        settings, draws = self.settings, torch.rand(len(images), RANDOM_NUMBERS_PER_IMAGE, generator=generator).tolist()
        cuts = (
            augment_image(
                settings.convert_mode(picture), settings.resize, settings.crop, settings.augment, iter(numbers)
            )
            for (picture, _), numbers in zip(images, draws, strict=True)
        )
        return self._build_batch(
            np.stack([settings.to_array(cut) for cut in cuts]), np.array([label for _, label in images])
        )

    def _build_batch(self, pixels: UInt8[np.ndarray, "B h w c"], labels: np.ndarray) -> Batch:
        targets = torch.tensor(labels).unsqueeze(1)
        return Batch(self._normalise(pixels), targets, torch.zeros(len(labels), dtype=torch.long))

    def _normalise(self, pixels: UInt8[np.ndarray, "B h w c"]) -> Float[Tensor, "B c h w"]:
        mean, std = np.array(self.settings.mean, np.float32), np.array(self.settings.std, np.float32)
        return torch.from_numpy(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())

    def load_file(self, path: str | Path) -> Batch:
        """Every picture of a parquet file with `image` and `label` columns."""
        path, settings = Path(path), self.settings
        table = read_table(path, [settings.image_column, settings.label_column])
        if len(table) > self._max_loaded_images:
            raise ValueError(
                f"{path.name} holds {len(table):,} pictures; at most {self._max_loaded_images:,} are loaded: split it."
            )
        labels = read_label_column(table, path.name, len(self.get_labels()), settings.label_column)
        pixels = [
            settings.preprocess(picture) for picture in iterate_image_column(table, path.name, settings.image_column)
        ]
        return self._build_batch(np.stack(pixels), np.array(labels))

    def parse_input(self, raw_input: Any) -> TaskInput:
        pixels = np.asarray(raw_input, dtype=np.float32)
        height, width = pixels.shape[:2]
        if min(height, width) < 1 or max(height, width) > MAX_ASPECT_RATIO * min(height, width):
            raise ValueError(f"The picture is {width} x {height} pixels, too long and thin; cut out what it shows.")
        if self.settings.background == "dark":
            pixels = place_on_black(to_grayscale(pixels), self.settings.crop)
        seen = self.settings.preprocess(Image.fromarray(np.rint(pixels * 255).astype(np.uint8)))
        shown = (seen if self.settings.channels == 3 else seen[..., 0]) / np.float32(255)
        return TaskInput(self._normalise(seen[None]), {"kind": "picture", "pixels": shown}, 1)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        label = self.get_labels()[choices[0]]
        return TaskAnswer(choices[0], label, f'It takes this for "{label}"')

    def get_labels(self) -> list[str]:
        names = self.settings.names
        if names is None and self.settings.display_name:
            raise ValueError("The classes are not known: task.names holds their names, or is imagenet.")
        return list(load_imagenet_names() if names in (None, "imagenet") else names)

    def get_examples(self) -> list[Path]:
        """Bundled pictures of the data set's test split; photographs for the names of ImageNet."""
        bundled, name = EXAMPLES_DIR, self.settings.dataset.rpartition("/")[2]
        photographs = [] if isinstance(self.settings.names, tuple) else sorted(bundled.glob("photo-*.jpg"))
        return sorted(bundled.glob(f"{name}-*.png")) if name == FASHION_MNIST else photographs

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """A backbone for pictures and one choice of a thousand."""
        shape = list(config.get("prediction_reshaper") or [-1])
        return {} if has_image_backbone(config) and config.get("out_dims") == 1000 and shape in ([-1], [1000]) else None

    def describe(self) -> dict[str, Any]:
        settings = self.settings
        preprocessing = {
            "resize_shorter_side": settings.resize,
            "center_crop": settings.crop,
            "interpolation": "bilinear",
            "channels": settings.channels,
            "mean": list(settings.mean),
            "std": list(settings.std),
        }
        return super().describe() | {"preprocessing": preprocessing}


def place_on_black(grey: Float[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "h2 w2"]:
    """One thing as the pictures of such a data set show it: light on black, as large as fits.

    Raises:
        ValueError: nothing stands out from the ground.
    """
    if grey.shape == (side, side) and background_level(grey) < 0.5:
        return grey  # already so
    figure = extract_foreground(grey)
    if figure.max() < MIN_CONTRAST:
        raise ValueError("Nothing stands out from the ground; give a picture of one thing on a plain ground.")
    return fit_into_square(crop_to_foreground(figure, MIN_CONTRAST / 2), side)


@cache
def load_imagenet_names() -> tuple[str, ...]:
    return tuple((DATA_DIR / "imagenet_classes.txt").read_text("utf-8").splitlines())
