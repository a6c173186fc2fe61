"""Test the gallery: its settings file, measured figures, cards, thumbnails, and models that the Hub does not answer for."""

import gzip
import json
import os
import shutil

import pytest

from ctm.checkpoint.preview import PREVIEW_NAME
from tests.fake_hub.fixtures import read_dir_files
from tests.paths import ROOT
from tests.ui.conftest import make_checkpoint, make_inference_service
from training.model_card import compute_wilson_interval
from ui.services.gallery import NOT_DOWNLOADED, OFFLINE, THUMBNAIL_DIR, Gallery
from ui.services.gallery_metrics import build_figure, fill_text, get_evaluation
from ui.services.gallery_settings import GALLERY_FILE_NAME, read_gallery_settings
from ui.services.gallery_view_model import GROUPS, build_card, shorten_name
from ui.services.model_catalog import ModelCatalog
from ui.services.thumbnails import MAX_FRAMES, MAX_SIDE, build_thumbnail, select_frames

EVALUATION = {
    "split": "test",
    "n": 400,
    "iterations": 4,
    "accuracy_by_tick": [0.5, 0.75, 0.9, 0.8],
    "accuracy_halted": 0.85,
    "mean_ticks": 2.25,
    "figures": {"places": 0.95},
    "by_difficulty": {
        "10": {"n": 100, "accuracy_halted": 0.5, "mean_ticks": 3.0},
        "2": {"n": 100, "accuracy_halted": 0.99, "mean_ticks": 1.0},
        "9": {"n": 100, "accuracy_halted": 0.92, "mean_ticks": 2.0},
        "11": {"n": 1, "accuracy_halted": 1.0, "mean_ticks": 2.0},
    },
}
METRICS = {"date": "2026-11-30", "evaluations": [EVALUATION]}


@pytest.fixture
def checkpoints(tmp_path):
    """Return a directory with two measured checkpoints and a settings file."""
    directory = tmp_path / "bundled"
    for name in ("digits", "parity-16"):
        make_checkpoint(directory / name, name.partition("-")[0])
        (directory / name / "metrics.json").write_text(json.dumps(METRICS))
    (directory / GALLERY_FILE_NAME).write_text(
        """
checkpoints:
  parity-16: {title: Odd or even, group: experiments, action: Switch bits.}
studies:
  - {group: experiments, title: A, text: "It is {parity-16.accuracy}.", checkpoints: [parity-16], figure: by_tick}
  - {group: experiments, title: B, text: "It is {gone.accuracy}.", checkpoints: [parity-16], figure: by_tick}
  - {group: experiments, title: C, text: c, checkpoints: [gone], figure: halted}
"""
    )
    return directory


def make_gallery(directory, **more):
    return Gallery(ModelCatalog(directory, cache_dir=directory / ".hub" / "cache", **more))


def read_thumbnail(gallery, card):
    content = gallery.thumbnails.read(card["thumbnail"].removeprefix(THUMBNAIL_DIR).removesuffix(".json"))
    return content and json.loads(gzip.decompress(content))


def get_cards(view):
    return {card["name"]: card for card in view["cards"]}


# --- settings and figures ------------------------------------------------------------------------------------------


def test_without_a_settings_file_the_title_of_the_task_is_shown(tmp_path):
    make_checkpoint(tmp_path / "digits", "digits")
    view = make_gallery(tmp_path).build_view()
    (card,) = view["cards"]
    assert (card["title"], card["group"], card["accuracy"]) == ("Handwritten digits", "think", None)
    assert card["tags"] == ["picture"] and view["studies"] == []


@pytest.mark.parametrize(
    "text, location",
    [
        ("checkpoints: {a: {group: think}}", "checkpoints.a.title"),
        ("checkpoints: {a: {title: A, group: other}}", "checkpoints.a.group"),
        ("other: 1", "other"),
    ],
)
def test_an_invalid_settings_file_is_an_error_with_its_place(tmp_path, text, location):
    (tmp_path / GALLERY_FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=f"gallery.yaml is invalid at {location}"):
        read_gallery_settings(tmp_path)


