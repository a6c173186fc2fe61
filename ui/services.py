"""The one door from the screens to the rest: plain data in, plain data out.

Screens name checkpoints by name and give what a person gave; they get back dictionaries of numbers and sentences.
"""

import base64
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctm.checkpoint import Checkpoint, load
from inference import Engine, Recorder, Verdict, parse
from inference.policies import AnyOf, CertaintyAbove, EnergyBelow, EnergyConverged, FixedTicks, Policy, SameAnswer
from training.tasks import Task, task_of
from training.tasks.base import Given

KEPT_IN_MEMORY = 4
LONGEST_TEXT = 1_000
TO_THE_END = "to the last tick"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a screen needs to know of a checkpoint before thinking with it."""

    name: str
    title: str
    takes: str  # "image" or "text"
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
                loaded = Loaded(checkpoint, task_of(checkpoint.task), stamp)
            self._loaded[name] = loaded
            self._loaded.move_to_end(name)
            while len(self._loaded) > KEPT_IN_MEMORY:
                self._loaded.popitem(last=False)
        return loaded

    # --- thinking ------------------------------------------------------------------------------------------------

    def think(self, name: str, given: Any, policy: str) -> dict[str, Any]:
        """Think about what a person gave.

        Args:
            name: checkpoint.
            given: a text, or a picture as grey values (h, w).
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
        return record_of(name, loaded, read, rule, verdict, recorder, milliseconds)


