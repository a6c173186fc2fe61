"""View model of one thought: plain data for the page and the API, ready for JSON."""

import base64
import uuid
from typing import Any

import numpy as np
import torch

from ctm.checkpoint import Checkpoint
from ctm.checkpoint.metadata import HaltingMetadata
from inference import HaltingPolicy, Recorder
from inference.batched_unroll import InferenceResult
from inference.confidence import FAMILIAR, Confidence, ConfidenceLimit, compute_confidence, get_temperatures
from inference.halting.estimated_result import estimate_result
from inference.halting.stored_policies import get_guarantee
from training.energy.confidence import get_answer_format
from training.tasks import Task
from training.tasks.samples import TaskAnswer, TaskInput
from training.thought_sentence import describe_unfamiliarity, format_sentence, get_halt_reason, judge_answer

TOP_CLASSES_PER_TICK = 8  # with many classes, only those are displayed that are among the likeliest 8 at some tick
MAX_DISPLAYED_CLASSES = 12  # up to this number, all classes are displayed
NUM_TOP_CLASSES = 5  # likeliest classes in the answer of the API
MAX_NEURONS = 512  # rows of the activity panel


def build_thought_record(
    name: str,
    checkpoint: Checkpoint,
    task: Task,
    task_input: TaskInput,
    policy: HaltingPolicy,
    result: InferenceResult,
    limit: ConfidenceLimit = FAMILIAR,
) -> dict[str, Any]:
    """Build everything that the page displays of one thought, as JSON data.

    Args:
        name: Name of the checkpoint.
        checkpoint: Checkpoint that ran.
        task: Task of the checkpoint.
        task_input: Input as the task parsed it.
        policy: Halting policy of the run.
        result: Result of the run, one row.
        limit: Largest confidence that the input allows.

    Returns:
        The record. Lists by tick have one entry for each tick that ran.
    """
    engine_result = result.engine_result
    recorder = result.recorder
    halting = HaltingMetadata.model_validate(checkpoint.halting)
    confidence = compute_record_confidence(halting, task, task_input, recorder, limit)
    probabilities, answers, task_answers = read_answers(halting, task, task_input, recorder, limit)
    answer_tick = int(engine_result.answer_tick[0])
    answer = task_answers[answer_tick - 1]
    estimate = estimate_result(halting, str(policy))
    record = {
        "id": create_record_id(),
        **build_recorded_ticks(name, checkpoint, task, task_input, policy, recorder, probabilities),
        **build_answers_by_tick(answers, task_answers),
        "ticks": int(engine_result.ticks[0]),
        "answer_tick": answer_tick,
        "halted_by": engine_result.halted_by[0],
        "promise": "" if limit.is_unfamiliar or recorder.max_ticks == 1 else get_guarantee(halting, str(policy)),
        "estimate": None if limit.is_unfamiliar or estimate is None else estimate.to_json(),
        "unfamiliar": describe_unfamiliarity(task_input, limit),
        "answer": answer.value,
        "label": answer.label,
        "probability": float(confidence.log_probability[0, answer_tick - 1].exp()),
        "milliseconds": round(result.duration_ms, 2),
        "p_correct": round_values(confidence.p_correct),
        "p_last": round_values(confidence.p_last),
        "likeliest": get_top_classes(probabilities[answer_tick - 1], task.get_labels()),
        "notes": [*task_input.display.get("notes", ()), *policy.describe_unreachable(recorder.max_ticks)],
    }
    record["verdict"] = judge_answer(task.is_correct(task_input, answers[answer_tick - 1]), record)
    record["truth"] = format_truth(task, task_input)
    halt_reason = get_halt_reason(engine_result.halted_by[0], recorder)
    sentence = format_sentence(answer.sentence, record, halt_reason, task.states_result)
    record["sentence"] = " ".join(filter(None, [sentence, record["unfamiliar"], *record["notes"]]))
    return record


def build_partial_record(
    name: str,
    checkpoint: Checkpoint,
    task: Task,
    task_input: TaskInput,
    policy: HaltingPolicy,
    recorder: Recorder,
    limit: ConfidenceLimit = FAMILIAR,
) -> dict[str, Any]:
    """Build the record of the first ticks of an unroll that has no result, as JSON data.

    Args:
        name: See `build_thought_record`.
        checkpoint: See `build_thought_record`.
        task: See `build_thought_record`.
        task_input: See `build_thought_record`.
        policy: See `build_thought_record`.
        recorder: Recording of these ticks, at least one.
        limit: See `build_thought_record`.

    Returns:
        The part of the record that the recorded ticks determine. It has no verdict, no confidence and no sentence.
    """
    halting = HaltingMetadata.model_validate(checkpoint.halting)
    probabilities, answers, task_answers = read_answers(halting, task, task_input, recorder, limit)
    return {
        **build_recorded_ticks(name, checkpoint, task, task_input, policy, recorder, probabilities),
        **build_answers_by_tick(answers, task_answers),
    }


