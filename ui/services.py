"""The one door from the screens to the rest: plain data in, plain data out.

Screens name checkpoints by name and give what a person gave; they get back dictionaries of numbers and sentences.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctm.checkpoint import Checkpoint, load
from inference import Engine, Recorder, parse
from training.tasks import Task, task_of
from ui.records import policies_of, record_of, summary_of

KEPT_IN_MEMORY = 4
LONGEST_TEXT = 1_000


@dataclass(frozen=True)
class CheckpointInfo:
    """What a screen needs to know of a checkpoint before thinking with it."""

    name: str
    title: str
    takes: str  # "image" or "text"
    drawn: bool  # whether a drawing by hand is something to give
    invents: bool  # whether `invent` makes up new inputs
    hint: str
    examples: list[Any]
    policies: dict[str, str]  # name for people -> policy text; the default first
    iterations: int
    parameters: int
    summary: str  # one line: what was measured
    card: str


@dataclass(frozen=True)
class Loaded:
    checkpoint: Checkpoint
    task: Task
    stamp: tuple[int, ...]


class Services:
    """Checkpoints by name, and thinking with them.

    Args:
        checkpoints: folder whose subfolders are checkpoints.
    """

    def __init__(self, checkpoints: Path):
        self.folder = Path(checkpoints)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._lock = threading.Lock()

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def checkpoint_names(self) -> list[str]:
        """Names of the checkpoints that are there now, the most welcoming first."""
        names = sorted(path.parent.name for path in self.folder.glob("*/config.json"))
        return sorted(names, key=lambda name: name != "digits")

    def info(self, name: str) -> CheckpointInfo:
        loaded = self._load(name)
        machine, task = loaded.checkpoint.machine, loaded.task
        return CheckpointInfo(
            name=name,
            title=task.title,
            takes=task.takes,
            drawn=task.drawn,
            invents=task.invents,
            hint=task.hint,
            examples=task.examples(),
            policies=policies_of(loaded.checkpoint),
            iterations=machine.config.iterations,
            parameters=sum(parameter.numel() for parameter in machine.parameters()),
            summary=summary_of(loaded.checkpoint.metrics),
            card=loaded.checkpoint.card,
        )

    def _load(self, name: str) -> Loaded:
        """The checkpoint of this name, from memory if its files are unchanged."""
        if name not in self.checkpoint_names():
            known = ", ".join(self.checkpoint_names()) or "none"
            raise ValueError(f"There is no checkpoint called {str(name)[:60]!r} (any more); there are: {known}.")
        folder = self.folder / name
        stamp = tuple(path.stat().st_mtime_ns for path in sorted(folder.iterdir()))
        with self._lock:
            loaded = self._loaded.get(name)
            if loaded is None or loaded.stamp != stamp:
                checkpoint = load(folder)
                loaded = Loaded(checkpoint, task_of(checkpoint.task, checkpoint.machine.config.published()), stamp)
            self._loaded[name] = loaded
            self._loaded.move_to_end(name)
            while len(self._loaded) > KEPT_IN_MEMORY:
                self._loaded.popitem(last=False)
        return loaded

    # --- thinking ------------------------------------------------------------------------------------------------

    def invent(self, name: str, seed: int) -> Any:
        """A new input for this checkpoint, where its `info` says that it `invents`."""
        return self._load(name).task.invent(seed)

    def think(self, name: str, given: Any, policy: str) -> dict[str, Any]:
        """Think about what a person gave.

        Args:
            name: checkpoint.
            given: a text, or a picture as (h, w, 3) values from 0 to 1.
            policy: halting rule as text; empty for the checkpoint's own.

        Returns:
            The record that the live view draws and the downloads hold: see `record_of`.

        Raises:
            ValueError: one sentence for whoever gave the input.
        """
        loaded = self._load(name)
        machine, task = loaded.checkpoint.machine, loaded.task
        if isinstance(given, str) and len(given) > LONGEST_TEXT:
            raise ValueError(f"The text has {len(given):,} characters; at most {LONGEST_TEXT:,} are read.")
        read = task.read(given)
        rule = (
            parse(policy) if policy and policy.strip() else parse(next(iter(policies_of(loaded.checkpoint).values())))
        )
        recorder = Recorder(ticks=machine.config.iterations)
        started = time.perf_counter()
        verdict = Engine(machine, rule).run(read.inputs, watch=recorder)
        milliseconds = (time.perf_counter() - started) * 1e3
        return record_of(name, loaded.checkpoint, task, read, rule, verdict, recorder, milliseconds)


def limit_threads(count: int) -> None:
    """How many threads one thought may use; several thoughts run at once."""
    torch.set_num_threads(count)
