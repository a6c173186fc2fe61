"""Think tab: choose a checkpoint, give an input, and watch the model tick by tick."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.components.formatting import escape_info
from ui.components.gallery import JS_GET_CHOSEN, JS_GET_VERSION, JS_SELECT, build_gallery, build_gallery_update
from ui.components.html_component import build_html_component
from ui.components.inputs import JS_EDITOR_TO_TEXT, JS_TEXT_TO_EDITOR, parse_drawing
from ui.components.share import JS_FILL_INPUT, build_share, build_share_value, read_request
from ui.components.thought_view import build_thought_view
from ui.services.image_decoding import decode_image
from ui.services.inference_service import CheckpointInfo, InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import INFERENCE_EVENT, PRIVATE_EVENT, SILENT_EVENT, Updates
from ui.tabs.policy_choices import get_default_policy
from ui.tabs.prediction_events import PredictionEvents
from ui.tabs.think_api import build_api
from ui.tabs.think_inputs import (
    build_examples,
    build_examples_update,
    build_image_inputs,
    build_text_inputs,
)
from ui.tabs.think_pictures import PictureHandlers, decode_upload, generate_input
from ui.tabs.think_policy import PolicyControls
from ui.tabs.think_requests import ViewRequests
from ui.tabs.think_server import JS_LEAVE, STOP_BUTTON_ID, ServerPrediction, ServerViews

NO_CHECKPOINT_MESSAGE = "There is no model yet. Train one: `python -m training train configs/digits.yaml`."
JS_MOVE_START = "(editor, maze) => ({ ...editor, content: maze.content })"


def build_think_tab(inference_service: InferenceService, page: gr.Blocks, tabs: gr.Tabs) -> gr.Dropdown | None:
    """Build the tab and the API endpoints.

    Args:
        inference_service: Describes and runs the models.
        page: The page, for its load event.
        tabs: Tabs of the page: the cards are refreshed when one is selected.

    Returns:
        The hidden dropdown of checkpoints, for other tabs to set; None without checkpoints.
    """
    names = inference_service.list_checkpoint_names()
    if not names:
        gr.Markdown(NO_CHECKPOINT_MESSAGE)
        return None
    tab = ThinkTab(inference_service, inference_service.get_checkpoint_info(names[0]))
    tab.connect()
    tab.connect_gallery(page, tabs)
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
        self.requests = ViewRequests(inference_service)
        self.selected: Any = None  # event of a selected checkpoint
        self.first_name = first.name
        view = inference_service.gallery.build_view(include_remote=False)
        self.gallery = build_gallery(view, "gallery", "pick", first.name)
        with gr.Row(elem_classes="think"):
            with gr.Column(min_width=0, elem_id="think-inputs"):
                self._build_inputs(first)
            with gr.Column(min_width=0, elem_id="think-examples"):
                self._build_examples(first)
            with gr.Column(min_width=0, elem_id="think-result"):
                self._build_outputs(first)

    def _build_inputs(self, first: CheckpointInfo) -> None:
        self.checkpoint = gr.Dropdown(
            self.inference_service.list_checkpoint_labels(),
            value=first.name,
            label="Checkpoint",
            visible="hidden",  # the gallery sets it
            elem_id="checkpoint",
        )
        self.images = build_image_inputs(self.inference_service, first)
        self.texts = build_text_inputs(self.inference_service, first)
        self.problem = build_html_component("problem", "input-problem", {"selected": first.name})
        self.pictures = PictureHandlers(self.inference_service, self.images, self.problem)

    def _build_examples(self, first: CheckpointInfo) -> None:
        self.difficulty = build_html_component("difficulty", "difficulty", first.difficulty)
        self.image_examples = build_examples(first, "image", gr.Image(visible=False))
        self.text_examples = build_examples(first, "text", gr.Textbox(visible=False))
        self.summary = gr.Markdown(first.summary, elem_id="summary")

    def _build_outputs(self, first: CheckpointInfo) -> None:
        stop = gr.Button("Stop", visible=False, size="sm", elem_id=STOP_BUTTON_ID)
        demo = self.inference_service.gallery.list_demo()
        self.thought = build_thought_view({"selected": first.name, "demo": demo})
        self.share = build_share(first, get_default_policy(first))
        self.teleport = build_html_component("teleport", "teleport")
        self.comparison = build_html_component("compare", "comparison", self.requests.build_comparison(first.name))
        build_html_component("explanation", "explanation")
        has_ticks = first.iterations > 1
        with gr.Accordion("Look inside", open=False, elem_id="inside-section"):
            self.inside = build_html_component("inside", "inside")
        with gr.Accordion("Stopping rule, place of computation", open=False, elem_id="options") as self.options_section:
            self._build_options(first)
        with gr.Accordion(
            "Accuracy versus thinking time", open=False, visible=has_ticks, elem_id="halting-section"
        ) as self.halting_section:
            view = self.inference_service.get_halting_view(first.name)
            self.halting = build_html_component("halting", "halting", view)
        views = ServerViews(
            thought=self.thought,
            problem=self.problem,
            policy_problem=self.policy.problem,
            options=self.options_section,
        )
        self.server = ServerPrediction(self.inference_service, views, stop)
        self.predictions = PredictionEvents(
            self.server, self.checkpoint, self.policy.text, self.manifest, self.in_browser, self.outcome
        )

    def _build_options(self, first: CheckpointInfo) -> None:
        self.policy = PolicyControls(self.inference_service, first)
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

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect all events of the tab."""
        self.selected = self.checkpoint.change(
            self._select_checkpoint,
            [self.checkpoint, self.share],
            [
                *self.images.outputs,
                *self.texts.outputs,
                self.image_examples,
                self.text_examples,
                self.summary,
                *self.policy.outputs,
                self.thought,
                self.comparison,
                self.halting,
                self.halting_section,
                self.manifest,
                self.in_browser,
                self.problem,
                self.images.sketchpad,
                self.share,
                self.difficulty,
            ],
            **PRIVATE_EVENT,
        )
        self.checkpoint.change(None, None, None, js=f"() => {{ {JS_LEAVE}; return []; }}", **PRIVATE_EVENT)
        self.inside.input(
            self.requests.answer_inside,
            self.inside,
            self.inside,
            **PRIVATE_EVENT | INFERENCE_EVENT | {"show_progress": "hidden"},
        )
        self.comparison.input(
            self.requests.answer_comparison,
            self.comparison,
            self.comparison,
            trigger_mode="multiple",
            **PRIVATE_EVENT | INFERENCE_EVENT | {"show_progress": "hidden"},
        )
        self.server.connect(self.outcome)
        self.policy.connect(self.checkpoint, self.halting, self.thought)
        self.predictions.connect_repetition()
        self._connect_images()
        self._connect_texts()
        self._connect_share()

    def connect_gallery(self, page: gr.Blocks, tabs: gr.Tabs) -> None:
        """Connect the cards to the hidden dropdown, and refresh them: a run may have finished or been deleted.

        Args:
            page: The page, for its load event.
            tabs: Tabs of the page.
        """
        self.gallery.input(None, self.gallery, self.checkpoint, js=JS_GET_CHOSEN, **PRIVATE_EVENT)
        self.checkpoint.change(None, [self.gallery, self.checkpoint], self.gallery, js=JS_SELECT, **PRIVATE_EVENT)
        for listener in (page.load, tabs.select):
            listener(self._refresh_gallery, self.gallery, self.gallery, js=JS_GET_VERSION, **SILENT_EVENT)

    def _connect_images(self) -> None:
        images = self.images
        self.predictions.connect(
            self._predict_drawing, images.sketchpad, "drawing", [images.run_drawing.click], [images.sketchpad.input]
        )
        regenerated = images.regenerate.click(
            lambda *options: self.pictures.generate_picture(*options)[images.editor],
            [self.checkpoint, self.difficulty],
            images.editor,
            **PRIVATE_EVENT,
        )
        moved = self.teleport.input(
            None, [images.editor, self.teleport], images.editor, js=JS_MOVE_START, **PRIVATE_EVENT
        )
        self.predictions.connect(
            self._predict_drawing,
            images.editor,
            "drawing",
            [images.run_editor.click, regenerated.then, moved.then],
            [images.editor.input],
        )
        images.edit.click(
            self.pictures.edit_upload,
            [images.upload, self.checkpoint],
            [images.editor, images.tabs, self.problem],
            **PRIVATE_EVENT,
        )
        opened = self.image_examples.click(
            self.pictures.open_example,
            [self.image_examples, self.checkpoint],
            self.pictures.outputs,
            **PRIVATE_EVENT,
        )
        generated = images.generate.click(
            self.pictures.generate_picture,
            [self.checkpoint, self.difficulty],
            [images.upload, images.editor],
            **PRIVATE_EVENT,
        )
        # Gradio 6.31 raises no `change` event of an upload whose tab has not been opened.
        self.predictions.connect(
            self._predict_image,
            images.upload,
            "upload",
            [images.run_upload.click],
            [images.upload.change, opened.then, generated.then],
            [self.selected.then],
        )

    def _connect_texts(self) -> None:
        texts = self.texts
        self.text_examples.click(lambda sample: sample[0], self.text_examples, texts.text, **PRIVATE_EVENT)
        generation = [self.checkpoint, self.difficulty]
        texts.generate.click(self._generate_text, generation, texts.text, **PRIVATE_EVENT)
        runs, changes = [texts.run_text.click, texts.text.submit], [texts.text.change]
        self.predictions.connect(self._predict_text, texts.text, "text", runs, changes, [self.selected.then])
        texts.editor.input(None, texts.editor, texts.text, js=JS_EDITOR_TO_TEXT, **PRIVATE_EVENT)
        texts.text.change(  # Gradio's `input` event does not fire on paste
            None, [texts.text, texts.editor], texts.editor, js=JS_TEXT_TO_EDITOR, **PRIVATE_EVENT
        )

    def _connect_share(self) -> None:
        """Connect what a link asks for: a model, then its policy and its input."""
        self.share.select(self._open_model, self.share, [self.checkpoint, self.share], **PRIVATE_EVENT)
        self.share.submit(None, self.share, [self.policy.text, self.texts.text], js=JS_FILL_INPUT, **PRIVATE_EVENT)
        self.share.upload(
            self.pictures.open_link,
            [self.share, self.checkpoint],
            self.pictures.outputs,
            **PRIVATE_EVENT,
        )

    # --- handlers --------------------------------------------------------------------------------------------------

    def _get_info(self, name: str) -> CheckpointInfo:
        return call_service(self.inference_service.get_checkpoint_info, name)

    def _refresh_gallery(self, version: Any) -> Any:
        return build_gallery_update(self.inference_service.gallery.build_view(include_remote=False), version, "pick")

    def _select_checkpoint(self, name: str, share: Any = None) -> Updates:
        info = self._get_info(name)
        request = read_request(share)
        if isinstance(share, dict) and share.get("selected") == name and not request:
            return {}  # Gradio 6.31 raises the event twice if the choices change together with the value
        has_input = request.get("model") == name and bool(request.get("has_input"))  # the link has one: it follows
        has_ticks = info.iterations > 1
        manifest = self.inference_service.get_browser_manifest(name)
        return {
            **self.images.build_updates(self.inference_service, info),
            **self.texts.build_updates(self.inference_service, info),
            **({} if has_input else self._build_first_example(info)),
            self.image_examples: build_examples_update(info, "image"),
            self.text_examples: build_examples_update(info, "text"),
            self.summary: info.summary,
            self.difficulty: info.difficulty,
            **self.policy.build_updates(info),
            self.thought: {"selected": name},
            self.comparison: self.requests.build_comparison(name),
            self.halting: self.inference_service.get_halting_view(name),
            self.halting_section: gr.Accordion(visible=has_ticks),
            self.manifest: manifest,
            self.in_browser: gr.Checkbox(visible=manifest is not None),
            self.problem: {"selected": name},
            self.share: build_share_value(info, get_default_policy(info), self.first_name),
        }

    def _build_first_example(self, info: CheckpointInfo) -> Updates:
        """Return the updates that make the first example of a checkpoint its input; a change of the input runs the model."""
        if not info.examples:
            return {}
        if info.input_type == "text":
            return {self.texts.text: gr.Textbox(info.examples[0], info=escape_info(info.input_hint))}
        return self.pictures.open_example([str(info.examples[0])], info.name)

    def _generate_text(self, name: str, difficulty: Any) -> str:
        return generate_input(self.inference_service, name, difficulty)

    def _predict_image(self, path: str | None, *options: Any) -> Updates:
        return self._predict(lambda: decode_upload(path), *options)

    def _predict_drawing(self, drawing: Any, *options: Any) -> Updates:
        return self._predict(lambda: decode_image(parse_drawing(drawing)), *options)

    def _predict_text(self, text: str, *options: Any) -> Updates:
        return self._predict(lambda: text or "", *options)

    def _predict(self, load_input: Callable[[], Any], *options: Any) -> Updates:
        """Run a prediction on the server, see `ServerPrediction.run`."""
        return self.server.run(load_input, *options)

    def _open_model(self, share: Any) -> Updates:
        """Select the model of a link, or say why it cannot be opened."""
        name = read_request(share).get("model")
        try:
            self.inference_service.get_checkpoint_info(str(name))
        except ValueError as error:
            return {self.share: {**share, "request": None, "problem": str(error)}}
        choices = [choice for choice in self.inference_service.list_checkpoint_labels() if choice[1] != name]
        return {self.checkpoint: gr.Dropdown([*choices, (name, name)], value=name)}
