"""From a finished thought to what a screen shows: plain data, ready for JSON."""

import base64
import re
import uuid
from typing import Any

import numpy as np
import torch

from ctm.checkpoint import Checkpoint
from ctm.checkpoint.metadata import EnergyMetadata, HaltingMetadata
from inference import Recorder, parse
from inference.dynamic_batcher import InferenceResult
from inference.halting.policies import (
    AnyOf,
    CertaintyAbove,
    ChangeBelow,
    EnergyBelow,
    EnergyConverged,
    FixedTicks,
    HaltingPolicy,
    LabelsEmitted,
    SameAnswer,
    SignalAbove,
)
from training.tasks import Task
from training.tasks.base import TaskAnswer, TaskInput
from ui.services.halting_view_model import NEVER_HALT_POLICY, get_guarantee

TOP_CLASSES_PER_TICK = 8  # of many classes, those are kept that are among so many likeliest at some tick
MAX_CLASSES_KEPT_WHOLE = 12  # classes of which all are kept
NUM_TOP_CLASSES = 5  # likeliest classes that a program is told
MAX_NEURONS = 512  # that are kept; a screen has no more rows for them


def summarize_metrics(metrics: dict[str, Any]) -> str:
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


def build_thought_record(
    name: str,
    checkpoint: Checkpoint,
    task: Task,
    task_input: TaskInput,
    policy: HaltingPolicy,
    result: InferenceResult,
) -> dict[str, Any]:
    """Everything a screen shows of one thought, as JSON data. Lists by tick have one entry a tick used."""
    machine, verdict, recorder = checkpoint.model, result.engine_result, result.recorder
    probabilities = softmax(np.stack(recorder.logits))[:, : task_input.positions]  # (t, P, C)
    chosen = probabilities.argmax(2)
    tick, used = int(verdict.answer_tick[0]), int(verdict.ticks[0])
    answers = task.decoder.decode(torch.from_numpy(chosen))
    said = [task.format_answer(task_input, choices) for choices in answers]
    answer = said[tick - 1]
    sure = probabilities[:tick] if task.get_spec().ctc_length else probabilities[tick - 1 : tick]
    energy = np.array(recorder.energy) if recorder.energy else None
    certainty = np.stack(recorder.certainty).mean(1)
    note = HaltingMetadata.model_validate(checkpoint.halting)
    chance = None if energy is None else compute_p_correct(note.energy, energy, certainty)
    labels = task.get_labels()
    record = {
        "id": uuid.uuid4().hex[:8],
        "checkpoint": name,
        "task": task.name,
        "iterations": recorder.max_ticks,
        "ticks": used,
        "answer_tick": tick,
        "listening": task_input.display.get("listening", 0),
        "halted_by": verdict.halted_by[0],
        "policy": str(policy),
        "promise": get_guarantee(note, str(policy)),
        "answer": answer.value,
        "label": answer.label,
        "probability": float(sure.max(2).prod()),
        "milliseconds": round(result.duration_ms, 2),
        "energy": round_values(energy),
        "p_correct": round_values(chance),
        "certainty": round_values(certainty),
        "answers_by_tick": answers,
        "labels_by_tick": [one.label for one in said],
        "likeliest": get_top_classes(probabilities[tick - 1], labels),
        "lines": [{"of": of, "at": at} for of, at in get_chart_lines(policy)],
        "choices": build_choices(probabilities, labels, task.get_spec().ctc_length),
        "input": build_input_view(task_input.display),
        "routes": build_routes(said),
        "attention": build_attention_view(recorder),
        "activity": build_activity_view(recorder, machine.config.d_model),
    }
    record["sentence"] = format_sentence(answer.sentence, record, chance)
    return record


def compute_p_correct(metadata: EnergyMetadata, energy: np.ndarray, certainty: np.ndarray) -> np.ndarray | None:
    """The chance of being right that a checkpoint's energy stands for; None where it stands for none."""
    chance = metadata.compute_p_correct(torch.from_numpy(energy), torch.from_numpy(certainty))
    return None if chance is None else chance.numpy()


def format_sentence(answer_text: str, record: dict[str, Any], p_correct: np.ndarray | None) -> str:
    """What it is, how sure, how many ticks of how many, what ended it; a machine of a single tick cannot but end there."""
    tick, used, most = record["answer_tick"], record["ticks"], record["iterations"]
    sure = (
        f"{format_probability(p_correct[tick - 1])} sure, by its own word"
        if p_correct is not None
        else f"certainty {record['certainty'][tick - 1]:.2f}"
    )
    if most == 1:
        return f"{answer_text} ({sure}). It answers at once, in a single tick."
    saved = f", saving {1 - used / most:.0%} of the thinking" if used < most else ""
    if record["halted_by"] == "budget" and re.fullmatch(rf"ticks=\d+|{NEVER_HALT_POLICY}", record["policy"]):
        end = f"It thought to the last tick, {most}; the best of them, tick {tick}, answers."
    elif record["halted_by"] == "budget":
        end = f"It never met the rule {record['policy']} in {most} ticks; the best of them, tick {tick}, answers."
    else:
        end = f"It stopped after {used} of {most} ticks because {describe_halt_reason(record['halted_by'])}{saved}."
    return f"{answer_text} ({sure}). {end}"


