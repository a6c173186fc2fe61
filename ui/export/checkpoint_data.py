"""What the exported page holds of a checkpoint: its files, view models of the Think tab, examples and golden samples."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctm.checkpoint import CONFIG_NAME, WEIGHTS_NAME, load
from ctm.checkpoint.layout import LAYOUT_NAME
from ctm.config import get_max_ticks
from ctm.io.yaml import parse_yaml
from ctm.pretrained import resolve_pretrained
from ctm.stores import HubRef
from ctm.stores.base import read_checkpoint_info
from training.data.image_inputs import read_image_input
from training.pipeline import Pipeline
from training.tasks import Task
from training.tasks.registry import resolve_task
from ui.export.golden_samples import GoldenSample, compute_golden_samples
from ui.services.browser_checkpoint import DIGITS_NAME, BrowserCheckpoint, build_browser_checkpoint
from ui.services.browser_limits import check_browser_flops
from ui.services.halting_view_model import build_halting_view, build_policy_options, summarize_metrics
from ui.services.image_decoding import decode_data_url, encode_data_url

TASK_NAME, HALTING_NAME = "task.json", "halting.json"
MAX_EXAMPLES = 6
MAX_EXAMPLE_SIDE = 512  # pixels; a larger example is reduced
FRONT_MATTER_PATTERN = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
LICENSE_PATTERN = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")


@dataclass(frozen=True)
class PageCheckpoint:
    """A checkpoint as the page holds it.

    Attributes:
        name: Name on the page.
        repo: Repository on the Hub, `namespace/name`; empty for a directory.
        license: License in the front matter of its card; empty if there is none.
        summary: Measured accuracy, as a sentence.
        title: Title of the task.
        data: JSON data for `page-data.js`.
        weights: Content of model.safetensors.
        digits: Images of digits that the task reads, see `readDigitImages`; None if it reads none.
    """

    name: str
    repo: str
    license: str
    summary: str
    title: str
    data: dict[str, Any]
    weights: bytes
    digits: bytes | None


def load_page_checkpoint(name_or_path: str, task_name: str = "", model_repo: str = "") -> PageCheckpoint:
    """Load a checkpoint for the page, and run it on its golden samples.

    Args:
        name_or_path: Directory, or name on the Hub.
        task_name: Name of the task, for a checkpoint without task.json.
        model_repo: Repository on the Hub that a directory is published to, `namespace/name`; also its name on the page.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: The checkpoint is invalid, or cannot run in a browser. The message is one sentence.
    """
    checkpoint_dir, full_name = resolve_pretrained(name_or_path)
    info = read_checkpoint_info(checkpoint_dir)
    task = resolve_task(info["task"], info["config"], task_name)
    if model_repo:
        name = repo = HubRef.parse(model_repo).repo
    else:
        name, repo = split_name(name_or_path, checkpoint_dir, full_name)
    browser_checkpoint = build_browser_checkpoint(name, checkpoint_dir, task)
    checkpoint = load(checkpoint_dir)
    pipeline = Pipeline(checkpoint, task, name)
    examples = list_examples(task, info["preview"])
    check_browser_flops(name, pipeline, examples)
    golden = compute_golden_samples(pipeline, examples)
    summary = summarize_metrics(info["metrics"])
    data = {
        "name": name,
        "summary": f"{task.title}. {summary}",
        "policies": list_policies(task, info),
        "halting": build_halting_view(info["halting"], info["metrics"], get_max_ticks(info["config"])),
        "examples": examples,
        "files": read_metadata_files(browser_checkpoint, task),
        "accuracies": browser_checkpoint.accuracies,
        "guarantees": browser_checkpoint.guarantees,
        "needs_digits": DIGITS_NAME in browser_checkpoint.files,
        "golden": [build_golden_data(sample) for sample in golden],
    }
    digits = browser_checkpoint.read(DIGITS_NAME) if data["needs_digits"] else None
    weights = browser_checkpoint.read(WEIGHTS_NAME)
    return PageCheckpoint(name, repo, read_license(info["card"]), summary, task.title, data, weights, digits)


def split_name(name_or_path: str, checkpoint_dir: Path, full_name: str) -> tuple[str, str]:
    """Return the name on the page and the repository on the Hub; that of a directory is empty, and a run has its own name."""
    if Path(name_or_path).is_dir():
        path = checkpoint_dir.resolve()
        return (path.parent.name if path.name == "checkpoint" else path.name), ""
    repo = HubRef.parse(full_name).repo
    return repo, repo


def read_metadata_files(browser_checkpoint: BrowserCheckpoint, task: Task) -> dict[str, str]:
    """Return the text of the JSON files by name. A published checkpoint without task.json gets that of its task."""
    names = (CONFIG_NAME, TASK_NAME, HALTING_NAME, LAYOUT_NAME)
    files = {name: browser_checkpoint.read(name).decode() for name in names if name in browser_checkpoint.files}
    return {TASK_NAME: json.dumps(task.describe()), **files}


def list_policies(task: Task, info: dict[str, Any]) -> list[dict[str, str]]:
    """Return the halting policies that the page offers, the default first."""
    options = build_policy_options(info["halting"], get_max_ticks(info["config"]), bool(task.get_spec().ctc_length))
    return [
        {"policy": policy, "name": option.name, "description": option.description} for policy, option in options.items()
    ]


def list_examples(task: Task, preview: Any) -> list[str]:
    """Return example inputs as texts, or as data URLs of PNG images: those of a preview, else those of the task."""
    if preview and preview.input_type == task.input_type and preview.inputs:
        examples = list(preview.inputs)
    else:
        examples = task.get_examples() or list_generated_examples(task)
    if task.input_type == "text":
        return examples[:MAX_EXAMPLES]
    return [encode_example(example) for example in examples[:MAX_EXAMPLES]]


def list_generated_examples(task: Task) -> list[Any]:
    """Return generated inputs for a task without examples; [] if it generates none."""
    return [task.generate_input(seed) for seed in range(3)] if task.supports_generation else []


def encode_example(example: str | Path | np.ndarray) -> str:
    """Return an example image as the data URL of an opaque PNG, which every browser decodes to the same pixels."""
    is_url = isinstance(example, str) and example.startswith("data:")
    image = read_image_input(decode_data_url(str(example)) if is_url else example).to_8_bit().convert("RGB")
    image.thumbnail((MAX_EXAMPLE_SIDE, MAX_EXAMPLE_SIDE))
    return encode_data_url(np.asarray(image, np.float32) / 255)


def build_golden_data(sample: GoldenSample) -> dict[str, Any]:
    """Return a golden sample as JSON data for `verify.js`."""
    return {
        "input": sample.user_input,
        "ticks": sample.ticks,
        "answer_tick": sample.answer_tick,
        "label": sample.label,
        "logits": base64.b64encode(np.asarray(sample.logits, "<f4").tobytes()).decode("ascii"),
    }


def read_license(card: str) -> str:
    """Return the license in the front matter of a model card; empty if there is no valid one."""
    match = FRONT_MATTER_PATTERN.match(card)
    try:
        values = parse_yaml(match[1], "README.md") if match else {}
    except ValueError:
        values = {}
    value = values.get("license") if isinstance(values, dict) else None
    return value if isinstance(value, str) and LICENSE_PATTERN.fullmatch(value) else ""
