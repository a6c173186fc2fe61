"""Data sets of pictures: what is read, how it is parted, how a stream is found again, and what is said when it fails."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx

from ctm.stores import StoreUnavailable
from tests.fake_hub.server import LoopbackHub
from tests.image_datasets import encode_image, make_image, write_dataset, write_split
from tests.paths import ROOT
from training.config import RunConfig
from training.data.dataset_location import resolve_commit
from training.data.dataset_settings import DataSettings
from training.data.image_dataset import load_in_memory
from training.data.streaming import NUM_SHARDS, iterate_training_batches, load_held_out_images
from training.model_card import render_front_matter
from training.tasks import build_task, make_task
from training.tasks.splits import CALIBRATION, TEST, TRAIN, VALIDATION, make_generator

NAMES = ["oak", "elm", "ash"]
IMAGE_SETTINGS = {"kind": "images", "resize": 12, "crop": 12, "augment": "none"}


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("set"), NAMES)


def hash_images(pixels: np.ndarray) -> set[bytes]:
    return {one.tobytes() for one in pixels}


def test_every_picture_has_one_place_and_what_is_tested_on_is_never_trained_on(dataset_dir):
    settings = DataSettings(data_files=str(dataset_dir), resize=12, crop=12)
    parts = load_in_memory(settings, tuple(NAMES), 12)
    assert {name: len(part.labels) for name, part in parts.items()}[TEST] == 60
    found = {name: hash_images(part.pixels) for name, part in parts.items()}
    published = [
        hash_images(np.stack([make_image(n % 3, n, 12) for n in range(*bounds)])) for bounds in ((497, 557), (0, 497))
    ]
    assert found[TEST] == published[0], "the published test split, first pictures of which are in the other too"
    assert found[TRAIN] | found[VALIDATION] | found[CALIBRATION] == published[1]
    assert sum(map(len, found.values())) == 557
    for number, one in enumerate(parts[TEST].pixels, 497):
        assert (
            parts[TEST].labels[number - 497] == number % 3
            and one.tobytes() == make_image(number % 3, number, 12).tobytes()
        )


def test_one_file_without_a_test_split_is_parted_as_well(dataset_dir):
    file = next(dataset_dir.glob("train*"))
    parts = load_in_memory(DataSettings(data_files=str(file), test_split="", resize=12, crop=12), tuple(NAMES), 12)
    assert sum(len(part.labels) for part in parts.values()) == 500 and len(parts[TEST].labels) > 20


def test_no_more_held_out_pictures_are_drawn_than_fit_memory(dataset_dir, monkeypatch):
    task = make_task(
        {"kind": "images", "data_files": str(dataset_dir), "resize": 12, "crop": 12, "augment": "none"}
    ).with_resolved_settings()
    assert len(task.sample(TEST, 50, make_generator(0)).targets) == 50
    monkeypatch.setattr("training.tasks.images.MAX_LOADED_BYTES", 7 * 4 * 3 * 12**2)
    assert len(task.sample(TEST, 50, make_generator(0)).targets) == 7


def test_a_stream_is_found_again_from_any_batch_and_shared_by_any_number_of_processes(dataset_dir):
    settings = DataSettings(data_files=str(dataset_dir), resize=12, crop=12, streaming=True)

    def some(count: int, rank: int = 0, ranks: int = 1, start: int = 0) -> dict[int, list[bytes]]:
        batches = iterate_training_batches(settings, tuple(NAMES), 6, seed=5, rank=rank, world_size=ranks, start=start)
        return {number: [one.tobytes() for one, _ in found] for number, found in (next(batches) for _ in range(count))}

    whole = some(NUM_SHARDS + 4)
    assert some(2, start=NUM_SHARDS + 2) == {number: whole[number] for number in (NUM_SHARDS + 2, NUM_SHARDS + 3)}
    assert some(4, rank=1, ranks=3) == {number: whole[number] for number in (1, 4, 7, 10)}
    assert len({content for found in whole.values() for content in found}) > 40
    out = load_held_out_images(settings, tuple(NAMES))
    assert not {content for found in whole.values() for content in found} & {
        one.tobytes() for part in out.splits.values() for one in part.pixels
    }
    assert len(out.splits[TEST].labels) == 60 and min(len(part.labels) for part in out.splits.values()) > 15


def test_a_held_out_picture_under_another_encoding_is_not_trained_on(dataset_dir, tmp_path):
    pixels = [make_image(number % 3, number, 12) for number in range(300)]
    write_split(tmp_path / "train.parquet", [encode_image(one) for one in pixels], [n % 3 for n in range(300)], NAMES)
    tested = [encode_image(one, "BMP") for one in pixels[:150]]
    write_split(tmp_path / "test.parquet", tested, [n % 3 for n in range(150)], NAMES)
    batches = iterate_training_batches(
        DataSettings(data_files=str(tmp_path), resize=12, crop=12, streaming=True), tuple(NAMES), 50, seed=0
    )
    drawn = {one.tobytes() for _ in range(3) for one, _ in next(batches)[1]}
    assert drawn and not drawn & hash_images(np.stack(pixels[:150]))


def test_a_checkpoint_stores_the_names_and_no_local_path(dataset_dir):
    model = dict.fromkeys(("iterations", "d_input", "heads", "memory_length", "memory_hidden_dims", "synapse_depth"), 2)
    model |= {"d_model": 8, "n_synch_out": 4, "n_synch_action": 4}
    config = RunConfig.parse(
        {"model": model, "task": IMAGE_SETTINGS | {"dataset": "me/trees", "data_files": str(dataset_dir)}}
    )
    metadata = json.loads(json.dumps(config.make_task().describe()))
    assert (
        metadata["settings"]["names"] == metadata["labels"] == NAMES and metadata["settings"]["dataset"] == "me/trees"
    )
    assert str(dataset_dir) not in json.dumps(metadata) + json.dumps(config.to_portable_dict())
    assert config.to_portable_dict()["task"]["dataset"] == "me/trees" and config.model_dump()["task"][
        "data_files"
    ] == str(dataset_dir)
    assert build_task(metadata).get_labels() == NAMES
    assert "datasets:\n- me/trees\n" in render_front_matter("A card", metadata, {"evaluations": []})
    del metadata["settings"]["names"]
    with pytest.raises(ValueError, match=r"task\.names"):  # a stranger's checkpoint makes nobody fetch a data set
        build_task(metadata).get_labels()


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"data_files": "nowhere"}, "There is no directory or file 'nowhere'"),
        ({"train_split": "learn"}, r"Bad split: learn.*task\.train_split"),
        ({"subset": "big"}, r"'big' not found.*task\.subset"),
        ({"image_column": "img"}, "has no column 'img'; it has image, label"),
        ({"label_column": "image"}, r"task\.label_column|names no classes"),
        ({"image_column": "label"}, "column 'label' contains no images"),
        ({"names": ["oak", "elm"]}, r"train, row \d+: the class must be a whole number from 0 to 1, got 2|test, row"),
        ({"dataset": "a b"}, "namespace/name"),
        ({"dataset": "me/x@main"}, r"task\.revision"),
        ({"channels": 2}, "must be 1"),
        ({"channels": 1}, "or one per channel: 1"),
    ],
)
def test_an_error_is_reported_in_one_sentence(dataset_dir, settings, says):
    with pytest.raises(ValueError, match=says) as caught:
        make_task(IMAGE_SETTINGS | {"data_files": str(dataset_dir)} | settings).with_resolved_settings().sample(
            TRAIN, 1, make_generator(0)
        )
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_broken_images_and_files_are_rejected(tmp_path):
    good = [encode_image(make_image(0, number, 12)) for number in range(4)]
    write_split(tmp_path / "a/train.parquet", [*good, b"no picture"], [0] * 5, NAMES)
    write_split(tmp_path / "a/test.parquet", good, [0] * 4, NAMES)
    write_split(tmp_path / "plain/train.parquet", good, [0] * 4, None)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/train.parquet").write_bytes(b"PAR1 but no more")
    for name, says in (
        ("a", r"train: 1 of the first 5 pictures cannot be read.*row 4: This file is not a picture"),
        ("plain", "names no classes"),
        ("b", "b: "),
    ):
        with pytest.raises(ValueError, match=says):
            make_task(IMAGE_SETTINGS | {"data_files": str(tmp_path / name)}).with_resolved_settings().sample(
                TRAIN, 1, make_generator(0)
            )
    with pytest.raises(ValueError, match="too few to be streamed"):
        streamed = IMAGE_SETTINGS | {"data_files": str(tmp_path / "a"), "streaming": True, "names": NAMES}
        make_task(streamed).sample(TRAIN, 1, make_generator(0))


def make_response(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://hub.example"))


@pytest.mark.parametrize(
    "error, kind, says",
    [
        (httpx.ConnectError("Connection refused"), StoreUnavailable, "cannot be reached just now.*HF_HUB_OFFLINE=1"),
        (
            RepositoryNotFoundError("no", response=make_response(404)),
            ValueError,
            "There is no data set me/x on the Hub",
        ),
        (GatedRepoError("gated", response=make_response(403)), ValueError, "me/x is gated: accept its terms"),
        (RevisionNotFoundError("no", response=make_response(404)), ValueError, r"no revision 'v9'.*task\.revision"),
    ],
)
def test_the_hub_is_queried_once_and_its_error_is_reported(monkeypatch, error, kind, says):
    def refuse(*args, **more):
        assert more["timeout"] <= 10
        raise error

    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    resolve_commit.cache_clear()
    with pytest.raises(kind, match=says):
        make_task(IMAGE_SETTINGS | {"dataset": "me/x", "revision": "v9"}).with_resolved_settings()


def test_a_photo_of_a_user_is_placed_on_black():
    task = make_task(IMAGE_SETTINGS | {"channels": 1, "mean": [0], "std": [1], "names": NAMES, "background": "dark"})
    garment = np.full((60, 90, 3), 0.95, np.float32)
    garment[20:50, 40:55] = 0.2
    seen = task.parse_input(garment).inputs[0, 0]
    assert seen[0, 0] == 0 and seen[6, 6] > 0.7 and (seen[:, 6] > 0.3).all()
    assert torch.allclose(task.parse_input(1 - garment).inputs[0, 0], seen, atol=0.02)
    as_trained = np.zeros((12, 12), np.float32)
    as_trained[3:6, 2:9] = 0.6
    np.testing.assert_allclose(task.parse_input(as_trained).inputs[0, 0], np.rint(as_trained * 255) / 255, atol=1e-6)
    with pytest.raises(ValueError, match="Nothing stands out"):
        task.parse_input(np.full((30, 30, 3), 0.5, np.float32))


def test_bundled_garments_are_examples_of_their_data_set():
    seen = {"channels": 1, "mean": [0.3], "std": [0.4], "names": NAMES}
    paths = make_task(IMAGE_SETTINGS | seen | {"dataset": "zalando-datasets/fashion_mnist"}).get_examples()
    assert len(paths) >= 4 and all(path.stat().st_size < 1_000 for path in paths)
    assert make_task(IMAGE_SETTINGS | {"dataset": "me/x", "names": NAMES}).get_examples() == []


READER_PROGRAM = """
from training.tasks import make_task
from training.tasks.splits import TEST, TRAIN, make_generator