def test_texts_take_their_figures_from_the_metrics():
    evaluations = {"m-1": get_evaluation(METRICS)}
    text = "{m-1.accuracy} {m-1.ticks} {m-1.first} {m-1.best} {m-1.best_tick} {m-1.places}"
    assert fill_text(text, evaluations) == "85.0% 2.2 50.0% 90.0% 3 95.0%"
    for unknown in ("{m-2.accuracy}", "{m-1.other}"):
        with pytest.raises(ValueError, match="There is no figure"):
            fill_text(unknown, evaluations)


def test_figures_have_wilson_intervals():
    evaluations = {"m": get_evaluation(METRICS)}
    low, high = compute_wilson_interval(0.85, 400)
    (row,) = build_figure("halted", "", {"m": "M"}, evaluations)["rows"]
    assert row == {
        "label": "M",
        "value": 0.85,
        "low": pytest.approx(low, abs=1e-5),
        "high": pytest.approx(high, abs=1e-5),
    }
    rows = build_figure("first_tick", "", {"m": "M"}, evaluations)["rows"]
    assert [row["value"] for row in rows] == [0.5, 0.85, 0.9] and rows[2]["label"] == "After tick 3, the best"
    (series,) = build_figure("by_tick", "", {"m": "M"}, evaluations)["series"]
    assert [point[:2] for point in series["points"]] == [[1, 0.5], [2, 0.75], [3, 0.9], [4, 0.8]]


def test_a_figure_by_difficulty_is_ordered_by_number_and_leaves_out_rare_samples():
    figure = build_figure("by_difficulty", "bits", {"m": "M"}, {"m": get_evaluation(METRICS)})
    assert figure["axis"] == "bits"
    assert [point[:2] for point in figure["series"][0]["points"]] == [[2, 0.99], [9, 0.92], [10, 0.5]]


# --- cards ------------------------------------------------------------------------------------------------------------


def test_cards_have_group_title_and_figures(checkpoints):
    view = make_gallery(checkpoints).build_view()
    cards = get_cards(view)
    parity = cards["parity-16"]
    assert (parity["title"], parity["group"], parity["action"]) == ("Odd or even", "experiments", "Switch bits.")
    assert (parity["accuracy"], parity["ticks"], parity["iterations"]) == (0.85, 2.25, 4)
    assert [group["name"] for group in view["groups"]] == list(GROUPS)
    assert [card["name"] for card in view["cards"]] == ["digits", "parity-16"], "in the order of the groups"


def test_a_study_without_its_checkpoints_or_figures_is_left_out(checkpoints):
    (study,) = make_gallery(checkpoints).build_view()["studies"]
    assert (study["title"], study["text"]) == ("A", "It is 85.0%.")


def test_single_positions_are_named_where_whole_answers_are_rare():
    rare = METRICS | {"evaluations": [EVALUATION | {"accuracy_halted": 0.1}]}
    build = lambda metrics: build_card("a", "bundled", None, {"iterations": 4}, metrics)  # noqa: E731
    assert build(rare)["note"] == "95.0% of single positions" and build(METRICS)["note"] == ""
    strange = METRICS | {"evaluations": [EVALUATION | {"accuracy_halted": 0.1, "figures": ["x"]}]}
    assert build(strange)["note"] == ""


def test_runs_and_hub_models_have_their_own_groups_and_baselines_a_tag(checkpoints, tmp_path):
    make_checkpoint(tmp_path / "runs" / "parity-1" / "checkpoint", "parity")
    make_checkpoint(checkpoints / "ff", "digits", kind="ff")
    cards = get_cards(make_gallery(checkpoints, runs_dir=tmp_path / "runs", hub_models=["a/b"]).build_view())
    run = cards["run:parity-1"]
    assert (run["group"], run["title"], run["detail"], run["tags"]) == (
        "runs",
        "Parity",
        "parity-1",
        ["sequence", "run"],
    )
    assert cards["ff"]["tags"] == ["picture", "baseline"] and cards["ff"]["model"] == "feed-forward"
    assert (cards["a/b"]["group"], cards["a/b"]["status"], cards["a/b"]["is_remote"]) == ("hub", NOT_DOWNLOADED, True)
    assert shorten_name("a/b@0123456789") == "a/b @ 0123456"


