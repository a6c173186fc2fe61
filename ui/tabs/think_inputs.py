"""What a person gives on the Think tab, drawings, pads, uploads, texts or examples: each for the checkpoints that take it."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from ui.components.formatting import plain
from ui.components.inputs import PictureInput, drawing_input, on_pad, pad_input
from ui.services.image_decoding import read_picture
from ui.services.inference_service import CheckpointInfo, Services


@dataclass(frozen=True)
class PictureInputs:
    """Ways to give a picture."""

    column: gr.Column
    hint: gr.Markdown
    ways: gr.Tabs
    by_hand: gr.Column
    drawing: gr.HTML
    think_drawing: gr.Button
    on_pad: gr.Column
    pad: gr.HTML
    think_pad: gr.Button
    renew: gr.Button
    upload: PictureInput
    think_upload: gr.Button
    edit: gr.Button
    invent: gr.Button
    examples: gr.Dataset


@dataclass(frozen=True)
class TextInputs:
    """Ways to give a text."""

    column: gr.Column
    on_pad: gr.Column
    pad: gr.HTML
    text: gr.Textbox
    think: gr.Button
    invent: gr.Button
    examples: gr.Dataset


def picture_inputs(services: Services, info: CheckpointInfo) -> PictureInputs:
    """Drawing or a pad, upload, something new and examples, visible for checkpoints that take pictures."""
    with gr.Column(visible=info.takes == "image") as column:
        hint = picture_hint(info)
        with ways_to_give(info) as ways:
            with gr.Tab("Draw", id="draw"):
                with gr.Column(visible=info.drawn, elem_id="by-hand") as by_hand:
                    drawing = drawing_input("drawing")
                    think_drawing = gr.Button("Think about the drawing", variant="primary", elem_id="think-drawing")
                with gr.Column(visible=has_pad(info, "image"), elem_id="on-pad") as pad_column:
                    pad = pad_input("picture-pad", begun(services, info, "image"))
                    think_pad = gr.Button("Think about it", variant="primary", elem_id="think-pad")
                    renew = gr.Button("Make a new one", visible=info.invents, elem_id="renew")
            with gr.Tab("Upload or webcam", id="upload"):
                upload = PictureInput(
                    label="Picture", sources=["upload", "webcam", "clipboard"], height=280, elem_id="upload"
                )
                think_upload = gr.Button("Think about the picture", variant="primary", elem_id="think-upload")
                edit = gr.Button("Edit the picture", visible=has_pad(info, "image"), elem_id="edit")
                invent = gr.Button("Think about a new one", visible=info.invents, elem_id="invent")
        examples = gr.Dataset(
            components=[gr.Image(visible=False)],
            samples=samples(info, "image"),
            label="Examples, one click away",
            elem_id="picture-examples",
        )
    return PictureInputs(
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


def picture_hint(info: CheckpointInfo) -> gr.Markdown:
    return gr.Markdown(plain(f"{info.hint[:1].upper()}{info.hint[1:]}."), elem_id="picture-hint")


def ways_to_give(info: CheckpointInfo) -> gr.Tabs:
    """Tabs, of which the page hides the first where it is empty."""
    return gr.Tabs(selected="draw" if info.drawn or has_pad(info, "image") else "upload", elem_id="ways")


def has_pad(info: CheckpointInfo, takes: str) -> bool:
    return info.pad is not None and info.takes == takes


def begun(services: Services, info: CheckpointInfo, takes: str) -> dict[str, Any] | None:
    """The value that a pad begins with, None where the checkpoint has no such pad; a picture begins as the first example."""
    if not has_pad(info, takes):
        return None
    if takes == "image" and info.examples:
        return edited(services, info, read_picture(str(info.examples[0])))
    return on_pad(info.pad)


def edited(services: Services, info: CheckpointInfo, picture: np.ndarray) -> Any:
    """The value of a checkpoint's pad with a picture on it; nothing changes where there is no such pad."""
    return on_pad(info.pad, services.to_edit(info.name, picture)) if has_pad(info, "image") else gr.skip()


def text_inputs(services: Services, info: CheckpointInfo) -> TextInputs:
    """A pad, a text line and examples, visible for checkpoints that take sequences."""
    with gr.Column(visible=info.takes == "text") as column:
        with gr.Column(visible=has_pad(info, "text")) as pad_column:
            pad = pad_input("text-pad", begun(services, info, "text"))
        text = gr.Textbox(label="Sequence", info=info.hint, max_length=1_000, elem_id="sequence", autofocus=False)
        think = gr.Button("Think", variant="primary", elem_id="think-text")
        invent = gr.Button("Think about a new one", visible=info.invents, elem_id="invent-text")
        examples = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=samples(info, "text"),
            label="Examples, one click away",
            elem_id="text-examples",
        )
    return TextInputs(column, pad_column, pad, text, think, invent, examples)


def samples(info: CheckpointInfo, takes: str) -> list[list[str]]:
    return [[str(example)] for example in info.examples] if info.takes == takes else []
