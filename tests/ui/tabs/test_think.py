"""Test the handlers of the Think tab: what a choice of the visitor changes."""

import gradio as gr
import pytest

from tests.ui.conftest import make_checkpoint, make_inference_service
from ui.services.image_decoding import decode_image
from ui.tabs.policy_choices import CUSTOM_POLICY, CUSTOM_POLICY_INFO
from ui.tabs.think import ThinkTab, build_figure


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> ThinkTab:
    directory = tmp_path_factory.mktemp("checkpoints")
    make_checkpoint(directory / "digits", "digits")
    make_checkpoint(directory / "digits-ff", "digits", kind="ff")
    make_checkpoint(directory / "chain", "chain")
    make_checkpoint(directory / "parity", "parity")
    make_checkpoint(directory / "sorting", "sorting", heads=0, n_synch_action=0)
    service = make_inference_service(directory)
    with gr.Blocks():
        return ThinkTab(service, service.get_checkpoint_info("digits"))


@pytest.mark.parametrize(("name", "visible"), [("digits", True), ("digits-ff", False)])
def test_a_model_of_one_tick_has_no_policies_and_no_charts_by_tick(tab, name, visible):
    updates = tab._select_checkpoint(name)
    for component in (tab.policy_column, tab.figure_section, tab.halting_section):
        assert updates[component].visible is visible
    choices = [value for _, value in updates[tab.compare_with].choices]
    assert any(value.startswith("rule:") for value in choices) is visible
    assert any(value.startswith("model:") for value in choices)


def test_a_selection_names_the_checkpoint_to_the_views_so_that_late_results_are_ignored(tab):
    updates = tab._select_checkpoint("digits-ff")
    assert updates[tab.thought] == updates[tab.comparison] == {"selected": "digits-ff"}
    failed = tab._predict_drawing(None, "digits", "", [])
    assert failed[tab.thought]["checkpoint"] == "digits"


def test_the_text_of_a_policy_selects_its_choice_and_its_evidence(tab):
    known = tab._select_policy("digits", "energy<-0.05")
    assert known.value == "energy<-0.05" and "100.0%" in known.info
    custom = tab._select_policy("digits", "ticks=3")
    assert (custom.value, custom.info) == (CUSTOM_POLICY, CUSTOM_POLICY_INFO)


def test_a_hint_with_asterisks_is_no_markdown(tab):
    hint = tab._select_checkpoint("chain")[tab.texts.text].info
    assert "*" not in hint and "&#42;" in hint


@pytest.mark.parametrize(("name", "text"), [("chain", "3+4"), ("parity", "1011"), ("sorting", "3 1 2 5 4 7 6 9 8 0")])
def test_a_prediction_of_every_kind_of_answer_has_a_zoomable_chart(tab, name, text):
    updates = tab._predict_text(text, name, "", [])
    assert updates[tab.thought]["checkpoint"] == name
    assert updates[tab.figure] is None and updates[tab.figure_section].open is False, (
        "the chart is built when it is opened"
    )
    assert build_figure(updates[tab.thought]).type == "plotly"


@pytest.mark.parametrize(
    "record", [None, {}, {"selected": "digits"}, {"iterations": 5}, "text", {"iterations": 5, "ticks": []}]
)
def test_a_value_that_is_no_record_has_no_chart(record):
    assert build_figure(record) is None


def test_the_server_says_why_the_browser_did_not_compute_it(tab):
    reason = "This browser could not load the model (a reason), so the server computed this."
    record = tab._predict_text("1011", "parity", "", [], {"asksServer": True, "reason": reason})[tab.thought]
    assert record["sentence"].endswith(f" {reason}")
    for outcome in (None, {}, {"reason": None}, {"reason": 3}, "text"):
        assert not tab._predict_text("1011", "parity", "", [], outcome)[tab.thought]["sentence"].endswith(reason)


def test_a_failed_prediction_leaves_the_former_result(tab):
    updates = tab._predict_drawing(None, "digits", "", [])
    assert list(updates) == [tab.thought] and "There is no picture yet" in updates[tab.thought]["problem"]


def test_an_example_appears_where_the_visitor_draws_and_runs_from_there(tab):
    path = str(tab.inference_service.get_checkpoint_info("digits").examples[0])
    updates = tab._open_example([path], "digits")
    drawing = updates[tab.images.sketchpad]
    assert updates[tab.images.upload] == path and drawing.startswith("data:image/png;base64,")
    from_file = tab._predict(lambda: decode_image(path), "digits", "", [])[tab.thought]
    from_square = tab._predict_drawing(drawing, "digits", "", [])[tab.thought]
    assert from_file["energy"] == from_square["energy"]
