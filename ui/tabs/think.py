"""Think tab: choose a checkpoint, give an input, and watch the model tick by tick."""

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.plot import PlotData

from ui.components.html_component import build_html_component
from ui.components.inputs import JS_EDITOR_TO_TEXT, JS_TEXT_TO_EDITOR, parse_drawing
from ui.components.plotly_figures import build_thought_figure
from ui.components.thought_view import build_thought_view
from ui.services.image_decoding import decode_image, decode_image_with_notes, encode_data_url
from ui.services.inference_service import MAX_COMPARED, CheckpointInfo, InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import INFERENCE_EVENT, PRIVATE_EVENT, Updates
from ui.tabs.policy_choices import (
    JS_GET_CLICKED_POLICY,
    JS_GET_POLICY_TEXT,
    POLICY_SYNTAX_HELP,
    build_policy_update,
    get_default_policy,
    get_policy_info,
    list_policy_choices,
    select_policy,
)
from ui.tabs.think_api import build_api
from ui.tabs.think_inputs import build_editor_value_from_image, build_image_inputs, build_text_inputs

NO_CHECKPOINT_MESSAGE = "There is no model yet. Train one: `python -m training train configs/digits.yaml`."
MAX_SEED = 2**31
MAX_REASON_CHARS = 300
# Predict in the browser, see ctm/page.js. Returns the thought, the figure, its section, the comparison, and the outcome: whether
# the server has to compute it, and why.
JS_PREDICT = """async (value, checkpoint, policy, compared, manifest, isEnabled) => {
  const unchanged = { __type__: "update" };
  const mayRun = isEnabled && manifest && !compared?.length && globalThis.ctm;
  const outcome = mayRun ? await globalThis.ctm.predict("KIND", value, policy, manifest) : { reason: "" };
  const result = { asksServer: typeof outcome.reason === "string", reason: outcome.reason ?? "" };
  if (outcome.problem) return [{ problem: outcome.problem, checkpoint }, unchanged, unchanged, unchanged, result];
  if (!outcome.record) return [unchanged, unchanged, unchanged, unchanged, result];
  return [outcome.record, null, { __type__: "update", open: false }, { checkpoint, rows: [] }, result];
}"""
JS_ASK_SERVER = """(outcome) => {
  if (outcome?.asksServer) document.querySelector("#BUTTON").click();
  return [];
}"""


def build_think_tab(inference_service: InferenceService) -> gr.Dropdown | None:
    """Build the tab and the API endpoints.

    Args:
        inference_service: Describes and runs the models.

    Returns:
        The dropdown of checkpoints, for other tabs to set; None without checkpoints.
    """
    names = inference_service.list_checkpoint_names()
    if not names:
        gr.Markdown(NO_CHECKPOINT_MESSAGE)
        return None
    tab = ThinkTab(inference_service, inference_service.get_checkpoint_info(names[0]))
    tab.connect()
    build_api(inference_service)
    return tab.checkpoint


