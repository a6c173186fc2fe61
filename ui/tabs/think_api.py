"""Two named API endpoints that predict as the Think tab does and return plain data."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ui.components.inputs import ImageInput
from ui.services.image_decoding import decode_image_with_notes
from ui.services.inference_service import InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import INFERENCE_EVENT

RESPONSE_KEYS = (
    "answer",
    "label",
    "probability",
    "p_correct",
    "p_last",
    "verdict",
    "truth",
    "unfamiliar",
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
    "notes",
)


def build_api(inference_service: InferenceService) -> None:
    """Add the endpoints `/think_image` and `/think_sequence` with their hidden components.

    Args:
        inference_service: Runs the models.
    """
    with gr.Column(visible=False):
        image = ImageInput(label="image")
        text = gr.Textbox(label="text")
        image_checkpoint = gr.Textbox("digits", label="checkpoint")
        text_checkpoint = gr.Textbox("parity-16", label="checkpoint")
        policy = gr.Textbox("", label="policy")
        answer = gr.JSON(label="answer")
        image_button = gr.Button()
        text_button = gr.Button()

    def think_image(image: str | None, checkpoint: str, policy: str) -> dict[str, Any]:
        """Run a checkpoint on an image; an empty policy means the default one of the checkpoint."""
        pixels, notes = call_service(decode_image_with_notes, image)
        return build_response(call_service(inference_service.predict, checkpoint, pixels, policy), notes)

    def think_sequence(text: str, checkpoint: str, policy: str) -> dict[str, Any]:
        """Run a checkpoint on a sequence; an empty policy means the default one of the checkpoint."""
        return build_response(call_service(inference_service.predict, checkpoint, text or "", policy))

    image_button.click(
        think_image, [image, image_checkpoint, policy], answer, api_name="think_image", **INFERENCE_EVENT
    )
    text_button.click(
        think_sequence, [text, text_checkpoint, policy], answer, api_name="think_sequence", **INFERENCE_EVENT
    )


def build_response(record: dict[str, Any], notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the part of a record that programs need.

    Args:
        record: Result of `InferenceService.predict`.
        notes: Sentences about how the file was read; those about the content of the input follow.
    """
    record = record | {"ticks_used": record["ticks"], "notes": [*notes, *record["notes"]]}
    return {key: record[key] for key in RESPONSE_KEYS}
