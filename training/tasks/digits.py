"""Handwritten digits: the bundled part of MNIST, or any parquet file with `image` and `label` columns.

Training images are shifted, rotated and scaled at random, differently at every draw. Test images are not augmented.
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
from training.data.foreground import extract_strokes
from training.data.parquet import iterate_labeled_images, read_table
from training.data.preprocessing import background_level, crop_to_foreground, to_grayscale
from training.paths import DATA_DIR, EXAMPLES_DIR
from training.tasks.base import Task
from training.tasks.samples import Batch, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, TRAIN_FILE_SPLITS, VALIDATION, assign_splits_by_hash, digest

IMAGE_SIZE = 28
MNIST_MEAN = 0.1307  # of the MNIST training images in [0, 1]
MNIST_STD = 0.3081
DIGIT_SIZE = 20  # longer side of the digit in an MNIST image, pixels
MIN_CONTRAST = 0.15  # brightness of the strongest stroke above the background in an image in the format of MNIST
STROKE_THRESHOLD = 0.3  # brightness of a pixel that belongs to the digit, relative to the strongest stroke
MIN_DRAWING_SIZE = 8  # pixels


class DigitsSettings(Settings):
    """Settings of the task `digits`: augmentation of the training images."""

    max_rotation: float = Field(
        12.0, ge=0, le=45, title="Rotation", description="largest rotation of a training image, degrees"
    )
    max_shift: float = Field(2.0, ge=0, le=8, title="Shift", description="largest shift along each axis, pixels")
    max_scale_change: float = Field(
        0.12, ge=0, le=0.5, title="Change of scale", description="largest change of width and of height, as a fraction"
    )


class Digits(Task):
    """Classification of handwritten digits."""

    name = "digits"
    title = "Handwritten digits"
    input_type = "image"
    has_natural_inputs = True
    input_hint = "draw a digit from 0 to 9, or upload a picture of one"
    supports_drawing = True
    Settings = DigitsSettings
    settings: DigitsSettings

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: ten classes, and a residual backbone for grayscale images."""
        return TaskSpec("resnet18-1", classes=10, in_features=1)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample images with replacement; those of the training and validation splits are augmented.

        Validation images are augmented because the energy head is fitted on them: without augmentation the model makes too
        few mistakes.

        Args:
            split: One of `splits`.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, 1, 28, 28), normalised; targets of shape (B, 1).
        """
        images, labels = load_images(split)
        rows = torch.randint(len(labels), (count,), generator=generator)
        samples = images[rows]
        if split in (TRAIN, VALIDATION):
            samples = random_affine(samples, generator, self.settings)
        return build_batch(samples, labels[rows])

    def load_full_split(self, split: str) -> Batch:
        """Return every image of a split, without augmentation."""
        return build_batch(*load_images(split))

    def load_file(self, path: str | Path) -> Batch:
        """Return every image of a parquet file with `image` and `label` columns."""
        return build_batch(*read_digit_parquet(Path(path)))

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Convert a drawing or a photo of any size: dark strokes on a light ground, or light ones on a dark ground.

        Raises:
            ValueError: The image is too small, or nothing stands out from its background.
        """
        pixels, notes = read_digit(np.asarray(raw_input, dtype=np.float32))
        inputs = build_batch(torch.from_numpy(pixels)[None, None], torch.zeros(1, dtype=torch.long)).inputs
        return TaskInput(inputs, {"kind": "picture", "pixels": pixels, "notes": list(notes)}, 1)

    def build_task_input(self, sample: Batch) -> TaskInput:
        """Return the image of a sample as a parsed input."""
        pixels = denormalise(sample.inputs[0, 0])
        return TaskInput(sample.inputs, {"kind": "picture", "pixels": pixels}, 1, None, (int(sample.targets[0, 0]),))

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the predicted digit."""
        digit = choices[0]
        return TaskAnswer(digit, str(digit), f"It is {'an' if digit == 8 else 'a'} {digit}")

    def get_labels(self) -> list[str]:
        """Return the names of the classes, the digits."""
        return [str(digit) for digit in range(10)]

    def get_examples(self) -> list[Path]:
        """Return the paths of the bundled example images."""
        return sorted(EXAMPLES_DIR.glob("digit-*.png"))

    def describe(self) -> dict[str, Any]:
        """Return the contents of `task.json`, with the preprocessing of the images."""
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
    """Rotate, shift and scale each image at random, within the limits of the settings.

    Args:
        images: Images in [0, 1].
        generator: Source of all randomness.
        settings: Limits of the transforms.
    """
    count = len(images)
    uniform = torch.rand(count, 5, generator=generator) * 2 - 1
    angle = torch.deg2rad(uniform[:, 0] * settings.max_rotation)
    width = 1 + uniform[:, 1] * settings.max_scale_change
    height = 1 + uniform[:, 2] * settings.max_scale_change
    x, y = (uniform[:, axis] * settings.max_shift * 2 / IMAGE_SIZE for axis in (3, 4))
    cos = angle.cos()
    sin = angle.sin()
    theta = torch.stack((cos / width, -sin / width, x, sin / height, cos / height, y), 1).view(count, 2, 3)
    return F.grid_sample(images, F.affine_grid(theta, list(images.shape), False), align_corners=False)


def convert_to_mnist_format(image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "28 28"]:
    """Return the digit of an image in the format of MNIST; see `read_digit`."""
    return read_digit(image)[0]


def read_digit(image: Float[np.ndarray, "h w *c"]) -> tuple[Float[np.ndarray, "28 28"], tuple[str, ...]]:
    """Crop, resize and centre a digit in the way of MNIST: 20 pixels long, centre of mass in the middle of 28 x 28.

    An image of 28 x 28 pixels on a dark ground is already in this format and is only scaled to the range from 0 to 1.

    Args:
        image: Grey or RGB image, from 0 (black) to 1 (white).

    Returns:
        Image in [0, 1], light on black; and sentences about what is doubtful.

    Raises:
        ValueError: The image is too small, or nothing stands out from its background.
    """
    if image.ndim not in (2, 3) or min(image.shape[:2]) < MIN_DRAWING_SIZE:
        size = " x ".join(map(str, image.shape[1::-1]))
        raise ValueError(f"The picture is too small to show a digit: got {size} pixels.")
    if image.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE):
        grey = to_grayscale(image)
        ground = background_level(grey)
        strokes = np.clip(grey - ground, 0, 1)
        if ground < 0.5 and strokes.max() >= MIN_CONTRAST:
            return strokes / strokes.max(), ()
    foreground = extract_strokes(image)
    if foreground is None:
        raise ValueError(
            "The picture is empty: nothing stands out from the background. Draw a digit with thick strokes."
        )
    digit = crop_to_foreground(foreground.pixels, STROKE_THRESHOLD)
    scale = DIGIT_SIZE / max(digit.shape)
    width, height = (max(1, round(length * scale)) for length in digit.shape[::-1])
    resampling = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(digit).resize((width, height), resampling))
    return center_by_mass(small / max(float(small.max()), 1e-6)), foreground.notes


def center_by_mass(small: np.ndarray) -> np.ndarray:
    """Place a digit of at most 20 x 20 pixels with its centre of mass in the middle of a 28 x 28 image."""
    height, width = small.shape
    mass = small.sum()
    row = (small.sum(1) * np.arange(height)).sum() / mass
    column = (small.sum(0) * np.arange(width)).sum() / mass
    top = int(np.clip(round(IMAGE_SIZE / 2 - 0.5 - row), 0, IMAGE_SIZE - height))
    left = int(np.clip(round(IMAGE_SIZE / 2 - 0.5 - column), 0, IMAGE_SIZE - width))
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    image[top : top + height, left : left + width] = small
    return image


def build_batch(images: Float[Tensor, "B 1 28 28"], labels: Int[Tensor, " B"]) -> Batch:
    """Build a batch from images in [0, 1], which it normalises; all difficulties are 0."""
    return Batch((images - MNIST_MEAN) / MNIST_STD, labels.unsqueeze(1), torch.zeros_like(labels))


def denormalise(image: Float[Tensor, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return a normalised image in [0, 1]."""
    return (image * MNIST_STD + MNIST_MEAN).clamp(0, 1).numpy()