def test_the_version_changes_when_a_run_is_deleted_or_measured_and_only_then(checkpoints, tmp_path):
    run = make_checkpoint(tmp_path / "runs" / "parity-1" / "checkpoint", "parity")
    gallery = make_gallery(checkpoints, runs_dir=tmp_path / "runs")
    first = gallery.build_view()
    assert gallery.build_view() == first
    (run / "metrics.json").write_text(json.dumps(METRICS))
    second = gallery.build_view()
    assert second["version"] != first["version"] and get_cards(second)["run:parity-1"]["accuracy"] == 0.85
    shutil.rmtree(run.parent)
    third = gallery.build_view()
    assert third["version"] != second["version"] and "run:parity-1" not in get_cards(third)


def test_an_invalid_checkpoint_has_a_card_that_says_so(checkpoints):
    (checkpoints / "digits" / "metrics.json").write_text("{")
    card = get_cards(make_gallery(checkpoints).build_view())["digits"]
    assert card["status"] == "Cannot be read" and card["thumbnail"] == ""


def test_hub_models_are_described_or_marked_as_unreachable(checkpoints, hub, tmp_path):
    hub.add_repo("alice/parity", read_dir_files(make_checkpoint(tmp_path / "parity", "parity")))
    service = make_inference_service(checkpoints, endpoint=hub.url, hub_models=["alice/parity", "alice/none"])
    service.gallery.build_view()
    assert not hub.requests, "the view itself asks for nothing"
    service.gallery.check_hub()
    cards = get_cards(service.gallery.build_view())
    assert (cards["alice/parity"]["title"], cards["alice/parity"]["status"]) == ("Parity", NOT_DOWNLOADED)
    assert cards["alice/none"]["status"] == NOT_DOWNLOADED and not cards["alice/none"]["is_offline"]
    count = len(hub.requests)
    service.gallery.check_hub()
    assert len(hub.requests) == count, "once a minute"


def test_a_hub_that_does_not_answer_greys_its_models(checkpoints, hub):
    hub.add_fault("drop", max_count=None)
    gallery = make_inference_service(checkpoints, endpoint=hub.url, hub_models=["alice/parity"]).gallery
    gallery.check_hub()
    card = get_cards(gallery.build_view())["alice/parity"]
    assert card["status"] == OFFLINE and card["is_offline"]
    assert "alice/parity" not in get_cards(gallery.build_view(include_remote=False))


# --- thumbnails --------------------------------------------------------------------------------------------------------


def test_a_thumbnail_is_the_record_of_the_first_example(checkpoints):
    gallery = make_gallery(checkpoints)
    cards = get_cards(gallery.build_view())
    digit, parity = (read_thumbnail(gallery, cards[name]) for name in ("digits", "parity-16"))
    assert digit["input"]["kind"] == "picture" and digit["input"]["width"] <= 28
    assert parity["input"]["items"] == list("1011") and len(parity["labels"]) == len(parity["ticks"]) <= 6
    assert all(len(answer) == 4 for answer in parity["answers"])


def test_an_address_is_valid_for_one_version_of_the_files(checkpoints):
    gallery = make_gallery(checkpoints)
    card = get_cards(gallery.build_view())["parity-16"]
    path = checkpoints / "parity-16" / "config.json"
    os.utime(path, ns=(1, 1))
    assert read_thumbnail(gallery, card) is None
    changed = get_cards(gallery.build_view())["parity-16"]
    assert changed["thumbnail"] != card["thumbnail"] and read_thumbnail(gallery, changed)
    assert gallery.thumbnails.read("0" * 16) is None


