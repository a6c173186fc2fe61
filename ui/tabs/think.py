"""Think tab: choose a checkpoint, give an input, and watch the model tick by tick."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import gradio as gr
import numpy as np

from ui.components.formatting import escape_info
from ui.components.gallery import JS_GET_CHOSEN, JS_GET_VERSION, JS_SELECT, build_gallery, build_gallery_update
from ui.components.html_component import build_html_component
from ui.components.inputs import JS_EDITOR_TO_TEXT, JS_TEXT_TO_EDITOR, parse_drawing
from ui.components.share import JS_FILL_INPUT, build_share, build_share_value, read_request
from ui.components.thought_view import build_thought_view
from ui.services.image_decoding import decode_image, decode_image_with_notes, encode_data_url
from ui.services.inference_service import CheckpointInfo, InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import INFERENCE_EVENT, PRIVATE_EVENT, SILENT_EVENT, Updates
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
from ui.tabs.think_inputs import (
    build_editor_value_from_image,
    build_examples,
    build_examples_update,
    build_image_inputs,
    build_text_inputs,
)
from ui.tabs.think_server import JS_LEAVE, STOP_BUTTON_ID, ServerPrediction, ServerViews

NO_CHECKPOINT_MESSAGE = "There is no model yet. Train one: `python -m training train configs/digits.yaml`."
MAX_SEED = 2**31
# Functions of ctm/page.js. While it is not loaded, the components stay as they are and the server computes everything.
UNCHANGED_VIEWS = ", ".join(['{ __type__: "update" }'] * len(fields(ServerViews)))
JS_ANSWER = """(value, checkpoint, policy, manifest, isEnabled) => {
  const source = { kind: "KIND", button: "BUTTON", cause: "CAUSE" };
  const leaveServer = () => LEAVE;
  const state = { checkpoint, policy, manifest, isEnabled, leaveServer };
  return globalThis.ctm?.answer(source, value, state)
    ?? [UNCHANGED, "CAUSE" !== "run" ? null : { button: "BUTTON", reason: "" }];
}""".replace("LEAVE", JS_LEAVE).replace("UNCHANGED", UNCHANGED_VIEWS)
JS_REPEAT = """(checkpoint, policy, manifest, isEnabled) => {
  const leaveServer = () => LEAVE;
  return globalThis.ctm?.repeat({ checkpoint, policy, manifest, isEnabled, leaveServer })
    ?? [UNCHANGED, null];
}""".replace("LEAVE", JS_LEAVE).replace("UNCHANGED", UNCHANGED_VIEWS)
JS_ASK_SERVER = """(outcome) => {
  if (outcome?.button) document.getElementById(outcome.button)?.click();
  return [];
}"""
JS_MOVE_START = "(editor, maze) => ({ ...editor, content: maze.content })"
JS_GET_DRAGGED_POLICY = (
    "(record) => String(JSON.parse(record).requested_policy ?? '').slice(0, 500)"  # packed by `packObject`
)


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
        self.comparison = build_html_component("compare", "comparison", self._build_comparison(first.name))
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
            policy_problem=self.policy_problem,
            options=self.options_section,
        )
        self.server = ServerPrediction(self.inference_service, views, stop)

    def _build_options(self, first: CheckpointInfo) -> None:
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
            self.policy_problem = build_html_component("problem", "policy-problem", {"selected": first.name})
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
                self.policy_column,
                self.policy_choice,
                self.policy,
                self.thought,
                self.comparison,
                self.halting,
                self.halting_section,
                self.manifest,
                self.in_browser,
                self.problem,
                self.policy_problem,
                self.images.sketchpad,
                self.share,
                self.difficulty,
            ],
            **PRIVATE_EVENT,
        )
        self.checkpoint.change(None, None, None, js=f"() => {{ {JS_LEAVE}; return []; }}", **PRIVATE_EVENT)
        self.inside.input(
            self._answer_inside,
            self.inside,
            self.inside,
            **PRIVATE_EVENT | INFERENCE_EVENT | {"show_progress": "hidden"},
        )
        self.comparison.input(
            self._answer_comparison,
            self.comparison,
            self.comparison,
            trigger_mode="multiple",
            **PRIVATE_EVENT | INFERENCE_EVENT | {"show_progress": "hidden"},
        )
        self.server.connect(self.outcome)
        self._connect_policy()
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
        self.thought.input(None, self.thought, self.policy, js=JS_GET_DRAGGED_POLICY, **PRIVATE_EVENT)
        state = [self.checkpoint, self.policy, self.manifest, self.in_browser]
        for trigger in (self.policy.change, self.in_browser.input):
            event = trigger(
                None,
                state,
                [*self._outputs, self.outcome],
                js=JS_REPEAT,
                trigger_mode="multiple",
                **PRIVATE_EVENT,
            )
            event.then(None, self.outcome, None, js=JS_ASK_SERVER, **PRIVATE_EVENT)

    @property
    def _options(self) -> list[Any]:
        """Return the inputs that every prediction has besides its image or text."""
        return [self.checkpoint, self.policy]

    @property
    def _outputs(self) -> list[Any]:
        """Return the components that show a prediction."""
        return self.server.shown

    def _connect_prediction(
        self,
        predict: Callable[..., Updates],
        source: Any,
        kind: str,
        runs: Sequence[Callable[..., Any]],
        changes: Sequence[Callable[..., Any]],
        selects: Sequence[Callable[..., Any]] = (),
    ) -> None:
        """Run a prediction when an event happens: in the browser, or else on the server.

        Args:
            predict: Handler of the prediction on the server.
            source: Component that holds the input.
            kind: Kind of input: "text", "drawing" or "upload".
            runs: Methods of components or of events that add a listener, such as `button.click`: the user asks for a run.
            changes: The same for changes of the input: an empty input then does nothing.
            selects: The same for the selection of a model, whose first example is the input then.
        """
        button = gr.Button(visible="hidden", elem_id=f"ask-server-{source.elem_id}")
        self.server.connect_button(button, predict, [source, *self._options, self.outcome])
        inputs = [source, *self._options, self.manifest, self.in_browser]
        for triggers, cause in ((runs, "run"), (changes, "change"), (selects, "select")):
            js = JS_ANSWER.replace("KIND", kind).replace("BUTTON", button.elem_id).replace("CAUSE", cause)
            for trigger in triggers:
                event = trigger(
                    None, inputs, [*self._outputs, self.outcome], js=js, trigger_mode="multiple", **PRIVATE_EVENT
                )
                event.then(None, self.outcome, None, js=JS_ASK_SERVER, **PRIVATE_EVENT)

    def _connect_images(self) -> None:
        images = self.images
        self._connect_prediction(
            self._predict_drawing, images.sketchpad, "drawing", [images.run_drawing.click], [images.sketchpad.input]
        )
        regenerated = images.regenerate.click(
            lambda *options: self._generate_image(*options)[images.editor],
            [self.checkpoint, self.difficulty],
            images.editor,
            **PRIVATE_EVENT,
        )
        moved = self.teleport.input(
            None, [images.editor, self.teleport], images.editor, js=JS_MOVE_START, **PRIVATE_EVENT
        )
        self._connect_prediction(
            self._predict_drawing,
            images.editor,
            "drawing",
            [images.run_editor.click, regenerated.then, moved.then],
            [images.editor.input],
        )
        images.edit.click(
            self._edit_upload,
            [images.upload, self.checkpoint],
            [images.editor, images.tabs, self.problem],
            **PRIVATE_EVENT,
        )
        shown = [images.upload, images.editor, images.sketchpad]
        opened = self.image_examples.click(
            self._open_example, [self.image_examples, self.checkpoint], shown, **PRIVATE_EVENT
        )
        generated = images.generate.click(
            self._generate_image, [self.checkpoint, self.difficulty], shown[:2], **PRIVATE_EVENT
        )
        # Gradio 6.31 raises no `change` event of an upload whose tab has not been opened.
        self._connect_prediction(
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
        self._connect_prediction(self._predict_text, texts.text, "text", runs, changes, [self.selected.then])
        texts.editor.input(None, texts.editor, texts.text, js=JS_EDITOR_TO_TEXT, **PRIVATE_EVENT)
        texts.text.change(  # Gradio's `input` event does not fire on paste
            None, [texts.text, texts.editor], texts.editor, js=JS_TEXT_TO_EDITOR, **PRIVATE_EVENT
        )

    def _connect_share(self) -> None:
        """Connect what a link asks for: a model, then its policy and its input."""
        images = self.images
        self.share.select(self._open_model, self.share, [self.checkpoint, self.share], **PRIVATE_EVENT)
        self.share.submit(None, self.share, [self.policy, self.texts.text], js=JS_FILL_INPUT, **PRIVATE_EVENT)
        self.share.upload(
            self._open_picture,
            [self.share, self.checkpoint],
            [images.upload, images.editor, images.sketchpad],
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
            self.policy_column: gr.Column(visible=has_ticks),
            self.policy_choice: build_policy_update(info),
            self.policy: get_default_policy(info),
            self.thought: {"selected": name},
            self.comparison: self._build_comparison(name),
            self.halting: self.inference_service.get_halting_view(name),
            self.halting_section: gr.Accordion(visible=has_ticks),
            self.manifest: manifest,
            self.in_browser: gr.Checkbox(visible=manifest is not None),
            self.problem: {"selected": name},
            self.policy_problem: {"selected": name},
            self.share: build_share_value(info, get_default_policy(info), self.first_name),
        }

    def _build_first_example(self, info: CheckpointInfo) -> Updates:
        """Return the updates that make the first example of a checkpoint its input; a change of the input runs the model."""
        if not info.examples:
            return {}
        if info.input_type == "text":
            return {self.texts.text: gr.Textbox(info.examples[0], info=escape_info(info.input_hint))}
        return self._open_example([str(info.examples[0])], info.name)

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

    def _predict(self, load_input: Callable[[], Any], *options: Any) -> Updates:
        """Run a prediction on the server, see `ServerPrediction.run`."""
        return self.server.run(load_input, *options)

    def _answer_inside(self, message: Any) -> dict[str, Any]:
        """Answer a request of the inside view about a prediction of the server, see `inside/sources.js`."""
        values = message if isinstance(message, dict) else {}
        try:
            answer = self.inference_service.inside.answer(values.get("record"), values.get("request"))
        except ValueError as error:
            return {"serial": values.get("serial"), "problem": str(error)}
        return {"serial": values.get("serial"), "answer": answer}

    def _build_comparison(self, name: str) -> dict[str, Any]:
        """Return the value of the comparison for a checkpoint that is selected."""
        return {"selected": name, "choices": self.inference_service.comparisons.list_choices(name)}

    def _answer_comparison(self, message: Any) -> dict[str, Any]:
        """Answer a request of the comparison, see `compare/runner.js`: manifests of checkpoints, or rows."""
        values = message if isinstance(message, dict) else {}
        name, comparisons = str(values.get("checkpoint")), self.inference_service.comparisons
        answer = {"serial": values.get("serial")}
        if "manifests" in values:
            return answer | {"manifests": comparisons.get_manifests(name, values["manifests"])}
        return answer | {"rows": comparisons.run(name, values.get("input"), values.get("choices"))}

    def _build_editor_value(self, name: str, image: np.ndarray) -> Any:
        return build_editor_value_from_image(self.inference_service, self._get_info(name), image)

    def _generate_image(self, name: str, difficulty: Any) -> Updates:
        pixels = self._generate_input(name, difficulty)
        return {
            self.images.upload: pixels,
            self.images.editor: call_service(self._build_editor_value, name, pixels / np.float32(255)),
        }

    def _generate_text(self, name: str, difficulty: Any) -> str:
        return self._generate_input(name, difficulty)

    def _generate_input(self, name: str, difficulty: Any) -> Any:
        """Return a new input of the difficulty that the slider shows."""
        level = difficulty.get("selected") if isinstance(difficulty, dict) else None
        return call_service(self.inference_service.generate_input, name, secrets.randbelow(MAX_SEED), level)

    def _open_example(self, sample: list[str], name: str) -> Updates:
        return self._show_picture(sample[0], sample[0], name)

    def _open_model(self, share: Any) -> Updates:
        """Select the model of a link, or say why it cannot be opened."""
        name = read_request(share).get("model")
        try:
            self.inference_service.get_checkpoint_info(str(name))
        except ValueError as error:
            return {self.share: {**share, "request": None, "problem": str(error)}}
        choices = [choice for choice in self.inference_service.list_checkpoint_labels() if choice[1] != name]
        return {self.checkpoint: gr.Dropdown([*choices, (name, name)], value=name)}

    def _open_picture(self, share: Any, name: str) -> Updates:
        """Show the picture of a link where a visitor would have drawn or uploaded it."""
        source = parse_drawing(read_request(share).get("picture"))
        return self._show_picture(source, None, name)

    def _show_picture(self, source: str | None, path: str | None, name: str) -> Updates:
        """Return the updates that show a picture in every input for images.

        Args:
            source: Path or `data:` URL of the picture.
            path: Path for the upload; None uploads the pixels.
            name: Name of the checkpoint.
        """
        image = call_service(decode_image, source)
        can_draw = self._get_info(name).supports_drawing
        return {
            self.images.upload: path or np.rint(image * 255).astype(np.uint8),
            self.images.editor: call_service(self._build_editor_value, name, image),
            self.images.sketchpad: encode_data_url(image) if can_draw else gr.skip(),
        }

    def _edit_upload(self, path: str | None, name: str) -> Updates:
        try:
            value = self._build_editor_value(name, decode_image(path))
        except ValueError as error:
            return {self.problem: {"problem": str(error), "checkpoint": name}}
        return {self.images.editor: value, self.images.tabs: gr.Tabs(selected="draw"), self.problem: {}}


def decode_upload(path: str | None) -> np.ndarray:
    """Decode an uploaded image and tell the visitor what was left out of it, such as other frames."""
    pixels, notes = decode_image_with_notes(path)
    for note in notes:
        gr.Info(note, duration=8)
    return pixels
