"""Models tab: list, describe and download checkpoints, and open them in the Think tab."""

import re
from typing import Any

import gradio as gr

from ui.components.formatting import escape_markdown, format_progress_bar, format_table
from ui.services.inference_service import InferenceService
from ui.services.model_catalog import PURPOSE_SEPARATOR, split_purpose
from ui.tabs.event_options import HUB_EVENT, PRIVATE_EVENT, SILENT_EVENT

NOT_DOWNLOADED_MESSAGE = "It is not on this machine yet. *Download* fetches it; the page goes on meanwhile."
ORIGIN_LABELS = {"bundled": "comes with this app", "run": "trained here", "hub": "from the Hugging Face Hub"}
UNKNOWN_TASK_MESSAGE = "The checkpoint does not say what it was trained for. Choose what it should do."


def build_models_tab(
    inference_service: InferenceService, page: gr.Blocks, tabs: gr.Tabs, checkpoint_dropdown: gr.Dropdown | None
) -> None:
    """Build the tab and connect its events.

    Args:
        inference_service: Describes and downloads checkpoints.
        page: The page, for its load event.
        tabs: Tabs of the page, to switch to the Think tab.
        checkpoint_dropdown: Checkpoint dropdown of the Think tab.
    """
    catalog = inference_service.list_catalog()
    first = catalog[0][1] if catalog else None
    named = gr.State(first)  # name of the selected model, pinned
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            listed = gr.Radio(catalog, value=first, label="Models", elem_id="models", elem_classes="stacked")
            typed = gr.Textbox(
                label="Any model of the Hub",
                placeholder="namespace/name",
                max_length=400,
                elem_id="hub-name",
                info="namespace/name, if needed with @revision and :subfolder",
            )
            look = gr.Button("Look it up", elem_id="look")
        with gr.Column(scale=5, min_width=320):
            facts = gr.Markdown(elem_id="model-facts", elem_classes="facts")
            purpose = gr.Dropdown(
                [], label="What is it for?", info=UNKNOWN_TASK_MESSAGE, visible=False, elem_id="purpose"
            )
            with gr.Row():
                think = gr.Button("Think with this", variant="primary", visible=False, elem_id="think-with")
                download = gr.Button("Download", variant="primary", visible=False, elem_id="download")
                give_up = gr.Button("Give up", visible=False, elem_id="give-up")
            progress = gr.Markdown(elem_id="progress")
            with gr.Accordion("Card", open=False):
                card = gr.Markdown(elem_id="card")
            with gr.Accordion("Config and figures", open=False):
                details = gr.JSON(show_label=False, elem_id="details")
    watching = gr.Timer(1.0, active=False)
    shown = [named, facts, purpose, think, download, give_up, progress, card, details, watching]

    def show(name: str | None) -> list[Any]:
        return build_model_view(inference_service, name)

    listed.input(show, listed, shown, trigger_mode="always_last", **HUB_EVENT)
    gr.on(
        [look.click, typed.submit],
        lambda name: [gr.Radio(value=None), *show(name)],
        typed,
        [listed, *shown],
        trigger_mode="always_last",
        **HUB_EVENT,
    )
    purpose.input(
        lambda name, kind: show(f"{split_purpose(name)[0]}{PURPOSE_SEPARATOR}{kind}"),
        [named, purpose],
        shown,
        **HUB_EVENT,
    )
    page.load(show, named, shown, **HUB_EVENT)

    def list_anew() -> dict[Any, Any]:
        """Return the current choices of this tab and of the Think tab."""
        ready = inference_service.list_checkpoint_labels()
        found = {listed: gr.Radio([*ready, *inference_service.list_remote()])}
        return found if checkpoint_dropdown is None else found | {checkpoint_dropdown: gr.Dropdown(ready)}

    lists = [listed] if checkpoint_dropdown is None else [listed, checkpoint_dropdown]
    page.load(list_anew, None, lists, show_progress="hidden", **PRIVATE_EVENT)

    def begin(name: str) -> list[Any]:
        try:
            inference_service.download(name)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return tick(name)

    def tick(name: str) -> list[Any]:
        """Return the status of the download of the selected model."""
        state = inference_service.get_download_status(name)
        if state is None:
            return [gr.skip(), gr.skip(), gr.skip(), gr.Timer(active=False)]
        running = state["running"]
        return [
            format_download_progress(state),
            gr.Button(visible=not running),
            gr.Button(visible=running),
            gr.Timer(active=running),
        ]

    def arrive(name: str) -> list[Any]:
        """Refresh the selected model once its download has succeeded."""
        state = inference_service.get_download_status(name)
        if state is None or state["state"] != "finished":
            return [gr.skip()] * (len(shown) + 1)
        return [gr.Radio(inference_service.list_catalog()), *show(name)]

    on_download = [progress, download, give_up, watching]
    give_up.click(
        lambda name: (inference_service.cancel_download(name), tick(name))[1], named, on_download, **PRIVATE_EVENT
    )
    for step in (
        download.click(begin, named, on_download, **PRIVATE_EVENT),
        watching.tick(tick, named, on_download, **SILENT_EVENT),
    ):
        step.then(arrive, named, [listed, *shown], **SILENT_EVENT)
    if checkpoint_dropdown is not None:
        think.click(
            lambda name: (
                gr.Dropdown(inference_service.list_checkpoint_labels(), value=name),
                gr.Tabs(selected="think"),
            ),
            named,
            [checkpoint_dropdown, tabs],
            **PRIVATE_EVENT,
        )


