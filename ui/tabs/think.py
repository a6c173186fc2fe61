"""The Think tab: pick a checkpoint, give it something, watch it think."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.plot import PlotData

from ui.components.html_component import build_html_component
from ui.components.inputs import JS_EDITOR_TO_TEXT, JS_TEXT_TO_EDITOR, ImageInput, parse_drawing
from ui.components.plotly_figures import build_thought_figure
from ui.components.thought_view import build_thought_view
from ui.services.image_decoding import decode_image
from ui.services.inference_service import MAX_COMPARED, CheckpointInfo, InferenceService
from ui.tabs.think_inputs import (
    build_editor_value_from_image,
    build_image_hint,
    build_image_inputs,
    build_initial_editor_value,
    build_input_tabs,
    build_text_inputs,
    has_editor,
    list_example_rows,
)

CUSTOM_POLICY, CUSTOM_POLICY_LABEL = "own", "my own rule"
CUSTOM_POLICY_INFO = "Write it below; nothing is known of it beforehand."
POLICY_SYNTAX_HELP = "energy<-3, certainty>0.9, same=3, ticks=12; join with | (any) or & (all)"
# In the browser, so that who picks a rule and presses Think at once is answered by that rule: what was picked, as text.
JS_RESOLVE_POLICY = f"(picked, rule) => picked === '{CUSTOM_POLICY}' ? rule : picked"
JS_READ_PICKED_POLICY = "(value) => String(value?.picked ?? '').slice(0, 500)"
ANSWER_KEYS = (
    "answer",
    "label",
    "probability",
    "p_correct",
    "ticks_used",
    "iterations",
    "halted_by",
    "energy",
    "certainty",
    "answers_by_tick",
    "likeliest",
    "policy",
    "promise",
    "checkpoint",
    "sentence",
    "milliseconds",
)
INFERENCE_EVENT = {"concurrency_limit": 24, "concurrency_id": "thinking", "show_progress": "minimal"}


def build_think_tab(inference_service: InferenceService) -> gr.Dropdown | None:
    """Lay out the tab and connect it; gives the choice of the checkpoint, for other tabs to set."""
    names = inference_service.list_checkpoint_names()
    if not names:
        gr.Markdown("There is no checkpoint yet. Train one: `python -m training train configs/digits.yaml`.")
        return None
    first = inference_service.get_checkpoint_info(names[0])
    with gr.Row(elem_classes="think"):
        with gr.Column(scale=2, min_width=320):
            checkpoint = gr.Dropdown(
                inference_service.list_checkpoint_labels(),
                value=first.name,
                label="Checkpoint",
                info="the trained machine that thinks",
                elem_id="checkpoint",
            )
            summary = gr.Markdown(first.summary, elem_id="summary")
            pictures = build_image_inputs(inference_service, first)
            texts = build_text_inputs(inference_service, first)
            policy = gr.Dropdown(
                list_policy_choices(first),
                label="Stop when",
                info=get_policy_info(first, get_default_policy(first)),
                elem_id="policy",
            )
            rule = gr.Textbox(
                get_default_policy(first),
                label="Rule",
                info=POLICY_SYNTAX_HELP,
                max_length=500,
                elem_id="rule",
                interactive=True,
            )
            against = gr.Dropdown(
                inference_service.list_comparison_choices(first.name),
                value=[],
                multiselect=True,
                max_choices=MAX_COMPARED,
                label="Race against",
                info=f"optional: up to {MAX_COMPARED} that think about the same thing beside it",
                elem_id="against",
            )
        with gr.Column(scale=5, min_width=320):
            race = build_html_component("compare", "race")
            live = build_thought_view()
            with gr.Accordion("Explore the whole thought", open=False):
                figure = gr.Plot(show_label=False, elem_id="figure")
            with gr.Accordion("When it stops, and what that costs", open=False, elem_id="when"):
                halting = build_html_component("halting", "halting", inference_service.get_halting_view(first.name))

    def pick(name: str) -> list[Any]:
        info = call_service(inference_service.get_checkpoint_info, name)
        return [
            info.summary,
            gr.Column(visible=info.input_type == "image"),
            build_input_tabs(info),
            build_image_hint(info),
            gr.Column(visible=info.supports_drawing),
            gr.Column(visible=has_editor(info, "image")),
            build_initial_editor_value(inference_service, info, "image"),
            gr.Button(visible=info.supports_generation),
            None,
            gr.Button(visible=info.supports_generation),
            gr.Button(visible=has_editor(info, "image")),
            gr.Dataset(samples=list_example_rows(info, "image")),
            gr.Column(visible=info.input_type == "text"),
            gr.Column(visible=has_editor(info, "text")),
            build_initial_editor_value(inference_service, info, "text"),
            gr.Textbox(value="", info=info.input_hint),
            gr.Button(visible=info.supports_generation),
            gr.Dataset(samples=list_example_rows(info, "text")),
            refresh_policy_dropdown(info),
            get_default_policy(info),
            gr.Dropdown(inference_service.list_comparison_choices(name), value=[]),
            None,
            None,
            None,
            inference_service.get_halting_view(name),
        ]

    def show_picture(path: str | None, *asked: Any) -> tuple[dict[str, Any], Any, Any]:
        return run_inference(inference_service, lambda: decode_image(path), *asked)

    def show_drawing(drawing: Any, *asked: Any) -> tuple[dict[str, Any], Any, Any]:
        return run_inference(inference_service, lambda: decode_image(parse_drawing(drawing)), *asked)

    def show_sequence(text: str, *asked: Any) -> tuple[dict[str, Any], Any, Any]:
        return run_inference(inference_service, lambda: text or "", *asked)

    def edit(path: str | None, name: str) -> Any:
        return call_service(
            lambda: build_editor_value_from_image(
                inference_service, inference_service.get_checkpoint_info(name), decode_image(path)
            )
        )

    def make_up(name: str) -> tuple[Any, Any]:
        picture = call_service(inference_service.generate_input, name, secrets.randbelow(2**31))
        return picture, call_service(
            lambda: build_editor_value_from_image(
                inference_service, inference_service.get_checkpoint_info(name), picture / np.float32(255)
            )
        )

    private = {"api_visibility": "private"}
    asks, shown = [checkpoint, rule, against], [live, figure, race]
    checkpoint.change(
        pick,
        checkpoint,
        [
            summary,
            pictures.column,
            pictures.tabs,
            pictures.hint,
            pictures.drawing_column,
            pictures.editor_column,
            pictures.editor,
            pictures.regenerate,
            pictures.upload,
            pictures.generate,
            pictures.edit,
            pictures.examples,
            texts.column,
            texts.editor_column,
            texts.editor,
            texts.text,
            texts.generate,
            texts.examples,
            policy,
            rule,
            against,
            live,
            figure,
            race,
            halting,
        ],
        **private,
    )
    policy.input(None, [policy, rule], rule, js=JS_RESOLVE_POLICY, **private)
    policy.input(
        lambda name, picked: gr.Dropdown(
            info=get_policy_info(call_service(inference_service.get_checkpoint_info, name), picked)
        ),
        [checkpoint, policy],
        policy,
        **private,
    )
    rule.input(lambda: gr.Dropdown(value=CUSTOM_POLICY, info=CUSTOM_POLICY_INFO), None, policy, **private)
    halting.input(None, halting, rule, js=JS_READ_PICKED_POLICY, **private)
    halting.input(
        lambda name, value: select_picked_policy(call_service(inference_service.get_checkpoint_info, name), value),
        [checkpoint, halting],
        policy,
        **private,
    )
    pictures.think_drawing.click(show_drawing, [pictures.sketchpad, *asks], shown, **private, **INFERENCE_EVENT)
    pictures.think_upload.click(show_picture, [pictures.upload, *asks], shown, **private, **INFERENCE_EVENT)
    pictures.think_editor.click(show_drawing, [pictures.editor, *asks], shown, **private, **INFERENCE_EVENT)
    pictures.regenerate.click(lambda name: make_up(name)[1], checkpoint, pictures.editor, **private)
    pictures.edit.click(
        lambda path, name: (edit(path, name), gr.Tabs(selected="draw")),
        [pictures.upload, checkpoint],
        [pictures.editor, pictures.tabs],
        **private,
    )
    pictures.examples.click(
        lambda row, name: (row[0], edit(row[0], name)),
        [pictures.examples, checkpoint],
        [pictures.upload, pictures.editor],
        **private,
    ).then(show_picture, [pictures.upload, *asks], shown, **private, **INFERENCE_EVENT)
    pictures.generate.click(make_up, checkpoint, [pictures.upload, pictures.editor], **private).then(
        show_picture, [pictures.upload, *asks], shown, **private, **INFERENCE_EVENT
    )
    given = [texts.text, *asks]
    gr.on([texts.think.click, texts.text.submit], show_sequence, given, shown, **private, **INFERENCE_EVENT)
    texts.examples.click(lambda row: row[0], texts.examples, texts.text, **private).then(
        show_sequence, given, shown, **private, **INFERENCE_EVENT
    )
    texts.generate.click(
        lambda name: call_service(inference_service.generate_input, name, secrets.randbelow(2**31)),
        checkpoint,
        texts.text,
        **private,
    ).then(show_sequence, given, shown, **private, **INFERENCE_EVENT)
    texts.editor.input(None, texts.editor, texts.text, js=JS_EDITOR_TO_TEXT, **private)
    texts.text.change(
        None, [texts.text, texts.editor], texts.editor, js=JS_TEXT_TO_EDITOR, **private
    )  # Gradio's `input` knows no paste
    build_api(inference_service)
    return checkpoint


def build_api(inference_service: InferenceService) -> None:
    """The same through the API: two named endpoints that give plain data."""
    with gr.Column(visible=False):
        image, text = ImageInput(label="image"), gr.Textbox(label="text")
        of_images, of_texts = (gr.Textbox(name, label="checkpoint") for name in ("digits", "parity-16"))
        policy = gr.Textbox("", label="policy")
        answer = gr.JSON(label="answer")
        by_image, by_text = gr.Button(), gr.Button()

    def think_image(image: str | None, checkpoint: str, policy: str) -> dict[str, Any]:
        """Think about a picture; an empty policy is the checkpoint's own."""
        return to_api_response(call_service(lambda: inference_service.predict(checkpoint, decode_image(image), policy)))

    def think_sequence(text: str, checkpoint: str, policy: str) -> dict[str, Any]:
        """Think about a sequence; an empty policy is the checkpoint's own."""
        return to_api_response(call_service(inference_service.predict, checkpoint, text or "", policy))

    by_image.click(think_image, [image, of_images, policy], answer, api_name="think_image", **INFERENCE_EVENT)
    by_text.click(think_sequence, [text, of_texts, policy], answer, api_name="think_sequence", **INFERENCE_EVENT)