def read_answers(
    halting: HaltingMetadata, task: Task, task_input: TaskInput, recorder: Recorder, limit: ConfidenceLimit
) -> tuple[np.ndarray, list[list[int]], list[TaskAnswer]]:
    """Return class probabilities (t, P, C), decoded classes and formatted answers of every recorded tick."""
    probabilities = compute_probabilities(halting, recorder, limit)[:, : task_input.positions]
    answers = task.decoder.decode(torch.from_numpy(probabilities.argmax(2)))
    task_answers = [task.format_answer(task_input, choices) for choices in answers]
    return probabilities, answers, task_answers


def build_recorded_ticks(
    name: str,
    checkpoint: Checkpoint,
    task: Task,
    task_input: TaskInput,
    policy: HaltingPolicy,
    recorder: Recorder,
    probabilities: np.ndarray,
) -> dict[str, Any]:
    """Return what a record shows of the recorded ticks, apart from the answers.

    Args:
        name: See `build_thought_record`.
        checkpoint: See `build_thought_record`.
        task: See `build_thought_record`.
        task_input: See `build_thought_record`.
        policy: See `build_thought_record`.
        recorder: Recording of the ticks.
        probabilities: Class probabilities, shape (t, P, C).
    """
    return {
        "checkpoint": name,
        "task": task.name,
        "iterations": recorder.max_ticks,
        "ticks": len(recorder.logits),
        "listening": task_input.display.get("listening", 0),
        "policy": str(policy),
        "energy": round_values(np.array(recorder.energy)) if recorder.energy else None,
        "certainty": round_values(np.stack(recorder.certainty).mean(1)),
        "lines": [{"of": line.signal, "at": line.level} for line in policy.chart_lines()],
        "choices": build_choices(probabilities, task.get_labels(), task.get_spec().ctc_length),
        "input": build_input_view(task_input.display),
        "attention": build_attention_view(recorder),
        "activity": build_activity_view(recorder, checkpoint.model.config.d_model),
    }


def build_answers_by_tick(answers: list[list[int]], task_answers: list[TaskAnswer]) -> dict[str, Any]:
    """Return the answers of a record by tick.

    Args:
        answers: Decoded classes of every tick.
        task_answers: The same answers as the task formats them.
    """
    return {
        "answers_by_tick": answers,
        "labels_by_tick": [task_answer.label for task_answer in task_answers],
        "routes": build_routes(task_answers),
    }


def create_record_id() -> str:
    """Return a random id for a record."""
    return uuid.uuid4().hex[:8]


def build_tick_view(
    halting: HaltingMetadata, task: Task, task_input: TaskInput, recorder: Recorder, limit: ConfidenceLimit = FAMILIAR
) -> dict[str, Any]:
    """Build the data of the last recorded tick of a row that is still running, as JSON data.

    Args:
        halting: Content of `halting.json`.
        task: Task of the checkpoint.
        task_input: Input as the task parsed it.
        recorder: Recording of the row up to this tick.
        limit: Largest confidence that the input allows.

    Returns:
        The tick, from 1; the largest number of ticks; and answer, label, probability, confidence, certainty and energy at
        this tick, as in the record of the whole unroll.
    """
    confidence = compute_record_confidence(halting, task, task_input, recorder, limit)
    probabilities = compute_probabilities(halting, recorder, limit)[:, : task_input.positions]  # (t, P, C)
    choices = task.decoder.decode(torch.from_numpy(probabilities.argmax(2)))[-1]
    answer = task.format_answer(task_input, choices)
    p_correct, p_last = round_values(confidence.p_correct), round_values(confidence.p_last)
    return {
        "tick": len(recorder.logits),
        "iterations": recorder.max_ticks,
        "answer": answer.value,
        "label": answer.label,
        "choices": choices,
        "probability": float(confidence.log_probability[0, -1].exp()),
        "p_correct": None if p_correct is None else p_correct[-1],
        "p_last": None if p_last is None else p_last[-1],
        "certainty": round(float(recorder.certainty[-1].mean()), 7),
        "energy": round(recorder.energy[-1], 7) if recorder.energy else None,
    }


def compute_record_confidence(
    halting: HaltingMetadata, task: Task, task_input: TaskInput, recorder: Recorder, limit: ConfidenceLimit
) -> Confidence:
    """Return the confidence of one row at every tick, at most what its input allows."""
    return compute_confidence(
        halting,
        get_answer_format(task),
        torch.from_numpy(np.stack(recorder.logits, -1)).flatten(0, 1).unsqueeze(0),
        torch.tensor([recorder.energy]) if recorder.energy else None,
        torch.from_numpy(np.stack(recorder.certainty, -1)).unsqueeze(0),
        torch.tensor([task_input.positions - 1]),
        limit,
    )


def compute_probabilities(halting: HaltingMetadata, recorder: Recorder, limit: ConfidenceLimit) -> np.ndarray:
    """Return the class probabilities of every position at every tick, shape (t, P, C)."""
    logits = np.stack(recorder.logits)
    return softmax(logits / get_temperatures(halting, len(logits), limit).numpy()[:, None, None])


