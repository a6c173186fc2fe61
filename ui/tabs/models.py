"""Models tab: a gallery of checkpoints; a side sheet describes one, downloads it, and opens it in the Think tab."""

import re
import secrets
from typing import Any

import gradio as gr

from ui.components.formatting import escape_markdown, format_duration, format_progress_bar, format_table
from ui.components.gallery import (
    JS_GET_CHOSEN,
    JS_GET_VERSION,
    build_gallery,
    build_gallery_update,
    build_gallery_value,
)
from ui.components.html_component import build_html_component
from ui.services.inference_service import InferenceService
from ui.services.model_catalog import PURPOSE_SEPARATOR, split_purpose
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import HUB_EVENT, PRIVATE_EVENT, SILENT_EVENT, Updates

NOT_DOWNLOADED_MESSAGE = "Not downloaded yet."
ORIGIN_LABELS = {"bundled": "Bundled", "run": "Trained here", "hub": "Hugging Face Hub"}
JS_CLOSE_SHEET = "() => { document.querySelector('#model-sheet')?.hidePopover?.(); return []; }"
TAB_LABEL = "Models"
UNKNOWN_TASK_MESSAGE = "Choose the task this model was trained for."


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
    tab = ModelsTab(inference_service)
    tab.connect(page)
    if checkpoint_dropdown is not None:
        tab.connect_think_tab(page, tabs, checkpoint_dropdown)


