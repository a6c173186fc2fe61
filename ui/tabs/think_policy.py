"""Controls of the halting policy on the Think tab: the choice of a policy, its text, and why a text is invalid."""

from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component
from ui.services.inference_service import CheckpointInfo, InferenceService
from ui.tabs.error_messages import call_service
from ui.tabs.event_options import PRIVATE_EVENT, Updates
from ui.tabs.policy_choices import (
    JS_GET_CLICKED_POLICY,
    JS_GET_POLICY_TEXT,
    POLICY_SYNTAX_HELP,
    build_policy_update,
    get_default_policy,
    get_policy_info,
    list_policy_choices,
    select_policy,
)

JS_GET_DRAGGED_POLICY = (
    "(record) => String(JSON.parse(record).requested_policy ?? '').slice(0, 500)"  # packed by `packObject`
)


class PolicyControls:
    """Components of the policy and their events.

    Args:
        inference_service: Describes the policies of the checkpoints.
        first: The checkpoint to show first.

    Attributes:
        column: Contains the others; hidden for a model of one tick.
        choice: Policies of the checkpoint, and one for a custom text.
        text: The policy as text.
        problem: Shows why the text is invalid.
    """

    def __init__(self, inference_service: InferenceService, first: CheckpointInfo) -> None:
        self.inference_service = inference_service
        default_policy = get_default_policy(first)
        with gr.Column(visible=first.iterations > 1) as self.column:
            self.choice = gr.Dropdown(
                list_policy_choices(first),
                label="Stopping rule",
                info=get_policy_info(first, default_policy),
                elem_id="policy",
            )
            self.text = gr.Textbox(
                default_policy,
                label="Rule",
                info=POLICY_SYNTAX_HELP,
                max_length=500,
                elem_id="policy-text",
                interactive=True,
            )
            self.problem = build_html_component("problem", "policy-problem", {"selected": first.name})

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [self.column, self.choice, self.text, self.problem]

    def build_updates(self, info: CheckpointInfo) -> Updates:
        """Return the updates that show the policies of another checkpoint."""
        return {
            self.column: gr.Column(visible=info.iterations > 1),
            self.choice: build_policy_update(info),
            self.text: get_default_policy(info),
            self.problem: {"selected": info.name},
        }

    def connect(self, checkpoint: gr.Dropdown, halting: gr.HTML, thought: gr.HTML) -> None:
        """Connect the events that change the policy.

        Args:
            checkpoint: Selected checkpoint.
            halting: Chart in which a visitor clicks a policy.
            thought: View in which a visitor drags a threshold.
        """
        self.choice.input(None, [self.choice, self.text], self.text, js=JS_GET_POLICY_TEXT, **PRIVATE_EVENT)
        self.choice.input(self.describe_policy, [checkpoint, self.choice], self.choice, **PRIVATE_EVENT)
        self.text.change(  # Gradio's `input` event does not fire on paste
            self.select_policy,
            [checkpoint, self.text],
            self.choice,
            trigger_mode="always_last",
            show_progress="hidden",
            **PRIVATE_EVENT,
        )
        halting.input(None, halting, self.text, js=JS_GET_CLICKED_POLICY, **PRIVATE_EVENT)
        thought.input(None, thought, self.text, js=JS_GET_DRAGGED_POLICY, **PRIVATE_EVENT)

    def describe_policy(self, name: str, policy: str) -> gr.Dropdown:
        """Return the choices with the evidence of a policy."""
        return gr.Dropdown(info=get_policy_info(self._get_info(name), policy))

    def select_policy(self, name: str, policy: str) -> gr.Dropdown:
        """Return the choice that belongs to the text of a policy."""
        return select_policy(self._get_info(name), policy)

    def _get_info(self, name: str) -> CheckpointInfo:
        return call_service(self.inference_service.get_checkpoint_info, name)