def build_model_view(inference_service: InferenceService, name: str | None) -> list[Any]:
    """Return updates for everything that the tab shows of a model, or an error view."""
    if not name or not name.strip():
        return build_error_view(name, "Name a model: namespace/name.")
    try:
        about = inference_service.describe(name)
    except ValueError as error:
        return build_error_view(name, str(error))
    state = inference_service.get_download_status(about["name"])
    running = bool(state and state["running"])
    note = format_download_progress(state) if running else "" if about["here"] else NOT_DOWNLOADED_MESSAGE
    asks = bool(about["choices"]) and not about["title"]
    return [
        about["name"],
        format_model_facts(about),
        gr.Dropdown(about["choices"], value=None, visible=asks),
        gr.Button(visible=about["ready"]),
        gr.Button(visible=not about["here"] and not running),
        gr.Button(visible=running),
        note,
        strip_front_matter(about["card"]) or "It has no card.",
        {key: about[key] for key in ("config", "halting", "metrics")},
        gr.Timer(active=running),
    ]


def build_error_view(name: str | None, message: str) -> list[Any]:
    """Return updates that show an error instead of a model."""
    hidden = gr.Button(visible=False)
    return [
        name,
        f"### {escape_markdown(split_purpose(name or '')[0])}\n{escape_markdown(message)}",
        gr.Dropdown(visible=False),
        hidden,
        hidden,
        hidden,
        "",
        "",
        None,
        gr.Timer(active=False),
    ]


def format_model_facts(about: dict[str, Any]) -> str:
    """Return a table of the most important facts."""
    config, name = about["config"], split_purpose(about["name"])[0]
    rows = {
        "where": ORIGIN_LABELS[about["place"]] + ("" if about["here"] else ", not on this machine"),
        "task": escape_markdown(about["title"]) or "not said",
        "measured": escape_markdown(about["summary"]),
        "thinks": f"up to {config.get('iterations', 1)} ticks with {config['d_model']:,} neurons",
        "weights": f"{about['size'] / 2**20:,.1f} MB",
        "updated": escape_markdown(about["updated"]),
        "to the Hub": escape_markdown(about["published"]),
    }
    if about["revision"]:
        rows["revision"] = f"[`{about['revision'][:7]}`]({about['page']}), which is what is loaded"
    return f"### {escape_markdown(name.partition('@')[0])}\n\n{format_table(rows)}"


def format_download_progress(state: dict[str, Any]) -> str:
    """Return the progress of a download as Markdown."""
    return (f"{format_progress_bar(state['share'])} · " if state["running"] else "") + escape_markdown(
        state["sentence"]
    )


def strip_front_matter(card: str) -> str:
    """Return a model card without its YAML header."""
    return re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
