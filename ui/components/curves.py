"""Component that draws training curves in the browser; `ui.services.training_curves` builds its value."""

import gradio as gr

from ui.components.html_component import build_html_component


def build_curves_view(elem_id: str) -> gr.HTML:
    """Build an output whose value is that of `build_curves_data`, or None.

    Args:
        elem_id: Id of the component in the page.
    """
    return build_html_component("curves", elem_id)
