"""The Train tab: watch runs, start them, look back at all of them, compare some. Only the owner may act; all may watch."""

import gradio as gr

from ui.auth.access import Access
from ui.services.inference_service import Services
from ui.services.training_service import Trainings
from ui.tabs.login import login_row
from ui.tabs.new_run import Form
from ui.tabs.run_history import compare_room, history_room
from ui.tabs.run_monitor import Watch

PASSING = (
    "⚠️ **Runs here do not last**: nothing is mounted at `CTM_HOME`, so they and all that they made are gone when this "
    "container restarts or sleeps. Mount a storage bucket there, or let runs publish to the Hub."
)


def build(
    trainings: Trainings,
    services: Services,
    access: Access,
    page: gr.Blocks,
    tabs: gr.Tabs,
    thinker: gr.Dropdown | None,
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
    login_row(access, page)
    if not trainings.lasting:
        gr.Markdown(PASSING, elem_id="passing")
    with gr.Tabs(elem_id="train-tabs") as rooms:
        with gr.Tab("Watch", id="watch"):
            watch = Watch(trainings, services, access)
        with gr.Tab("New run", id="new") as new:
            form = Form(trainings, access)
        with gr.Tab("All runs", id="all") as past:
            history_room(trainings, past, rooms, watch)
        with gr.Tab("Compare", id="compare") as beside:
            compare_room(trainings, beside)
    watch.connect(page, tabs, thinker)
    form.connect(page, new, rooms, watch)