def test_a_published_record_is_used_and_an_invalid_one_leaves_the_thumbnail_out(checkpoints):
    service = make_inference_service(checkpoints)
    record = service.predict("parity-16", "10", "")
    path = checkpoints / "parity-16" / PREVIEW_NAME
    preview = {"input_type": "text", "inputs": ["10"], "record": record}
    path.write_text(json.dumps(preview))
    card = get_cards(service.gallery.build_view())["parity-16"]
    assert read_thumbnail(service.gallery, card)["input"]["items"] == ["1", "0"]
    for broken in ({"ticks": 3}, record | {"input": "x"}, record | {"ticks": 99}, record | {"ticks": "x"}):
        path.write_text(json.dumps(preview | {"record": broken}))
        card = get_cards(service.gallery.build_view())["parity-16"]
        assert read_thumbnail(service.gallery, card) is None


def test_large_pictures_and_long_unrolls_are_thinned_out():
    frames = select_frames(1000)
    assert len(frames) == MAX_FRAMES and (frames[0], frames[-1]) == (0, 999)
    pixels = "A" * (4 * 300 * 200 // 3)
    record = {
        "ticks": 1,
        "iterations": 1,
        "labels_by_tick": ["a"],
        "answers_by_tick": [[1]],
        "routes": [[9, 9, 9, 10]],
        "input": {"kind": "picture", "height": 200, "width": 300, "channels": 1, "data": pixels, "start": [9, 9]},
    }
    thumbnail = build_thumbnail(record)
    picture = thumbnail["input"]
    assert thumbnail["routes"] is None, "its cells are not those of the small picture"
    assert picture["height"] <= MAX_SIDE and picture["width"] == 75 and "start" not in picture


def test_every_thumbnail_of_the_bundled_checkpoints_is_computed_before_it_is_asked_for(checkpoints):
    gallery = make_gallery(checkpoints)
    gallery.compute_thumbnails()
    assert len(gallery.thumbnails._contents) == 2


# --- the bundled checkpoints ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled():
    return Gallery(ModelCatalog(ROOT / "checkpoints"))


def test_every_bundled_checkpoint_has_a_plain_name_and_every_name_a_checkpoint(bundled):
    names = {path.parent.name for path in (ROOT / "checkpoints").glob("*/config.json")}
    assert set(bundled.settings.checkpoints) == names
    assert all(text.action for text in bundled.settings.checkpoints.values())
    titles = [text.title for text in bundled.settings.checkpoints.values()]
    assert len(set(titles)) == len(titles)


def test_every_study_is_shown_and_its_cards_are_small(bundled):
    view = bundled.build_view()
    assert [study["title"] for study in view["studies"]] == [study.title for study in bundled.settings.studies]
    assert len(gzip.compress(json.dumps(view).encode())) < 6_000, "part of the first load of the page"


def test_the_findings_that_texts_state_hold(bundled):
    """The texts of gallery.yaml take their figures from the metrics; this test checks what they say about them."""

    def read(name):
        return get_evaluation(json.loads((ROOT / "checkpoints" / name / "metrics.json").read_text()))

    transfer, random, scratch = map(read, ("transfer", "transfer-random", "transfer-scratch"))
    assert transfer["mean_ticks"] < random["mean_ticks"] and transfer["accuracy_halted"] < scratch["accuracy_halted"]
    groups = read("parity-64")["by_difficulty"]
    assert all(group["accuracy_halted"] > 0.95 for group in groups.values() if group["n"] >= 50)
    ticks_per_bit = (groups["60"]["mean_ticks"] - groups["20"]["mean_ticks"]) / 40
    assert 0.9 < ticks_per_bit < 1.1, "about one tick"
    fashion = read("fashion")
    assert max(fashion["accuracy_by_tick"]) - fashion["accuracy_by_tick"][0] < 0.01, "more ticks change little"
    assert fashion["mean_ticks"] < 1.5
    accuracies = [
        read(name)["accuracy_halted"]
        for name in ("tracking-position-untaught", "tracking-position-lstm", "tracking-position-ff")
    ]
    assert accuracies == sorted(accuracies, reverse=True)
