"""Test the lists of the Models and the Think tab after checkpoints have come and gone."""

import shutil

import gradio as gr

from tests.ui.conftest import make_checkpoint, make_inference_service
from ui.tabs.models import ModelsTab


def test_lists_are_made_anew_and_forget_a_deleted_selection(tmp_path):
    for name in ("digits", "parity-1", "parity-2"):
        make_checkpoint(tmp_path / name, "digits" if name == "digits" else "parity")
    with gr.Blocks():
        tab = ModelsTab(make_inference_service(tmp_path))
    assert tab._refresh_models("parity-1").value == "parity-1"
    shutil.rmtree(tmp_path / "parity-1")
    radio = tab._refresh_models("parity-1")
    assert radio.value is None and [name for _, name in radio.choices] == ["digits", "parity-2"]
    assert not tab._exists("parity-1") and tab._exists("parity-2")
