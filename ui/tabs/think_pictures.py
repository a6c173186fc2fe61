"""Pictures on the Think tab: an example, a generated one or that of a link appears in every input for pictures."""

import secrets
from typing import Any

import gradio as gr
import numpy as np

from ui.components.inputs import parse_drawing
from ui.components.share import read_request
from ui.services.image_decoding import decode_image, decode_image_with_notes, encode_data_url
from ui.services.inference_service import InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import Updates
from ui.tabs.think_inputs import ImageInputControls, build_editor_value_from_image

MAX_SEED = 2**31


class PictureHandlers:
    """Handlers of the events that change the pictures.

    Args:
        inference_service: Reads pictures as the tasks do.
        images: Controls for pictures.
        problem: Shows why a picture cannot be used.
    """

    def __init__(self, inference_service: InferenceService, images: ImageInputControls, problem: gr.HTML) -> None:
        self.inference_service = inference_service
        self.images = images
        self.problem = problem

    @property
    def outputs(self) -> list[Any]:
        """Return the inputs that show a picture."""
        return [self.images.upload, self.images.editor, self.images.sketchpad]

    def generate_picture(self, name: str, difficulty: Any) -> Updates:
        """Return the updates that show a generated picture for upload and editor."""
        pixels = generate_input(self.inference_service, name, difficulty)
        editor_value = call_service(self._build_editor_value, name, pixels / np.float32(255))
        return {self.images.upload: pixels, self.images.editor: editor_value}

    def open_example(self, sample: list[str], name: str) -> Updates:
        """Show an example.

        Args:
            sample: Row of the examples: a path.
            name: Name of the checkpoint.
        """
        return self._show(sample[0], sample[0], name)

    def open_link(self, share: Any, name: str) -> Updates:
        """Show the picture of a link where a visitor would have drawn or uploaded it."""
        return self._show(parse_drawing(read_request(share).get("picture")), None, name)

    def edit_upload(self, path: str | None, name: str) -> Updates:
        """Open the uploaded picture in the editor, or say why it cannot be opened."""
        try:
            value = self._build_editor_value(name, decode_image(path))
        except ValueError as error:
            return {self.problem: {"problem": str(error), "checkpoint": name}}
        return {self.images.editor: value, self.images.tabs: gr.Tabs(selected="draw"), self.problem: {}}

    def _show(self, source: str | None, path: str | None, name: str) -> Updates:
        """Return the updates that show a picture in every input.

        Args:
            source: Path or `data:` URL of the picture.
            path: Path for the upload; None uploads the pixels.
            name: Name of the checkpoint.
        """
        image = call_service(decode_image, source)
        can_draw = call_service(self.inference_service.get_checkpoint_info, name).supports_drawing
        return {
            self.images.upload: path or np.rint(image * 255).astype(np.uint8),
            self.images.editor: call_service(self._build_editor_value, name, image),
            self.images.sketchpad: encode_data_url(image) if can_draw else gr.skip(),
        }

    def _build_editor_value(self, name: str, image: np.ndarray) -> Any:
        info = call_service(self.inference_service.get_checkpoint_info, name)
        return build_editor_value_from_image(self.inference_service, info, image)


def generate_input(inference_service: InferenceService, name: str, difficulty: Any) -> Any:
    """Return a new input of the difficulty that the slider shows."""
    level = difficulty.get("selected") if isinstance(difficulty, dict) else None
    return call_service(inference_service.generate_input, name, secrets.randbelow(MAX_SEED), level)


def decode_upload(path: str | None) -> np.ndarray:
    """Decode an uploaded image and tell the visitor what was left out of it, such as other frames."""
    pixels, notes = decode_image_with_notes(path)
    for note in notes:
        gr.Info(note, duration=8)
    return pixels
