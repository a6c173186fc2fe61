"""IDX files become parquet files that `datasets` and the task `images` read, pixel for pixel."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from training.data.idx_to_parquet import main
from training.data.image_dataset import DataSettings, class_names, rows_of

NAMES = ["shirt", "shoe", "bag"]
PICTURES = np.random.default_rng(0).integers(0, 256, (9, 6, 5), np.uint8)
LABELS = np.arange(9, dtype=np.uint8) % 3


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


@pytest.fixture
def folder(tmp_path) -> Path:
    """As handed out: two files as they are, two compressed."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PICTURES[:6]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:6]))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PICTURES[6:])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[6:])))
    return tmp_path


def test_pictures_labels_and_names_come_through(folder, capsys):
    main([str(folder), "--out", str(folder / "out"), "--names", *NAMES])
    assert "6 pictures to train, 3 pictures to test" in capsys.readouterr().out
    settings = DataSettings(files=str(folder / "out"))
    assert class_names(settings) == tuple(NAMES)
    read = [*rows_of(settings, "train", 3), *rows_of(settings, "test", 3)]
    np.testing.assert_array_equal([np.asarray(picture) for picture, _ in read], PICTURES)
    assert [label for _, label in read] == LABELS.tolist()


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("train-images-idx3-ubyte", idx(PICTURES)[:-4], "cut off: it holds 266 of 9 x 6 x 5 values"),
        ("train-images-idx3-ubyte", idx(LABELS), "not an IDX file of unsigned bytes with 3 axes"),
        ("train-images-idx3-ubyte", idx(PICTURES[:5]), "5 pictures for 6 labels"),
        ("train-labels-idx1-ubyte", idx(LABELS[:6] + 1), "holds label 3, but there are 3 names"),
        ("train-labels-idx1-ubyte", b"", "not an IDX file"),
        ("t10k-labels-idx1-ubyte.gz", b"\x1f\x8bgarbage", "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", None, "holds neither t10k-labels-idx1-ubyte nor"),
    ],
)
def test_what_is_broken_is_refused_in_one_sentence(folder, name, content, says):
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(SystemExit, match=says):
        main([str(folder), "--out", str(folder / "out"), "--names", *NAMES])
    assert not (folder / "out").exists()
