"""Test which checkpoints browsers may load, and what they receive."""

import shutil

import pytest

from ctm.checkpoint import load
from tests.paths import ROOT
from training.pipeline import Pipeline, pipeline
from ui.services import browser_checkpoint
from ui.services.browser_checkpoint import (
    DIGITS_NAME,
    BrowserCheckpoints,
    build_browser_checkpoint,
    build_manifest,
    count_unroll_flops,
)

CHECKPOINTS_DIR = ROOT / "checkpoints"


@pytest.fixture
def checkpoints(tmp_path) -> BrowserCheckpoints:
    """Provide checkpoints of a temporary directory, loaded anew each time."""
    for name in ("parity-16", "digits"):
        shutil.copytree(CHECKPOINTS_DIR / name, tmp_path / name)

    def get_pipeline(name: str) -> Pipeline:
        return pipeline(tmp_path / name)

    return BrowserCheckpoints(lambda name: tmp_path / name, get_pipeline)


def test_files_are_those_of_the_directory_and_are_found_by_their_digest(checkpoints, tmp_path):
    entry = checkpoints.get("parity-16")
    assert entry.files.keys() == {"config.json", "task.json", "halting.json", "model.safetensors"}
    for file_name in entry.files:
        expected = (tmp_path / "parity-16" / file_name).read_bytes()
        assert checkpoints.read(entry.digest, file_name) == expected
    assert checkpoints.read(entry.digest, "README.md") is None
    assert checkpoints.read(entry.digest, "../digits/config.json") is None
    assert checkpoints.read("0" * 16, "config.json") is None
    assert checkpoints.get("parity-16") is entry, "an unchanged checkpoint is not read again"
    assert build_manifest(entry, "weights/x")["files"]["config.json"] == "weights/x/config.json"


def test_a_changed_checkpoint_has_another_digest(checkpoints, tmp_path):
    before = checkpoints.get("parity-16").digest
    halting = tmp_path / "parity-16" / "halting.json"
    halting.write_text(halting.read_text().replace('"default": "energy"', '"default": "certainty"'))
    after = checkpoints.get("parity-16").digest
    assert after != before
    assert checkpoints.read(before, "halting.json") is None
    assert checkpoints.read(after, "halting.json") == halting.read_bytes()


def test_accuracies_and_guarantees_are_those_of_the_metadata():
    entry = build_browser_checkpoint("arithmetic", CHECKPOINTS_DIR / "arithmetic", "arithmetic")
    metrics = load(CHECKPOINTS_DIR / "arithmetic").metrics
    assert entry.accuracies == {e["split"]: e["accuracy_halted"] for e in metrics["evaluations"]}
    assert entry.guarantees and all(policy.startswith("energy<") for policy in entry.guarantees)


def test_a_checkpoint_that_names_digits_has_their_images():
    entry = build_browser_checkpoint("qamnist", CHECKPOINTS_DIR / "qamnist", "qamnist")
    assert len(entry.read(DIGITS_NAME)) == 1_000 * 785


def test_large_checkpoints_run_on_the_server(checkpoints, monkeypatch):
    monkeypatch.setattr(browser_checkpoint, "MAX_UNROLL_FLOPS", 10**6)
    assert checkpoints.get("digits") is None
    monkeypatch.setattr(browser_checkpoint, "MAX_WEIGHT_BYTES", 10**5)
    assert build_browser_checkpoint("parity-16", CHECKPOINTS_DIR / "parity-16", "parity") is None


def test_a_prediction_of_all_ticks_costs_what_the_ticks_cost():
    model = pipeline(CHECKPOINTS_DIR / "parity-16")
    all_ticks = count_unroll_flops(model)
    assert 10**6 < all_ticks < 10**8
    one_pass = count_unroll_flops(pipeline(CHECKPOINTS_DIR / "brackets-ff"))
    assert 0 < one_pass < all_ticks / 10