class ThinkTab:
    """Components of the tab and their events.

    Args:
        inference_service: Describes and runs the models.
        first: The checkpoint to show first.
    """

    def __init__(self, inference_service: InferenceService, first: CheckpointInfo) -> None:
        self.inference_service = inference_service
        with gr.Row(elem_classes="think"):
            with gr.Column(scale=2, min_width=320):
                self._build_inputs(first)
            with gr.Column(scale=5, min_width=320):
                self._build_outputs(first)

    def _build_inputs(self, first: CheckpointInfo) -> None:
        self.checkpoint = gr.Dropdown(
            self.inference_service.list_checkpoint_labels(),
            value=first.name,
            label="Checkpoint",
            info="Trained model",
            elem_id="checkpoint",
        )
        self.summary = gr.Markdown(first.summary, elem_id="summary")
        self.images = build_image_inputs(self.inference_service, first)
        self.texts = build_text_inputs(self.inference_service, first)
        default_policy = get_default_policy(first)
        with gr.Column(visible=first.iterations > 1) as self.policy_column:
            self.policy_choice = gr.Dropdown(
                list_policy_choices(first),
                label="Stopping rule",
                info=get_policy_info(first, default_policy),
                elem_id="policy",
            )
            self.policy = gr.Textbox(
                default_policy,
                label="Rule",
                info=POLICY_SYNTAX_HELP,
                max_length=500,
                elem_id="policy-text",
                interactive=True,
            )
        manifest = self.inference_service.get_browser_manifest(first.name)
        self.manifest = gr.JSON(manifest, visible=False)
        self.outcome = gr.JSON(visible=False)
        self.in_browser = gr.Checkbox(
            True,
            label="Compute in this browser",
            info="Off: the server computes the answer.",
            visible=manifest is not None,
            elem_id="in-browser",
        )
        self.compare_with = gr.Dropdown(
            self.inference_service.list_comparison_choices(first.name),
            value=[],
            multiselect=True,
            max_choices=MAX_COMPARED,
            label="Compare with",
            info=f"Optional: run up to {MAX_COMPARED} other rules or models on the same input.",
            elem_id="compare-with",
        )

    def _build_outputs(self, first: CheckpointInfo) -> None:
        self.comparison = build_html_component("compare", "comparison", {"selected": first.name})
        self.thought = build_thought_view({"selected": first.name})
        has_ticks = first.iterations > 1
        with gr.Accordion(
            "Zoomable chart", open=False, visible=has_ticks, elem_id="figure-section"
        ) as self.figure_section:
            self.figure = gr.Plot(show_label=False, elem_id="figure")
        with gr.Accordion(
            "Accuracy versus thinking time", open=False, visible=has_ticks, elem_id="halting-section"
        ) as self.halting_section:
            view = self.inference_service.get_halting_view(first.name)
            self.halting = build_html_component("halting", "halting", view)

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect all events of the tab."""
        self.checkpoint.change(
            self._select_checkpoint,
            self.checkpoint,
            [
                *self.images.outputs,
                *self.texts.outputs,
                self.summary,
                self.policy_column,
                self.policy_choice,
                self.policy,
                self.compare_with,
                self.thought,
                self.figure,
                self.comparison,
                self.halting,
                self.figure_section,
                self.halting_section,
                self.manifest,
                self.in_browser,
            ],
            **PRIVATE_EVENT,
        )
        self.figure_section.expand(build_figure, self.thought, self.figure, **PRIVATE_EVENT)
        self._connect_policy()
        self._connect_images()
        self._connect_texts()

    def _connect_policy(self) -> None:
        self.policy_choice.input(
            None, [self.policy_choice, self.policy], self.policy, js=JS_GET_POLICY_TEXT, **PRIVATE_EVENT
        )
        self.policy_choice.input(
            self._describe_policy, [self.checkpoint, self.policy_choice], self.policy_choice, **PRIVATE_EVENT
        )
        self.policy.change(  # Gradio's `input` event does not fire on paste
            self._select_policy,
            [self.checkpoint, self.policy],
            self.policy_choice,
            trigger_mode="always_last",
            show_progress="hidden",
            **PRIVATE_EVENT,
        )
        self.halting.input(None, self.halting, self.policy, js=JS_GET_CLICKED_POLICY, **PRIVATE_EVENT)

    @property
    def _options(self) -> list[Any]:
        """Return the inputs that every prediction has besides its image or text."""
        return [self.checkpoint, self.policy, self.compare_with]

    @property
    def _outputs(self) -> list[Any]:
        """Return the components that show a prediction."""
        return [self.thought, self.figure, self.figure_section, self.comparison]

    def _connect_prediction(
        self, triggers: Sequence[Callable[..., Any]], predict: Callable[..., Updates], source: Any, kind: str
    ) -> None:
        """Run a prediction when an event happens: in the browser, or else on the server.

        Args:
            triggers: Methods of components or of events that add a listener, such as `button.click`.
            predict: Handler of the prediction on the server.
            source: Component that holds the input.
            kind: Kind of input: "text", "drawing" or "upload".
        """
        server_button = gr.Button(visible="hidden", elem_id=f"ask-server-{source.elem_id}")
        server_button.click(
            predict, [source, *self._options, self.outcome], self._outputs, **PRIVATE_EVENT | INFERENCE_EVENT
        )
        inputs = [source, *self._options, self.manifest, self.in_browser]
        for trigger in triggers:
            event = trigger(
                None, inputs, [*self._outputs, self.outcome], js=JS_PREDICT.replace("KIND", kind), **PRIVATE_EVENT
            )
            event.then(
                None, self.outcome, None, js=JS_ASK_SERVER.replace("BUTTON", server_button.elem_id), **PRIVATE_EVENT
            )

    def _connect_images(self) -> None:
        images = self.images
        self._connect_prediction([images.run_drawing.click], self._predict_drawing, images.sketchpad, "drawing")
        self._connect_prediction([images.run_editor.click], self._predict_drawing, images.editor, "drawing")
        images.regenerate.click(
            lambda name: self._generate_image(name)[images.editor], self.checkpoint, images.editor, **PRIVATE_EVENT
        )
        images.edit.click(
            self._edit_upload, [images.upload, self.checkpoint], [images.editor, images.tabs], **PRIVATE_EVENT
        )
        shown = [images.upload, images.editor, images.sketchpad]
        opened = images.examples.click(self._open_example, [images.examples, self.checkpoint], shown, **PRIVATE_EVENT)
        generated = images.generate.click(self._generate_image, self.checkpoint, shown[:2], **PRIVATE_EVENT)
        triggers = (images.run_upload.click, opened.then, generated.then)
        self._connect_prediction(triggers, self._predict_image, images.upload, "upload")

    def _connect_texts(self) -> None:
        texts = self.texts
        opened = texts.examples.click(lambda sample: sample[0], texts.examples, texts.text, **PRIVATE_EVENT)
        generated = texts.generate.click(self._generate_text, self.checkpoint, texts.text, **PRIVATE_EVENT)
        triggers = (texts.run_text.click, texts.text.submit, opened.then, generated.then)
        self._connect_prediction(triggers, self._predict_text, texts.text, "text")
        texts.editor.input(None, texts.editor, texts.text, js=JS_EDITOR_TO_TEXT, **PRIVATE_EVENT)
        texts.text.change(  # Gradio's `input` event does not fire on paste
            None, [texts.text, texts.editor], texts.editor, js=JS_TEXT_TO_EDITOR, **PRIVATE_EVENT
        )

    # --- handlers --------------------------------------------------------------------------------------------------

    def _get_info(self, name: str) -> CheckpointInfo:
        return call_service(self.inference_service.get_checkpoint_info, name)

    def _select_checkpoint(self, name: str) -> Updates:
        info = self._get_info(name)
        has_ticks = info.iterations > 1
        manifest = self.inference_service.get_browser_manifest(name)
        return {
            **self.images.build_updates(self.inference_service, info),
            **self.texts.build_updates(self.inference_service, info),
            self.summary: info.summary,
            self.policy_column: gr.Column(visible=has_ticks),
            self.policy_choice: build_policy_update(info),
            self.policy: get_default_policy(info),
            self.compare_with: gr.Dropdown(
                self.inference_service.list_comparison_choices(name), value=[], multiselect=True
            ),
            self.thought: {"selected": name},
            self.figure: None,
            self.comparison: {"selected": name},
            self.halting: self.inference_service.get_halting_view(name),
            self.figure_section: gr.Accordion(visible=has_ticks, open=False),
            self.halting_section: gr.Accordion(visible=has_ticks),
            self.manifest: manifest,
            self.in_browser: gr.Checkbox(visible=manifest is not None),
        }

    def _describe_policy(self, name: str, policy: str) -> gr.Dropdown:
        return gr.Dropdown(info=get_policy_info(self._get_info(name), policy))

    def _select_policy(self, name: str, policy: str) -> gr.Dropdown:
        return select_policy(self._get_info(name), policy)

    def _predict_image(self, path: str | None, *options: Any) -> Updates:
        return self._predict(lambda: decode_upload(path), *options)

    def _predict_drawing(self, drawing: Any, *options: Any) -> Updates:
        return self._predict(lambda: decode_image(parse_drawing(drawing)), *options)

    def _predict_text(self, text: str, *options: Any) -> Updates:
        return self._predict(lambda: text or "", *options)

    def _predict(
        self,
        load_input: Callable[[], Any],
        name: str,
        policy: str,
        comparison_choices: list[str] | None,
        outcome: dict[str, Any] | None = None,
    ) -> Updates:
        """Run a prediction and the comparison. An error appears above the former thought, because users look there.

        Args:
            load_input: Returns the input for `InferenceService.predict`.
            name: Name of the checkpoint.
            policy: Halting policy as text.
            comparison_choices: What to compare the prediction with.
            outcome: What the browser did before, see `JS_PREDICT`; its reason is added to the sentence.
        """
        try:
            user_input = load_input()
            record = self.inference_service.predict(name, user_input, policy)
            rows = self.inference_service.compare(record, user_input, comparison_choices) if comparison_choices else []
        except ValueError as error:
            return {self.thought: {"problem": str(error), "checkpoint": name}}
        return {
            self.thought: add_sentence(record, outcome),
            self.figure: None,
            self.figure_section: gr.Accordion(open=False),
            self.comparison: {"checkpoint": name, "rows": rows},
        }

    def _build_editor_value(self, name: str, image: np.ndarray) -> Any:
        return build_editor_value_from_image(self.inference_service, self._get_info(name), image)

    def _generate_image(self, name: str) -> Updates:
        pixels = call_service(self.inference_service.generate_input, name, secrets.randbelow(MAX_SEED))
        return {
            self.images.upload: pixels,
            self.images.editor: call_service(self._build_editor_value, name, pixels / np.float32(255)),
        }

    def _generate_text(self, name: str) -> str:
        return call_service(self.inference_service.generate_input, name, secrets.randbelow(MAX_SEED))

    def _open_example(self, sample: list[str], name: str) -> Updates:
        path = sample[0]
        image = call_service(decode_image, path)
        can_draw = self._get_info(name).supports_drawing
        return {
            self.images.upload: path,
            self.images.editor: call_service(self._build_editor_value, name, image),
            self.images.sketchpad: encode_data_url(image) if can_draw else gr.skip(),
        }

    def _edit_upload(self, path: str | None, name: str) -> Updates:
        return {
            self.images.editor: call_service(lambda: self._build_editor_value(name, decode_image(path))),
            self.images.tabs: gr.Tabs(selected="draw"),
        }


def build_figure(record: Any) -> PlotData | None:
    """Return the zoomable figure of a thought; None without a record, and for a feed-forward model, which has a single answer.

    Args:
        record: Value of the thought view. It comes from the browser, so it may be anything.
    """
    try:
        if record["iterations"] == 1:
            return None
        return PlotData(type="plotly", plot=json.dumps(build_thought_figure(record)))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def add_sentence(record: dict[str, Any], outcome: dict[str, Any] | None) -> dict[str, Any]:
    """Return a record whose sentence says why the browser did not compute it."""
    reason = outcome.get("reason") if isinstance(outcome, dict) else None
    if not isinstance(reason, str) or not reason:
        return record
    return record | {"sentence": f"{record['sentence']} {reason[:MAX_REASON_CHARS]}"}


def decode_upload(path: str | None) -> np.ndarray:
    """Decode an uploaded image and tell the visitor what was left out of it, such as other frames."""
    pixels, notes = decode_image_with_notes(path)
    for note in notes:
        gr.Info(note, duration=8)
    return pixels
