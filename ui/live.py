"""The live view of a thought: drawn in the browser from one record of plain numbers, and replayed tick by tick.

The component's template is static. Gradio evaluates templates as JavaScript strings, so data in one would be code; here
data comes in as the value only, and the script checks every number and writes every text as text.
"""

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).parent / "assets"
SCRIPT = ("live-record", "live-drawing", "live-panels", "live-playing")  # one function body, in this order


def live_view(elem_id: str = "thought") -> gr.HTML:
    """An output whose value is a record, or None for the invitation to give something.

    Args:
        elem_id: id of the component in the page.
    """
    template, style = asset("live.html"), asset("live.css")
    for name, content in (("live.html", template), ("live.css", style)):
        unsafe = [mark for mark in ("{{", "${", "`", "\\") if mark in content]
        assert not unsafe, f"{name} must stay static, but {unsafe} means something to Gradio's templates"
    return gr.HTML(
        value=None,
        html_template=template,
        css_template=style,
        js_on_load="\n".join(asset(f"{part}.js") for part in SCRIPT),
        apply_default_css=False,  # its "prose" rules would restyle our headings and margins
        elem_id=elem_id,
    )


def asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
