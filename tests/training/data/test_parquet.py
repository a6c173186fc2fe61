"""Parquet files of pictures, good and bad."""

import io

import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from training.data.parquet import labels_in, pictures_in, read_table


def png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (4, 3), shade).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.parquet"


@pytest.mark.parametrize("wrapped", [True, False])
def test_pictures_come_in_order_as_the_hub_stores_them_or_bare(path, wrapped):
    cells = [{"bytes": png(shade), "path": None} if wrapped else png(shade) for shade in (3, 200)]
    parquet.write_table(pyarrow.table({"image": cells, "label": [1, 0]}), path)
    table = read_table(path, ["image", "label"])
    assert [picture.getpixel((0, 0)) for picture in pictures_in(table, path.name)] == [3, 200]
    assert labels_in(table, path.name, 2) == [1, 0]


def test_what_is_wrong_with_a_file_is_said(path):
    with pytest.raises(ValueError, match="There is no file"):
        read_table(path, ["image"])
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a parquet file with `image` and `label` columns"):
        read_table(path, ["image", "label"])
    parquet.write_table(pyarrow.table({"image": [b"no picture"], "label": [7]}), path)
    with pytest.raises(ValueError, match="with `answer` column"):
        read_table(path, ["answer"])
    table = read_table(path, ["image", "label"])
    with pytest.raises(ValueError, match="row 0 is not a picture"):
        list(pictures_in(table, path.name))
    with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
        labels_in(table, path.name, 5)