class ModelsTab:
    """Components of the tab and their events.

    Args:
        inference_service: Describes and downloads checkpoints.
    """

    def __init__(self, inference_service: InferenceService) -> None:
        self.inference_service = inference_service
        self.name = gr.State(None)  # name of the model that is shown, pinned to a commit if possible
        self.gallery = build_gallery(inference_service.gallery.build_view(), "models", "browse")
        with gr.Row(elem_id="hub-row"):
            self.hub_name = gr.Textbox(
                label="Load from the Hub",
                placeholder="owner/name",
                max_length=400,
                elem_id="hub-name",
                info="owner/name or a huggingface.co link",
                scale=3,
            )
            self.load = gr.Button("Load", elem_id="load-model", scale=0, min_width=120)
        with gr.Column(elem_id="model-sheet"):
            self._build_details()
        self.timer = gr.Timer(1.0, active=False)

    def _build_details(self) -> None:
        close = gr.Button("Close", elem_id="close-sheet", size="sm")
        close.click(None, js=JS_CLOSE_SHEET, **PRIVATE_EVENT)
        self.facts = gr.Markdown(elem_id="model-facts", elem_classes="facts")
        self.purpose = gr.Dropdown([], label="Task", info=UNKNOWN_TASK_MESSAGE, visible=False, elem_id="purpose")
        with gr.Row():
            self.think = gr.Button("Try it", variant="primary", visible=False, elem_id="try-model")
            self.download = gr.Button("Download", variant="primary", visible=False, elem_id="download")
            self.cancel = gr.Button("Cancel", visible=False, elem_id="cancel-download")
        self.progress = gr.Markdown(elem_id="progress")
        with gr.Accordion("Card", open=False):
            self.card = gr.Markdown(elem_id="card")
        with gr.Accordion("Accuracy versus thinking time", open=False):
            self.halting = build_html_component("halting", "model-halting")
        with gr.Accordion("Config and metrics", open=False):
            self.metadata = gr.JSON(show_label=False, elem_id="metadata")

    @property
    def outputs(self) -> list[Any]:
        """Return the components that show a model."""
        details = [self.facts, self.purpose, self.think, self.card, self.halting, self.metadata]
        return [self.name, *details, *self.download_outputs]

    @property
    def download_outputs(self) -> list[Any]:
        """Return the components that show a download."""
        return [self.progress, self.download, self.cancel, self.timer]

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks) -> None:
        """Connect the events of the tab itself.

        Args:
            page: The page, for its load event.
        """
        self.gallery.input(
            self.show, self.gallery, self.outputs, js=JS_GET_CHOSEN, trigger_mode="always_last", **HUB_EVENT
        )
        gr.on(
            [self.load.click, self.hub_name.submit],
            self._show_hub_model,
            self.hub_name,
            [self.gallery, *self.outputs],
            trigger_mode="always_last",
            **HUB_EVENT,
        )
        self.purpose.input(self._select_purpose, [self.name, self.purpose], self.outputs, **HUB_EVENT)
        page.load(self._refresh_gallery, self.gallery, self.gallery, js=JS_GET_VERSION, **SILENT_EVENT)
        self.cancel.click(self._cancel_download, self.name, self.download_outputs, **PRIVATE_EVENT)
        for event in (
            self.download.click(self._start_download, self.name, self.download_outputs, **PRIVATE_EVENT),
            self.timer.tick(self._show_download, self.name, self.download_outputs, **SILENT_EVENT),
        ):
            event.then(self._show_downloaded_model, self.name, [self.gallery, *self.outputs], **SILENT_EVENT)

    def connect_think_tab(self, page: gr.Blocks, tabs: gr.Tabs, checkpoint_dropdown: gr.Dropdown) -> None:
        """Connect the events that change the Think tab.

        Args:
            page: The page, for its load event.
            tabs: Tabs of the page.
            checkpoint_dropdown: Checkpoint dropdown of the Think tab.
        """

        def refresh(name: str) -> gr.Dropdown:
            """List the checkpoints of now: a run may have finished or been deleted."""
            choices = self.inference_service.list_checkpoint_labels()
            if self._exists(name):  # a saved step is not listed, but can be selected
                listed = {choice for _, choice in choices}
                return gr.Dropdown(choices if name in listed else [*choices, (name, name)])
            return gr.Dropdown(choices, value=choices[0][1] if choices else None)

        def open_in_think_tab(name: str) -> Updates:
            choices = self.inference_service.list_checkpoint_labels()
            return {checkpoint_dropdown: gr.Dropdown(choices, value=name), tabs: gr.Tabs(selected="think")}

        page.load(refresh, checkpoint_dropdown, checkpoint_dropdown, show_progress="hidden", **PRIVATE_EVENT)
        tabs.select(refresh, checkpoint_dropdown, checkpoint_dropdown, **SILENT_EVENT)
        tabs.select(self._refresh_gallery, self.gallery, self.gallery, js=JS_GET_VERSION, **SILENT_EVENT)
        tabs.select(self._check_hub, self.gallery, self.gallery, js=JS_GET_VERSION, show_progress="hidden", **HUB_EVENT)
        opened = self.think.click(open_in_think_tab, self.name, [checkpoint_dropdown, tabs], **PRIVATE_EVENT)
        opened.then(None, js=JS_CLOSE_SHEET, **PRIVATE_EVENT)

    # --- handlers --------------------------------------------------------------------------------------------------

    def show(self, name: str | None) -> Updates:
        """Return updates that show a model, or an error instead of it. May query the Hub.

        Args:
            name: Name of the model, also one that a visitor typed.
        """
        if not name or not name.strip():
            return self._build_error_updates(name, "Enter a model as owner/name.")
        try:
            model = self.inference_service.describe(name)
        except ValueError as error:
            return self._build_error_updates(name, str(error))
        status = self.inference_service.get_download_status(model["name"])
        is_running = bool(status and status["running"])
        is_local = model["is_downloaded"]
        note = "" if is_local else NOT_DOWNLOADED_MESSAGE
        needs_task = bool(model["choices"]) and not model["title"]
        return {
            self.name: model["name"],
            self.facts: format_model_facts(model),
            self.purpose: gr.Dropdown(model["choices"], value=None, visible=needs_task),
            self.think: gr.Button(visible=model["is_ready"]),
            self.card: strip_front_matter(model["card"]) or "This model has no card.",
            self.halting: model["halting_view"] | {"read_only": True},
            self.metadata: {key: model[key] for key in ("config", "halting", "metrics")},
            self.progress: format_download_progress(status) if status and is_running else note,
            self.download: gr.Button(visible=not is_local and not is_running),
            self.cancel: gr.Button(visible=is_running),
            self.timer: gr.Timer(active=is_running),
        }

    def _build_error_updates(self, name: str | None, message: str) -> Updates:
        return {
            self.name: name,
            self.facts: f"### {escape_markdown(split_purpose(name or '')[0])}\n{escape_markdown(message)}",
            self.purpose: gr.Dropdown(visible=False),
            self.think: gr.Button(visible=False),
            self.card: "",
            self.halting: None,
            self.metadata: None,
            self.progress: "",
            self.download: gr.Button(visible=False),
            self.cancel: gr.Button(visible=False),
            self.timer: gr.Timer(active=False),
        }

    def _show_hub_model(self, name: str | None) -> Updates:
        """Show a model that a visitor typed, in the side sheet."""
        return {self.gallery: self._build_gallery_value(opened=secrets.token_hex(4)), **self.show(name)}

    def _select_purpose(self, name: str, task: str) -> Updates:
        return self.show(f"{split_purpose(name)[0]}{PURPOSE_SEPARATOR}{task}")

    def _exists(self, name: str) -> bool:
        try:
            self.inference_service.get_checkpoint_info(name)
        except ValueError:
            return False
        return True

    def _build_gallery_value(self, opened: str | None = None) -> dict[str, Any]:
        return build_gallery_value(self.inference_service.gallery.build_view(), "browse", opened=opened)

    def _refresh_gallery(self, version: Any) -> Any:
        """List the models of now: a run may have finished or been deleted."""
        return build_gallery_update(self.inference_service.gallery.build_view(), version, "browse")

    def _check_hub(self, version: Any, event: gr.SelectData) -> Any:
        """Ask the Hub about the models that are not downloaded, and show what it said, once the tab is open."""
        if event.value != TAB_LABEL:
            return gr.skip()
        self.inference_service.gallery.check_hub()
        return self._refresh_gallery(version)

    def _start_download(self, name: str) -> Updates:
        call_service(self.inference_service.download, name)
        return self._show_download(name)

    def _cancel_download(self, name: str) -> Updates:
        self.inference_service.cancel_download(name)
        return self._show_download(name)

    def _show_download(self, name: str) -> Updates:
        """Return the status of the download of the model that is shown."""
        status = self.inference_service.get_download_status(name)
        if status is None:
            return {self.timer: gr.Timer(active=False)}
        is_running = status["running"]
        return {
            self.progress: format_download_progress(status),
            self.download: gr.Button(visible=not is_running),
            self.cancel: gr.Button(visible=is_running),
            self.timer: gr.Timer(active=is_running),
        }

    def _show_downloaded_model(self, name: str) -> Updates:
        """Show the model again once its download has succeeded."""
        status = self.inference_service.get_download_status(name)
        if status is None or status["state"] != "finished":
            return gr.skip()
        return {self.gallery: self._build_gallery_value(), **self.show(name)}


