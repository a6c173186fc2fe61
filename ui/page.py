"""The page: tabs, theme and introduction."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from starlette.routing import Route

from ui.auth.access import Access
from ui.paths import EXAMPLES_DIR, STATIC_DIR
from ui.server.asset_route import build_asset_route
from ui.server.card_route import CARD_PATH, CARD_SIZE, build_card_route
from ui.server.gradio_patches import ApiBlocks, SharingCard, install_error_sentence, install_page_head
from ui.server.plotly_route import build_plotly_link, build_plotly_route
from ui.server.thumbnail_route import build_thumbnail_route
from ui.server.weight_route import build_weight_route
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.static_files import build_embedded_views_head, build_page_script, build_route, read_static
from ui.tabs import models, think, train

TITLE = "Continuous Thought Machines"
DESCRIPTION = (
    "A neural network that thinks in steps: watch its answer change tick by tick, and see when it decides to stop."
)
CARD_TEXT = "A maze, the path that the model predicts, and its energy and certainty at every tick."
INTRO = """# Continuous Thought Machines
A neural network that thinks in steps. Watch where it looks, how its answer changes, and when it decides to stop.
[Paper](https://arxiv.org/abs/2505.05522) · [original code](https://github.com/SakanaAI/continuous-thought-machines)"""
CSS = """
.gradio-container > main { max-width: 1500px; margin: 0 auto; }
#intro .prose { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1em; }
#intro h1 { font-size: 1.3em; margin: 0; } #intro p { margin: 0; }
.facts table { display: table; width: auto; border: 0; }
.facts tr { border: 0; }
.facts td { border-width: 0 0 1px 0; border-color: var(--border-color-primary); overflow-wrap: anywhere; }
.facts td:first-child { opacity: 0.7; padding-right: 1.5em; white-space: nowrap; }
.facts th { display: none; }
#measure { align-self: flex-start; width: auto; margin-left: 12px; }
progress { accent-color: var(--color-accent); vertical-align: middle; }
#run-actions { flex-wrap: wrap; }
#run-actions > * { flex-grow: 0; }
footer .divider:last-child { display: none; } /* Gradio 6.31 divides even after its last link */
#upload img { width: 100%; height: 100%; object-fit: contain; } /* a picture of 28 x 28 pixels fills its box */
#card { contain: content; overflow: auto; } /* a model card of the Hub must not cover other parts of the page */
#text-examples button { overflow-wrap: anywhere; } /* a row of 64 bits has no break opportunity */
.think {
  display: grid !important; grid-template-columns: minmax(280px, 340px) minmax(0, 1fr); grid-template-rows: auto 1fr;
  grid-template-areas: "inputs result" "examples result"; align-items: start;
}
#think-inputs { grid-area: inputs; } #think-examples { grid-area: examples; }
#think-result { grid-area: result; position: sticky; top: 8px; }
@media (max-width: 820px) {
  .think { grid-template-columns: minmax(0, 1fr); grid-template-areas: "inputs" "result" "examples"; }
  #think-result { position: static; }
  #intro p:first-of-type { display: none; } /* the stage is worth more of a small screen */
  #image-hint { display: none; }
  #think-inputs:not(:has(#drawing)):not(:has(#image-editor)):not(:has(#sequence)):not(:has(#upload)) ~ #think-result,
  #think-inputs:has(.editor[hidden]) ~ #think-result,
  #think-inputs:has(.sketchpad canvas:not([data-ready])) ~ #think-result { visibility: hidden; }
}
#input-problem:has(.problem[hidden]), #policy-problem:has(.problem[hidden]) { display: none; } /* they would leave a gap */
#comparison:not(:has(.compare:not([hidden]))), #teleport:not(:has(.teleport:not([hidden]))),
#difficulty:has(.difficulty[hidden]) { display: none; }
#drawing-column, #image-editor-column, #think-inputs .tabitem > .column, #think-inputs > .column { gap: 8px; }
#gallery > .html-container, #models > .html-container, #runs > .html-container, #curves > .html-container,
#samples > .html-container { padding: 0; }
#model-sheet:not(:popover-open) { display: none; }
#model-sheet:popover-open {
  position: fixed; inset: 0 0 0 auto; width: min(640px, 100vw); height: 100dvh; max-height: none; margin: 0; padding: 20px;
  overflow: auto; border: 0; border-left: 1px solid var(--border-color-primary); background: var(--body-background-fill);
  color: var(--body-text-color); flex-wrap: nowrap;
}
#model-sheet::backdrop { background: rgb(0 0 0 / 0.5); }
#model-sheet > * { flex: none; }
#close-sheet { align-self: flex-end; width: auto; }
#summary, #image-hint { font-size: 0.9em; opacity: 0.85; }
/* Space that is reserved, and parts that wait for what is above them: nothing that is visible moves while the page loads.
   Gradio 6.31 splits selectors at every comma, also at those inside `:has()`. */
#gallery { min-height: 84px; }
#thought { min-height: max(560px, 100dvh - 190px); }
#drawing { min-height: 338px; } /* canvas and bar */
#image-examples .gallery-item { min-height: 44px; }
@media (max-width: 820px) { #thought { min-height: 100dvh; } }
#think-inputs:not(:has(#drawing)):not(:has(#image-editor)):not(:has(#sequence)):not(:has(#upload)),
#think-inputs:has(.editor[hidden]),
#think-inputs:has(.sketchpad canvas:not([data-ready])),
#think-inputs:not(:has(#drawing)):not(:has(#image-editor)):not(:has(#sequence)):not(:has(#upload)) ~ #think-examples,
#think-inputs:has(.editor[hidden]) ~ #think-examples,
#think-inputs:has(.sketchpad canvas:not([data-ready])) ~ #think-examples { visibility: hidden; }
#think-result:not(:has(#thought)), .gradio-container:not(:has(#gallery)) .think,
.gradio-container:not(:has(#intro)) #tabs { visibility: hidden; }
.dark { --color-accent: var(--primary-500); } /* Gradio 6.31 has one accent colour for light and dark pages */
.json-node {
  --text-color: var(--color-accent); --string-color: var(--body-text-color); --number-color: var(--body-text-color);
  --bracket-color: var(--body-text-color-subdued); --square-bracket-color: var(--body-text-color-subdued);
  --punctuation-color: var(--body-text-color-subdued); --line-number-color: var(--body-text-color-subdued);
}
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
footer button, footer a { min-height: 24px; min-width: 24px; }
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
    host = access.hosts[0] if access and access.hosts else ""
    card = SharingCard(TITLE, DESCRIPTION, CARD_PATH.lstrip("/"), CARD_TEXT, CARD_SIZE, host)
    install_page_head(card, build_embedded_views_head())
    with ApiBlocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        gr.Markdown(INTRO, elem_id="intro")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Think", id="think"):
                checkpoint = think.build_think_tab(inference_service, page, tabs)
            if training_service and access:
                with gr.Tab("Train", id="train"):
                    train.build_train_tab(training_service, inference_service, access, page, tabs, checkpoint)
            with gr.Tab(models.TAB_LABEL, id="models"):
                models.build_models_tab(inference_service, page, tabs, checkpoint)
    page.extra_routes = (
        build_weight_route(inference_service.browser_checkpoints),
        build_thumbnail_route(inference_service.gallery.thumbnails),
        build_card_route(),
    )
    return page


def get_launch_options(extra_routes: Sequence[Route] = ()) -> dict[str, Any]:
    """Return the options with which the page is mounted or launched: appearance and limits for clients.

    Args:
        extra_routes: Routes of the page besides those of the modules, of plotly.js and of Gradio.
    """
    return {
        "theme": build_theme(),
        "css": CSS + read_static("share/share.css"),
        "allowed_paths": [str(EXAMPLES_DIR)],
        "max_file_size": "20mb",
        "footer_links": ["api"],
        "run_history": False,
        "show_error": False,
        "head": f"{build_plotly_link()}\n{build_page_script()}",
        "favicon_path": str(STATIC_DIR / "favicon.png"),
        "app_kwargs": {"routes": [build_route(), build_plotly_route(), build_asset_route(), *extra_routes]},
    }


def build_theme() -> gr.themes.Base:
    """Return the theme. It uses fonts of the visitor's system, so nothing is fetched from other hosts.

    Its colours give every text a contrast of at least 4.5 to its background, which those of Gradio 6.31 do not.
    """
    theme = gr.themes.Default(
        primary_hue="orange",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return theme.set(
        color_accent="*primary_700",  # the style of the page lightens it on dark pages
        body_text_color_subdued="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_hover_dark="#991b1b",
        button_primary_border_color="*primary_700",
        button_primary_border_color_dark="*primary_700",
    )
