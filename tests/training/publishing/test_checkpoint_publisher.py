"""Tests of the publication of checkpoint directories that belong to no run, with the real client and a local fake Hub."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import ctm
import ctm.pretrained
from ctm import build_model, read_config
from ctm.checkpoint import Checkpoint, load, save
from ctm.checkpoint.preview import MAX_PREVIEW_BYTES, decode_image_url, encode_image_url
from tests.fake_hub.fixtures import TOKEN, hub
from tests.paths import ROOT
from tests.ui.conftest import SMALL_MODEL_CONFIG, make_checkpoint, make_inference_service
from training.__main__ import main
from training.preview import build_preview_file
from training.tasks import make_task

__all__ = ["hub"]

REPO = "alice/ctm-digits"


@pytest.fixture(autouse=True)
def environment(hub, monkeypatch, tmp_path):
    """Publish from an empty directory, with a token and a cache of this test."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def digits_dir(tmp_path):
    return shutil.copytree(ROOT / "checkpoints/digits", tmp_path / "digits")


def list_titles(hub, repo: str = REPO) -> list[str]:
    return [commit.title for commit in hub.list_commits(repo)][:-1]  # the oldest is the Hub's own


def test_a_bundled_checkpoint_is_published_with_card_plot_and_preview(hub, digits_dir, capsys):
    before = sorted(path.name for path in digits_dir.iterdir())
    main(["publish", str(digits_dir), "--repo", REPO])
    assert f"Published: {hub.url}/{REPO}/commit/" in capsys.readouterr().out
    files = hub.read_files(REPO)
    assert {*before, "accuracy.png", "preview.json"} <= files.keys()
    card = files["README.md"].decode()
    assert f'ctm.pipeline("{REPO}")' in card and "![accuracy by tick](accuracy.png)" in card
    assert sorted(path.name for path in digits_dir.iterdir()) == before, "the directory is unchanged"
    result = ctm.pipeline(REPO)(ROOT / "data/examples/digit-3.png")
    assert result["label"] == "3" and result["checkpoint"].startswith(f"{REPO}@")


def test_a_repeated_command_publishes_nothing_more(hub, digits_dir):
    for _ in range(2):
        main(["publish", str(digits_dir), "--repo", REPO])
    assert len(list_titles(hub)) == 1 and list_titles(hub)[0].startswith("digits: checkpoint [")


def test_a_fetched_checkpoint_can_be_published_again(hub, digits_dir):
    main(["publish", str(digits_dir), "--repo", REPO])
    store_dir = ctm.pretrained.resolve_pretrained(REPO)[0]
    main(["publish", str(store_dir), "--repo", "alice/copy"])
    assert hub.read_files("alice/copy")["model.safetensors"] == (digits_dir / "model.safetensors").read_bytes()


def test_a_converted_checkpoint_keeps_its_card_or_gets_a_short_one(hub, tmp_path):
    model = load(make_checkpoint(tmp_path / "parity", "parity")).model
    save(Checkpoint(model), tmp_path / "bare")
    main(["publish", str(tmp_path / "bare"), "--repo", "alice/bare"])
    assert (
        'ContinuousThoughtMachine.from_pretrained("alice/bare")' in hub.read_files("alice/bare")["README.md"].decode()
    )
    save(Checkpoint(model, card="---\nlicense: mit\n---\n# Mine\n"), tmp_path / "own")
    main(["publish", str(tmp_path / "own"), "--repo", "alice/own"])
    assert hub.read_files("alice/own")["README.md"].endswith(b"# Mine\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["CHECKPOINT"], "--repo namespace/name is needed"),
        (["nowhere", "--repo", REPO], "no run"),
        (["CHECKPOINT", "--repo", "alice"], "publish.repo"),
        (["CHECKPOINT", "--repo", "bob/x"], "right to write"),
    ],
)
def test_a_publication_that_cannot_succeed_ends_with_one_sentence(hub, digits_dir, arguments, words):
    hub.add_repo("bob/x", {})
    with pytest.raises(SystemExit, match=words):
        main(["publish", *(str(digits_dir) if word == "CHECKPOINT" else word for word in arguments)])


