"""From IDX files, in which MNIST and its relatives are handed out, to parquet files in the Hub's schema.

python -m training.idx FOLDER --out FOLDER [--names NAME NAME ...]

FOLDER holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`,
each as it is or with `.gz`. On Debian the package `dataset-fashion-mnist` puts those of Fashion-MNIST into
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

SPLIT_FILE_PREFIXES = {"train": "train", "test": "t10k"}  # the Hub's name -> that of the files
UNSIGNED_BYTES = 8
ROW_GROUP_SIZE = 1_000  # of a row group: what is read at once


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """The values of an IDX file of unsigned bytes.

    Raises:
        ValueError: it is none, or has another number of axes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} cannot be read: {error}.") from None
    begins = 4 + 4 * num_axes
    if content[:4] != bytes((0, 0, UNSIGNED_BYTES, num_axes)) or len(content) < begins:
        raise ValueError(f"{path.name} is not an IDX file of unsigned bytes with {num_axes} axes.")
    lengths = np.frombuffer(content[4:begins], ">u4").tolist()
    values = np.frombuffer(content[begins:], np.uint8)
    if values.size != int(np.prod(lengths, dtype=object)):
        raise ValueError(f"{path.name} is cut off: it holds {values.size:,} of {' x '.join(map(str, lengths))} values.")
    return values.reshape(lengths)


def convert_to_parquet(folder: Path, out: Path, names: list[str]) -> dict[str, int]:
    """Write `train` and `test` of a folder of IDX files as parquet; how many pictures each holds.

    Raises:
        ValueError: a file is missing or broken, or has more classes than names.
    """
    splits = {split: read_split(folder, word, len(names)) for split, word in SPLIT_FILE_PREFIXES.items()}
    for split, (pictures, labels) in splits.items():
        write_parquet(out / f"{split}-00000-of-00001.parquet", pictures, labels, names)
    return {split: len(labels) for split, (_, labels) in splits.items()}


def read_split(folder: Path, prefix: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, h, w) and labels (n) of the files that begin with a word."""
    of_pictures, of_labels = (
        find_idx_file(folder, f"{prefix}-images-idx3-ubyte"),
        find_idx_file(folder, f"{prefix}-labels-idx1-ubyte"),
    )
    pictures, labels = read_idx(of_pictures, 3), read_idx(of_labels, 1)
    if len(pictures) != len(labels) or not len(labels):
        raise ValueError(f"{of_pictures.name} holds {len(pictures):,} pictures for {len(labels):,} labels.")
    if labels.max() >= num_classes:
        raise ValueError(f"{of_labels.name} holds label {labels.max()}, but there are {num_classes} names.")
    return pictures, labels


def find_idx_file(folder: Path, name: str) -> Path:
    """A file of a folder, as it is or compressed."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ValueError(f"{folder} holds neither {name} nor {name}.gz.")


def write_parquet(path: Path, pictures: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Pictures (n, h, w) or (n, h, w, 3) as PNG, and their classes, as `datasets` writes them."""
    cells = [{"bytes": encode_png(picture), "path": None} for picture in pictures]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table(
        {"image": pyarrow.array(cells, kind), "label": pyarrow.array(labels.tolist(), pyarrow.int64())}
    )
    about = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata({"huggingface": about}), path, row_group_size=ROW_GROUP_SIZE)


def encode_png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def main(arguments: list[str] | None = None) -> None:
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
