"""Convert IDX files (MNIST and similar data sets) to parquet files in the schema of the Hub.

python -m training.idx FOLDER --out FOLDER [--names NAME NAME ...]

FOLDER holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`,
each plain or with `.gz`. The Debian package `dataset-fashion-mnist` installs Fashion-MNIST in
`/usr/share/datasets/fashion-mnist`. The format: two zero bytes, 8 for unsigned bytes, the number of axes, their lengths as
big-endian 32-bit numbers, the values (http://yann.lecun.com/exdb/mnist).
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

SPLIT_FILE_PREFIXES = {"train": "train", "test": "t10k"}  # split name on the Hub -> prefix of the file names
UNSIGNED_BYTES = 8
ROW_GROUP_SIZE = 1_000  # rows that a reader loads at once


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

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
        raise ValueError(f"{path.name} is cut off: it holds {values.size:,} of {' x '.join(map(str, lengths))} values.")
    return values.reshape(lengths)


def convert_to_parquet(folder: Path, out: Path, names: list[str]) -> dict[str, int]:
    """Convert the `train` and `test` IDX files of a directory to parquet.

    Returns:
        The number of images of each split.

    Raises:
        ValueError: A file is missing or broken, or has more classes than names.
    """
    splits = {split: read_split(folder, word, len(names)) for split, word in SPLIT_FILE_PREFIXES.items()}
    for split, (pictures, labels) in splits.items():
        write_parquet(out / f"{split}-00000-of-00001.parquet", pictures, labels, names)
    return {split: len(labels) for split, (_, labels) in splits.items()}


def read_split(folder: Path, prefix: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the images, shape (n, h, w), and labels, shape (n), of the files with a prefix."""
    image_path = find_idx_file(folder, f"{prefix}-images-idx3-ubyte")
    label_path = find_idx_file(folder, f"{prefix}-labels-idx1-ubyte")
    pictures, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if len(pictures) != len(labels) or not len(labels):
        raise ValueError(f"{image_path.name} holds {len(pictures):,} pictures for {len(labels):,} labels.")
    if labels.max() >= num_classes:
        raise ValueError(f"{label_path.name} holds label {labels.max()}, but there are {num_classes} names.")
    return pictures, labels


def find_idx_file(folder: Path, name: str) -> Path:
    """Return the path of a plain or compressed file.

    Raises:
        ValueError: Neither exists.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ValueError(f"{folder} holds neither {name} nor {name}.gz.")


def write_parquet(path: Path, pictures: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Write images, shape (n, h, w) or (n, h, w, 3), as PNG with their labels, in the layout of `datasets`."""
    cells = [{"bytes": encode_png(picture), "path": None} for picture in pictures]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table(
        {"image": pyarrow.array(cells, kind), "label": pyarrow.array(labels.tolist(), pyarrow.int64())}
    )
    metadata = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata({"huggingface": metadata}), path, row_group_size=ROW_GROUP_SIZE)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return the image as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.idx", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the IDX files are")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the parquet files go")
    parser.add_argument("--names", nargs="+", default=list("0123456789"), help="the classes (default: digits)")
    args = parser.parse_args(arguments)
    try:
        counts = convert_to_parquet(args.folder, args.out, args.names)
    except ValueError as error:
        raise SystemExit(f"Error: {error}") from None
    print(f"{args.out}: {', '.join(f'{count:,} pictures to {split}' for split, count in counts.items())}")
