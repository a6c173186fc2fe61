"""Data sets as they are published: labels of every type, damaged images, files that do not fit together, and very few images."""

import io

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from benchmarks.image_encodings import (
    DARK_COLORS,
    encode_alpha,
    encode_deep_png,
    encode_key,
    encode_turned,
)
from tests.image_datasets import encode_image, make_image, write_dataset, write_split
from training.data.dataset_settings import DataSettings
from training.data.dataset_source import build_class_labels, get_image_content, load_class_names, open_split
from training.data.image_dataset import iterate_images, load_in_memory
from training.data.image_reader import read_image
from training.data.preprocessing import resize_center_crop
from training.data.streaming import NUM_SHARDS, iterate_training_batches, load_held_out_images
from training.tasks import make_task
from training.tasks.splits import CALIBRATION, TEST, TRAIN, VALIDATION, make_generator

NAMES = ("oak", "elm", "ash")


def make_settings(path, **more) -> DataSettings:
    return DataSettings(data_files=str(path), resize=12, crop=12, **more)


def make_images(count: int, start: int = 0) -> list[bytes | None]:
    return [encode_image(make_image(number % 3, number, 12)) for number in range(start, start + count)]


def write_both(directory, images, labels, names=None, test_names=None) -> None:
    """Write a train file, and a test file of 6 other images with the first labels."""
    write_split(directory / "train.parquet", images, labels, names)
    write_split(directory / "test.parquet", make_images(6, 9_000), labels[:6], test_names or names)


@pytest.mark.parametrize(
    "encoder",
    [
        encode_turned("JPEG"),
        encode_turned("PNG", with_xmp=True),
        encode_deep_png(16, 0),
        encode_deep_png(12, 0),
        encode_alpha("PNG", "RGBA", DARK_COLORS),
        encode_key(0, True, 255),
    ],
)
def test_a_data_set_is_read_as_the_page_reads_it(encoder, tmp_path):
    drawing = np.ones((30, 24), np.float32)
    drawing[4:20, 5:12] = 0
    files = [encoder(drawing, np.random.default_rng(seed)) for seed in range(12)]
    write_both(tmp_path, files, [number % 2 for number in range(12)], ["oak", "elm"])
    settings = make_settings(tmp_path)
    for (image, label), content in zip(iterate_images(settings, "train", ("oak", "elm")), files, strict=True):
        shown = Image.fromarray(np.rint(read_image(content).to_array() * 255).astype(np.uint8))
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(shown))
        assert label in (0, 1)
    digits = make_task({"kind": "digits"})
    write_split(tmp_path / "digits.parquet", files, [*range(10), 3, 4], None)
    inputs = digits.load_file(tmp_path / "digits.parquet").inputs
    for row, content in enumerate(files):
        np.testing.assert_allclose(inputs[row], digits.parse_input(read_image(content).to_array()).inputs[0], atol=0.02)


def test_the_class_of_a_file_is_the_one_that_it_names(tmp_path):
    write_both(tmp_path, make_images(30), [number % 3 for number in range(30)], NAMES, NAMES[::-1])
    settings = make_settings(tmp_path)
    names = load_class_names(settings)
    assert names == NAMES
    assert [label for _, label in iterate_images(settings, "test", names)] == [2, 1, 0, 2, 1, 0]
    assert [label for _, label in iterate_images(settings, "train", names)][:3] == [0, 1, 2]
    assert build_class_labels(settings, "test", ("Eiche", "Ulme", "Esche")).get_index(0, "") == 2


def test_files_with_other_classes_are_rejected(tmp_path):
    write_both(tmp_path / "a", make_images(30), [number % 3 for number in range(30)], NAMES, ("oak", "birch", "ash"))
    with pytest.raises(ValueError, match=r"a, test, has classes that the train split does not have: 'birch'"):
        list(iterate_images(make_settings(tmp_path / "a"), "test", NAMES))
    for part, names in enumerate((NAMES, NAMES[::-1])):
        write_split(tmp_path / f"b/train-{part}.parquet", make_images(30, 30 * part), [0] * 30, names)
    with pytest.raises(ValueError, match=r"train-0\.parquet and train-1\.parquet list different classes"):
        load_class_names(make_settings(tmp_path / "b"))


