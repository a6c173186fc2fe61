"""Components that the browser draws by a script of ours from plain data.

Their template is static. Gradio evaluates templates as JavaScript strings, so data in one would be code; here data comes in
as the value only, and the scripts check every number and write every text as text.
"""

from typing import Any

import gradio as gr

from ui.paths import STATIC_DIR


def build_html_component(name: str, scripts: tuple[str, ...], elem_id: str, value: Any = None) -> gr.HTML:
    """A component.

    Args:
        name: of its template and style in `assets/`; `drawn.css` is what styles share.
        scripts: in `assets/`, read as one function body in this order.
        elem_id: id of the component in the page.
        value: plain data to begin with.
    """
    template, style = read_asset(f"{name}.html"), read_asset("drawn.css") + read_asset(f"{name}.css")
    for file, content in ((f"{name}.html", template), (f"{name}.css", style)):
        unsafe = [mark for mark in ("{{", "${", "`", "\\") if mark in content]
        assert not unsafe, f"{file} must stay static, but {unsafe} means something to Gradio's templates"
    return gr.HTML(
        value=value,
        html_template=template,
        css_template=style,
        js_on_load="\n".join(read_asset(f"{script}.js") for script in scripts),
        apply_default_css=False,  # its "prose" rules would restyle our headings and margins
        elem_id=elem_id,
    )


def read_asset(name: str) -> str:
    return (STATIC_DIR / name).read_text(encoding="utf-8")
