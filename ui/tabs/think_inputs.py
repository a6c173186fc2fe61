"""What a person gives on the Think tab, drawings, pads, uploads, texts or examples: each for the checkpoints that take it."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from ui.components.formatting import escape_markdown
from ui.components.inputs import ImageInput, build_editor, build_editor_value, build_sketchpad
from ui.services.image_decoding import decode_image
from ui.services.inference_service import CheckpointInfo, InferenceService


@dataclass(frozen=True)
class ImageInputControls:
    """Ways to give a picture."""

    column: gr.Column
    hint: gr.Markdown
    tabs: gr.Tabs
    drawing_column: gr.Column
    sketchpad: gr.HTML
    think_drawing: gr.Button
    editor_column: gr.Column
    editor: gr.HTML
    think_editor: gr.Button
    regenerate: gr.Button
    upload: ImageInput
    think_upload: gr.Button
    edit: gr.Button
    generate: gr.Button
    examples: gr.Dataset


@dataclass(frozen=True)
class TextInputControls:
    """Ways to give a text."""

    column: gr.Column
    editor_column: gr.Column
    editor: gr.HTML
    text: gr.Textbox
    think: gr.Button
    generate: gr.Button
    examples: gr.Dataset


def build_image_inputs(inference_service: InferenceService, info: CheckpointInfo) -> ImageInputControls:
    """Drawing or a pad, upload, something new and examples, visible for checkpoints that take pictures."""
    with gr.Column(visible=info.input_type == "image") as column:
        hint = build_image_hint(info)
        with build_input_tabs(info) as ways:
            with gr.Tab("Draw", id="draw"):
                with gr.Column(visible=info.supports_drawing, elem_id="by-hand") as by_hand:
                    drawing = build_sketchpad("drawing")
                    think_drawing = gr.Button("Think about the drawing", variant="primary", elem_id="think-drawing")
                with gr.Column(visible=has_editor(info, "image"), elem_id="on-pad") as pad_column:
                    pad = build_editor("picture-pad", build_initial_editor_value(inference_service, info, "image"))
                    think_pad = gr.Button("Think about it", variant="primary", elem_id="think-pad")
                    renew = gr.Button("Make a new one", visible=info.supports_generation, elem_id="renew")
            with gr.Tab("Upload or webcam", id="upload"):
                upload = ImageInput(
                    label="Picture", sources=["upload", "webcam", "clipboard"], height=280, elem_id="upload"
                )
                think_upload = gr.Button("Think about the picture", variant="primary", elem_id="think-upload")
                edit = gr.Button("Edit the picture", visible=has_editor(info, "image"), elem_id="edit")
                invent = gr.Button("Think about a new one", visible=info.supports_generation, elem_id="invent")
        examples = gr.Dataset(
            components=[gr.Image(visible=False)],
            samples=list_example_rows(info, "image"),
            label="Examples, one click away",
            elem_id="picture-examples",
        )
    return ImageInputControls(
        column,
        hint,
        ways,
        by_hand,
        drawing,
        think_drawing,
        pad_column,
        pad,
        think_pad,
        renew,
        upload,
        think_upload,
        edit,
        invent,
        examples,
    )


def build_image_hint(info: CheckpointInfo) -> gr.Markdown:
    return gr.Markdown(escape_markdown(f"{info.input_hint[:1].upper()}{info.input_hint[1:]}."), elem_id="picture-hint")


def build_input_tabs(info: CheckpointInfo) -> gr.Tabs:
    """Tabs, of which the page hides the first where it is empty."""
    return gr.Tabs(selected="draw" if info.supports_drawing or has_editor(info, "image") else "upload", elem_id="ways")


def has_editor(info: CheckpointInfo, input_type: str) -> bool:
    return info.input_editor is not None and info.input_type == input_type


def build_initial_editor_value(
    inference_service: InferenceService, info: CheckpointInfo, input_type: str
) -> dict[str, Any] | None:
    """The value that a pad begins with, None where the checkpoint has no such pad; a picture begins as the first example."""
    if not has_editor(info, input_type):
        return None
    if input_type == "image" and info.examples:
        return build_editor_value_from_image(inference_service, info, decode_image(str(info.examples[0])))
    return build_editor_value(info.input_editor)


def build_editor_value_from_image(inference_service: InferenceService, info: CheckpointInfo, image: np.ndarray) -> Any:
    """The value of a checkpoint's pad with a picture on it; nothing changes where there is no such pad."""
    return (
        build_editor_value(info.input_editor, inference_service.get_editor_image(info.name, image))
        if has_editor(info, "image")
        else gr.skip()
    )


def build_text_inputs(inference_service: InferenceService, info: CheckpointInfo) -> TextInputControls:
    """A pad, a text line and examples, visible for checkpoints that take sequences."""
    with gr.Column(visible=info.input_type == "text") as column:
        with gr.Column(visible=has_editor(info, "text")) as pad_column:
            pad = build_editor("text-pad", build_initial_editor_value(inference_service, info, "text"))
        text = gr.Textbox(label="Sequence", info=info.input_hint, max_length=1_000, elem_id="sequence", autofocus=False)
        think = gr.Button("Think", variant="primary", elem_id="think-text")
        invent = gr.Button("Think about a new one", visible=info.supports_generation, elem_id="invent-text")
        examples = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=list_example_rows(info, "text"),
            label="Examples, one click away",
            elem_id="text-examples",
        )
    return TextInputControls(column, pad_column, pad, text, think, invent, examples)


def list_example_rows(info: CheckpointInfo, input_type: str) -> list[list[str]]:
    return [[str(example)] for example in info.examples] if info.input_type == input_type else []
