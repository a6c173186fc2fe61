"""History of all runs, and comparison of some of them."""

from typing import Any

import gradio as gr

from ui.components.curves import build_curves_view
from ui.services.run_view_models import MAX_COMPARED_RUNS
from ui.services.training_service import TrainingService
from ui.tabs.error_messages import run_action
from ui.tabs.event_options import PRIVATE_EVENT, SILENT_EVENT, Updates
from ui.tabs.run_monitor import RunMonitor

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
    training_service: TrainingService, tab: gr.Tab, train_tabs: gr.Tabs, run_monitor: RunMonitor
) -> None:
    """Build a table of all runs to filter and sort. A click on a row opens the run.

    Args:
        training_service: Describes the runs.
        tab: This tab, for its select event.
        train_tabs: Tabs of the Train tab, to switch to the monitor.
        run_monitor: Shows the selected run.
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
        return {train_tabs: gr.Tabs(selected="watch"), **run_monitor.build_updates(run_id, "", request)}

    table.select(open_run, None, [train_tabs, *run_monitor.outputs], **PRIVATE_EVENT, show_progress="hidden")


def build_compare_tab(training_service: TrainingService, tab: gr.Tab) -> None:
    """Build the comparison of several runs: their curves in common charts, and a table of their settings.

    Args:
        training_service: Describes the runs.
        tab: This tab, for its select event.
    """
    runs = gr.Dropdown(
        [],
        multiselect=True,
        max_choices=MAX_COMPARED_RUNS,
        label="Runs",
        elem_id="compared",
        info=f"Choose up to {MAX_COMPARED_RUNS} runs.",
    )
    curves = build_curves_view("compared-curves")
    table = gr.Dataframe(
        headers=["setting"],
        interactive=False,
        elem_id="settings",
        wrap=True,
        label="Settings (differences first)",
        show_label=True,
        show_search="search",
        visible=False,
    )

    def refresh_choices(run_ids: list[str] | None) -> gr.Dropdown:
        choices = training_service.run_views.list_run_choices()
        known_ids = {run_id for _, run_id in choices}
        return gr.Dropdown(choices, value=[run_id for run_id in run_ids or [] if run_id in known_ids])

    def compare(run_ids: list[str] | None) -> Updates:
        data, rows = run_action(training_service.run_views.compare, run_ids or [])
        headers = ["setting", *(run_ids or [])[:MAX_COMPARED_RUNS], "differs"]
        return {curves: data, table: gr.Dataframe(rows, headers=headers, visible=bool(run_ids))}

    tab.select(refresh_choices, runs, runs, **SILENT_EVENT).then(compare, runs, [curves, table], **SILENT_EVENT)
    runs.input(compare, runs, [curves, table], **SILENT_EVENT)
