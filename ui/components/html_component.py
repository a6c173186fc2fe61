"""Components that JavaScript modules of this project draw in the browser from plain data.

The template is static. Gradio evaluates templates as JavaScript strings, so data in one would be code; here data arrives
as the value only, and the modules check every number and write every text as text.

The style is part of the component: Gradio puts it inside a rule for the component's own id. So its selectors win against
those of the page and reach no other component, which a linked stylesheet could not do.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ui.static_files import build_bootstrap, read_static

UNSAFE_IN_TEMPLATE = ("{{", "${", "`", "\\")


def build_html_component(name: str, elem_id: str, value: Any = None, guest_styles: Sequence[str] = ()) -> gr.HTML:
    """Build a component.

    Args:
        name: Name of its directory in `static/`: NAME.html, NAME.css and the module index.js.
        elem_id: Id of the component in the page.
        value: Plain data to begin with.
        guest_styles: Styles of other components whose elements move into this one.
    """
    template, style = read_static(f"{name}/{name}.html"), read_static(f"{name}/{name}.css")
    for file, content in ((f"{name}.html", template), (f"{name}.css", style)):
        unsafe = [mark for mark in UNSAFE_IN_TEMPLATE if mark in content]
        assert not unsafe, f"{file} must stay static, but {unsafe} has a meaning in Gradio's templates"
    return gr.HTML(
        value=value,
        html_template=template,
        css_template=read_static("common/component.css") + style + "".join(map(read_static, guest_styles)),
        js_on_load=build_bootstrap(name),
        apply_default_css=False,  # its "prose" rules would restyle headings and margins
        elem_id=elem_id,
    )
