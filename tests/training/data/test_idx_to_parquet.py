"""IDX files become parquet files that `datasets` and the task `images` read, pixel for pixel."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from training.data.dataset_settings import DataSettings
from training.data.dataset_source import load_class_names
from training.data.idx_to_parquet import main
from training.data.image_dataset import iterate_images

NAMES = ["shirt", "shoe", "bag"]
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 6, 5), np.uint8)
LABELS = np.arange(9, dtype=np.uint8) % 3


def encode_idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


@pytest.fixture
def idx_dir(tmp_path) -> Path:
    """As handed out: two files as they are, two compressed."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encode_idx(IMAGES[:6]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode_idx(LABELS[:6]))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(encode_idx(IMAGES[6:])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(encode_idx(LABELS[6:])))
    return tmp_path


def test_pictures_labels_and_names_come_through(idx_dir, capsys):
    main([str(idx_dir), "--out", str(idx_dir / "out"), "--names", *NAMES])
    assert "6 images in train, 3 images in test" in capsys.readouterr().out
    settings = DataSettings(data_files=str(idx_dir / "out"))
    assert load_class_names(settings) == tuple(NAMES)
    read = [*iterate_images(settings, "train", tuple(NAMES)), *iterate_images(settings, "test", tuple(NAMES))]
    np.testing.assert_array_equal([np.asarray(picture) for picture, _ in read], IMAGES)
    assert [label for _, label in read] == LABELS.tolist()


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("train-images-idx3-ubyte", encode_idx(IMAGES)[:-4], "cut off: it has 266 of 9 x 6 x 5 values"),
        ("train-images-idx3-ubyte", encode_idx(LABELS), "not an IDX file of unsigned bytes with 3 axes"),
        ("train-images-idx3-ubyte", encode_idx(IMAGES[:5]), "5 images for 6 labels"),
        ("train-labels-idx1-ubyte", encode_idx(LABELS[:6] + 1), "has the label 3, but there are 3 names"),
        ("train-labels-idx1-ubyte", b"", "not an IDX file"),
        ("t10k-labels-idx1-ubyte.gz", b"\x1f\x8bgarbage", "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", None, "contains neither t10k-labels-idx1-ubyte nor"),
    ],
)
def test_broken_files_are_rejected_in_one_sentence(idx_dir, name, content, says):
    (idx_dir / name).unlink() if content is None else (idx_dir / name).write_bytes(content)
    with pytest.raises(SystemExit, match=says):
        main([str(idx_dir), "--out", str(idx_dir / "out"), "--names", *NAMES])
    assert not (idx_dir / "out").exists()
