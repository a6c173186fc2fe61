"""Actions on the run that the dashboard shows. Only the owner may act; every visitor may open a checkpoint in the Think tab."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.components.formatting import escape_markdown
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService
from ui.tabs.dashboard_state import get_shown_run
from ui.tabs.error_messages import run_action, run_as_owner
from ui.tabs.event_options import OWNER_EVENT, PRIVATE_EVENT, SILENT_EVENT, UNQUEUED_EVENT, Updates
from ui.tabs.run_format import NEWEST_STEP, build_step_dropdown, get_allowed_actions

CONFIRMATIONS = {
    "kill": "Force stop? Progress since the last checkpoint is lost. *Stop and save* loses nothing.",
    "delete": "Delete this run with its curves, its log and all its checkpoints? Published checkpoints stay on the Hub.",
}


class RunActions:
    """Buttons of the shown run and their events.

    Args:
        training_service: Controls the runs.
        inference_service: Names checkpoints for the Think tab.
        access: Decides who may act; called inside every action.
    """

    def __init__(self, training_service: TrainingService, inference_service: InferenceService, access: Access) -> None:
        self.training_service = training_service
        self.inference_service = inference_service
        self.access = access
        self.pending_action = gr.State(("", ""))  # name of the action to confirm, and id of its run

    # --- components ------------------------------------------------------------------------------------------------

    def build_buttons(self) -> None:
        """Build the row of buttons and the question that confirms an action."""
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

    def build_sections(self) -> None:
        """Build the sections for resuming with other settings and for publishing."""
        with gr.Accordion("Resume with other settings", open=False, visible=False) as self.changed_resume:
            self.changed_settings = gr.Textbox(
                label="Settings to change",
                placeholder="train.batch_size=32 train.gradient_accumulation_steps=2",
                max_length=2_000,
                elem_id="changed-settings",
                info="For example a smaller batch, a lower learning rate, more steps, or the new place of the data.",
            )
            self.changed_resume_button = gr.Button("Resume with these settings", elem_id="resume-changed")
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
        """Return the components that updates of a run change."""
        sections = [self.changed_resume, self.publishing, self.repo]
        return [self.step_dropdown, *sections, self.confirm_row, self.archive_button, *self.buttons.values()]

    def build_updates(self, view: dict[str, Any] | None, is_owner: bool, is_same_run: bool) -> Updates:
        """Return the updates of buttons and sections.

        Args:
            view: View model of the run; None without a run.
            is_owner: Whether the visitor may train.
            is_same_run: Whether the page already shows this run: then choices and questions stay.
        """
        actions = get_allowed_actions(view, is_owner) if view else set()
        updates: Updates = {
            self.step_dropdown: build_step_dropdown(view, is_same_run) if view else gr.Dropdown(visible=False),
            self.changed_resume: gr.Accordion(visible="resume" in actions),
            self.publishing: gr.Accordion(visible="publish" in actions),
            **{button: gr.Button(visible=name in actions) for name, button in self.buttons.items()},
        }
        if is_same_run:
            return updates
        return updates | {
            self.repo: view["repo"] if view else "",
            self.confirm_row: gr.Row(visible=False),
            self.archive_button: gr.DownloadButton(visible=False),
        }

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self, runs: gr.HTML, refresh: Callable[[Any], Any]) -> None:
        """Connect the events of owners.

        Args:
            runs: List of runs, whose value names the shown run.
            refresh: Makes an event be followed by an update of the dashboard.
        """
        for name in ("stop", "resume"):
            action = getattr(self.training_service, name)
            refresh(self.buttons[name].click(self._make_action_handler(action), runs, None, **UNQUEUED_EVENT))
        refresh(
            self.changed_resume_button.click(
                self._make_action_handler(self.training_service.resume),
                [runs, self.changed_settings],
                None,
                **OWNER_EVENT,
            )
        )
        for name in CONFIRMATIONS:
            self.buttons[name].click(
                self._make_confirmation_handler(name),
                runs,
                [self.pending_action, self.confirm_text, self.confirm_row],
                **UNQUEUED_EVENT,
            )
        self.cancel_button.click(lambda: gr.Row(visible=False), None, self.confirm_row, **SILENT_EVENT)
        refresh(
            self.confirm_button.click(
                self._run_confirmed_action, self.pending_action, self.confirm_row, **UNQUEUED_EVENT
            )
        )
        self.publish_button.click(
            self._make_action_handler(self.training_service.publish),
            [runs, self.repo, self.private],
            None,
            **OWNER_EVENT,
        )
        self.buttons["archive"].click(self._create_archive, runs, self.archive_button, **OWNER_EVENT)

    def _make_action_handler(self, action: Callable[..., str]) -> Callable[..., None]:
        """Return a handler that runs an action and shows the sentence that it returns."""

        def handle(request: gr.Request, runs: Any, *args: Any) -> None:
            if sentence := run_as_owner(self.access, request, action, get_shown_run(runs), *args):
                gr.Info(escape_markdown(sentence), duration=8)

        return handle

    def _make_confirmation_handler(self, name: str) -> Callable[..., Updates]:
        """Return a handler that asks for the confirmation of an action."""

        def confirm(runs: Any, request: gr.Request) -> Updates:
            run_id = get_shown_run(runs)
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

    def _create_archive(self, runs: Any, request: gr.Request) -> gr.DownloadButton:
        path = run_as_owner(self.access, request, self.training_service.create_archive, get_shown_run(runs))
        return gr.DownloadButton(value=path, visible=True)

    def connect_think_button(self, runs: gr.HTML, checkpoint_dropdown: gr.Dropdown, tabs: gr.Tabs) -> None:
        """Connect the button that opens a checkpoint of the run in the Think tab. Every visitor may press it.

        Args:
            runs: See `connect`.
            checkpoint_dropdown: Checkpoint dropdown of the Think tab.
            tabs: Tabs of the page.
        """

        def open_in_think_tab(value: Any, step: str | None) -> Updates:
            name = run_action(self._get_checkpoint_name, get_shown_run(value), step)
            labels = self.inference_service.list_checkpoint_labels()
            choices = [(label, choice) for label, choice in labels if choice != name]
            return {
                checkpoint_dropdown: gr.Dropdown([*choices, (name, name)], value=name),
                tabs: gr.Tabs(selected="think"),
            }

        self.buttons["try"].click(
            open_in_think_tab, [runs, self.step_dropdown], [checkpoint_dropdown, tabs], **PRIVATE_EVENT
        )

    def _get_checkpoint_name(self, run_id: str, step: str | None) -> str:
        """Return the name of a checkpoint of a run that can be loaded."""
        name = self.training_service.get_checkpoint_name(run_id, None if step in (None, NEWEST_STEP) else int(step))
        self.inference_service.get_checkpoint_info(name)
        return name