@pytest.mark.parametrize(
    "values, names",
    [
        (["oak", "elm", "ash"], ("ash", "elm", "oak")),
        (["2", "10", "7"], ("2", "7", "10")),
        ([3.0, 1.0, 2.0], ("1", "2", "3")),
        ([True, False, True], ("false", "true")),
        ([5, 6, 9], ("5", "6", "9")),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_labels_of_every_type_become_classes(values, names, streaming, tmp_path):
    labels = [values[number % 3] for number in range(240)]
    write_both(tmp_path, make_images(240), labels)
    task = make_task(
        {
            "kind": "images",
            "data_files": str(tmp_path),
            "resize": 12,
            "crop": 12,
            "augment": "none",
            "streaming": streaming,
        }
    ).with_resolved_settings()
    assert tuple(task.get_labels()) == names
    expected = [names.index(str(value).lower().removesuffix(".0")) for value in labels[:6]]
    test = task.load_full_split(TEST)
    assert sorted(test.targets.flatten().tolist()) == sorted(expected)
    assert len(task.sample(TRAIN, 8, make_generator(0)).targets) == 8


def test_given_names_are_matched_with_words_and_numbers(tmp_path):
    write_both(tmp_path, make_images(12), ["2", "0", "1"] * 4)
    for names, expected in ((("zero", "one", "two"), [2, 0, 1]), (("2", "1", "0"), [0, 2, 1])):
        found = [label for _, label in iterate_images(make_settings(tmp_path), "train", names)]
        assert found[:3] == expected
    with pytest.raises(
        ValueError, match=r"train, row 0: the class must be a whole number from 0 to 1 or one of .*got '2'"
    ):
        list(iterate_images(make_settings(tmp_path), "train", ("no", "yes")))


def test_a_few_broken_images_are_skipped_and_many_are_rejected(tmp_path, caplog):
    images = make_images(400)
    images[7], images[8], images[200] = None, b"", images[200][:60]
    write_both(tmp_path, images, [number % 3 for number in range(400)], NAMES)
    assert len(list(iterate_images(make_settings(tmp_path), "train", NAMES))) == 397
    assert "train: 3 of 400 pictures cannot be read and are left out. row 7: There is no picture. row 8:" in caplog.text
    with pytest.raises(
        ValueError,
        match=r"task\.max_unreadable_rate allows 0\.005: repair them, or raise it\. row 7: There is no picture\.",
    ):
        list(iterate_images(make_settings(tmp_path, max_unreadable_rate=0.005), "train", NAMES))


def test_broken_images_of_a_stream_are_replaced_and_many_are_rejected(tmp_path, caplog):
    images = make_images(400)
    for row in (7, 90, 333):
        images[row] = None if row == 7 else b"\0\0\0\x20ftypavif\0\0" + bytes(40)
    write_both(tmp_path, images, [number % 3 for number in range(400)], NAMES)
    settings = make_settings(tmp_path, streaming=True)
    batches = iterate_training_batches(settings, NAMES, 20, seed=0)
    assert all(len(next(batches)[1]) == 20 for _ in range(NUM_SHARDS * 3))
    assert "pictures cannot be read and are left out. an image of class" in caplog.text
    load_held_out_images.cache_clear()
    with pytest.raises(ValueError, match=r"task\.max_unreadable_rate allows 0: repair them"):
        for _, batch in iterate_training_batches(
            make_settings(tmp_path, streaming=True, max_unreadable_rate=0), NAMES, 20, 0
        ):
            assert len(batch) == 20


def test_further_columns_of_some_files_do_not_matter_and_missing_ones_are_named(tmp_path):
    for part in range(2):
        write_split(tmp_path / f"train-{part}.parquet", make_images(30, 30 * part), [0, 1, 2] * 10, NAMES)
    table = parquet.read_table(tmp_path / "train-1.parquet")
    parquet.write_table(table.append_column("note", [["x"] * 30]), tmp_path / "train-1.parquet")
    write_split(tmp_path / "test.parquet", make_images(6, 9_000), [0, 1, 2] * 2, NAMES)
    assert len(list(iterate_images(make_settings(tmp_path), "train", NAMES))) == 60
    changed = table.drop_columns("label")
    for kind, says in (
        (None, r"train-1\.parquet has no column 'label'; it has image"),
        (pyarrow.string(), "whole numbers in .* text in"),
    ):
        replaced = changed if kind is None else changed.append_column("label", pyarrow.array(["0"] * 30, kind))
        directory = tmp_path / str(kind)
        write_split(directory / "train-0.parquet", make_images(30), [0, 1, 2] * 10, NAMES)
        parquet.write_table(replaced, directory / "train-1.parquet")
        with pytest.raises(ValueError, match=says):
            open_split(make_settings(directory), "train")


def test_images_of_bare_bytes_and_loose_files_are_read(tmp_path):
    images = make_images(12)
    parquet.write_table(pyarrow.table({"image": images, "label": [0, 1] * 6}), tmp_path / "a.parquet")
    found = iterate_images(make_settings(tmp_path / "a.parquet", test_split=""), "train", ("oak", "elm"))
    assert [label for _, label in found] == [0, 1] * 6
    for number, content in enumerate(images):
        path = tmp_path / f"loose/train/{NAMES[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    settings = make_settings(tmp_path / "loose", test_split="")
    assert load_class_names(settings) == ("elm", "oak")
    assert len(list(iterate_images(settings, "train", ("elm", "oak")))) == 12


def test_loose_files_are_streamed_in_an_order_that_mixes_the_classes(tmp_path):
    for number, content in enumerate(make_images(200)):
        path = tmp_path / f"{'train' if number < 180 else 'test'}/{NAMES[number % 3]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    settings = make_settings(tmp_path, streaming=True)
    names = load_class_names(settings)
    batches = [next(iterate_training_batches(settings, names, 24, seed=3, start=start))[1] for start in (0, 0, 1)]
    first, again, second = ([image.tobytes() for image, _ in batch] for batch in batches)
    assert first == again != second and len(set(first)) == 24
    assert all({label for _, label in batch} == {0, 1, 2} for batch in batches)
    parts = load_held_out_images(settings, names).splits
    assert len(parts[TEST].labels) == 20 and min(len(part.labels) for part in parts.values()) >= 2
    assert not {one.tobytes() for part in parts.values() for one in part.pixels} & set(first + second)


@pytest.mark.parametrize("test_split", ["test", ""])
@pytest.mark.parametrize("count", [7, 8, 12])
def test_a_tiny_data_set_has_no_empty_split(count, test_split, tmp_path):
    for trial in range(10):
        write_both(
            tmp_path / str(trial), make_images(count, 100 * trial), [number % 3 for number in range(count)], NAMES
        )
        for train_side in (12, 16):
            settings = DataSettings(data_files=str(tmp_path / str(trial)), resize=16, crop=12, test_split=test_split)
            parts = load_in_memory(settings, NAMES, train_side)
            assert min(len(parts[split].labels) for split in (TRAIN, VALIDATION, CALIBRATION)) >= 2
            assert len(parts[TEST].labels) >= 1
            assert sum(len(part.labels) for part in parts.values()) == count + 6 * bool(test_split)
            held_out = {one.tobytes() for split in (VALIDATION, CALIBRATION, TEST) for one in parts[split].pixels}
            if train_side == 12:
                assert not held_out & {one.tobytes() for one in parts[TRAIN].pixels}


def test_too_few_images_are_rejected_before_training_with_the_number_that_is_needed(tmp_path):
    write_both(tmp_path, [*make_images(5), *make_images(5)], [0, 1, 2, 0, 1] * 2, NAMES)
    with pytest.raises(
        ValueError, match=r"is too small\. There are 5 different pictures that can be used; 6 are needed"
    ):
        load_in_memory(make_settings(tmp_path), NAMES, 12)


@pytest.mark.parametrize(
    "name, says",
    [
        ("empty", "The directory '.*empty' is empty"),
        ("texts", "The directory '.*texts' contains no"),
        ("none", "no directory or file"),
    ],
)
def test_a_local_directory_without_images_is_called_a_directory(name, says, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.xyz").write_text("hello")
    with pytest.raises(ValueError, match=rf"{says}.*task\.data_files") as caught:
        open_split(make_settings(tmp_path / name), "train")
    assert "Hub" not in str(caught.value)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (50_000, 3)])
def test_a_long_and_thin_image_does_not_fill_the_memory(size):
    image = Image.linear_gradient("L").resize(size)
    crop = resize_center_crop(image, 256, 224)
    assert crop.size == (224, 224)
    assert abs(np.asarray(crop).mean() - 127) < 8


def test_the_center_is_the_same_whether_all_or_a_part_is_resized(monkeypatch):
    image = Image.fromarray(make_image(1, 2, 64, 3, 96))
    whole = np.asarray(resize_center_crop(image, 40, 32), int)
    monkeypatch.setattr("training.data.preprocessing.MAX_RESIZED_PIXELS", 0)
    assert np.abs(np.asarray(resize_center_crop(image, 40, 32), int) - whole).max() <= 3


def test_a_data_set_of_the_usual_kind_is_divided_as_before(tmp_path):
    write_dataset(tmp_path, list(NAMES))
    parts = load_in_memory(make_settings(tmp_path), NAMES, 12)
    assert {split: len(part.labels) for split, part in parts.items()} == {
        TRAIN: 418,
        VALIDATION: 42,
        CALIBRATION: 37,
        TEST: 60,
    }


def test_an_image_that_datasets_has_decoded_is_encoded_again():
    pixels = make_image(0, 1, 12)
    content = get_image_content(DataSettings(), Image.fromarray(pixels))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