def format_truth(task: Task, task_input: TaskInput) -> str | None:
    """Return the correct answer as a short text; None if it is not known, or if the answer itself says what is wrong."""
    if task_input.true_choices is None or task.states_result:
        return None
    return task.format_answer(task_input, list(task_input.true_choices)).label


def build_choices(probabilities: np.ndarray, labels: list[str], ctc_length: int | None) -> dict[str, Any]:
    """Return the answer probabilities by tick.

    Args:
        probabilities: Probabilities, shape (t, P, C).
        labels: Label of every class.
        ctc_length: Number of labels that a CTC task emits; None if the task gives its whole answer at every tick.

    Returns:
        For a CTC task the class at every tick, of which `ctc_length` is the blank; for a single choice the probabilities
        of the displayed classes; else the class of every position.
    """
    if ctc_length:
        return {
            "kind": "spoken",
            "of": ctc_length,
            "chosen": probabilities[:, 0].argmax(1).tolist(),
            "probability": np.round(probabilities[:, 0].max(1), 4).tolist(),
        }
    if probabilities.shape[1] == 1:
        classes = select_classes(probabilities[:, 0])
        return {
            "kind": "classes",
            "of": len(labels),
            "labels": [labels[index] for index in classes],
            "probabilities": np.round(probabilities[:, 0, classes], 6).tolist(),
        }
    return {
        "kind": "positions",
        "labels": labels,
        "chosen": probabilities.argmax(2).tolist(),
        "probability": np.round(probabilities.max(2), 4).tolist(),
    }


def select_classes(probabilities: np.ndarray) -> list[int]:
    """Return the classes to display, in ascending order: all of a few, and of many those that were likely at some tick.

    Args:
        probabilities: Probabilities, shape (t, C).
    """
    num_classes = probabilities.shape[1]
    if num_classes <= MAX_DISPLAYED_CLASSES:
        return list(range(num_classes))
    return np.unique(np.argpartition(-probabilities, TOP_CLASSES_PER_TICK, axis=1)[:, :TOP_CLASSES_PER_TICK]).tolist()


def get_top_classes(probabilities: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """Return the likeliest classes of a single choice, the likeliest first; [] for an answer of several positions.

    Args:
        probabilities: Probabilities at the answer tick, shape (P, C).
        labels: Label of every class.
    """
    if len(probabilities) > 1:
        return []
    order = np.argsort(-probabilities[0], kind="stable")[:NUM_TOP_CLASSES].tolist()
    return [{"label": labels[index], "probability": round(float(probabilities[0, index]), 4)} for index in order]


def build_routes(answers: list[TaskAnswer]) -> list[list[int]] | None:
    """Return the path of the answer at every tick, as row, column, row, column, ...; None if answers are no paths."""
    if any(answer.route is None for answer in answers):
        return None
    return [[number for place in answer.route or [] for number in place] for answer in answers]


def build_input_view(display: dict[str, Any]) -> dict[str, Any]:
    """Return the input as the page displays it, with the pixels of an image as base64."""
    if display["kind"] != "picture":
        return {"group": 1, **display}
    pixels = np.asarray(display["pixels"])
    height, width, *channels = pixels.shape
    size = {"width": width, "height": height, "channels": channels[0] if channels else 1}
    return (
        {key: value for key, value in display.items() if key != "pixels"} | size | {"data": encode_base64(pixels * 255)}
    )


def build_attention_view(recorder: Recorder) -> dict[str, Any] | None:
    """Return the attention maps of all heads at every tick, scaled to their maximum; None without attention."""
    weights = recorder.get_channel("attention")  # (t, H, N)
    if weights is None:
        return None
    scaled = weights / np.maximum(weights.max(2, keepdims=True), 1e-9)
    return {"heads": weights.shape[1], "map": list(recorder.attention_map_shape), "data": encode_base64(scaled * 255)}


def build_activity_view(recorder: Recorder, neurons: int) -> dict[str, Any] | None:
    """Return the activations of up to `MAX_NEURONS` neurons at every tick; None if the model has none.

    Args:
        recorder: Recording of the row.
        neurons: Number of neurons of the model.
    """
    activations = recorder.get_channel("post_activations")  # (t, D)
    if activations is None:
        return None
    if activations.shape[1] > MAX_NEURONS:
        activations = activations[:, np.linspace(0, activations.shape[1] - 1, MAX_NEURONS).round().astype(int)]
    return {"neurons": activations.shape[1], "of": neurons, "data": encode_base64(128 + activations * 127)}


def encode_base64(values: np.ndarray) -> str:
    """Return numbers from 0 to 255 as base64, a tenth of the size of a JSON list."""
    return base64.b64encode(np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()).decode("ascii")


def decode_base64(text: str) -> np.ndarray:
    """Return what `encode_base64` encoded, as bytes that may be changed."""
    return np.frombuffer(bytearray(base64.b64decode(text)), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def round_values(values: np.ndarray | torch.Tensor | None) -> list[float] | None:
    """Return values of one row as a list, rounded to keep the record small; None for None."""
    return None if values is None else [round(float(value), 7) for value in values.reshape(-1)]
