"""Train tab: watch, compare, start and list runs. Only the owner may act; every visitor may watch."""

import gradio as gr

from ui.auth.access import Access
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.tabs.dashboard import DASHBOARD_TAB_ID, NEW_RUN_TAB_ID, RunDashboard
from ui.tabs.login import build_login_row
from ui.tabs.new_run import NewRunForm
from ui.tabs.run_history import build_history_tab

NO_PERSISTENCE_WARNING = (
    "<details><summary>⚠️ Runs may be lost when this container ends. Why?</summary>Nothing is mounted where runs are stored. "
    "Mount storage at `CTM_HOME`, or publish runs to the Hub, to keep them.</details>"
)


def build_train_tab(
    training_service: TrainingService,
    inference_service: InferenceService,
    access: Access,
    page: gr.Blocks,
    tabs: gr.Tabs,
    checkpoint_dropdown: gr.Dropdown | None,
) -> None:
    """Build the tab and connect its events.

    Args:
        training_service: Starts and describes runs.
        inference_service: Names checkpoints for the Think tab.
        access: Decides who may act; called inside every action.
        page: The page, for its load event.
        tabs: Tabs of the page, to switch to the Think tab.
        checkpoint_dropdown: Checkpoint dropdown of the Think tab.
    """
    gr.Markdown("## Training", elem_classes="visually-hidden")  # the level between title and sections
    build_login_row(access, page)
    if not training_service.has_persistent_storage:
        gr.Markdown(NO_PERSISTENCE_WARNING, elem_id="storage-warning")
    with gr.Tabs(elem_id="train-tabs") as train_tabs:
        with gr.Tab("Dashboard", id=DASHBOARD_TAB_ID):
            dashboard = RunDashboard(training_service, inference_service, access)
        with gr.Tab("New run", id=NEW_RUN_TAB_ID) as new:
            form = NewRunForm(training_service, access, inference_service.gallery)
        with gr.Tab("All runs", id="all") as past:
            build_history_tab(training_service, past, train_tabs, dashboard)
    dashboard.connect(page, tabs, train_tabs, checkpoint_dropdown)
    form.connect(page, new, train_tabs, dashboard)
