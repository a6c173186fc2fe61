"""Test which checkpoints browsers may load, and what they receive."""

import shutil

import pytest

from ctm.checkpoint import load
from tests.paths import ROOT
from training.flops import count_prediction_flops
from training.pipeline import Pipeline, pipeline
from training.tasks import build_task
from ui.services import browser_limits
from ui.services.browser_checkpoint import DIGITS_NAME, BrowserCheckpoints, build_browser_checkpoint, build_manifest
from ui.services.browser_limits import BrowserLimitExceeded, check_browser_flops, find_example

CHECKPOINTS_DIR = ROOT / "checkpoints"


def read_task(name: str):
    return build_task(load(CHECKPOINTS_DIR / name).task)


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
    assert entry.files.keys() == {"config.json", "task.json", "halting.json", "layout.json", "model.safetensors"}
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
    entry = build_browser_checkpoint("arithmetic", CHECKPOINTS_DIR / "arithmetic", read_task("arithmetic"))
    metrics = load(CHECKPOINTS_DIR / "arithmetic").metrics
    assert entry.accuracies == {e["split"]: e["accuracy_halted"] for e in metrics["evaluations"]}
    assert entry.guarantees and all(policy.startswith("energy<") for policy in entry.guarantees)


def test_a_checkpoint_that_names_digits_has_their_images():
    entry = build_browser_checkpoint("qamnist", CHECKPOINTS_DIR / "qamnist", read_task("qamnist"))
    assert len(entry.read(DIGITS_NAME)) == 1_000 * 785


def test_large_checkpoints_run_on_the_server(checkpoints, monkeypatch):
    assert checkpoints.get("digits") is not None
    monkeypatch.setattr(browser_limits, "MAX_UNROLL_FLOPS", 10**6)
    assert checkpoints.get("digits") is not None, "an unchanged checkpoint is not checked again"
    assert checkpoints.get("parity-16") is None
    monkeypatch.setattr(browser_limits, "MAX_WEIGHT_BYTES", 10**5)
    with pytest.raises(
        BrowserLimitExceeded, match=r"weights have 0\.\d MiB, at most 0 MiB are loaded; train a smaller"
    ):
        build_browser_checkpoint("parity-16", CHECKPOINTS_DIR / "parity-16", read_task("parity-16"))


def test_a_prediction_of_all_ticks_costs_what_the_ticks_cost():
    all_ticks, one_pass = (
        count_prediction_flops(model.model, model.task.parse_input(find_example(model.task)).inputs)
        for model in (pipeline(CHECKPOINTS_DIR / name) for name in ("parity-16", "brackets-ff"))
    )
    assert 10**6 < all_ticks < 10**8
    assert 0 < one_pass < all_ticks / 10


def test_an_image_model_without_examples_is_measured_with_a_square(monkeypatch):
    model = pipeline(CHECKPOINTS_DIR / "digits-ff")
    expected = count_prediction_flops(model.model, model.task.parse_input(find_example(model.task)).inputs)
    monkeypatch.setattr(type(model.task), "get_examples", lambda self: [])
    monkeypatch.setattr(browser_limits, "MAX_UNROLL_FLOPS", expected)
    check_browser_flops("digits-ff", model)
    monkeypatch.setattr(browser_limits, "MAX_UNROLL_FLOPS", expected - 1)
    with pytest.raises(
        BrowserLimitExceeded, match="digits-ff cannot run in a browser: a prediction with all ticks takes"
    ):
        check_browser_flops("digits-ff", model)
