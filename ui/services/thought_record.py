"""From a finished thought to what a screen shows: plain data, ready for JSON."""

import base64
import re
import uuid
from typing import Any

import numpy as np
import torch

from ctm.checkpoint import Checkpoint
from ctm.checkpoint.metadata import EnergyNote, HaltingNote
from inference import Recorder, parse
from inference.dynamic_batcher import Thought
from inference.halting.policies import (
    AnyOf,
    CertaintyAbove,
    ChangeBelow,
    EnergyBelow,
    EnergyConverged,
    FixedTicks,
    Policy,
    Said,
    SameAnswer,
    SignalAbove,
)
from training.tasks import Task
from training.tasks.base import Answer, Given
from ui.services.halting_view_model import NEVER, promise_of

LIKELIEST = 8  # of many classes, those are kept that are among so many likeliest at some tick
FEW = 12  # classes of which all are kept
TOP = 5  # likeliest classes that a program is told
MOST_NEURONS = 512  # that are kept; a screen has no more rows for them


def summary_of(metrics: dict[str, Any]) -> str:
    """One line of what was measured."""
    evaluations = metrics.get("evaluations", [])
    if not evaluations:
        return "Nothing was measured yet."
    best = evaluations[0]
    split = re.sub(r"[^\w .-]", "", best["split"])[:60]  # a name from elsewhere
    return (
        f"{best['accuracy_halted']:.1%} right on {best['n']:,} {split} samples it never saw, "
        f"using {best['mean_ticks']:.1f} of {best['iterations']} ticks on average."
    )


def record_of(
    name: str,
    checkpoint: Checkpoint,
    task: Task,
    read: Given,
    rule: Policy,
    thought: Thought,
) -> dict[str, Any]:
    """Everything a screen shows of one thought, as JSON data. Lists by tick have one entry a tick used."""
    machine, verdict, recorder = checkpoint.machine, thought.verdict, thought.recorder
    probabilities = softmax(np.stack(recorder.logits))[:, : read.positions]  # (t, P, C)
    chosen = probabilities.argmax(2)
    tick, used = int(verdict.answer_tick[0]), int(verdict.ticks[0])
    answers = task.reading.answers(torch.from_numpy(chosen))
    said = [task.present(read, choices) for choices in answers]
    answer = said[tick - 1]
    sure = probabilities[:tick] if task.shape().spoken else probabilities[tick - 1 : tick]
    energy = np.array(recorder.energy) if recorder.energy else None
    certainty = np.stack(recorder.certainty).mean(1)
    note = HaltingNote.model_validate(checkpoint.halting)
    chance = None if energy is None else p_correct(note.energy, energy, certainty)
    labels = task.labels()
    record = {
        "id": uuid.uuid4().hex[:8],
        "checkpoint": name,
        "task": task.name,
        "iterations": recorder.ticks,
        "ticks": used,
        "answer_tick": tick,
        "listening": read.shown.get("listening", 0),
        "halted_by": verdict.halted_by[0],
        "policy": str(rule),
        "promise": promise_of(note, str(rule)),
        "answer": answer.value,
        "label": answer.label,
        "probability": float(sure.max(2).prod()),
        "milliseconds": round(thought.milliseconds, 2),
        "energy": rounded(energy),
        "p_correct": rounded(chance),
        "certainty": rounded(certainty),
        "answers_by_tick": answers,
        "labels_by_tick": [one.label for one in said],
        "likeliest": likeliest(probabilities[tick - 1], labels),
        "lines": [{"of": of, "at": at} for of, at in halting_lines(rule)],
        "choices": choices_of(probabilities, labels, task.shape().spoken),
        "input": shown_input(read.shown),
        "routes": routes_of(said),
        "attention": attention_of(recorder),
        "activity": activity_of(recorder, machine.config.d_model),
    }
    record["sentence"] = sentence(answer.sentence, record, chance)
    return record


def p_correct(note: EnergyNote, energy: np.ndarray, certainty: np.ndarray) -> np.ndarray | None:
    """The chance of being right that a checkpoint's energy stands for; None where it stands for none."""
    chance = note.p_correct(torch.from_numpy(energy), torch.from_numpy(certainty))
    return None if chance is None else chance.numpy()


