"""Looking back: every run that ever was, and some of them side by side."""

from typing import Any

import gradio as gr

from ui.components.curves import curves_view
from ui.services.run_view_models import MOST_COMPARED
from ui.services.training_service import Trainings
from ui.tabs.event_options import PRIVATE, QUIET
from ui.tabs.run_monitor import Watch

COLUMNS = ("run", "state", "task", "step", "held out, %", "minutes", "begun", "by", "where", "MB")
TYPES = ("str", "str", "str", "number", "number", "number", "str", "str", "str", "number")


def history_room(trainings: Trainings, tab: gr.Tab, rooms: gr.Tabs, watch: Watch) -> None:
    """A table of all runs to filter and sort; a click on one opens it."""
    table = gr.Dataframe(
        headers=list(COLUMNS),
        datatype=list(TYPES),
        interactive=False,
        show_search="filter",
        elem_id="history",
        wrap=True,
        max_height=600,
        label="A click on a run opens it",
        show_label=True,
        column_widths=[f"{width}px" for width in (290, 115, 105, 85, 110, 90, 170, 90, 85, 70)],  # a phone scrolls
    )
    tab.select(trainings.views.history, None, table, **QUIET)

    def open_run(picked: gr.SelectData, request: gr.Request) -> list[Any]:
        id = str(picked.row_value[0]) if picked.row_value else ""
        return [gr.Tabs(selected="watch"), *watch.show(id, "", request)]

    table.select(open_run, None, [rooms, *watch.parts], **PRIVATE, show_progress="hidden")


def compare_room(trainings: Trainings, tab: gr.Tab) -> None:
    """Curves of several runs in one picture, and their settings beside each other."""
    chosen = gr.Dropdown(
        [],
        multiselect=True,
        max_choices=MOST_COMPARED,
        label="Runs",
        elem_id="compared",
        info=f"up to {MOST_COMPARED}; their curves share one picture",
    )
    curves = curves_view("compared-curves")
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
        choices = trainings.views.choices()
        known = {id for _, id in choices}
        return gr.Dropdown(choices, value=[id for id in ids or [] if id in known])

    def compare(ids: list[str] | None) -> tuple[Any, Any]:
        try:
            drawn, rows = trainings.views.compare(ids or [])
        except ValueError as error:
            raise gr.Error(str(error), title="Not done", print_exception=False) from None
        headers = ["setting", *(ids or [])[:MOST_COMPARED], "differs"]
        return drawn, gr.Dataframe(rows, headers=headers, visible=bool(ids))

    tab.select(list_anew, chosen, chosen, **QUIET).then(compare, chosen, [curves, table], **QUIET)
    chosen.input(compare, chosen, [curves, table], **QUIET)
