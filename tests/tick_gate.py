"""Gate in front of the ticks of a model: a test decides when each tick runs."""

import threading
from typing import Any

from ctm.models.base import TickModel

TIMEOUT_S = 30.0


class TickGate:
    """Lets the ticks of a model pass one by one. End with `open`, or a thread waits for `TIMEOUT_S`.

    Args:
        monkeypatch: Restores the model after the test.
        target: The model, or a class of models.
    """

    def __init__(self, monkeypatch: Any, target: TickModel | type[TickModel]) -> None:
        self.batch_sizes: list[int] = []  # slots of every tick that ran
        self._permits = threading.Semaphore(0)
        self._is_open = False
        self._error: Exception | None = None
        run_tick = target.tick

        def wait_and_run(*args: Any) -> Any:
            if not self._is_open:
                assert self._permits.acquire(timeout=TIMEOUT_S), "the test did not let the tick pass"
            if self._error:
                raise self._error
            self.batch_sizes.append(args[-1].batch_size)
            return run_tick(*args)

        monkeypatch.setattr(target, "tick", wait_and_run)

    def let_pass(self, count: int) -> None:
        """Let some ticks pass."""
        self._permits.release(count)

    def open(self) -> None:
        """Let all ticks pass."""
        self._is_open = True
        self._permits.release(1)  # for a tick that waits

    def fail(self, error: Exception) -> None:
        """Raise an error instead of the next tick."""
        self._error = error
        self.open()
