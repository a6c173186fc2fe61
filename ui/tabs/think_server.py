"""Predictions that the server computes: a short one at once, a long one tick by tick until it ends or the visitor stops it.

Two events share the work, because an event that may send several results costs more than one that sends one. The first event
runs the model for `FIRST_UPDATE_S`. If the unroll is longer, it returns the ticks so far, and the page calls the second event,
which sends further ticks. While other predictions run as well, the first event waits longer: short unrolls then take a while because
they share the processor, and a second event for each would slow all of them down.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.services.inference_service import InferenceService, PolicyError
from ui.services.running_predictions import RunningPrediction, RunningPredictions
from ui.tabs.event_options import INFERENCE_EVENT, PRIVATE_EVENT, UNQUEUED_EVENT, Updates

FIRST_UPDATE_S = 0.3  # an unroll that takes longer is shown while it runs
SHARED_FIRST_UPDATE_S = 3.0  # the same while other predictions run
MAX_REASON_CHARS = 300
STOP_BUTTON_ID = "stop-prediction"
FOLLOW_BUTTON_ID = "follow-prediction"
LEAVE_BUTTON_ID = "leave-prediction"
LOST_MESSAGE = "The server no longer computes this: run it again."
JS_FOLLOW = f"""(record) => {{
  if (record?.is_complete === false && !record.is_stopped) document.querySelector("#{FOLLOW_BUTTON_ID}").click();
  return [];
}}"""
# An expression that ends a long prediction of the server without showing what there is of it. The button exists while one runs.
JS_LEAVE = f"""document.querySelector("#{STOP_BUTTON_ID}") && document.querySelector("#{LEAVE_BUTTON_ID}").click()"""


@dataclass(frozen=True)
class ServerViews:
    """Components that show a prediction.

    Attributes:
        thought: Shows the record.
        problem: Shows why an input cannot be used, next to it.
        policy_problem: Shows why a policy cannot be used, next to it.
        options: Section of the policy.
    """

    thought: gr.HTML
    problem: gr.HTML
    policy_problem: gr.HTML
    options: gr.Accordion

    def list_all(self) -> list[Any]:
        """Return all components."""
        return [self.thought, self.problem, self.policy_problem, self.options]

    def build_result(self, record: dict[str, Any]) -> Updates:
        """Return the updates that show a record."""
        return {
            self.thought: record,
            self.problem: {},
            self.policy_problem: {},
        }

    def build_problem(self, message: str, checkpoint: str | None = None) -> Updates:
        """Return the updates that show a problem; the former thought stays, and does not grow any more."""
        value = {"problem": message} | ({"checkpoint": checkpoint} if checkpoint else {})
        return {self.thought: value, self.problem: value}

    def build_policy_problem(self, message: str, checkpoint: str) -> Updates:
        """Return the updates that show a problem with the policy, and open its section."""
        value = {"problem": message, "checkpoint": checkpoint}
        return {
            self.thought: value,
            self.problem: {},
            self.policy_problem: value,
            self.options: gr.Accordion(open=True),
        }


class ServerPrediction:
    """Events of predictions on the server.

    Args:
        inference_service: Runs the models.
        views: Components that show a prediction.
        stop_button: Stops a long prediction; its id is `STOP_BUTTON_ID`.
    """

    def __init__(self, inference_service: InferenceService, views: ServerViews, stop_button: gr.Button) -> None:
        self.inference_service = inference_service
        self.views = views
        self.stop_button = stop_button
        self.follow_button = gr.Button(visible="hidden", elem_id=FOLLOW_BUTTON_ID)
        self.leave_button = gr.Button(visible="hidden", elem_id=LEAVE_BUTTON_ID)
        self.key = gr.State()
        self._running = RunningPredictions()
        self._num_first_events = 0  # that are at work now
        self._lock = threading.Lock()

    @property
    def shown(self) -> list[Any]:
        """Return the components that show a prediction."""
        return self.views.list_all()

    def connect(self, outcome: gr.JSON) -> None:
        """Connect the events that show and stop a long prediction.

        Args:
            outcome: What the browser did before, see `answer` in ctm/page.js.
        """
        self.follow_button.click(
            self.follow,
            [self.key, outcome],
            [*self.shown, self.stop_button],
            trigger_mode="multiple",
            **PRIVATE_EVENT | INFERENCE_EVENT | {"show_progress": "hidden"},
        )
        self.stop_button.click(self.stop, self.key, None, **UNQUEUED_EVENT)
        self.leave_button.click(self.leave, self.key, self.stop_button, **UNQUEUED_EVENT)

    def connect_button(self, button: gr.Button, predict: Callable[..., Updates], inputs: list[Any]) -> None:
        """Run a prediction when a button is pressed.

        Args:
            button: The button.
            predict: Handler that calls `run`.
            inputs: Its inputs besides the former prediction, which is the last one.
        """
        outputs = [*self.shown, self.stop_button, self.key]
        event = button.click(
            predict, [*inputs, self.key], outputs, trigger_mode="always_last", **PRIVATE_EVENT | INFERENCE_EVENT
        )
        event.then(None, self.views.thought, None, js=JS_FOLLOW, **PRIVATE_EVENT)

    def run(
        self,
        load_input: Callable[[], Any],
        name: str,
        policy: str,
        outcome: dict[str, Any] | None = None,
        former_key: str | None = None,
    ) -> Updates:
        """Run a prediction. An error appears below the input or the policy; the former thought stays.

        Args:
            load_input: Returns the input for `InferenceService.predict`.
            name: Name of the checkpoint.
            policy: Halting policy as text.
            outcome: What the browser did before, see `answer` in ctm/page.js; its reason is added to the sentence.
            former_key: Key of the last long prediction of this visitor; it is cancelled.
        """
        updates: Updates = {self.stop_button: self.leave(former_key)} if self._running.get(former_key) else {}
        try:
            stream = self.inference_service.start(name, load_input(), policy)
            with self._count_first_event() as is_shared:
                is_done = stream.run(SHARED_FIRST_UPDATE_S if is_shared else FIRST_UPDATE_S)
            if not is_done:
                return updates | self._build_start(RunningPrediction(stream))
            record = stream.build_record()
        except PolicyError as error:
            return updates | self.views.build_policy_problem(str(error), name)
        except ValueError as error:
            return updates | self.views.build_problem(str(error), name)
        return updates | self.views.build_result(add_sentence(record, outcome))

    @contextmanager
    def _count_first_event(self) -> Iterator[bool]:
        """Count a first event while it is at work; yield whether there are others."""
        with self._lock:
            self._num_first_events += 1
            is_shared = self._num_first_events > 1
        try:
            yield is_shared
        finally:
            with self._lock:
                self._num_first_events -= 1

    def follow(self, key: str | None, outcome: dict[str, Any] | None) -> Iterator[Updates]:
        """Yield the record of a long prediction as it grows, and at the end the result.

        Args:
            key: Key of the prediction.
            outcome: See `run`.
        """
        running = self._running.get(key)
        if running is None:
            yield self.views.build_problem(LOST_MESSAGE) | {self.stop_button: gr.Button(visible=False)}
            return
        record: dict[str, Any] = {}
        try:
            for record in running.iterate_records():
                yield self._build_update(record, outcome)
            if running.is_superseded:
                yield {}  # Gradio repeats the last updates when the generator ends
        finally:
            self._running.remove(key)

    def _build_update(self, record: dict[str, Any], outcome: dict[str, Any] | None) -> Updates:
        """Return the updates for a record of `RunningPrediction.iterate_records`."""
        if "problem" in record:
            problem = self.views.build_problem(record["problem"], record.get("checkpoint"))
            return problem | {self.stop_button: gr.Button(visible=False)}
        if record.get("is_complete") is False and not record["is_stopped"]:
            return {self.views.thought: record}
        return {self.views.thought: add_sentence(record, outcome), self.stop_button: gr.Button(visible=False)}

    def stop(self, key: str | None) -> None:
        """Cancel a long prediction; `follow` shows what there is of it."""
        if running := self._running.get(key):
            running.stream.cancel()

    def leave(self, key: str | None) -> gr.Button:
        """Cancel a long prediction without showing what there is of it; return the hidden button."""
        if running := self._running.get(key):
            running.supersede()
        return gr.Button(visible=False)

    def _build_start(self, running: RunningPrediction) -> Updates:
        """Return the first updates of a long prediction."""
        key = self._running.add(running)
        shown = self.views.build_result(running.stream.build_partial_record())
        return shown | {self.stop_button: gr.Button(visible=True), self.key: key}


def add_sentence(record: dict[str, Any], outcome: dict[str, Any] | None) -> dict[str, Any]:
    """Return a record whose sentence says why the browser did not compute it."""
    reason = outcome.get("reason") if isinstance(outcome, dict) else None
    if not isinstance(reason, str) or not reason:
        return record
    return record | {"sentence": f"{record['sentence']} {reason[:MAX_REASON_CHARS]}"}
