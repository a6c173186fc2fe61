"""Events that run a prediction on the Think tab: in the browser if it can, or else on the server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ui.tabs.event_options import PRIVATE_EVENT, Updates
from ui.tabs.think_server import JS_LEAVE, ServerPrediction, ServerViews

# Functions of ctm/page.js. While it is not loaded, the components stay as they are and the server computes everything.
UNCHANGED_VIEWS = ", ".join(['{ __type__: "update" }'] * len(fields(ServerViews)))
JS_ANSWER = """(value, checkpoint, policy, manifest, isEnabled) => {
  const source = { kind: "KIND", button: "BUTTON", cause: "CAUSE" };
  const leaveServer = () => LEAVE;
  const state = { checkpoint, policy, manifest, isEnabled, leaveServer };
  return globalThis.ctm?.answer(source, value, state)
    ?? [UNCHANGED, "CAUSE" !== "run" ? null : { button: "BUTTON", reason: "" }];
}""".replace("LEAVE", JS_LEAVE).replace("UNCHANGED", UNCHANGED_VIEWS)
JS_REPEAT = """(checkpoint, policy, manifest, isEnabled) => {
  const leaveServer = () => LEAVE;
  return globalThis.ctm?.repeat({ checkpoint, policy, manifest, isEnabled, leaveServer })
    ?? [UNCHANGED, null];
}""".replace("LEAVE", JS_LEAVE).replace("UNCHANGED", UNCHANGED_VIEWS)
JS_ASK_SERVER = """(outcome) => {
  if (outcome?.button) document.getElementById(outcome.button)?.click();
  return [];
}"""


@dataclass(frozen=True)
class PredictionEvents:
    """Components that every prediction reads and changes besides its input.

    Attributes:
        server: Predictions on the server, and the components that show them.
        checkpoint: Selected checkpoint.
        policy: Halting policy as text.
        manifest: What the browser needs to run the checkpoint; None if it cannot.
        in_browser: Whether the browser may compute.
        outcome: What the browser did, see `answer` in ctm/page.js.
    """

    server: ServerPrediction
    checkpoint: gr.Dropdown
    policy: gr.Textbox
    manifest: gr.JSON
    in_browser: gr.Checkbox
    outcome: gr.JSON

    @property
    def outputs(self) -> list[Any]:
        """Return the components that an event in the browser changes."""
        return [*self.server.shown, self.outcome]

    def connect(
        self,
        predict: Callable[..., Updates],
        source: Any,
        kind: str,
        runs: Sequence[Callable[..., Any]],
        changes: Sequence[Callable[..., Any]],
        selects: Sequence[Callable[..., Any]] = (),
    ) -> None:
        """Run a prediction when an event happens.

        Args:
            predict: Handler of the prediction on the server.
            source: Component that holds the input.
            kind: Kind of input: "text", "drawing" or "upload".
            runs: Methods of components or of events that add a listener, such as `button.click`: the user asks for a run.
            changes: The same for changes of the input: an empty input then does nothing.
            selects: The same for the selection of a model, whose first example is the input then.
        """
        button = gr.Button(visible="hidden", elem_id=f"ask-server-{source.elem_id}")
        self.server.connect_button(button, predict, [source, self.checkpoint, self.policy, self.outcome])
        inputs = [source, self.checkpoint, self.policy, self.manifest, self.in_browser]
        for triggers, cause in ((runs, "run"), (changes, "change"), (selects, "select")):
            js = JS_ANSWER.replace("KIND", kind).replace("BUTTON", button.elem_id).replace("CAUSE", cause)
            for trigger in triggers:
                self._connect_browser(trigger, inputs, js)

    def connect_repetition(self) -> None:
        """Repeat the last prediction when the policy or the place of computation changes."""
        inputs = [self.checkpoint, self.policy, self.manifest, self.in_browser]
        for trigger in (self.policy.change, self.in_browser.input):
            self._connect_browser(trigger, inputs, JS_REPEAT)

    def _connect_browser(self, trigger: Callable[..., Any], inputs: list[Any], js: str) -> None:
        event = trigger(None, inputs, self.outputs, js=js, trigger_mode="multiple", **PRIVATE_EVENT)
        event.then(None, self.outcome, None, js=JS_ASK_SERVER, **PRIVATE_EVENT)