def sentence(said: str, record: dict[str, Any], chance: np.ndarray | None) -> str:
    """What it is, how sure, how many ticks of how many, what ended it; a machine of a single tick cannot but end there."""
    tick, used, most = record["answer_tick"], record["ticks"], record["iterations"]
    sure = (
        f"{percent(chance[tick - 1])} sure, by its own word"
        if chance is not None
        else f"certainty {record['certainty'][tick - 1]:.2f}"
    )
    if most == 1:
        return f"{said} ({sure}). It answers at once, in a single tick."
    saved = f", saving {1 - used / most:.0%} of the thinking" if used < most else ""
    if record["halted_by"] == "budget" and re.fullmatch(rf"ticks=\d+|{NEVER}", record["policy"]):
        end = f"It thought to the last tick, {most}; the best of them, tick {tick}, answers."
    elif record["halted_by"] == "budget":
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
        case SignalAbove("margin", threshold):
            return f"its two likeliest answers were more than {threshold:g} apart"
        case SignalAbove("probability", threshold):
            return f"its likeliest answer was more than {threshold:g} likely"
        case ChangeBelow(threshold):
            return f"its answer moved by less than {threshold:g} nats"
        case SameAnswer(ticks):
            return f"it gave the same answer {ticks} times in a row"
        case EnergyConverged(tolerance, patience):
            return f"energy moved by less than {tolerance:g} for {patience} ticks"
        case FixedTicks(ticks):
            return f"it was told to think for {ticks} ticks"
        case Said(labels):
            return f"all {labels} were said"
    return str(policy)


def halting_lines(policy: Policy) -> list[tuple[str, float]]:
    """Levels to draw in the chart of energy and certainty."""
    match policy:
        case EnergyBelow(threshold):
            return [("energy", threshold)]
        case CertaintyAbove(threshold, "mean") if threshold < 1:
            return [("certainty", threshold)]
        case AnyOf(policies):
            return [line for part in policies for line in halting_lines(part)]
    return []


def choices_of(probabilities: np.ndarray, labels: list[str], spoken: int | None) -> dict[str, Any]:
    """Answer probabilities by tick: the classes of a single choice that matter, or the chosen class of every position.

    Args:
        spoken: length of an answer that is said over the ticks: what is chosen at each is told then, `spoken` for silence.
    """
    if spoken:
        chosen, confidence = probabilities.argmax(2)[:, 0], probabilities.max(2)[:, 0]
        return {
            "kind": "spoken",
            "of": spoken,
            "chosen": chosen.tolist(),
            "confidence": np.round(confidence, 4).tolist(),
        }
    if probabilities.shape[1] == 1:
        kept = classes_that_matter(probabilities[:, 0])
        return {
            "kind": "classes",
            "of": len(labels),
            "labels": [labels[index] for index in kept],
            "probabilities": np.round(probabilities[:, 0, kept], 6).tolist(),
        }
    return {
        "kind": "positions",
        "labels": labels,
        "chosen": probabilities.argmax(2).tolist(),
        "confidence": np.round(probabilities.max(2), 4).tolist(),
    }


def classes_that_matter(by_tick: np.ndarray) -> list[int]:
    """All of a few classes; of many, those that were ever likely. In their own order."""
    classes = by_tick.shape[1]
    if classes <= FEW:
        return list(range(classes))
    return np.unique(np.argpartition(-by_tick, LIKELIEST, axis=1)[:, :LIKELIEST]).tolist()


def likeliest(probabilities: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """The likeliest classes of a single choice, the likeliest first; nothing for an answer of several positions."""
    if len(probabilities) > 1:
        return []
    order = np.argsort(-probabilities[0], kind="stable")[:TOP].tolist()
    return [{"label": labels[index], "probability": round(float(probabilities[0, index]), 4)} for index in order]


def routes_of(said: list[Answer]) -> list[list[int]] | None:
    """By tick, where the answer leads in the picture: row, column, row, column ...; None if answers lead nowhere."""
    if any(answer.route is None for answer in said):
        return None
    return [[number for place in answer.route or [] for number in place] for answer in said]


def shown_input(shown: dict[str, Any]) -> dict[str, Any]:
    if shown["kind"] != "picture":
        return {"group": 1, **shown}
    pixels = np.asarray(shown["pixels"])
    height, width, *channels = pixels.shape
    size = {"width": width, "height": height, "channels": channels[0] if channels else 1}
    return {key: value for key, value in shown.items() if key != "pixels"} | size | {"data": packed(pixels * 255)}


def attention_of(recorder: Recorder) -> dict[str, Any] | None:
    weights = recorder.channel("attention")  # (t, H, N)
    if weights is None:
        return None
    scaled = weights / np.maximum(weights.max(2, keepdims=True), 1e-9)
    return {"heads": weights.shape[1], "map": list(recorder.places), "data": packed(scaled * 255)}


def activity_of(recorder: Recorder, neurons: int) -> dict[str, Any] | None:
    activations = recorder.channel("post_activations")  # (t, D)
    if activations is None:
        return None
    if activations.shape[1] > MOST_NEURONS:
        activations = activations[:, np.linspace(0, activations.shape[1] - 1, MOST_NEURONS).round().astype(int)]
    return {"neurons": activations.shape[1], "of": neurons, "data": packed(128 + activations * 127)}


def packed(values: np.ndarray) -> str:
    """Numbers from 0 to 255 as base64: a tenth of the size of JSON lists."""
    return base64.b64encode(np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()).decode("ascii")


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def rounded(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [round(float(value), 7) for value in values]
