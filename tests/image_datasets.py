"""Small data sets of pictures, made by a rule, in parquet files as the Hub holds them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image


def make_image(label: int, number: int, side: int, channels: int = 3, width: int = 0) -> np.ndarray:
    """Stripes whose slant and colour tell the class, some noise that tells one from another."""
    y, x = np.mgrid[0:side, 0 : width or side]
    waves = 0.5 + 0.4 * np.sin((x * np.cos(label) + y * np.sin(label)) * 0.9 + number)
    tint = 0.5 + 0.5 * np.cos(label + np.arange(channels))
    noise = np.random.default_rng((label, number)).random((side, width or side, channels)) * 0.1
    return np.rint((waves[..., None] * tint * 0.9 + noise) * 255).clip(0, 255).astype(np.uint8)


def encode_image(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(content, kind)
    return content.getvalue()


def write_split(
    path: Path,
    images: Sequence[bytes],
    labels: Sequence,
    names: Sequence[str] | None,
    columns: tuple[str, str] = ("image", "label"),
    rows: int = 30,
) -> None:
    """A parquet file as `datasets` writes it; without names the classes are plain numbers."""
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    cells = pyarrow.array([{"bytes": content, "path": None} for content in images], kind)
    label = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    features = {columns[0]: {"_type": "Image"}, columns[1]: label}
    table = pyarrow.table({columns[0]: cells, columns[1]: pyarrow.array(labels)})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata(about), path, row_group_size=rows)


def write_dataset(
    folder: Path,
    names: Sequence[str],
    side: int = 12,
    channels: int = 3,
    train: int = 500,
    test: int = 60,
    columns: tuple[str, str] = ("image", "label"),
    splits: tuple[str, str] = ("train", "test"),
    kind: str = "PNG",
) -> Path:
    """Two splits; the test one begins with pictures of the other, as published ones now and then do."""
    for split, first, count in ((splits[0], 0, train), (splits[1], train - 3, test)):
        labels = [number % len(names) for number in range(first, first + count)]
        pictures = [
            encode_image(make_image(label, number, side, channels), kind) for number, label in enumerate(labels, first)
        ]
        write_split(folder / f"{split}-00000-of-00001.parquet", pictures, labels, names, columns)
    return folder
