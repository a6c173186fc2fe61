"""History of all runs, and comparison of some of them."""

from typing import Any

import gradio as gr

from ui.components.curves import build_curves_view
from ui.services.run_view_models import MAX_COMPARED_RUNS
from ui.services.training_service import TrainingService
from ui.tabs.event_options import PRIVATE_EVENT, SILENT_EVENT
from ui.tabs.run_monitor import RunMonitor

HISTORY_COLUMNS = ("run", "state", "task", "step", "held out, %", "minutes", "begun", "by", "where", "MB")
HISTORY_COLUMN_TYPES = ("str", "str", "str", "number", "number", "number", "str", "str", "str", "number")


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
        label="A click on a run opens it",
        show_label=True,
        column_widths=[
            f"{width}px" for width in (290, 115, 105, 85, 110, 90, 170, 90, 85, 70)
        ],  # scrolls on narrow screens
    )
    tab.select(training_service.run_views.list_history_rows, None, table, **SILENT_EVENT)

    def open_run(picked: gr.SelectData, request: gr.Request) -> list[Any]:
        run_id = str(picked.row_value[0]) if picked.row_value else ""
        return [gr.Tabs(selected="watch"), *run_monitor.show(run_id, "", request)]

    table.select(open_run, None, [train_tabs, *run_monitor.outputs], **PRIVATE_EVENT, show_progress="hidden")


def build_compare_tab(training_service: TrainingService, tab: gr.Tab) -> None:
    """Build the comparison of several runs: their curves in common charts, and a table of their settings.

    Args:
        training_service: Describes the runs.
        tab: This tab, for its select event.
    """
    chosen = gr.Dropdown(
        [],
        multiselect=True,
        max_choices=MAX_COMPARED_RUNS,
        label="Runs",
        elem_id="compared",
        info=f"up to {MAX_COMPARED_RUNS}; their curves share one picture",
    )
    curves = build_curves_view("compared-curves")
    table = gr.Dataframe(
        headers=["setting"],
        interactive=False,
        elem_id="settings",
        wrap=True,
        label="Settings, the differing ones first",
        show_label=True,
        show_search="search",
        visible=False,
    )

    def list_anew(ids: list[str] | None) -> Any:
        choices = training_service.run_views.list_run_choices()
        known = {id for _, id in choices}
        return gr.Dropdown(choices, value=[id for id in ids or [] if id in known])

    def compare(ids: list[str] | None) -> tuple[Any, Any]:
        try:
            drawn, rows = training_service.run_views.compare(ids or [])
        except ValueError as error:
            raise gr.Error(str(error), title="Not done", print_exception=False) from None
        headers = ["setting", *(ids or [])[:MAX_COMPARED_RUNS], "differs"]
        return drawn, gr.Dataframe(rows, headers=headers, visible=bool(ids))

    tab.select(list_anew, chosen, chosen, **SILENT_EVENT).then(compare, chosen, [curves, table], **SILENT_EVENT)
    chosen.input(compare, chosen, [curves, table], **SILENT_EVENT)
