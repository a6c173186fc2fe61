"""Inputs of the Think tab: drawing, editors, uploads, texts and examples, each for the checkpoints that accept it."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from ui.components.formatting import escape_info, escape_markdown
from ui.components.inputs import ImageInput, build_editor, build_editor_value, build_sketchpad
from ui.services.image_decoding import decode_image
from ui.services.inference_service import CheckpointInfo, InferenceService
from ui.tabs.event_options import Updates


@dataclass(frozen=True)
class ImageInputControls:
    """Controls for checkpoints that read images.

    Attributes:
        column: Contains all the others.
        hint: What the task expects.
        tabs: Ways to give an image.
        drawing_column: Visible if the checkpoint accepts drawings.
        sketchpad: Freehand drawing.
        run_drawing: Runs the model on the drawing.
        editor_column: Visible if the task has an editor.
        editor: Editor of the task.
        run_editor: Runs the model on the content of the editor.
        regenerate: Puts a generated input into the editor.
        upload: Uploaded image.
        run_upload: Runs the model on the uploaded image.
        edit: Opens the uploaded image in the editor.
        generate: Runs the model on a generated input.
    """

    column: gr.Column
    hint: gr.Markdown
    tabs: gr.Tabs
    drawing_column: gr.Column
    sketchpad: gr.HTML
    run_drawing: gr.Button
    editor_column: gr.Column
    editor: gr.HTML
    run_editor: gr.Button
    regenerate: gr.Button
    upload: ImageInput
    run_upload: gr.Button
    edit: gr.Button
    generate: gr.Button

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [
            self.column,
            self.hint,
            self.tabs,
            self.drawing_column,
            self.editor_column,
            self.editor,
            self.regenerate,
            self.upload,
            self.edit,
            self.generate,
        ]

    def build_updates(self, inference_service: InferenceService, info: CheckpointInfo) -> Updates:
        """Return the updates that show the controls which another checkpoint accepts."""
        has_image_editor = has_editor(info, "image")
        return {
            self.column: gr.Column(visible=info.input_type == "image"),
            self.hint: build_image_hint(info),
            self.tabs: build_input_tabs(info),
            self.drawing_column: gr.Column(visible=info.supports_drawing),
            self.editor_column: gr.Column(visible=has_image_editor),
            self.editor: build_initial_editor_value(inference_service, info, "image"),
            self.regenerate: gr.Button(visible=info.supports_generation),
            self.upload: None,
            self.edit: gr.Button(visible=has_image_editor),
            self.generate: gr.Button(visible=info.supports_generation),
        }


@dataclass(frozen=True)
class TextInputControls:
    """Controls for checkpoints that read sequences.

    Attributes:
        column: Contains all the others.
        editor_column: Visible if the task has an editor.
        editor: Editor of the task; it and the text mirror each other.
        text: The sequence as text.
        run_text: Runs the model on the text.
        generate: Runs the model on a generated input.
    """

    column: gr.Column
    editor_column: gr.Column
    editor: gr.HTML
    text: gr.Textbox
    run_text: gr.Button
    generate: gr.Button

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [self.column, self.editor_column, self.editor, self.text, self.generate]

    def build_updates(self, inference_service: InferenceService, info: CheckpointInfo) -> Updates:
        """Return the updates that show the controls which another checkpoint accepts."""
        return {
            self.column: gr.Column(visible=info.input_type == "text"),
            self.editor_column: gr.Column(visible=has_editor(info, "text")),
            self.editor: build_initial_editor_value(inference_service, info, "text"),
            self.text: gr.Textbox(value="", info=escape_info(info.input_hint)),
            self.generate: gr.Button(visible=info.supports_generation),
        }


def build_image_inputs(inference_service: InferenceService, info: CheckpointInfo) -> ImageInputControls:
    """Build the controls for images, visible if the checkpoint reads images.

    Args:
        inference_service: Reads example images for the editor.
        info: The checkpoint that the page shows first.
    """
    has_image_editor = has_editor(info, "image")
    with gr.Column(visible=info.input_type == "image") as column:
        hint = build_image_hint(info)
        with build_input_tabs(info) as tabs:
            with gr.Tab("Draw", id="draw"):
                with gr.Column(visible=info.supports_drawing, elem_id="drawing-column") as drawing_column:
                    sketchpad = build_sketchpad("drawing")
                    run_drawing = gr.Button("Run", variant="primary", elem_id="run-drawing")
                with gr.Column(visible=has_image_editor, elem_id="image-editor-column") as editor_column:
                    editor = build_editor("image-editor", build_initial_editor_value(inference_service, info, "image"))
                    with gr.Row():
                        run_editor = gr.Button("Run", variant="primary", min_width=80, elem_id="run-editor")
                        regenerate = gr.Button(
                            "Random input", visible=info.supports_generation, min_width=120, elem_id="regenerate"
                        )
            with gr.Tab("Upload or webcam", id="upload"):
                upload = ImageInput(
                    label="Picture", sources=["upload", "webcam", "clipboard"], height=280, elem_id="upload"
                )
                with gr.Row():
                    run_upload = gr.Button("Run", variant="primary", min_width=80, elem_id="run-upload")
                    edit = gr.Button("Edit this picture", visible=has_image_editor, min_width=120, elem_id="edit")
                    generate = gr.Button(
                        "Random input", visible=info.supports_generation, min_width=120, elem_id="generate-image"
                    )
    return ImageInputControls(
        column=column,
        hint=hint,
        tabs=tabs,
        drawing_column=drawing_column,
        sketchpad=sketchpad,
        run_drawing=run_drawing,
        editor_column=editor_column,
        editor=editor,
        run_editor=run_editor,
        regenerate=regenerate,
        upload=upload,
        run_upload=run_upload,
        edit=edit,
        generate=generate,
    )


def build_text_inputs(inference_service: InferenceService, info: CheckpointInfo) -> TextInputControls:
    """Build the controls for sequences, visible if the checkpoint reads sequences.

    Args:
        inference_service: Runs the models.
        info: The checkpoint that the page shows first.
    """
    with gr.Column(visible=info.input_type == "text") as column:
        with gr.Column(visible=has_editor(info, "text")) as editor_column:
            editor = build_editor("text-editor", build_initial_editor_value(inference_service, info, "text"))
        text = gr.Textbox(
            label="Sequence",
            info=escape_info(info.input_hint),
            max_length=1_000,
            elem_id="sequence",
            autofocus=False,
        )
        with gr.Row():
            run_text = gr.Button("Run", variant="primary", min_width=80, elem_id="run-text")
            generate = gr.Button(
                "Random input", visible=info.supports_generation, min_width=120, elem_id="generate-text"
            )
    return TextInputControls(
        column=column,
        editor_column=editor_column,
        editor=editor,
        text=text,
        run_text=run_text,
        generate=generate,
    )


def build_image_hint(info: CheckpointInfo) -> gr.Markdown:
    """Build the line that says which images the task expects."""
    return gr.Markdown(escape_markdown(f"{info.input_hint[:1].upper()}{info.input_hint[1:]}."), elem_id="image-hint")


def build_input_tabs(info: CheckpointInfo) -> gr.Tabs:
    """Build the tabs with the ways to give an image. The style of the page hides the first one while it is empty."""
    return gr.Tabs(
        selected="draw" if info.supports_drawing or has_editor(info, "image") else "upload", elem_id="input-tabs"
    )


def has_editor(info: CheckpointInfo, input_type: str) -> bool:
    """Return whether a checkpoint reads this type of input and its task has an editor for it."""
    return info.input_editor is not None and info.input_type == input_type


def build_initial_editor_value(
    inference_service: InferenceService, info: CheckpointInfo, input_type: str
) -> dict[str, Any] | None:
    """Return the first value of the editor of a checkpoint: for images the first example, for texts an empty one.

    Args:
        inference_service: Reads the example.
        info: The checkpoint.
        input_type: "image" or "text".

    Returns:
        Value for `build_editor`; None if the checkpoint has no editor for this type.
    """
    if not has_editor(info, input_type):
        return None
    if input_type == "image" and info.examples:
        return build_editor_value_from_image(inference_service, info, decode_image(str(info.examples[0])))
    return build_editor_value(info.input_editor)


def build_editor_value_from_image(
    inference_service: InferenceService, info: CheckpointInfo, image: np.ndarray
) -> dict[str, Any] | None:
    """Return the value of the editor of a checkpoint for an image; no change if there is no editor for images.

    Args:
        inference_service: Reads the image as the task does.
        info: The checkpoint.
        image: Pixels of shape (H, W, 3) in [0, 1].

    Raises:
        ValueError: The task cannot read the image.
    """
    if not has_editor(info, "image"):
        return gr.skip()
    return build_editor_value(info.input_editor, inference_service.get_editor_image(info.name, image))


def build_examples(info: CheckpointInfo, input_type: str, component: gr.components.Component) -> gr.Dataset:
    """Build the examples of one type of input.

    Args:
        info: The checkpoint that the page shows first.
        input_type: "image" or "text".
        component: Component that displays one example.
    """
    return gr.Dataset(
        components=[component],
        samples=list_example_rows(info, input_type),
        label=describe_examples(info),
        visible=info.input_type == input_type,
        elem_id=f"{input_type}-examples",
    )


def build_examples_update(info: CheckpointInfo, input_type: str) -> gr.Dataset:
    """Return the update that shows the examples of another checkpoint, if it reads this type of input."""
    return gr.Dataset(
        samples=list_example_rows(info, input_type),
        label=describe_examples(info),
        visible=info.input_type == input_type,
    )


def describe_examples(info: CheckpointInfo) -> str:
    """Return the title of the examples: with their difficulties, in order, where these are measured."""
    labels = [label for label in info.example_labels if label]
    return f"Examples. {'; '.join(labels)}" if labels else "Examples"


def list_example_rows(info: CheckpointInfo, input_type: str) -> list[list[str]]:
    """Return the examples of a checkpoint as rows of a dataset, if they are of this type."""
    return [[str(example)] for example in info.examples] if info.input_type == input_type else []
