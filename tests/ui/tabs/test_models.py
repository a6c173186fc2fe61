"""Test the lists of the Models tab and of the Think tab after checkpoints have come and gone."""

import shutil

import gradio as gr

from tests.ui.conftest import make_checkpoint, make_inference_service
from ui.tabs.models import ModelsTab, describe_training, format_model_facts


def test_cards_are_made_anew_when_a_checkpoint_is_deleted(tmp_path):
    for name in ("digits", "parity-1", "parity-2"):
        make_checkpoint(tmp_path / name, "digits" if name == "digits" else "parity")
    with gr.Blocks():
        tab = ModelsTab(make_inference_service(tmp_path))
    version = tab.gallery.value["version"]
    assert tab._refresh_gallery(version) == gr.skip(), "nothing is sent where nothing has changed"
    shutil.rmtree(tmp_path / "parity-1")
    value = tab._refresh_gallery(version)
    assert [card["name"] for card in value["cards"]] == ["digits", "parity-2"] and value["version"] != version
    assert not tab._exists("parity-1") and tab._exists("parity-2")


def test_the_facts_say_the_plain_name_and_how_the_model_was_trained(tmp_path):
    make_checkpoint(tmp_path / "digits", "digits")
    (tmp_path / "gallery.yaml").write_text("checkpoints: {digits: {title: Draw a digit}}")
    model = make_inference_service(tmp_path).describe("digits")
    model["metrics"] = {"training": {"steps": 1200, "minutes": 7.4, "hardware": "2 CPU cores", "init_from": "a|b"}}
    facts = format_model_facts(model)
    assert facts.startswith("### Draw a digit (digits)")
    assert "1,200 steps, 7 minutes on 2 CPU cores, initial weights from a" in facts


def test_strange_training_data_is_left_out():
    for metrics in ({}, {"training": []}, {"training": {"steps": "x"}}):
        assert describe_training(metrics) == ""
    assert describe_training({"training": {"steps": 3, "minutes": "x"}}) == "3 steps"
