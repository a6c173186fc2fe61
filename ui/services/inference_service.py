"""The one door from the screens to the rest: plain data in, plain data out.

Screens name checkpoints by name and give what a person gave; they get back dictionaries of numbers and sentences.
"""

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctm.checkpoint import Checkpoint, load
from ctm.config import most_ticks
from inference import parse
from inference.dynamic_batcher import MOST, Together
from inference.halting.policies import refuse_said
from training.tasks import Task
from ui.services.halting_view_model import Offer, halting_view, offers_of
from ui.services.image_decoding import address_of, read_picture
from ui.services.model_catalog import PURPOSE, Models, split, task_for
from ui.services.thought_record import record_of, summary_of

KEPT_IN_MEMORY = 8
MOST_IN_MEMORY = 3 * 2**30  # bytes of weights
LARGEST_THOUGHT = 5_000_000  # numbers that all ticks together may answer
LONGEST_TEXT = 1_000
MOST_RIVALS = 3


@dataclass(frozen=True)
class CheckpointInfo:
    """What a screen needs to know of a checkpoint before thinking with it."""

    name: str
    title: str
    takes: str  # "image" or "text"
    drawn: bool  # whether a drawing by hand is something to give
    invents: bool  # whether `invent` makes up new inputs
    pad: dict[str, Any] | None  # what helps to make an input by hand: see `Task.pad`
    hint: str
    examples: list[Any]
    offers: dict[str, Offer]  # halting rules, as text; the default first
    iterations: int
    summary: str  # one line: what was measured


@dataclass(frozen=True)
class Loaded:
    checkpoint: Checkpoint
    task: Task
    stamp: tuple[int, ...]
    together: Together

    @property
    def size(self) -> int:
        """Bytes of its weights in memory."""
        return sum(tensor.nbytes for tensor in self.checkpoint.machine.state_dict().values())


