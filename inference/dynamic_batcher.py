"""Thoughts that are asked for at the same time are thought in one batch.

No thought waits for company: while a machine is busy, those who come line up, and its next batch takes all of them that it can.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ctm import Thinker
from inference.engine import Engine, Tick, Verdict
from inference.halting.policies import Policy
from inference.recorder import Frame, Recorder

MOST = 16  # thoughts in a batch
LIMIT = 60.0  # seconds that a batch may take


@dataclass(frozen=True)
class Thought:
    """One row's thought, from beginning to end."""

    verdict: Verdict
    recorder: Recorder
    milliseconds: float  # that its batch took
    company: int  # thoughts in its batch


@dataclass(eq=False)
class Asked:
    """Somebody who waits for a thought."""

    inputs: Tensor
    policy: Policy
    over: bool = False
    thought: Thought | None = None
    error: Exception | None = None
    key: tuple = field(init=False)

    def __post_init__(self):
        self.key = (str(self.policy), self.inputs.shape[1:], self.inputs.dtype)  # what may be thought in one batch


class Together:
    """A machine that many think with at once.

    Args:
        machine: in eval mode.
        most: thoughts in a batch; 1 for one after the other.
        limit: seconds that a batch may take.
        fallback: which tick answers where no rule ends a thought: see `Engine`.
    """

    def __init__(
        self, machine: Thinker, most: int = MOST, limit: float = LIMIT, fallback: Literal["best", "last"] = "best"
    ):
        self.machine, self.most, self.limit, self.fallback = machine, most, limit, fallback
        self._line: deque[Asked] = deque()
        self._changes, self._busy = threading.Lock(), threading.Lock()

    def think(self, inputs: Tensor, policy: Policy) -> Thought:
        """Think about one row of inputs; comes back when that is done, whoever's batch it was in.

        Args:
            inputs: a batch of one.
            policy: when to stop.

        Raises:
            ValueError: the policy does not suit the machine, or the thought takes too long.
        """
        asked = Asked(inputs, policy)
        with self._changes:
            self._line.append(asked)
        while not asked.over:  # whoever is let in thinks for those who came first, who may be others
            with self._busy:
                if not asked.over:
                    self._think(self._next())
        if asked.error is not None:
            raise asked.error
        assert asked.thought is not None
        return asked.thought

    def _next(self) -> list[Asked]:
        """Whoever has waited longest, and those who can be taken along."""
        with self._changes:
            first = self._line[0]
            batch = [asked for asked in self._line if asked.key == first.key][: self.most]
            for asked in batch:
                self._line.remove(asked)
        return batch

    def _think(self, batch: Sequence[Asked]) -> None:
        try:
            thoughts = self._thoughts(batch)
            for asked, thought in zip(batch, thoughts, strict=True):
                asked.thought = thought
        except Exception as error:  # which every one of them is told
            for asked in batch:
                asked.error = error
        finally:
            for asked in batch:
                asked.over = True

    def _thoughts(self, batch: Sequence[Asked]) -> list[Thought]:
        recorders: list[Recorder] = []
        started = time.perf_counter()

        def watch(tick: Tick) -> None:
            if time.perf_counter() - started > self.limit:
                raise ValueError(
                    f"This takes more than {self.limit:.0f} seconds here: let the machine think fewer ticks."
                )
            if not recorders:
                recorders.extend(Recorder(tick.budget, row) for row in range(len(batch)))
            frame = Frame.of(tick)
            for recorder in recorders:
                recorder.note(frame)

        engine = Engine(self.machine, batch[0].policy, fallback=self.fallback)
        verdict = engine.run(torch.cat([asked.inputs for asked in batch]), watch)
        milliseconds = (time.perf_counter() - started) * 1e3
        return [Thought(verdict.row(row), recorder, milliseconds, len(batch)) for row, recorder in enumerate(recorders)]