def test_other_files_of_the_directory_are_not_published(hub, digits_dir):
    (digits_dir / "optimizer.pt").write_bytes(b"x")
    with pytest.raises(SystemExit, match=r"which would be published: optimizer\.pt"):
        main(["publish", str(digits_dir), "--repo", REPO])
    assert not hub.requests


def test_a_damaged_checkpoint_is_not_published(hub, digits_dir):
    weights = digits_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(SystemExit, match="not a whole safetensors file"):
        main(["publish", str(digits_dir), "--repo", REPO])
    assert not hub.requests


# --- preview -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "parity-16", "mazes-15", "qamnist", "sorting-10", "digits-ff"])
def test_the_preview_is_small_and_has_inputs_and_a_record(name):
    content = build_preview_file(ROOT / "checkpoints" / name, f"me/{name}", example_images=False)
    assert len(content) <= MAX_PREVIEW_BYTES
    preview = json.loads(content)
    assert 1 <= len(preview["inputs"]) <= 6 and preview["record"]["checkpoint"] == f"me/{name}"
    expected = ctm.pipeline(ROOT / "checkpoints" / name)
    first = preview["inputs"][0]
    result = expected(decode_image_url(first) if preview["input_type"] == "image" else first)
    assert preview["record"]["sentence"] == result["sentence"] and preview["record"]["ticks"] == result["ticks_used"]


def test_large_parts_of_a_record_are_left_out(monkeypatch):
    full = len(build_preview_file(ROOT / "checkpoints/mazes-15", "me/mazes", example_images=False))
    monkeypatch.setattr("training.preview.MAX_PREVIEW_BYTES", full - 100)  # the digits of the duration vary
    preview = json.loads(build_preview_file(ROOT / "checkpoints/mazes-15", "me/mazes", example_images=False))
    assert preview["record"]["activity"] is None and preview["record"]["attention"]
    monkeypatch.setattr("training.preview.MAX_PREVIEW_BYTES", 1)
    assert (
        json.loads(build_preview_file(ROOT / "checkpoints/mazes-15", "me/mazes", example_images=False))["record"]
        is None
    )


def test_the_page_shows_the_published_examples_of_a_task_without_bundled_ones(tmp_path, monkeypatch):
    """A model of a data set of its own has no bundled examples: the page shows those that were published with it."""
    task = make_task({"kind": "images", "dataset": "alice/stripes", "names": ["a", "b"], "resize": 12, "crop": 12})
    images = [Image.new("RGB", (12, 12), (200, 40 * index, 0)) for index in range(2)]
    monkeypatch.setattr(type(task), "load_example_images", lambda self, count: [np.asarray(image) for image in images])
    spec = task.get_spec()
    shape = {"backbone_type": spec.backbone, "out_dims": spec.classes, "prediction_reshaper": spec.prediction_reshaper}
    model = build_model(read_config(SMALL_MODEL_CONFIG | shape), spec.in_features).eval()
    folder = save(Checkpoint(model, task.describe()), tmp_path / "stripes")
    service = make_inference_service(tmp_path)
    assert service.get_checkpoint_info("stripes").examples == []
    assert build_preview_file(folder, "alice/stripes", example_images=False) is None, "images may be private"
    (folder / "preview.json").write_bytes(build_preview_file(folder, "alice/stripes", example_images=True))
    examples = service.get_checkpoint_info("stripes").examples
    assert [Image.open(path).convert("RGB").getpixel((3, 3)) for path in examples] == [(200, 0, 0), (200, 40, 0)]
    assert service.get_checkpoint_info("stripes").examples == examples, "equal images have equal paths"
    assert service.describe("stripes")["example"].startswith("Prediction: ")


def test_an_example_that_is_no_image_is_left_out(tmp_path, caplog):
    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "PNG")
    folder = make_checkpoint(tmp_path / "digits", "digits")
    inputs = [encode_image_url(b"<svg/>", "png"), encode_image_url(content.getvalue(), "png")]
    (folder / "preview.json").write_text(json.dumps({"input_type": "image", "inputs": inputs}))
    assert len(make_inference_service(tmp_path).get_checkpoint_info("digits").examples) == 1
    assert "example image cannot be shown" in caplog.text
