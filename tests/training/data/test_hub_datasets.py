"""Data sets of the Hub in the layouts that are published, read by the real client from a Hub on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from tests.fake_hub.server import LoopbackHub
from tests.image_datasets import encode_image, make_image, write_split
from tests.paths import ROOT

NAMES = ("oak", "elm", "ash")
NUM_TRAIN_IMAGES, NUM_TEST_IMAGES = 240, 30

READER_PROGRAM = """
import sys
from training.tasks import make_task
from training.tasks.splits import TEST, TRAIN, make_generator

for repo in sys.argv[1:]:
    for streaming in (False, True):
        settings = {"kind": "images", "resize": 12, "crop": 12, "augment": "none", "streaming": streaming}
        try:
            task = make_task(settings | {"dataset": repo}).with_resolved_settings()
            test = task.load_full_split(TEST).targets.flatten().tolist()
            print(repo, task.get_labels(), len(task.sample(TRAIN, 4, make_generator(0)).targets), sorted(test)[:12])
        except ValueError as error:
            print(repo, error)
"""


class DatasetWriter:
    """Build the files of data sets from the same images."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "split.parquet"
        count = NUM_TRAIN_IMAGES + NUM_TEST_IMAGES
        self.images = [encode_image(make_image(number % 3, number, 12)) for number in range(count)]

    def build_file(
        self, rows: range, labels: list, names: tuple[str, ...] | None, more_columns: tuple[str, ...] = ()
    ) -> bytes:
        """Return a parquet file of some of the images."""
        write_split(self.path, [self.images[row] for row in rows], labels, names)
        if more_columns:
            table = parquet.read_table(self.path)
            for column in more_columns:
                table = table.append_column(column, [["x"] * len(rows)])
            parquet.write_table(table, self.path, row_group_size=30)
        return self.path.read_bytes()

    def build_repo(self, second_file: dict, test_names: tuple[str, ...] | None = NAMES) -> dict[str, bytes]:
        """Return two files of the train split, the second with other arguments of `build_file`, and one of the test split."""
        halves = range(NUM_TRAIN_IMAGES // 2), range(NUM_TRAIN_IMAGES // 2, NUM_TRAIN_IMAGES)
        test = range(NUM_TRAIN_IMAGES, NUM_TRAIN_IMAGES + NUM_TEST_IMAGES)
        second = {"labels": [row % 3 for row in halves[1]], "names": NAMES} | second_file
        return {
            "data/train-00000-of-00002.parquet": self.build_file(halves[0], [row % 3 for row in halves[0]], NAMES),
            "data/train-00001-of-00002.parquet": self.build_file(halves[1], **second),
            "data/test-00000-of-00001.parquet": self.build_file(test, [row % 3 for row in test], test_names),
        }


@pytest.mark.slow
def test_published_layouts_are_read_or_rejected_in_one_sentence(tmp_path):
    writer = DatasetWriter(tmp_path)
    half = NUM_TRAIN_IMAGES // 2
    repos = {
        "alice/columns": writer.build_repo({"more_columns": ("note", "source")}),
        "alice/order": writer.build_repo({}, test_names=NAMES[::-1]),
        "alice/types": writer.build_repo({"labels": ["oak"] * half, "names": None}),
        "alice/loose": {
            f"{'train' if number < NUM_TRAIN_IMAGES else 'test'}/{NAMES[number % 3]}/{number}.png": content
            for number, content in enumerate(writer.images)
        },
        "alice/script": {"script.py": b"import datasets\n", "data.bin": b"x"},
    }
    with LoopbackHub() as hub:
        hub.add_user("alice", "hf_alice")
        for repo, files in repos.items():
            hub.add_repo(repo, files, kind="datasets")
        environment = {**os.environ, **hub.build_environment(tmp_path, token="hf_alice")}
        environment["HF_DATASETS_CACHE"] = str(tmp_path / "datasets")
        command = [sys.executable, "-c", READER_PROGRAM, *repos]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = {
        "alice/columns": f"{list(NAMES)} 4 {[0] * 10 + [1] * 2}",
        "alice/order": f"{list(NAMES)} 4 {[0] * 10 + [1] * 2}",
        "alice/types": "column 'label' has whole numbers in train-00000-of-00002.parquet and text in train-00001-of-00002",
        "alice/loose": f"{sorted(NAMES)} 4 {[0] * 10 + [1] * 2}",
        "alice/script": "has a loading script, and scripts are not run. Set task.revision=refs/convert/parquet",
    }
    lines = done.stdout.splitlines()
    for line, repo in zip(lines, [repo for repo in repos for _ in range(2)], strict=True):
        assert line.startswith(repo) and expected[repo] in line
