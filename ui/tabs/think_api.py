"""Two named API endpoints that predict as the Think tab does and return plain data."""

from typing import Any

import gradio as gr

from ui.components.api_inputs import ApiImage, build_api_text
from ui.services.image_decoding import decode_image_with_notes
from ui.services.inference_service import InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import INFERENCE_EVENT

CHECKPOINT_HINT = 'give the name of a checkpoint, such as "digits"'
POLICY_HINT = 'write a halting policy such as "energy<-3", or "" for that of the checkpoint'


def build_api(inference_service: InferenceService) -> None:
    """Add the endpoints `/think_image` and `/think_sequence` with their hidden components.

    Args:
        inference_service: Runs the models.
    """
    with gr.Column(visible=False):
        image = ApiImage(label="image")
        text = build_api_text("text", 'write the sequence as a text, such as "10110"', example="10110")
        image_checkpoint = build_api_text("checkpoint", CHECKPOINT_HINT, "digits", default="digits")
        text_checkpoint = build_api_text("checkpoint", CHECKPOINT_HINT, "parity-16", default="parity-16")
        policy = build_api_text("policy", POLICY_HINT, "", default="")
        answer = gr.JSON(label="answer")
        image_button = gr.Button()
        text_button = gr.Button()

    def think_image(image: str, checkpoint: str, policy: str) -> dict[str, Any]:
        """Run a model on an image and return its answer, its confidence and what happened at each tick.

        Args:
            image: The image, as a `data:` URL, as base64, or as the path of an upload.
            checkpoint: Name of a checkpoint that takes images, such as "digits" or "mazes-15".
            policy: Halting policy, such as "energy<-3" or "ticks=10"; empty for that of the checkpoint.
        """
        pixels, notes = call_service(decode_image_with_notes, image)
        return call_service(inference_service.answer, checkpoint, pixels, policy, notes)

    def think_sequence(text: str, checkpoint: str, policy: str) -> dict[str, Any]:
        """Run a model on a sequence and return its answer, its confidence and what happened at each tick.

        Args:
            text: The sequence as a text, such as "10110" for parity-16 or "2 4 6" for arithmetic.
            checkpoint: Name of a checkpoint that takes sequences, such as "parity-16" or "arithmetic".
            policy: Halting policy, such as "energy<-3" or "ticks=10"; empty for that of the checkpoint.
        """
        return call_service(inference_service.answer, checkpoint, text, policy)

    image_button.click(
        think_image, [image, image_checkpoint, policy], answer, api_name="think_image", **INFERENCE_EVENT
    )
    text_button.click(
        think_sequence, [text, text_checkpoint, policy], answer, api_name="think_sequence", **INFERENCE_EVENT
    )