def to_api_response(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that a program wants."""
    record = record | {"ticks_used": record["ticks"]}
    return {key: record[key] for key in ANSWER_KEYS}


def run_inference(
    inference_service: InferenceService,
    load_input: Callable[[], Any],
    name: str,
    policy: str,
    comparison_choices: list[str] | None,
) -> tuple[dict[str, Any], Any, Any]:
    """A record for the live view, its figure, and the race; what is wrong with the input is told where the thought would be."""
    try:
        given = load_input()
        record = inference_service.predict(name, given, policy)
        lanes = inference_service.compare(record, given, comparison_choices) if comparison_choices else []
    except ValueError as error:
        return {"problem": str(error)}, None, None
    return (
        record,
        PlotData(type="plotly", plot=json.dumps(build_thought_figure(record))),
        {"lanes": lanes} if lanes else None,
    )


def call_service(func, *args):
    """Ask the services; what is wrong with the input becomes one sentence on screen and in the API."""
    try:
        return func(*args)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from None


def list_policy_choices(info: CheckpointInfo) -> list[tuple[str, str]]:
    """Names for people and rules as text."""
    return [*((offer.name, rule) for rule, offer in info.policy_options.items()), (CUSTOM_POLICY_LABEL, CUSTOM_POLICY)]


def refresh_policy_dropdown(info: CheckpointInfo) -> gr.Dropdown:
    first = get_default_policy(info)
    return gr.Dropdown(list_policy_choices(info), value=first, info=get_policy_info(info, first))


def select_picked_policy(info: CheckpointInfo, value: Any) -> gr.Dropdown:
    """The rule that was picked in the Halting view, under its own name if it is on offer."""
    rule = str(value.get("picked", "")) if isinstance(value, dict) else ""
    return gr.Dropdown(value=rule if rule in info.policy_options else CUSTOM_POLICY, info=get_policy_info(info, rule))


def get_policy_info(info: CheckpointInfo, policy: Any) -> str:
    offer = info.policy_options.get(str(policy))
    return offer.description if offer else CUSTOM_POLICY_INFO


def get_default_policy(info: CheckpointInfo) -> str:
    """The rule that is used where none is picked."""
    return next(iter(info.policy_options))