def task(**more):
    return make_task({"kind": "images", "resize": 12, "crop": 12, "augment": "none"} | more).with_resolved_settings()

for streaming in (False, True):
    trees = task(dataset="alice/trees", streaming=streaming)
    print(trees.get_labels(), len(trees.sample(TRAIN, 4, make_generator(0)).targets), len(trees.load_full_split(TEST).targets))
for wrong in ({"dataset": "alice/none"}, {"dataset": "alice/trees", "revision": "v9"}, {"dataset": "alice/trees", "subset": "big"}):
    try:
        task(**wrong)
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_loaded_in_memory_and_streamed(dataset_dir, tmp_path):
    """The real client, in a process of its own, against a hub on this machine."""
    with LoopbackHub() as hub:
        hub.add_user("alice", "hf_alice")
        hub.add_repo(
            "alice/trees", {f"data/{path.name}": path.read_bytes() for path in dataset_dir.iterdir()}, kind="datasets"
        )
        environment = {**os.environ, **hub.build_environment(tmp_path, token="hf_alice")}
        environment["HF_DATASETS_CACHE"] = str(tmp_path / "datasets")
        done = subprocess.run(
            [sys.executable, "-c", READER_PROGRAM],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    held_so, streamed, *refusals = done.stdout.splitlines()
    assert held_so == streamed == f"{NAMES} 4 60"
    for said, expected in zip(refusals, ("no data set alice/none", "no revision 'v9'", "'big' not found"), strict=True):
        assert expected in said
