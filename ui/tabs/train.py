"""The Train tab: watch runs, start them, look back at all of them, compare some. Only the owner may act; all may watch."""

import gradio as gr

from ui.auth.access import Access
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.tabs.login import build_login_row
from ui.tabs.new_run import NewRunForm
from ui.tabs.run_history import build_compare_tab, build_history_tab
from ui.tabs.run_monitor import RunMonitor

NO_PERSISTENCE_WARNING = (
    "⚠️ **Runs here do not last**: nothing is mounted at `CTM_HOME`, so they and all that they made are gone when this "
    "container restarts or sleeps. Mount a storage bucket there, or let runs publish to the Hub."
)


def build_train_tab(
    training_service: TrainingService,
    inference_service: InferenceService,
    access: Access,
    page: gr.Blocks,
    tabs: gr.Tabs,
    checkpoint_dropdown: gr.Dropdown | None,
) -> None:
    """Lay out the tab and connect it.

    Args:
        trainings: the one door to runs.
        services: names checkpoints for the Think tab.
        access: who may act; asked inside every action.
        page: told when somebody opens it.
        tabs: to turn to the Think tab.
        thinker: the Think tab's choice of a checkpoint.
    """
    build_login_row(access, page)
    if not training_service.has_persistent_storage:
        gr.Markdown(NO_PERSISTENCE_WARNING, elem_id="passing")
    with gr.Tabs(elem_id="train-tabs") as rooms:
        with gr.Tab("Watch", id="watch"):
            watch = RunMonitor(training_service, inference_service, access)
        with gr.Tab("New run", id="new") as new:
            form = NewRunForm(training_service, access)
        with gr.Tab("All runs", id="all") as past:
            build_history_tab(training_service, past, rooms, watch)
        with gr.Tab("Compare", id="compare") as beside:
            build_compare_tab(training_service, beside)
    watch.connect(page, tabs, checkpoint_dropdown)
    form.connect(page, new, rooms, watch)