def format_probability(share: float) -> str:
    """A probability in words; nothing is ever quite certain."""
    return "over 99.9%" if share > 0.999 else "under 0.1%" if share < 0.001 else f"{share:.1%}"


def describe_halt_reason(reason: str) -> str:
    """A rule that fired, in words."""
    return " and ".join(_describe_policy(part) for part in _get_sub_policies(parse(reason)))


def _get_sub_policies(policy: HaltingPolicy) -> tuple[HaltingPolicy, ...]:
    return getattr(policy, "policies", (policy,))


def _describe_policy(policy: HaltingPolicy) -> str:
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
        case LabelsEmitted(labels):
            return f"all {labels} were said"
    return str(policy)


def get_chart_lines(policy: HaltingPolicy) -> list[tuple[str, float]]:
    """Levels to draw in the chart of energy and certainty."""
    match policy:
        case EnergyBelow(threshold):
            return [("energy", threshold)]
        case CertaintyAbove(threshold, "mean") if threshold < 1:
            return [("certainty", threshold)]
        case AnyOf(policies):
            return [line for part in policies for line in get_chart_lines(part)]
    return []


def build_choices(probabilities: np.ndarray, labels: list[str], ctc_length: int | None) -> dict[str, Any]:
    """Answer probabilities by tick: the classes of a single choice that matter, or the chosen class of every position.

    Args:
        spoken: length of an answer that is said over the ticks: what is chosen at each is told then, `spoken` for silence.
    """
    if ctc_length:
        chosen, confidence = probabilities.argmax(2)[:, 0], probabilities.max(2)[:, 0]
        return {
            "kind": "spoken",
            "of": ctc_length,
            "chosen": chosen.tolist(),
            "confidence": np.round(confidence, 4).tolist(),
        }
    if probabilities.shape[1] == 1:
        kept = select_classes(probabilities[:, 0])
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


def select_classes(by_tick: np.ndarray) -> list[int]:
    """All of a few classes; of many, those that were ever likely. In their own order."""
    classes = by_tick.shape[1]
    if classes <= MAX_CLASSES_KEPT_WHOLE:
        return list(range(classes))
    return np.unique(np.argpartition(-by_tick, TOP_CLASSES_PER_TICK, axis=1)[:, :TOP_CLASSES_PER_TICK]).tolist()


def get_top_classes(probabilities: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """The likeliest classes of a single choice, the likeliest first; nothing for an answer of several positions."""
    if len(probabilities) > 1:
        return []
    order = np.argsort(-probabilities[0], kind="stable")[:NUM_TOP_CLASSES].tolist()
    return [{"label": labels[index], "probability": round(float(probabilities[0, index]), 4)} for index in order]


def build_routes(answers: list[TaskAnswer]) -> list[list[int]] | None:
    """By tick, where the answer leads in the picture: row, column, row, column ...; None if answers lead nowhere."""
    if any(answer.route is None for answer in answers):
        return None
    return [[number for place in answer.route or [] for number in place] for answer in answers]


def build_input_view(display: dict[str, Any]) -> dict[str, Any]:
    if display["kind"] != "picture":
        return {"group": 1, **display}
    pixels = np.asarray(display["pixels"])
    height, width, *channels = pixels.shape
    size = {"width": width, "height": height, "channels": channels[0] if channels else 1}
    return (
        {key: value for key, value in display.items() if key != "pixels"} | size | {"data": encode_base64(pixels * 255)}
    )


def build_attention_view(recorder: Recorder) -> dict[str, Any] | None:
    weights = recorder.get_channel("attention")  # (t, H, N)
    if weights is None:
        return None
    scaled = weights / np.maximum(weights.max(2, keepdims=True), 1e-9)
    return {"heads": weights.shape[1], "map": list(recorder.attention_map_shape), "data": encode_base64(scaled * 255)}


def build_activity_view(recorder: Recorder, neurons: int) -> dict[str, Any] | None:
    activations = recorder.get_channel("post_activations")  # (t, D)
    if activations is None:
        return None
    if activations.shape[1] > MAX_NEURONS:
        activations = activations[:, np.linspace(0, activations.shape[1] - 1, MAX_NEURONS).round().astype(int)]
    return {"neurons": activations.shape[1], "of": neurons, "data": encode_base64(128 + activations * 127)}


def encode_base64(values: np.ndarray) -> str:
    """Numbers from 0 to 255 as base64: a tenth of the size of JSON lists."""
    return base64.b64encode(np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()).decode("ascii")


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def round_values(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [round(float(value), 7) for value in values]
