"""The live view of a thought: drawn in the browser from one record of plain numbers, and replayed tick by tick."""

import gradio as gr

from ui.components.html_component import build_html_component


def build_thought_view(elem_id: str = "thought") -> gr.HTML:
    """An output whose value is a record, or None for the invitation to give something.

    Args:
        elem_id: id of the component in the page.
    """
    return build_html_component("thought", elem_id)
