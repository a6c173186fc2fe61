"""Image classification: train on a data set of the Hub or of local files, or run models trained on ImageNet.

Without a data set, the class names are those of ImageNet: `data/imagenet_classes.txt`, one name per line in the order of
torchvision. `training.data.image_dataset` loads data sets into memory, `training.data.streaming` streams large ones, and
`training.data.augmentation` augments training images.
"""

from collections.abc import Iterator, Sequence
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
from training.data.dataset_settings import DataSettings
from training.data.dataset_source import load_class_names
from training.data.foreground import extract_object
from training.data.image_dataset import LabeledImages, load_in_memory
from training.data.parquet import iterate_labeled_images, read_table
from training.data.preprocessing import background_level, crop_to_foreground, fit_into_square, to_grayscale
from training.data.streaming import iterate_training_batches, load_held_out_images
from training.paths import DATA_DIR, EXAMPLES_DIR
from training.tasks.base import Task, has_image_backbone
from training.tasks.samples import Batch, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, make_generator

MAX_LOADED_BYTES = 2 * 2**30  # model inputs (float32) of one file or one held-out split
FASHION_MNIST = "fashion_mnist"  # data set with bundled examples
MAX_SINGLE_STAGE_SIZE = 64  # pixels; larger images need a backbone with more than one stage
MIN_CONTRAST = 0.15  # of the object; pixels of less than half of it are cropped
MAX_ASPECT_RATIO = 20  # longer side of an image divided by the shorter one
MIN_STD = 1e-4  # with a smaller standard deviation, normalised pixels overflow


