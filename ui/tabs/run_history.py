"""History of all runs as a table."""

from typing import Any

import gradio as gr

from ui.services.training_service import TrainingService
from ui.tabs.dashboard import DASHBOARD_TAB_ID, RunDashboard
from ui.tabs.dashboard_state import DashboardState, build_selection
from ui.tabs.event_options import PRIVATE_EVENT, SILENT_EVENT, Updates

HISTORY_COLUMNS = ("run", "state", "task", "step", "accuracy, %", "minutes", "started", "by", "hardware", "MB")
HISTORY_COLUMN_TYPES: tuple[Any, ...] = (
    "str",
    "str",
    "str",
    "number",
    "number",
    "number",
    "str",
    "str",
    "str",
    "number",
)


def build_history_tab(
    training_service: TrainingService, tab: gr.Tab, train_tabs: gr.Tabs, dashboard: RunDashboard
) -> None:
    """Build a table of all runs to filter and sort. A click on a row opens the run.

    Args:
        training_service: Describes the runs.
        tab: This tab, for its select event.
        train_tabs: Tabs of the Train tab, to switch to the dashboard.
        dashboard: Shows the selected run.
    """
    table = gr.Dataframe(
        headers=list(HISTORY_COLUMNS),
        datatype=list(HISTORY_COLUMN_TYPES),
        interactive=False,
        show_search="filter",
        elem_id="history",
        wrap=True,
        max_height=600,
        label="Click a run to open it",
        show_label=True,
        column_widths=[
            f"{width}px" for width in (290, 115, 105, 85, 110, 90, 170, 90, 85, 70)
        ],  # scrolls on narrow screens
    )
    tab.select(training_service.run_views.list_history_rows, None, table, **SILENT_EVENT)

    def open_run(selection: gr.SelectData, request: gr.Request) -> Updates:
        run_id = str(selection.row_value[0]) if selection.row_value else ""
        selection = build_selection(run_id)
        updates = dashboard.build_updates(DashboardState.parse(selection), request)
        updates[dashboard.runs] = {**updates.get(dashboard.runs, {}), "is_forced": True}
        return {train_tabs: gr.Tabs(selected=DASHBOARD_TAB_ID), **updates}

    table.select(open_run, None, [train_tabs, *dashboard.outputs], **PRIVATE_EVENT, show_progress="hidden")
