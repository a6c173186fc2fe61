"""Run monitor: state, curves, log and checkpoints of one run, and the actions of the owner."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.components.curves import build_curves_view
from ui.components.formatting import escape_markdown
from ui.components.html_component import build_html_component
from ui.components.inputs import RunDropdown
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.tabs.error_messages import run_action, run_as_owner
from ui.tabs.event_options import OWNER_EVENT, PRIVATE_EVENT, SILENT_EVENT, UNQUEUED_EVENT, Updates
from ui.tabs.run_format import (
    NEWEST_STEP,
    build_step_dropdown,
    format_headline,
    format_run_facts,
    get_allowed_actions,
)

NO_RUNS_MESSAGE = "### No runs yet\nStart one under *New run*."
CONFIRMATIONS = {
    "kill": "Force stop? Progress since the last checkpoint is lost. *Stop and save* loses nothing.",
    "delete": "Delete this run with its curves, its log and all its checkpoints? Published checkpoints stay on the Hub.",
}


class RunMonitor:
    """Components of the monitor and their events.

    The page asks every second for what is new. `shown_version` holds the version that the page shows, so that the answer
    is empty while nothing changes.

    Args:
        training_service: Describes and controls the runs.
        inference_service: Names checkpoints for the Think tab.
        access: Decides who may act; called inside every action.
    """

    def __init__(self, training_service: TrainingService, inference_service: InferenceService, access: Access) -> None:
        self.training_service = training_service
        self.inference_service = inference_service
        self.access = access
        self.shown_version = gr.State("")
        self.pending_action = gr.State(("", ""))  # name of the action to confirm, and id of its run
        with gr.Row(equal_height=True):
            self.run_dropdown = RunDropdown([], label="Run", elem_id="run", scale=4, min_width=280)
            with gr.Column(scale=6, min_width=280):
                self.headline = gr.Markdown(NO_RUNS_MESSAGE, elem_id="headline")
        self._build_actions()
        self.curves = build_curves_view("curves")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.facts = gr.Markdown(elem_id="run-facts", elem_classes="facts")
                self._build_changed_resume()
                self._build_publishing()
            with gr.Column(scale=4, min_width=300):
                self.log = build_html_component("log", "log")
        self.timer = gr.Timer(1.0, active=False)

    def _build_actions(self) -> None:
        small: dict[str, Any] = {"visible": False, "scale": 0, "size": "md"}
        with gr.Row(elem_id="run-actions"):
            self.step_dropdown = gr.Dropdown(
                [],
                label="Checkpoint",
                show_label=False,
                visible=False,
                elem_id="step",
                min_width=170,
                scale=0,
                container=False,
            )
            self.buttons = {
                "try": gr.Button("Try it", elem_id="try-run", min_width=110, **small),
                "stop": gr.Button("Stop and save", variant="stop", elem_id="stop", min_width=150, **small),
                "resume": gr.Button("Resume", variant="primary", elem_id="resume", min_width=110, **small),
                "duplicate": gr.Button("Duplicate", elem_id="duplicate", min_width=120, **small),
                "archive": gr.Button("Prepare download", elem_id="create-archive", min_width=180, **small),
                "kill": gr.Button("Force stop …", elem_id="kill", min_width=140, **small),
                "delete": gr.Button("Delete …", elem_id="delete", min_width=100, **small),
            }
            self.archive_button = gr.DownloadButton(
                "Download", variant="primary", elem_id="archive", min_width=120, **small
            )
        with gr.Row(visible=False, elem_id="confirm-row") as self.confirm_row:
            self.confirm_text = gr.Markdown(elem_id="confirm-text")
            self.confirm_button = gr.Button("Yes", variant="stop", elem_id="confirm", scale=0, min_width=110)
            self.cancel_button = gr.Button("Cancel", elem_id="cancel", scale=0, min_width=110)

    def _build_changed_resume(self) -> None:
        with gr.Accordion("Resume with other settings", open=False, visible=False) as self.changed_resume:
            self.changed_settings = gr.Textbox(
                label="Settings to change",
                placeholder="train.batch_size=32 train.gradient_accumulation_steps=2",
                max_length=2_000,
                elem_id="changed-settings",
                info="For example a smaller batch, a lower learning rate, more steps, or the new place of the data.",
            )
            self.changed_resume_button = gr.Button("Resume with these settings", elem_id="resume-changed")

    def _build_publishing(self) -> None:
        with gr.Accordion("Publish to the Hugging Face Hub", open=False, visible=False) as self.publishing:
            self.repo = gr.Textbox(
                label="Repository",
                placeholder="namespace/name",
                max_length=200,
                elem_id="repo",
                info="Publishes the finished checkpoint, or else the newest one, in one commit.",
            )
            self.private = gr.Checkbox(label="Create as private repository")
            self.publish_button = gr.Button("Publish now", elem_id="publish")

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [
            self.run_dropdown,
            self.shown_version,
            self.headline,
            self.curves,
            self.facts,
            self.log,
            self.step_dropdown,
            self.changed_resume,
            self.publishing,
            self.repo,
            *self.buttons.values(),
        ]

    # --- updates ---------------------------------------------------------------------------------------------------

    def show(self, run_id: str | None, shown_version: str, request: gr.Request) -> Any:
        """Handle an event: return the updates of a run, or a skip if there are none."""
        return self.build_updates(run_id, shown_version, request) or gr.skip()

    def build_updates(self, run_id: str | None, shown_version: str, request: gr.Request) -> Updates:
        """Return updates with everything of a run that the page does not show yet.

        Args:
            run_id: Run that is selected; a run that no longer exists is replaced by the current one.
            shown_version: Version that the page shows; empty to show everything.
            request: Request of the event, which decides about the buttons.

        Returns:
            Updates of `outputs`; empty if nothing is new.
        """
        run_views = self.training_service.run_views
        choices = run_views.list_run_choices()
        is_deleted = run_id not in {choice for _, choice in choices}
        run_id = run_views.get_current_run_id() if is_deleted else run_id
        try:
            view = run_views.get_run_view(run_id) if run_id else None
        except ValueError:  # deleted since the runs were listed
            return {}
        is_owner = self.access.get_current_user(request) is not None
        list_version = f"{hash(tuple(choices))}"
        version = f"{list_version} {is_owner} {view['version'] if view else ''}"
        if version == shown_version:
            return {}
        updates: Updates = {self.shown_version: version}
        if is_deleted:
            updates[self.run_dropdown] = gr.Dropdown(choices, value=run_id)
        elif not shown_version.startswith(f"{list_version} "):  # a needless update would undo a choice in progress
            updates[self.run_dropdown] = gr.Dropdown(choices)
        if view is None:
            return updates | self._build_empty_updates()
        is_same_run = bool(run_id) and run_id in shown_version.split()
        return updates | self._build_run_updates(view, is_owner, is_same_run)

    def _build_empty_updates(self) -> Updates:
        return {
            self.headline: NO_RUNS_MESSAGE,
            self.curves: None,
            self.facts: "",
            self.log: "",
            self.step_dropdown: gr.Dropdown(visible=False),
            self.changed_resume: gr.Accordion(visible=False),
            self.publishing: gr.Accordion(visible=False),
            **{button: gr.Button(visible=False) for button in self.buttons.values()},
        }

    def _build_run_updates(self, view: dict[str, Any], is_owner: bool, is_same_run: bool) -> Updates:
        actions = get_allowed_actions(view, is_owner)
        updates = {
            self.headline: format_headline(view),
            self.curves: view["curves"],
            self.facts: format_run_facts(view),
            self.log: view["log"],
            self.step_dropdown: build_step_dropdown(view, is_same_run),
            self.changed_resume: gr.Accordion(visible="resume" in actions),
            self.publishing: gr.Accordion(visible="publish" in actions),
            **{button: gr.Button(visible=name in actions) for name, button in self.buttons.items()},
        }
        return updates if is_same_run else updates | {self.repo: view["repo"]}

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, tabs: gr.Tabs, checkpoint_dropdown: gr.Dropdown | None) -> None:
        """Connect all events. The monitor updates when the page is loaded, when another run is selected, and every second.

        Args:
            page: The page, for its load event.
            tabs: Tabs of the page.
            checkpoint_dropdown: Checkpoint dropdown of the Think tab.
        """

        def open_requested_tab(request: gr.Request) -> Updates:
            """Open the Train tab if the address of the page ends in `?tab=train`."""
            if dict(request.query_params or {}).get("tab") != "train":
                return gr.skip()
            return {tabs: gr.Tabs(selected="train"), self.timer: gr.Timer(active=True)}

        inputs = [self.run_dropdown, self.shown_version]
        page.load(self.show, inputs, self.outputs, **SILENT_EVENT)
        page.load(open_requested_tab, None, [tabs, self.timer], **SILENT_EVENT)
        tabs.select(self._toggle_timer, None, self.timer, **SILENT_EVENT)
        self.timer.tick(self.show, inputs, self.outputs, **SILENT_EVENT)
        self.run_dropdown.input(
            self._select_run,
            self.run_dropdown,
            [*self.outputs, self.confirm_row, self.archive_button],
            **SILENT_EVENT,
        )
        self._connect_actions()
        if checkpoint_dropdown is not None:
            self._connect_think_button(checkpoint_dropdown, tabs)

    def _select_run(self, run_id: str | None, request: gr.Request) -> Updates:
        return {
            **self.build_updates(run_id, "", request),
            self.confirm_row: gr.Row(visible=False),
            self.archive_button: gr.DownloadButton(visible=False),
        }

    def _toggle_timer(self, selection: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=selection.value == "Train")

    def _connect_actions(self) -> None:
        inputs = [self.run_dropdown, self.shown_version]
        for name in ("stop", "resume"):
            action = getattr(self.training_service, name)
            self.buttons[name].click(self._make_action_handler(action), self.run_dropdown, None, **UNQUEUED_EVENT).then(
                self.show, inputs, self.outputs, **SILENT_EVENT
            )
        self.changed_resume_button.click(
            self._make_action_handler(self.training_service.resume),
            [self.run_dropdown, self.changed_settings],
            None,
            **OWNER_EVENT,
        ).then(self.show, inputs, self.outputs, **SILENT_EVENT)
        for name in CONFIRMATIONS:
            self.buttons[name].click(
                self._make_confirmation_handler(name),
                self.run_dropdown,
                [self.pending_action, self.confirm_text, self.confirm_row],
                **UNQUEUED_EVENT,
            )
        self.cancel_button.click(lambda: gr.Row(visible=False), None, self.confirm_row, **SILENT_EVENT)
        self.confirm_button.click(
            self._run_confirmed_action, self.pending_action, self.confirm_row, **UNQUEUED_EVENT
        ).then(self.show, inputs, self.outputs, **SILENT_EVENT)
        self.publish_button.click(
            self._make_action_handler(self.training_service.publish),
            [self.run_dropdown, self.repo, self.private],
            None,
            **OWNER_EVENT,
        )
        self.buttons["archive"].click(self._create_archive, self.run_dropdown, self.archive_button, **OWNER_EVENT)

    def _make_action_handler(self, action: Callable[..., str]) -> Callable[..., None]:
        """Return a handler that runs an action and shows the sentence that it returns."""

        def handle(request: gr.Request, *args: Any) -> None:
            if sentence := run_as_owner(self.access, request, action, *args):
                gr.Info(escape_markdown(sentence), duration=8)

        return handle

    def _make_confirmation_handler(self, name: str) -> Callable[..., Updates]:
        """Return a handler that asks for the confirmation of an action."""

        def confirm(run_id: str, request: gr.Request) -> Updates:
            run_as_owner(self.access, request, self.training_service.run_views.get_run_view, run_id)
            return {
                self.pending_action: (name, run_id),
                self.confirm_text: f"**{escape_markdown(run_id)}**: {CONFIRMATIONS[name]}",
                self.confirm_row: gr.Row(visible=True),
            }

        return confirm

    def _run_confirmed_action(self, pending_action: tuple[str, str], request: gr.Request) -> gr.Row:
        def run() -> None:
            name, run_id = pending_action
            if name not in CONFIRMATIONS:
                raise ValueError("There is nothing to confirm.")
            getattr(self.training_service, name)(run_id)

        run_as_owner(self.access, request, run)
        return gr.Row(visible=False)

    def _create_archive(self, run_id: str, request: gr.Request) -> gr.DownloadButton:
        path = run_as_owner(self.access, request, self.training_service.create_archive, run_id)
        return gr.DownloadButton(value=path, visible=True)

    def _connect_think_button(self, checkpoint_dropdown: gr.Dropdown, tabs: gr.Tabs) -> None:
        """Connect the button that opens a checkpoint of the run in the Think tab. Every visitor may press it."""

        def open_in_think_tab(run_id: str, step: str | None) -> Updates:
            name = run_action(self._get_checkpoint_name, run_id, step)
            labels = self.inference_service.list_checkpoint_labels()
            choices = [(label, choice) for label, choice in labels if choice != name]
            return {
                checkpoint_dropdown: gr.Dropdown([*choices, (name, name)], value=name),
                tabs: gr.Tabs(selected="think"),
            }

        self.buttons["try"].click(
            open_in_think_tab,
            [self.run_dropdown, self.step_dropdown],
            [checkpoint_dropdown, tabs],
            **PRIVATE_EVENT,
        )

    def _get_checkpoint_name(self, run_id: str, step: str | None) -> str:
        """Return the name of a checkpoint of a run that can be loaded."""
        name = self.training_service.get_checkpoint_name(run_id, None if step in (None, NEWEST_STEP) else int(step))
        self.inference_service.get_checkpoint_info(name)
        return name