class ImagesSettings(DataSettings):
    """Settings of the task `images`: the data set, the preprocessing and the augmentation."""

    mean: tuple[float, ...] = Field(
        (0.485, 0.456, 0.406),
        title="Channel means",
        description="mean of red, green and blue (or of grey) over the training images, in [0, 1]",
    )
    std: tuple[float, ...] = Field(
        (0.229, 0.224, 0.225), title="Channel deviations", description="standard deviation of the same channels"
    )
    names: Literal["imagenet"] | tuple[str, ...] | None = Field(
        None, title="Class names", description="class names: imagenet, or a list; null: those of the data set"
    )
    background: Literal["any", "dark"] = Field(
        "any",
        title="Background",
        description="dark: images show one light object on black, and inputs of users are converted to that",
    )
    augment: AugmentationPolicy = Field(
        "crop-flip",
        title="Augmentation",
        description="augmentation of training images: none; random crops and flips (crop-flip); AutoAugment (auto); or "
        "TrivialAugment after crops and flips (trivial)",
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "ImagesSettings":
        if not {len(self.mean), len(self.std)} <= {1, self.channels}:
            raise ValueError(f"task.mean and task.std hold one number, or one per channel: {self.channels}.")
        if not all(MIN_STD <= value <= 1 / MIN_STD for value in self.std):
            raise ValueError(
                f"task.std must hold positive numbers from {MIN_STD} to {1 / MIN_STD:,.0f}: got {list(self.std)}."
            )
        if not all(abs(value) <= 1 / MIN_STD for value in self.mean):
            raise ValueError(f"task.mean must hold brightness values from 0 to 1: got {list(self.mean)}.")
        if self.names is not None and len(self.names) < 2:
            raise ValueError(
                f"task.names must hold at least two names, or be imagenet: got {truncate_repr(self.names)}."
            )
        return self


class Images(Task):
    """Classification of images.

    Axes of the tensors: B samples, c channels, h and w pixels.
    """

    name = "images"
    title = "Pictures"
    input_type = "image"
    has_natural_inputs = True
    machine_local_settings = ("data_files",)
    Settings = ImagesSettings
    settings: ImagesSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        if self.settings.background == "dark":
            return "one object on a plain background, light or dark; the picture is converted to light on black"
        return "a photograph of one animal or object; the model sees the central square"

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: one class per name, and a residual backbone."""
        backbone = "resnet18-4" if self.settings.crop > MAX_SINGLE_STAGE_SIZE else "resnet18-1"
        return TaskSpec(backbone, classes=len(self.get_labels()), in_features=self.settings.channels)

    def with_resolved_settings(self) -> "Images":
        """Return the task with the class names of its data set, which may have to be fetched."""
        settings = self.settings
        if settings.names is not None or not settings.display_name:
            return self
        return Images(settings.model_copy(update={"names": load_class_names(self._data_settings)}))

    @property
    def _data_settings(self) -> DataSettings:
        """Settings that determine which images are read; a key of the caches of loaded images."""
        return DataSettings.model_validate(self.settings.model_dump(include=set(DataSettings.model_fields)))

    def _load_images(self, split: str) -> LabeledImages:
        """Return the images of a split that are in memory; those of a stream are its held-out images."""
        settings = self.settings
        names = tuple(self.get_labels())
        if settings.streaming:
            return load_held_out_images(self._data_settings, names).splits[split]
        train_side = settings.crop if settings.augment == "none" else settings.resize
        return load_in_memory(self._data_settings, names, train_side)[split]

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample images: with replacement and augmentation for training, otherwise without either.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, c, crop, crop), normalised; targets of shape (B, 1). A held-out split gives fewer than `count`
            samples if it is smaller, or if they would exceed `MAX_LOADED_BYTES`.
        """
        if split == TRAIN and self.settings.streaming:
            seed = int(torch.randint(2**31, (), generator=generator))
            _, images = next(iterate_training_batches(self._data_settings, tuple(self.get_labels()), count, seed))
            return self._build_training_batch(images, generator)
        data = self._load_images(split)
        if split != TRAIN:
            order = torch.randperm(len(data.labels), generator=generator)
            rows = order[: min(count, self._max_loaded_images)].numpy()
            return self._build_batch(data.pixels[rows], data.labels[rows])
        indices = torch.randint(len(data.labels), (count,), generator=generator).tolist()
        images = [(Image.fromarray(data.pixels[index].squeeze()), int(data.labels[index])) for index in indices]
        return self._build_training_batch(images, generator)

    def iterate_batches(
        self, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, *, start: int = 0
    ) -> Iterator[Batch]:
        """Yield an endless stream of training batches, read from the data set if the settings stream it.

        Args:
            batch_size: Samples per batch.
            seed: Seed of the run.
            rank: Index of this process.
            world_size: Number of processes.
            start: Number of batches of this process to skip.

        Yields:
            The batches of process `rank`; see `Task.iterate_batches`.
        """
        if not self.settings.streaming:
            yield from super().iterate_batches(batch_size, seed, rank, world_size, start=start)
        names = tuple(self.get_labels())
        batches = iterate_training_batches(self._data_settings, names, batch_size, seed, rank, world_size, start)
        for number, images in batches:
            yield self._build_training_batch(images, make_generator(TRAIN, seed, 0, number))

    def load_full_split(self, split: str) -> Batch:
        """Return the images of a held-out split without augmentation, as many as fit into `MAX_LOADED_BYTES`."""
        data = self._load_images(split)
        limit = self._max_loaded_images
        return self._build_batch(data.pixels[:limit], data.labels[:limit])

    @property
    def _max_loaded_images(self) -> int:
        """Number of model inputs that fit into `MAX_LOADED_BYTES`, at 4 bytes per value."""
        return MAX_LOADED_BYTES // (4 * self.settings.channels * self.settings.crop**2)

    def _build_training_batch(self, images: list[tuple[Image.Image, int]], generator: torch.Generator) -> Batch:
        """Build a batch of images, each augmented with random numbers of its own."""
        settings = self.settings
        random_numbers = torch.rand(len(images), RANDOM_NUMBERS_PER_IMAGE, generator=generator).tolist()
        pixels = []
        for (image, _), numbers in zip(images, random_numbers, strict=True):
            converted = settings.convert_mode(image)
            augmented = augment_image(converted, settings.resize, settings.crop, settings.augment, iter(numbers))
            pixels.append(settings.to_array(augmented))
        return self._build_batch(np.stack(pixels), np.array([label for _, label in images]))

    def _build_batch(self, pixels: UInt8[np.ndarray, "B h w c"], labels: np.ndarray) -> Batch:
        targets = torch.tensor(labels).unsqueeze(1)
        return Batch(self._normalise(pixels), targets, torch.zeros(len(labels), dtype=torch.long))

    def _normalise(self, pixels: UInt8[np.ndarray, "B h w c"]) -> Float[Tensor, "B c h w"]:
        """Convert bytes to normalised model inputs."""
        mean = np.array(self.settings.mean, np.float32)
        std = np.array(self.settings.std, np.float32)
        return torch.from_numpy(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())

    def load_file(self, path: str | Path) -> Batch:
        """Return every readable image of a parquet file with the image and label columns of the settings.

        Raises:
            ValueError: The file is missing, has too many images or too many unreadable ones, or a label is not a class.
        """
        path = Path(path)
        settings = self.settings
        table = read_table(path, [settings.image_column, settings.label_column])
        if len(table) > self._max_loaded_images:
            raise ValueError(
                f"{path.name} has {len(table):,} images; at most {self._max_loaded_images:,} fit into memory: split it."
            )
        images = iterate_labeled_images(
            table,
            path.name,
            self.get_labels(),
            settings.image_column,
            settings.label_column,
            settings.max_unreadable_rate,
        )
        pixels, labels = zip(*((settings.preprocess(image.to_8_bit()), label) for image, label in images), strict=True)
        return self._build_batch(np.stack(pixels), np.array(labels))

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Preprocess an image as the model was trained: resize, crop, normalise.

        Raises:
            ValueError: The image is too long and thin, or nothing stands out from its background.
        """
        pixels = np.asarray(raw_input, dtype=np.float32)
        height, width = pixels.shape[:2]
        if min(height, width) < 1 or max(height, width) > MAX_ASPECT_RATIO * min(height, width):
            raise ValueError(f"The picture is {width} x {height} pixels, too long and thin. Crop it to the object.")
        notes: tuple[str, ...] = ()
        if self.settings.background == "dark":
            pixels, notes = place_on_black(pixels, self.settings.crop)
        image = self.settings.preprocess(Image.fromarray(np.rint(pixels * 255).astype(np.uint8)))
        return self._build_image_input(self._normalise(image[None]), image / np.float32(255), notes)

    def build_task_input(self, sample: Batch) -> TaskInput:
        """Return the image of a sample as a parsed input."""
        mean, std = (np.array(values, np.float32) for values in (self.settings.mean, self.settings.std))
        pixels = np.clip(sample.inputs[0].permute(1, 2, 0).numpy() * std + mean, 0, 1)
        return self._build_image_input(sample.inputs, pixels, true_choices=(int(sample.targets[0, 0]),))

    def _build_image_input(
        self,
        inputs: Float[Tensor, "1 c h w"],
        pixels: Float[np.ndarray, "h w c"],
        notes: Sequence[str] = (),
        true_choices: tuple[int, ...] | None = None,
    ) -> TaskInput:
        """Build the input of an image; `pixels` are those of the model input in [0, 1]."""
        display_pixels = pixels if self.settings.channels == 3 else pixels[..., 0]
        display = {"kind": "picture", "pixels": display_pixels, "notes": list(notes)}
        return TaskInput(inputs, display, 1, None, true_choices)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the name of the predicted class."""
        label = self.get_labels()[choices[0]]
        return TaskAnswer(choices[0], label, f"Prediction: {label}")

    def get_labels(self) -> list[str]:
        """Return the names of the classes.

        Raises:
            ValueError: The names are those of a data set and not resolved; see `with_resolved_settings`.
        """
        names = self.settings.names
        if names is None and self.settings.display_name:
            raise ValueError("The class names are unknown: set task.names to a list of names, or to imagenet.")
        return list(load_imagenet_names() if names in (None, "imagenet") else names)

    def get_examples(self) -> list[Path]:
        """Return the bundled test images of the data set, or bundled photographs for the classes of ImageNet."""
        dataset_name = self.settings.dataset.rpartition("/")[2]
        if dataset_name == FASHION_MNIST:
            return sorted(EXAMPLES_DIR.glob(f"{dataset_name}-*.png"))
        return [] if isinstance(self.settings.names, tuple) else sorted(EXAMPLES_DIR.glob("photo-*.jpg"))

    def load_example_images(self, count: int) -> list[np.ndarray]:
        """Return the first images of the test split, preprocessed; see `Task.load_example_images`."""
        return [
            np.repeat(pixels, 4 - pixels.shape[2], axis=2)[..., :3] for pixels in self._load_images(TEST).pixels[:count]
        ]

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Return no settings but the defaults, for an image backbone with one position of 1,000 classes."""
        shape = list(config.get("prediction_reshaper") or [-1])
        return {} if has_image_backbone(config) and config.get("out_dims") == 1000 and shape in ([-1], [1000]) else None

    def describe(self) -> dict[str, Any]:
        """Return the contents of `task.json`, with the preprocessing of the images."""
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


def place_on_black(image: Float[np.ndarray, "h w *c"], side: int) -> tuple[Float[np.ndarray, "h2 w2"], tuple[str, ...]]:
    """Place the object of an image, light on black, in a square that it fills.

    Args:
        image: Grey or RGB image in [0, 1].
        side: Side of the result in pixels.

    Returns:
        The result, which is the brightness of the image if it has this size and a dark background; and sentences about
        what is doubtful.

    Raises:
        ValueError: Nothing stands out from the background.
    """
    if image.shape[:2] == (side, side):
        grey = to_grayscale(image)
        if background_level(grey) < 0.5:
            return grey, ()
    foreground = extract_object(image)
    if foreground is None:
        raise ValueError(
            "Nothing stands out from the background. Upload a picture of one object on a plain background."
        )
    return fit_into_square(crop_to_foreground(foreground.pixels, MIN_CONTRAST / 2), side), foreground.notes


@cache
def load_imagenet_names() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet, in the order of torchvision."""
    return tuple((DATA_DIR / "imagenet_classes.txt").read_text("utf-8").splitlines())