def format_model_facts(model: dict[str, Any]) -> str:
    """Return a table of the most important facts."""
    config, name = model["config"], split_purpose(model["name"])[0]
    heading = name.partition("@")[0]
    if model["plain_name"]:
        heading = f"{model['plain_name']} ({heading})"
    rows = {
        "source": ORIGIN_LABELS[model["origin"]] + ("" if model["is_downloaded"] else ", not downloaded"),
        "task": escape_markdown(model["title"]) or "unknown",
        "measured": escape_markdown(model["summary"]),
        "example": escape_markdown(model["example"]),
        "size": f"{config['d_model']:,} neurons" + format_max_ticks(config.get("iterations", 1)),
        "download size": f"{model['size'] / 2**20:,.1f} MB",
        "updated": escape_markdown(model["updated"]),
        "training": escape_markdown(describe_training(model["metrics"])),
        "publication": escape_markdown(model["published"]),
    }
    if model["revision"]:
        rows["revision"] = f"[`{model['revision'][:7]}`]({model['page']})"
    return f"### {escape_markdown(heading)}\n\n{format_table(rows)}"


def describe_training(metrics: dict[str, Any]) -> str:
    """Return how a model was trained; empty where its metrics.json, perhaps another author's, does not say it."""
    train = metrics.get("training")
    if not isinstance(train, dict) or not isinstance(train.get("steps"), int):
        return ""
    parts = [f"{train['steps']:,} steps"]
    hardware = str(train.get("hardware", "unknown hardware"))[:100]
    if isinstance(seconds := train.get("processor_seconds"), int | float):
        parts.append(f"{format_duration(seconds)} of processor time on {hardware}")
    elif isinstance(minutes := train.get("minutes"), int | float):
        parts.append(f"{minutes:,.0f} minutes on {hardware}")
    if "init_from" in train:
        parts.append(f"initial weights from {str(train['init_from'])[:200]}")
    return ", ".join(parts)


def format_max_ticks(ticks: int) -> str:
    """Return how many ticks a model has at most, to follow its number of neurons; one tick means feed-forward."""
    return f", up to {ticks} ticks" if ticks > 1 else ", feed-forward (no ticks)"


def format_download_progress(status: dict[str, Any]) -> str:
    """Return the progress of a download as Markdown."""
    return (f"{format_progress_bar(status['share'])} · " if status["running"] else "") + escape_markdown(
        status["sentence"]
    )


def strip_front_matter(card: str) -> str:
    """Return a model card without its YAML header."""
    return re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