def policies_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Policies a person can pick, by name, the default first."""
    measured = checkpoint.halting.get("policies", {})
    default = checkpoint.halting.get("default")
    names = sorted(measured, key=lambda name: name != default)
    picked = {f"{NAMES.get(name, name)}": measured[name]["policy"] for name in names}
    picked["the same answer three times"] = "same=3"
    picked[TO_THE_END] = f"ticks={checkpoint.machine.config.iterations}"
    return picked


NAMES = {
    "energy": "energy is low",
    "certainty": "certainty is high",
    "certainty of the least certain position": "every position is certain",
}


def summary_of(metrics: dict[str, Any]) -> str:
    """One line of what was measured."""
    evaluations = metrics.get("evaluations", [])
    if not evaluations:
        return "Nothing was measured yet."
    best = evaluations[0]
    return (
        f"{best['accuracy_halted']:.1%} right on {best['n']:,} {best['split']} samples it never saw, "
        f"using {best['mean_ticks']:.1f} of {best['iterations']} ticks on average."
    )


def p_correct(energy: np.ndarray, note: dict[str, Any]) -> np.ndarray:
    """The probability of being right that an energy stands for."""
    if note.get("kind") == "contrastive":
        return np.clip(1 - energy / note["margin"], 0, 1)
    return 1 / (1 + np.exp(np.clip(energy, -500, 500)))


# --- records -----------------------------------------------------------------------------------------------------


def record_of(
    name: str, loaded: Loaded, read: Given, rule: Policy, verdict: Verdict, recorder: Recorder, milliseconds: float
) -> dict[str, Any]:
    """Everything a screen shows of one thought, as JSON data. Lists by tick have one entry a tick used."""
    machine, task = loaded.checkpoint.machine, loaded.task
    probabilities = softmax(np.stack(recorder.logits))[:, : read.positions]  # (t, P, C)
    chosen = probabilities.argmax(2)
    tick, used = int(verdict.answer_tick[0]), int(verdict.ticks[0])
    choices = [int(choice) for choice in chosen[tick - 1]]
    energy = np.array(recorder.energy) if recorder.energy else None
    chance = p_correct(energy, loaded.checkpoint.halting.get("energy", {})) if energy is not None else None
    certainty = np.stack(recorder.certainty).mean(1)
    labels = task.labels()
    record = {
        "id": uuid.uuid4().hex[:8],
        "checkpoint": name,
        "task": task.name,
        "iterations": machine.config.iterations,
        "ticks": used,
        "answer_tick": tick,
        "halted_by": verdict.halted_by[0],
        "policy": str(rule),
        "answer": task.answer(choices),
        "label": task.label(choices),
        "probability": float(probabilities[tick - 1].max(1).prod()),
        "milliseconds": round(milliseconds, 2),
        "energy": rounded(energy),
        "p_correct": rounded(chance),
        "certainty": rounded(certainty),
        "answers_by_tick": chosen.tolist(),
        "lines": [{"of": of, "at": at} for of, at in halting_lines(rule)],
        "choices": choices_of(probabilities, labels),
        "input": shown_input(read.shown),
        "attention": attention_of(recorder),
        "activity": activity_of(recorder, machine.config.d_model),
    }
    record["sentence"] = sentence(task.say(choices), record, chance)
    return record


def sentence(said: str, record: dict[str, Any], chance: np.ndarray | None) -> str:
    """What it is, how sure, how many ticks of how many, what ended it."""
    tick, used, most = record["answer_tick"], record["ticks"], record["iterations"]
    sure = (
        f"{percent(chance[tick - 1])} sure by its energy"
        if chance is not None
        else f"certainty {record['certainty'][tick - 1]:.2f}"
    )
    saved = f", saving {1 - used / most:.0%} of the thinking" if used < most else ""
    if record["halted_by"] == "budget":
        end = f"It never met the rule {record['policy']} in {most} ticks; the best of them, tick {tick}, answers."
    else:
        end = f"It stopped after {used} of {most} ticks because {because(record['halted_by'])}{saved}."
    return f"{said} ({sure}). {end}"


def percent(share: float) -> str:
    """A probability in words; nothing is ever quite certain."""
    return "over 99.9%" if share > 0.999 else "under 0.1%" if share < 0.001 else f"{share:.1%}"


def because(cause: str) -> str:
    """A rule that fired, in words."""
    return " and ".join(_words(part) for part in _parts(parse(cause)))


def _parts(policy: Policy) -> tuple[Policy, ...]:
    return getattr(policy, "policies", (policy,))


def _words(policy: Policy) -> str:
    match policy:
        case EnergyBelow(threshold):
            return f"energy fell below {threshold:g}"
        case CertaintyAbove(threshold, reduction):
            return f"{'every position was' if reduction == 'min' else 'it was'} more than {threshold:g} certain"
        case SameAnswer(ticks):
            return f"it gave the same answer {ticks} times in a row"
        case EnergyConverged(tolerance, patience):
            return f"energy moved by less than {tolerance:g} for {patience} ticks"
        case FixedTicks(ticks):
            return f"it was told to think for {ticks} ticks"
    return str(policy)


def halting_lines(policy: Policy) -> list[tuple[str, float]]:
    """Levels to draw in the chart of energy and certainty."""
    match policy:
        case EnergyBelow(threshold):
            return [("energy", threshold)]
        case CertaintyAbove(threshold, "mean"):
            return [("certainty", threshold)]
        case AnyOf(policies):
            return [line for part in policies for line in halting_lines(part)]
    return []


def choices_of(probabilities: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """Answer probabilities by tick: all classes of a single choice, or the chosen class of every position."""
    if probabilities.shape[1] == 1:
        return {"kind": "classes", "labels": labels, "probabilities": np.round(probabilities[:, 0], 4).tolist()}
    return {
        "kind": "positions",
        "labels": labels,
        "chosen": probabilities.argmax(2).tolist(),
        "confidence": np.round(probabilities.max(2), 4).tolist(),
    }


def shown_input(shown: dict[str, Any]) -> dict[str, Any]:
    if shown["kind"] != "picture":
        return {"group": 1, **shown}
    pixels = np.asarray(shown["pixels"])
    height, width = pixels.shape
    return {"kind": "picture", "width": width, "height": height, "data": packed(pixels * 255)}


def attention_of(recorder: Recorder) -> dict[str, Any] | None:
    weights = recorder.channel("attention")  # (t, H, N)
    if weights is None:
        return None
    scaled = weights / np.maximum(weights.max(2, keepdims=True), 1e-9)
    return {"heads": weights.shape[1], "map": list(recorder.places), "data": packed(scaled * 255)}


def activity_of(recorder: Recorder, neurons: int) -> dict[str, Any]:
    activations = recorder.channel("post_activations")  # (t, D)
    return {"neurons": activations.shape[1], "of": neurons, "data": packed(128 + activations * 127)}


def packed(values: np.ndarray) -> str:
    """Numbers from 0 to 255 as base64: a tenth of the size of JSON lists."""
    return base64.b64encode(np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()).decode("ascii")


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def rounded(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [round(float(value), 7) for value in values]


def limit_threads(count: int) -> None:
    """How many threads one thought may use; several thoughts run at once."""
    torch.set_num_threads(count)
