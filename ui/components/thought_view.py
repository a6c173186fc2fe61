"""View of one unroll: rendered in the browser from one record of plain numbers, and replayed tick by tick."""

from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component

GUEST_STYLES = (
    "compare/compare.css",
    "teleport/teleport.css",
)  # components that stand at the stage, see common/stage-slots.js


def build_thought_view(value: Any = None, elem_id: str = "thought") -> gr.HTML:
    """Build an output whose value is a record of `build_thought_record`, or None for an introduction.

    Args:
        value: Value to begin with, such as `{"selected": NAME}`: from then on, results of other checkpoints are ignored.
        elem_id: Id of the component in the page.
    """
    return build_html_component("thought", elem_id, value, GUEST_STYLES)
