"""Convert IDX files (MNIST and similar data sets) to parquet files in the schema of the Hub.

python -m training.idx INPUT_DIR --out OUTPUT_DIR [--names NAME NAME ...]

INPUT_DIR contains `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`,
each plain or compressed (`.gz`). The Debian package `dataset-fashion-mnist` installs Fashion-MNIST in
`/usr/share/datasets/fashion-mnist`. An IDX file consists of two zero bytes, the type (8 for unsigned bytes), the number of
axes, their lengths as big-endian 32-bit integers, and the values (http://yann.lecun.com/exdb/mnist).
"""

import argparse
import gzip
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from training.console import write_line

SPLIT_FILE_PREFIXES = {"train": "train", "test": "t10k"}  # split name on the Hub -> prefix of the file names
UNSIGNED_BYTES = 8
ROW_GROUP_SIZE = 1_000  # rows that a reader loads in one step


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

    Args:
        path: The file, plain or with the suffix `.gz`.
        num_axes: Number of axes that the file must have.

    Raises:
        ValueError: The file is unreadable, has another type or another number of axes, or is truncated.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} cannot be read: {error}.") from None
    data_offset = 4 + 4 * num_axes
    if content[:4] != bytes((0, 0, UNSIGNED_BYTES, num_axes)) or len(content) < data_offset:
        raise ValueError(f"{path.name} is not an IDX file of unsigned bytes with {num_axes} axes.")
    lengths = np.frombuffer(content[4:data_offset], ">u4").tolist()
    values = np.frombuffer(content[data_offset:], np.uint8)
    if values.size != int(np.prod(lengths, dtype=object)):
        raise ValueError(f"{path.name} is cut off: it has {values.size:,} of {' x '.join(map(str, lengths))} values.")
    return values.reshape(lengths)


def convert_to_parquet(input_dir: Path, output_dir: Path, names: list[str]) -> dict[str, int]:
    """Convert the `train` and `test` IDX files of a directory to parquet.

    Args:
        input_dir: Directory of the IDX files.
        output_dir: Directory of the parquet files; created if it does not exist.
        names: Name of every class.

    Returns:
        The number of images of each split.

    Raises:
        ValueError: A file is missing or broken, or has more classes than names.
    """
    splits = {split: read_split(input_dir, prefix, len(names)) for split, prefix in SPLIT_FILE_PREFIXES.items()}
    for split, (images, labels) in splits.items():
        write_parquet(output_dir / f"{split}-00000-of-00001.parquet", images, labels, names)
    return {split: len(labels) for split, (_, labels) in splits.items()}


def read_split(input_dir: Path, prefix: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of the files with a prefix.

    Returns:
        Images of shape (n, h, w) and labels of shape (n), uint8.

    Raises:
        ValueError: A file is missing or broken, the numbers of images and labels differ, or a label has no name.
    """
    image_path = find_idx_file(input_dir, f"{prefix}-images-idx3-ubyte")
    label_path = find_idx_file(input_dir, f"{prefix}-labels-idx1-ubyte")
    images = read_idx(image_path, 3)
    labels = read_idx(label_path, 1)
    if len(images) != len(labels) or not len(labels):
        raise ValueError(f"{image_path.name} has {len(images):,} images for {len(labels):,} labels.")
    if labels.max() >= num_classes:
        raise ValueError(f"{label_path.name} has the label {labels.max()}, but there are {num_classes} names.")
    return images, labels


def find_idx_file(input_dir: Path, name: str) -> Path:
    """Return the path of a plain or compressed file.

    Raises:
        ValueError: Neither exists.
    """
    for path in (input_dir / name, input_dir / f"{name}.gz"):
        if path.is_file():
            return path
    raise ValueError(f"{input_dir} contains neither {name} nor {name}.gz.")


def write_parquet(path: Path, images: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Write images as PNG with their labels, in the layout of `datasets`.

    Args:
        path: The file; its directory is created if it does not exist.
        images: Images of shape (n, h, w) or (n, h, w, 3), uint8.
        labels: Class of each image, shape (n).
        names: Name of every class.
    """
    cells = [{"bytes": encode_png(image), "path": None} for image in images]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    image_type = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table(
        {"image": pyarrow.array(cells, image_type), "label": pyarrow.array(labels.tolist(), pyarrow.int64())}
    )
    metadata = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata({"huggingface": metadata}), path, row_group_size=ROW_GROUP_SIZE)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return the bytes of a PNG file of an image of shape (h, w) or (h, w, 3), uint8."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Raises:
        SystemExit: The arguments are wrong, or the conversion failed; the message is one sentence.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training.idx",
        description="Convert IDX files (MNIST and similar data sets) to parquet files in the schema of the Hub.",
    )
    parser.add_argument("input_dir", type=Path, metavar="INPUT_DIR", help="directory of the IDX files")
    parser.add_argument("--out", type=Path, required=True, metavar="OUTPUT_DIR", help="directory of the parquet files")
    parser.add_argument(
        "--names", nargs="+", default=list("0123456789"), help="names of the classes (default: the digits)"
    )
    args = parser.parse_args(arguments)
    try:
        counts = convert_to_parquet(args.input_dir, args.out, args.names)
    except ValueError as error:
        raise SystemExit(f"Error: {error}") from None
    write_line(f"{args.out}: {', '.join(f'{count:,} images in {split}' for split, count in counts.items())}")
