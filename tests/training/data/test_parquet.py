"""Parquet files of pictures, good and bad."""

import io

import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from training.data.parquet import iterate_image_column, iterate_labeled_images, read_table


def encode_png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (4, 3), shade).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def parquet_path(tmp_path):
    return tmp_path / "a.parquet"


@pytest.mark.parametrize("wrapped", [True, False])
def test_pictures_come_in_order_as_the_hub_stores_them_or_bare(parquet_path, wrapped):
    cells = [{"bytes": encode_png(shade), "path": None} if wrapped else encode_png(shade) for shade in (3, 200)]
    parquet.write_table(pyarrow.table({"image": cells, "label": [1, 0]}), parquet_path)
    table = read_table(parquet_path, ["image", "label"])
    assert [picture.getpixel((0, 0)) for picture in iterate_image_column(table, parquet_path.name)] == [3, 200]
    found = [(image.image.getpixel((0, 0)), label) for image, label in iterate_labeled_images(table, "a", ["x", "y"])]
    assert found == [(3, 1), (200, 0)]


def test_a_few_unreadable_pictures_are_skipped_and_labels_may_be_names(parquet_path, caplog):
    cells = [encode_png(row) for row in range(200)]
    cells[7], cells[9] = None, b"\x89PNG\r\n\x1a\n"
    labels = [("oak", "Elm")[row % 2] for row in range(200)]
    parquet.write_table(pyarrow.table({"image": cells, "label": labels}), parquet_path)
    table = read_table(parquet_path, ["image", "label"])
    found = [
        (image.image.getpixel((0, 0)), label) for image, label in iterate_labeled_images(table, "a", ["elm", "oak"])
    ]
    assert found == [(row, 1 - row % 2) for row in range(200) if row not in (7, 9)]
    assert (
        "a: 2 of 200 pictures cannot be read and are left out. row 7: There is no picture. row 9: The PNG"
        in caplog.text
    )
    with pytest.raises(ValueError, match="1 of the first 3 pictures cannot be read"):
        list(iterate_labeled_images(table.slice(5, 10), "a", ["elm", "oak"]))


def test_an_error_in_a_file_is_reported(parquet_path):
    with pytest.raises(ValueError, match="There is no file"):
        read_table(parquet_path, ["image"])
    parquet_path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a parquet file with `image` and `label` columns"):
        read_table(parquet_path, ["image", "label"])
    parquet.write_table(pyarrow.table({"image": [b"no picture"], "label": [7]}), parquet_path)
    with pytest.raises(ValueError, match="with `answer` column"):
        read_table(parquet_path, ["answer"])
    table = read_table(parquet_path, ["image", "label"])
    with pytest.raises(ValueError, match="row 0: This file is not a picture"):
        list(iterate_image_column(table, parquet_path.name))
    parquet.write_table(pyarrow.table({"image": [encode_png(3)], "label": [7]}), parquet_path)
    table = read_table(parquet_path, ["image", "label"])
    with pytest.raises(ValueError, match="row 0: the class must be a whole number from 0 to 4"):
        list(iterate_labeled_images(table, parquet_path.name, list("abcde")))
    with pytest.raises(ValueError, match=r"a\.parquet has no rows"):
        list(iterate_labeled_images(table.slice(1), parquet_path.name, list("abcde")))