@cache
def load_images(split: str) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Return images in [0, 1] and labels of a split.

    The test split is the published test file. A hash of the pixels divides the training file among the other splits, without
    the images that the test file contains as well.
    """
    if split == TEST:
        return read_digit_parquet(DATA_DIR / "test.parquet")
    return load_training_file()[split]


@cache
def load_training_file() -> dict[str, tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]]:
    """Return images in [0, 1] and labels of each split of the training file."""
    images, labels = read_digit_parquet(DATA_DIR / "train.parquet")
    test_digests = {hash_image(image) for image in load_images(TEST)[0]}
    digests = [hash_image(image) for image in images]
    rows: dict[str, list[int]] = {split: [] for _, split in TRAIN_FILE_SPLITS}
    for row, (image_digest, split) in enumerate(
        zip(digests, assign_splits_by_hash(digests, TRAIN_FILE_SPLITS), strict=True)
    ):
        if image_digest not in test_digests:
            rows[split].append(row)
    return {split: (images[split_rows], labels[split_rows]) for split, split_rows in rows.items()}


def hash_image(image: Float[Tensor, "1 28 28"]) -> bytes:
    """Return the digest of the pixels of an image in [0, 1], rounded to bytes."""
    return digest((image * 255).round().byte().numpy())


def read_digit_parquet(path: Path) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """Read the readable images, in the format of MNIST in [0, 1], and the labels of a parquet file.

    Images of 28 x 28 pixels on a dark background are not changed; others are converted as inputs of users are.

    Raises:
        ValueError: The file or a column is missing, too many images cannot be read, an image shows nothing, or a label is
            not a digit.
    """
    table = read_table(path, ["image", "label"])
    names = [str(digit) for digit in range(10)]
    images: list[Tensor] = []
    labels: list[int] = []
    for image, label in iterate_labeled_images(table, path.name, names):
        grey = np.asarray(image.to_8_bit().convert("L"), dtype=np.float32) / 255
        if grey.shape != (IMAGE_SIZE, IMAGE_SIZE) or background_level(grey) >= 0.5:
            try:
                grey = convert_to_mnist_format(to_grayscale(image.to_array()))
            except ValueError as error:
                raise ValueError(f"{path.name}: image {len(images)}: {error}") from None
        images.append(torch.from_numpy(grey)[None])
        labels.append(label)
    return torch.stack(images), torch.tensor(labels)
