"""Parquet files of pictures, good and bad."""

import io

import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from training.data.parquet import iterate_image_column, read_label_column, read_table


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
    assert read_label_column(table, parquet_path.name, 2) == [1, 0]


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
    with pytest.raises(ValueError, match="row 0 is not an image"):
        list(iterate_image_column(table, parquet_path.name))
    with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
        read_label_column(table, parquet_path.name, 5)
