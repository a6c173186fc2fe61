"""Dashboard of the runs: a list to select from, the charts of the selected runs, and everything about the shown run."""

from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.components.curves import build_curves_view
from ui.components.html_component import build_html_component
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.tabs.dashboard_state import JS_GET_STATE, DashboardState
from ui.tabs.event_options import SILENT_EVENT, Updates
from ui.tabs.run_actions import RunActions
from ui.tabs.run_format import format_headline, format_run_facts

NO_RUNS_MESSAGE = "### No runs yet\nStart one with *New run*."
NEW_RUN_TAB_ID, DASHBOARD_TAB_ID = "new", "dashboard"
JS_GET_REQUESTED_SAMPLES = "(value) => [{ run: value?.run ?? '', step: value?.step ?? null }]"


class RunDashboard:
    """Components of the dashboard and their events.

    The list of runs holds the state of the page: see `DashboardState`. It reads the first selection from the address. While the tab
    is visible, it asks every second for what is new. The versions in the state tell what the page shows, so that the answer has only
    the parts that have changed, and is empty while nothing changes.

    Args:
        training_service: Describes and controls the runs.
        inference_service: Names checkpoints for the Think tab.
        access: Decides who may act; called inside every action.
    """

    def __init__(self, training_service: TrainingService, inference_service: InferenceService, access: Access) -> None:
        self.training_service = training_service
        self.access = access
        self.actions = RunActions(training_service, inference_service, access)
        with gr.Row(elem_id="dashboard"):
            with gr.Column(scale=3, min_width=260):
                self.runs = build_html_component("runs", "runs")
            with gr.Column(scale=10, min_width=320):
                self.headline = gr.Markdown(elem_id="headline")
                self.actions.build_buttons()
                self.curves = build_curves_view("curves")
                self.samples = build_html_component("samples", "samples")
                with gr.Accordion("Log", open=False, visible=False, elem_id="log-section") as log_section:
                    self.log = build_html_component("log", "log")
                with gr.Accordion("Facts", open=False, visible=False, elem_id="facts-section") as facts_section:
                    self.facts = gr.Markdown(elem_id="run-facts", elem_classes="facts")
                with gr.Accordion(
                    "Reproduce", open=False, visible=False, elem_id="reproduce-section"
                ) as command_section:
                    self.command = gr.Textbox(
                        label="Command", buttons=["copy"], interactive=False, lines=2, elem_id="run-command"
                    )
                self.sections = [log_section, facts_section, command_section]
                self.actions.build_sections()

    @property
    def buttons(self) -> dict[str, gr.Button]:
        """Return the buttons of the shown run by the names of their actions."""
        return self.actions.buttons

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        parts = [self.runs, self.headline, self.curves, self.samples, self.log, self.facts, self.command]
        return [*parts, *self.sections, *self.actions.outputs]

    # --- updates ---------------------------------------------------------------------------------------------------

    def show(self, value: Any, request: gr.Request) -> Any:
        """Handle an event: return the updates of what is selected, or a skip if there are none."""
        return self.build_updates(DashboardState.parse(value), request) or gr.skip()

    def build_updates(self, state: DashboardState, request: gr.Request) -> Updates:
        """Return updates with everything that the page does not show yet.

        Args:
            state: What the page shows. Runs that no longer exist are left out; without one, the current run is shown.
            request: Request of the event, which decides about the buttons.

        Returns:
            Updates of `outputs`; empty if nothing is new.
        """
        run_views = self.training_service.run_views
        runs = run_views.list_runs()
        known_ids = {run["id"] for run in runs}
        selected = [run_id for run_id in state.selected if run_id in known_ids]
        shown = state.shown if state.shown in known_ids else ""
        if not shown:
            shown = selected[0] if selected else run_views.get_current_run_id() or ""
            selected = selected or [shown] * bool(shown)
        is_owner = self.access.get_current_user(request) is not None
        try:
            views = {run_id: run_views.get_run_view(run_id) for run_id in {shown, *selected} if run_id}
            view = views.get(shown)
            charted = [(run_id, views[run_id]["version"]) for run_id in selected]
            versions = {
                "list": f"{hash(str(runs))}",
                "head": f"{is_owner} {view['version'] if view else ''}",
                "log": f"{state.has_log} {view['version'] if view and state.has_log else shown}",
                "curves": f"{hash((shown, tuple(charted)))}",
                "samples": run_views.get_samples_version(shown) if shown else "",
            }
            former = dict(state.versions)
            changed = {part for part, version in versions.items() if former.get(part) != version}
            if not changed and (tuple(selected), shown) == (state.selected, state.shown):
                return {}
            updates = self._build_part_updates(changed, view, selected, shown, state.has_log)
        except ValueError:  # a run was deleted since the runs were listed
            return {}
        if "head" in changed:
            is_same_run = shown == state.shown and "head" in former
            updates |= self.actions.build_updates(view, is_owner, is_same_run)
        selection = {"selected": selected, "shown": shown, "revision": state.revision, "versions": versions}
        return updates | {self.runs: selection | ({"runs": runs} if "list" in changed else {})}

    def _build_part_updates(
        self, changed: set[str], view: dict[str, Any] | None, selected: list[str], shown: str, has_log: bool
    ) -> Updates:
        """Return updates of the parts that have changed."""
        run_views = self.training_service.run_views
        updates: Updates = {}
        if "head" in changed:
            updates[self.headline] = format_headline(view) if view else NO_RUNS_MESSAGE
            updates[self.facts] = format_run_facts(view) if view else ""
            updates[self.command] = view["command"] if view else ""
            updates |= {section: gr.Accordion(visible=view is not None) for section in self.sections}
        if "log" in changed:
            updates[self.log] = view["log"] if view and has_log else ""
        if "curves" in changed:
            updates[self.curves] = run_views.get_curves(selected, shown)
        if "samples" in changed:
            updates[self.samples] = run_views.get_samples(shown) if shown else None
        return updates

    def show_samples(self, value: Any) -> Any:
        """Handle the slider of the samples: show those of another evaluation."""
        run_id, step = (value.get("run"), value.get("step")) if isinstance(value, dict) else (None, None)
        if not isinstance(run_id, str) or not isinstance(step, int):
            return gr.skip()
        try:
            return self.training_service.run_views.get_samples(run_id, step)
        except ValueError:  # the run was deleted
            return gr.skip()

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(
        self, page: gr.Blocks, tabs: gr.Tabs, train_tabs: gr.Tabs, checkpoint_dropdown: gr.Dropdown | None
    ) -> None:
        """Connect all events. The dashboard updates when its tab is opened, when runs are selected, and every second.

        Args:
            page: The page, for its load event.
            tabs: Tabs of the page.
            train_tabs: Tabs of the Train tab, to switch to the form of a new run.
            checkpoint_dropdown: Checkpoint dropdown of the Think tab.
        """

        def open_requested_tab(request: gr.Request) -> Any:
            """Open the Train tab if the address of the page ends in `?tab=train`."""
            is_train = dict(request.query_params or {}).get("tab") == "train"
            return gr.Tabs(selected="train") if is_train else gr.skip()

        page.load(open_requested_tab, None, tabs, **SILENT_EVENT)
        self.runs.tick(self.show, self.runs, self.outputs, js=JS_GET_STATE, **SILENT_EVENT)
        self.runs.input(self.show, self.runs, self.outputs, js=JS_GET_STATE, trigger_mode="always_last", **SILENT_EVENT)
        self.runs.submit(lambda: gr.Tabs(selected=NEW_RUN_TAB_ID), None, train_tabs, **SILENT_EVENT)
        self.samples.input(
            self.show_samples,
            self.samples,
            self.samples,
            js=JS_GET_REQUESTED_SAMPLES,
            trigger_mode="always_last",
            **SILENT_EVENT,
        )
        self.actions.connect(self.runs, self.refresh)
        if checkpoint_dropdown is not None:
            self.actions.connect_think_button(self.runs, checkpoint_dropdown, tabs)

    def refresh(self, event: Any) -> None:
        """Let an event be followed by an update of the dashboard."""
        event.then(self.show, self.runs, self.outputs, js=JS_GET_STATE, **SILENT_EVENT)