class Services:
    """Checkpoints by name, and thinking with them.

    Args:
        models: where the checkpoints are.
        most: thoughts that one checkpoint thinks at once.
    """

    def __init__(self, models: Models, most: int = MOST):
        self.models, self.most = models, most
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._lock = threading.Lock()  # held for moments only
        self._loading = threading.Lock()  # one checkpoint is loaded at a time: two large ones might not fit

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def checkpoint_names(self) -> list[str]:
        """Names of the checkpoints that can think now, the most welcoming first."""
        return self.models.names()

    def info(self, name: str) -> CheckpointInfo:
        """What to offer for a checkpoint on this machine; its weights are not loaded."""
        task, told = self.models.here(name)
        iterations = most_ticks(told["config"])
        return CheckpointInfo(
            name=name,
            title=task.title,
            takes=task.takes,
            drawn=task.drawn,
            invents=task.invents,
            pad=task.pad,
            hint=task.hint,
            examples=task.examples(),
            offers=offers_of(told["halting"], iterations, bool(task.shape().spoken)),
            iterations=iterations,
            summary=summary_of(told["metrics"]),
        )

    def halting(self, name: str) -> dict[str, Any]:
        """What the Halting view draws of a checkpoint on this machine: see `halting_view`."""
        told = self.models.here(name)[1]
        return halting_view(told["halting"], told["metrics"], most_ticks(told["config"]))

    def rivals(self, name: str) -> list[tuple[str, str]]:
        """Who may race against a checkpoint's thought: its other rules, and other checkpoints of the same task."""
        mine, titles = (
            self.info(name),
            {other: self._title(other) for other in self.checkpoint_names() if other != name},
        )
        rules = [(f"rule: {offer.name}", f"rule:{rule}") for rule, offer in mine.offers.items()]
        alike = [other for other, title in titles.items() if title == mine.title]
        return rules + [(f"machine: {label_of(other, mine.title)}", f"machine:{other}") for other in alike]

    def race(self, record: dict[str, Any], given: Any, rivals: list[str]) -> list[dict[str, Any]]:
        """A thought and its rivals' thoughts about the same thing, as lanes of a race; who cannot think about it says why.

        Args:
            record: of the thought.
            given: what it was about: see `think`.
            rivals: of `rivals`; at most `MOST_RIVALS` run.
        """
        name, calls = record["checkpoint"], {rival: label for label, rival in self.rivals(record["checkpoint"])}
        lanes = [lane_of("as asked", record)]
        for rival in rivals[:MOST_RIVALS]:
            kind, _, what = rival.partition(":")
            machine, rule = (name, what) if kind == "rule" else (what, "")
            try:
                lanes.append(lane_of(calls[rival], self.think(machine, given, rule)))
            except (ValueError, KeyError) as error:
                lanes.append({"name": calls.get(rival, "?"), "problem": str(error)})
        return lanes

    def labels(self) -> list[tuple[str, str]]:
        """Every checkpoint that can think now: how it is called on screen, and its name."""
        return [(label_of(name, self._title(name)), name) for name in self.checkpoint_names()]

    def _title(self, name: str) -> str:
        try:
            return self.models.here(name)[0].title
        except ValueError:  # broken, or without a known task: it is told when it is picked
            return ""
        except Exception:  # one odd checkpoint must not hide the others
            logging.getLogger(__name__).exception("The checkpoint %s cannot be described", name)
            return ""

    # --- models --------------------------------------------------------------------------------------------------

    def shelf(self) -> list[tuple[str, str]]:
        """What the Models tab lists: all that can think, then the Hub's models that are not on this machine."""
        return [*self.labels(), *self.elsewhere()]

    def elsewhere(self) -> list[tuple[str, str]]:
        """The Hub's models that are listed and not on this machine: how they are called on screen, and their names."""
        return [(f"{name} · on the Hub", name) for name in self.models.elsewhere()]

    def describe(self, name: str) -> dict[str, Any]:
        """All that is known of a checkpoint, for the Models tab; may ask the Hub, so it may take seconds."""
        model = self.models.describe(name)
        about = model.about
        return {
            "name": model.name,
            "place": model.place,
            "page": self.models.page(model.name),
            "here": about.here,
            "ready": bool(about.here and model.task),
            "title": model.task.title if model.task else "",
            "choices": list(model.choices),
            "revision": about.revision,
            "updated": about.updated,
            "size": about.size,
            "summary": summary_of(about.metrics),
            "config": about.config,
            "halting": about.halting,
            "metrics": about.metrics,
            "published": self.models.publication(model.name),
            "card": about.card,
        }

    def download(self, name: str) -> None:
        """Begin to fetch a checkpoint from the Hub, in the background."""
        self.models.download(name)

    def give_up(self, name: str) -> None:
        """End a download, if it runs."""
        if download := self.models.downloading(name):
            download.give_up()

    def downloading(self, name: str) -> dict[str, Any] | None:
        """How a download stands; None if there is none."""
        download = self.models.downloading(name)
        if download is None:
            return None
        share = download.done / download.total if download.total else 0.0
        return {"running": download.running, "sentence": download.say(), "share": share, "state": download.state}

    def _load(self, name: str) -> Loaded:
        """The checkpoint of this name, from memory if its files are unchanged."""
        folder = self.models.folder(name)
        purpose = "" if (folder / "task.json").is_file() else split(name)[1]
        key = f"{folder}{PURPOSE}{purpose}"  # one checkpoint may have many names
        stamp = tuple(path.stat().st_mtime_ns for path in sorted(folder.iterdir()))
        loaded = self._held(key)
        if loaded is None or loaded.stamp != stamp:
            with self._loading:
                loaded = self._held(key)
                if loaded is None or loaded.stamp != stamp:
                    loaded = self._read(name, folder, purpose, stamp)
                    self._hold(key, loaded)
        return loaded

    def _read(self, name: str, folder: Path, purpose: str, stamp: tuple[int, ...]) -> Loaded:
        with self._lock:
            self._make_room(sum(path.stat().st_size for path in folder.glob("*.safetensors")))
        checkpoint = load(self.models.verified(name))
        config = checkpoint.machine.config
        ticks = most_ticks(config.published())
        if ticks * config.out_dims > LARGEST_THOUGHT:
            raise ValueError(f"Its thoughts are too large to be shown: {ticks:,} ticks of {config.out_dims:,} numbers.")
        task = task_for(checkpoint.task, config.published(), purpose)
        fallback = "last" if task.shape().spoken else "best"
        return Loaded(checkpoint, task, stamp, Together(checkpoint.machine, self.most, fallback=fallback))

    def _held(self, key: str) -> Loaded | None:
        with self._lock:
            if key in self._loaded:
                self._loaded.move_to_end(key)
            return self._loaded.get(key)

    def _hold(self, key: str, loaded: Loaded) -> None:
        with self._lock:
            self._loaded.pop(key, None)
            self._make_room(loaded.size)
            self._loaded[key] = loaded

    def _make_room(self, size: int) -> None:
        """Forget what was not thought with for longest, until so many bytes more may be held."""
        held = self._loaded
        while held and (len(held) >= KEPT_IN_MEMORY or sum(one.size for one in held.values()) + size > MOST_IN_MEMORY):
            held.popitem(last=False)

    # --- thinking ------------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Think once with the checkpoint that visitors meet first: loading it takes longest."""
        for name in self.checkpoint_names()[:1]:
            try:
                info = self.info(name)
                example = info.examples[0]
                self.think(name, read_picture(str(example)) if info.takes == "image" else example, "")
            except Exception:  # whoever picks it is told what is wrong with it
                logging.getLogger(__name__).warning("The checkpoint %s could not be tried", name, exc_info=True)

    def invent(self, name: str, seed: int) -> Any:
        """A new input for this checkpoint, where its `info` says that it `invents`."""
        return self._load(name).task.invent(seed)

    def to_edit(self, name: str, picture: np.ndarray) -> str:
        """A picture as this checkpoint's task reads it, for its pad to begin with.

        Args:
            name: checkpoint.
            picture: (h, w, 3) values from 0 to 1.

        Returns:
            A `data:` address.

        Raises:
            ValueError: one sentence for whoever gave the picture.
        """
        task, _ = self.models.here(name)
        return address_of(task.read(picture).shown["pixels"])

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
        task, iterations = loaded.task, most_ticks(loaded.checkpoint.machine.config.published())
        if isinstance(given, str) and len(given) > LONGEST_TEXT:
            raise ValueError(f"The text has {len(given):,} characters; at most {LONGEST_TEXT:,} are read.")
        if isinstance(given, str) is not (task.takes == "text"):
            wanted = "a text" if task.takes == "text" else "a picture"
            raise ValueError(f"The checkpoint {name[:80]} thinks about {wanted}: give it one.")
        read = task.read(given)
        if not (policy and policy.strip()):
            policy = next(iter(offers_of(loaded.checkpoint.halting, iterations, bool(task.shape().spoken))))
        rule = parse(policy)
        refuse_said(rule, task.shape().spoken)
        thought = loaded.together.think(read.inputs, rule)
        return record_of(name, loaded.checkpoint, task, read, rule, thought)


def lane_of(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """What a race shows of a thought."""
    kept = ("ticks", "iterations", "answer_tick", "certainty", "halted_by")
    return {
        "name": name,
        "rule": record["policy"],
        "said": record["labels_by_tick"],
        **{key: record[key] for key in kept},
    }


def label_of(name: str, title: str) -> str:
    """A checkpoint's name as people read it: commits are cut short."""
    bare, purpose = split(name)
    if "@" in bare:
        repo, _, rest = bare.partition("@")
        revision, _, subfolder = rest.partition(":")
        bare = f"{repo} @ {revision[:7]}" + (f" : {subfolder}" if subfolder else "")
    shown = bare + (f" as {purpose}" if purpose else "")
    return f"{title} ({shown})" if title and "@" not in shown else shown


def limit_threads(count: int) -> None:
    """How many threads one thought may use; several thoughts run at once."""
    torch.set_num_threads(count)
