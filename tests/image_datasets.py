"""Small generated image datasets, in parquet files in the layout of the Hub."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image


def make_image(label: int, number: int, side: int, channels: int = 3, width: int = 0) -> np.ndarray:
    """Generate an image of stripes.

    Args:
        label: Class, which determines the angle and the colour of the stripes.
        number: Number of the image, which determines their phase and the noise.
        side: Height in pixels.
        channels: Number of channels.
        width: Width in pixels; 0 for a square.
    """
    y, x = np.mgrid[0:side, 0 : width or side]
    stripes = 0.5 + 0.4 * np.sin((x * np.cos(label) + y * np.sin(label)) * 0.9 + number)
    colour = 0.5 + 0.5 * np.cos(label + np.arange(channels))
    noise = np.random.default_rng((label, number)).random((side, width or side, channels)) * 0.1
    return np.rint((stripes[..., None] * colour * 0.9 + noise) * 255).clip(0, 255).astype(np.uint8)


def encode_image(pixels: np.ndarray, image_format: str = "PNG") -> bytes:
    """Encode an image in a format of Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, image_format)
    return buffer.getvalue()


def write_split(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence,
    names: Sequence[str] | None,
    columns: tuple[str, str] = ("image", "label"),
    rows: int = 30,
) -> None:
    """Write a parquet file in the layout of `datasets`.

    Args:
        path: Output file.
        images: Encoded images; None for a missing one.
        labels: Class of each image.
        names: Names of the classes; None for a column of numbers, truth values or words.
        columns: Names of the image column and the label column.
        rows: Rows per row group.
    """
    image_column, label_column = columns
    image_type = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    cells = pyarrow.array([{"bytes": content, "path": None} for content in images], image_type)
    label_array = pyarrow.array(labels)
    dtype = {"double": "float64"}.get(str(label_array.type), str(label_array.type))
    label_feature = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": dtype, "_type": "Value"}
    features = {image_column: {"_type": "Image"}, label_column: label_feature}
    table = pyarrow.table({image_column: cells, label_column: label_array})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata(metadata), path, row_group_size=rows)


def write_dataset(
    folder: Path,
    names: Sequence[str],
    side: int = 12,
    channels: int = 3,
    train: int = 500,
    test: int = 60,
    columns: tuple[str, str] = ("image", "label"),
    splits: tuple[str, str] = ("train", "test"),
    image_format: str = "PNG",
) -> Path:
    """Write a training and a test split; the test split begins with three images of the training split.

    Args:
        folder: Output directory.
        names: Names of the classes.
        side: Height and width of the images, in pixels.
        channels: Number of channels.
        train: Number of training images.
        test: Number of test images.
        columns: Names of the image column and the label column.
        splits: Names of the splits.
        image_format: Image format of Pillow.

    Returns:
        The output directory.
    """
    for split, first, count in ((splits[0], 0, train), (splits[1], train - 3, test)):
        labels = [number % len(names) for number in range(first, first + count)]
        images = [
            encode_image(make_image(label, number, side, channels), image_format)
            for number, label in enumerate(labels, first)
        ]
        write_split(folder / f"{split}-00000-of-00001.parquet", images, labels, names, columns)
    return folder
