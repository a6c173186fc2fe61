"""The page: tabs, theme and introduction."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from starlette.routing import Route

from ui.auth.access import Access
from ui.paths import EXAMPLES_DIR, STATIC_DIR
from ui.server.gradio_patches import ApiBlocks, install_error_sentence, install_page_head
from ui.server.weight_route import build_weight_route
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.static_files import build_page_script, build_preload_links, build_route
from ui.tabs import models, think, train

TITLE = "Continuous Thought Machines"
DESCRIPTION = (
    "A neural network that thinks in steps: watch its answer change tick by tick, and see when it decides to stop."
)
INTRO = """# Continuous Thought Machines
A neural network that thinks in steps. Watch where it looks, how its answer changes *tick by tick*, and when it decides that more
thinking will not help.
[Paper](https://arxiv.org/abs/2505.05522) · [original code](https://github.com/SakanaAI/continuous-thought-machines)"""
CSS = """
.gradio-container > main { max-width: 1500px; margin: 0 auto; }
.facts table { display: table; width: auto; border: 0; }
.facts tr { border: 0; }
.facts td { border-width: 0 0 1px 0; border-color: var(--border-color-primary); overflow-wrap: anywhere; }
.facts td:first-child { opacity: 0.7; padding-right: 1.5em; white-space: nowrap; }
.facts th { display: none; }
.settings > .form > .block {
  display: flex; flex-direction: column; justify-content: flex-end;
  min-width: min(200px, 100%) !important; /* a checkbox of Gradio 6.31 ignores its own */
}
#run-actions { flex-wrap: wrap; }
#run-actions > * { flex-grow: 0; }
footer .divider:last-child { display: none; } /* Gradio 6.31 divides even after its last link */
#upload img { width: 100%; height: 100%; object-fit: contain; } /* a picture of 28 x 28 pixels fills its box */
#card { contain: content; overflow: auto; } /* a model card of the Hub must not cover other parts of the page */
#text-examples button { overflow-wrap: anywhere; } /* a row of 64 bits has no break opportunity */
#comparison:has(.compare[hidden]) { display: none; } /* it would leave a gap */
#summary, #image-hint { font-size: 0.9em; opacity: 0.85; }
#input-tabs:not(:has(#drawing-column)):not(:has(#image-editor-column)) [role=tab]:first-child { display: none; }
/* above: hides a tab with nothing to draw on, because Gradio 6.31 ignores a changed `visible` of a tab */
"""


def build_page(
    inference_service: InferenceService, training_service: TrainingService | None = None, access: Access | None = None
) -> gr.Blocks:
    """Build the page.

    Args:
        inference_service: Runs the models.
        training_service: Runs the training jobs; without it there is no Train tab.
        access: Decides who may train; without it there is no Train tab.
    """
    install_error_sentence()
    install_page_head(TITLE, DESCRIPTION)
    with ApiBlocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        gr.Markdown(INTRO)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Think", id="think"):
                checkpoint = think.build_think_tab(inference_service)
            if training_service and access:
                with gr.Tab("Train", id="train"):
                    train.build_train_tab(training_service, inference_service, access, page, tabs, checkpoint)
            with gr.Tab("Models", id="models"):
                models.build_models_tab(inference_service, page, tabs, checkpoint)
    page.extra_routes = (build_weight_route(inference_service.browser_checkpoints),)
    return page


def get_launch_options(extra_routes: Sequence[Route] = ()) -> dict[str, Any]:
    """Return the options with which the page is mounted or launched: appearance and limits for clients.

    Args:
        extra_routes: Routes of the page besides those of the modules.
    """
    return {
        "theme": build_theme(),
        "css": CSS,
        "allowed_paths": [str(EXAMPLES_DIR)],
        "max_file_size": "20mb",
        "footer_links": ["api"],
        "run_history": False,
        "show_error": False,
        "head": f"{build_preload_links()}\n{build_page_script()}",
        "favicon_path": str(STATIC_DIR / "favicon.png"),
        "app_kwargs": {"routes": [build_route(), *extra_routes]},
    }


def build_theme() -> gr.themes.Base:
    """Return the theme. It uses fonts of the visitor's system, so nothing is fetched from other hosts."""
    return gr.themes.Default(
        primary_hue="orange",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
