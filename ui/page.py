"""The page: tabs, theme and words around them."""

import gradio as gr

from ui.services import Services
from ui.tabs import think

TITLE = "Continuous Thought Machines"
INTRO = """# Continuous Thought Machines
A machine that takes its time: it looks, thinks *tick by tick*, and stops when its energy says that it knows.
[Paper](https://arxiv.org/abs/2505.05522) · [original code](https://github.com/SakanaAI/continuous-thought-machines)"""
CSS = """
.gradio-container { max-width: 1400px !important; margin: 0 auto; }
#summary { font-size: 0.9em; opacity: 0.85; }
"""


def build(services: Services) -> gr.Blocks:
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRO)
        with gr.Tab("Think", id="think"):
            think.build(services)
    return page


def theme() -> gr.themes.Base:
    return gr.themes.Soft(primary_hue="orange", neutral_hue="slate")
