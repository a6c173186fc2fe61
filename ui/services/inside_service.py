"""The inside of predictions that the server computed: remembers inputs, and answers requests about them.

Only inputs are remembered, not states: the first request about a prediction computes its unroll again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference import HaltingPolicy
from training.inside_view import InsideView
from training.pipeline import Pipeline
from training.tasks.samples import TaskInput

MAX_REMEMBERED_INPUTS = 64
MAX_VIEWS = 4  # each holds the states of one unroll, up to 16 MB
FORGOTTEN = "This answer is no longer in memory: run the model again to look inside."


@dataclass(frozen=True)
class RememberedInput:
    """Input of a prediction.

    Attributes:
        name: Name of the checkpoint.
        task_input: The parsed input.
        policy: The halting policy of the run.
    """

    name: str
    task_input: TaskInput
    policy: HaltingPolicy


class InsideService:
    """Answers requests about the inside of predictions. Thread-safe.

    Args:
        load_pipeline: Returns the loaded checkpoint of a name.
    """

    def __init__(self, load_pipeline: Callable[[str], Pipeline]) -> None:
        self._load_pipeline = load_pipeline
        self._inputs: OrderedDict[str, RememberedInput] = OrderedDict()
        self._views: OrderedDict[str, InsideView] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, record_id: str, remembered: RememberedInput) -> None:
        """Remember the input of a prediction, and forget the oldest one if there are too many.

        Args:
            record_id: Id of the record of the prediction.
            remembered: Its input.
        """
        with self._lock:
            self._inputs[record_id] = remembered
            while len(self._inputs) > MAX_REMEMBERED_INPUTS:
                self._inputs.popitem(last=False)

    def answer(self, record_id: Any, request: Any) -> dict[str, Any]:
        """Answer a request about the inside of a prediction.

        Args:
            record_id: Id of the record of the prediction.
            request: See `training.inside_view`. Both come from a browser, so they may be anything.

        Raises:
            ValueError: The prediction is forgotten, has no inside view, or the request is invalid. The message is one
                sentence for the user.
        """
        if not isinstance(record_id, str) or not isinstance(request, dict):
            raise ValueError(FORGOTTEN)
        return self._get_view(record_id).answer(request)

    def _get_view(self, record_id: str) -> InsideView:
        with self._lock:
            view, remembered = self._views.get(record_id), self._inputs.get(record_id)
            if view is not None:
                self._views.move_to_end(record_id)
        if view is not None:
            return view
        if remembered is None:
            raise ValueError(FORGOTTEN)
        view = InsideView(self._load_pipeline(remembered.name), remembered.task_input, remembered.policy)
        with self._lock:
            self._views[record_id] = view
            while len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        return view
