"""Limits of what runs in the browser of a visitor: the task, the size of the weights, the operations of a prediction.

The Think tab and `python -m ui.export` apply the same limits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctm.checkpoint import WEIGHTS_NAME
from training.data.image_inputs import read_image_input
from training.flops import count_prediction_flops
from training.pipeline import Pipeline
from training.tasks import Task
from ui.services.image_decoding import decode_data_url

MAX_WEIGHT_BYTES = 20 * 2**20  # what a visitor downloads
MAX_UNROLL_FLOPS = 10**9
# Tasks that `ui/static/ctm/tasks/registry.js` knows.
BROWSER_TASKS = frozenset(
    ("arithmetic", "brackets", "chain", "digits", "images", "mazes", "parity", "qamnist", "raw", "sorting", "tracking")
)
SQUARE_SIDE = 64  # pixels of the image that stands for a missing example
REMEDY = "serve it with app.py, for example in a Docker Space"


class BrowserLimitExceeded(ValueError):
    """A checkpoint runs on the server only. The message is one sentence."""


def check_browser_files(name: str, checkpoint_dir: Path, task: Task) -> None:
    """Check the task and the weights of a checkpoint, before it is loaded.

    Args:
        name: Name of the checkpoint in messages.
        checkpoint_dir: Checkpoint directory.
        task: Its task.

    Raises:
        BrowserLimitExceeded: The browser has no such task, or the weights are too large or in several files.
        OSError: The weights cannot be read.
    """
    if task.name not in BROWSER_TASKS:
        raise BrowserLimitExceeded(
            f"{name} cannot run in a browser: its task is {task.name!r}, the browser knows "
            f"{', '.join(sorted(BROWSER_TASKS))}; {REMEDY}."
        )
    weights = checkpoint_dir / WEIGHTS_NAME
    if not weights.is_file():
        raise BrowserLimitExceeded(
            f"{name} cannot run in a browser: its weights are in several files, the browser reads one {WEIGHTS_NAME}; "
            f"{REMEDY}."
        )
    if (size := weights.stat().st_size) > MAX_WEIGHT_BYTES:
        raise BrowserLimitExceeded(
            f"{name} cannot run in a browser: its weights have {size / 2**20:.1f} MiB, at most "
            f"{MAX_WEIGHT_BYTES / 2**20:.0f} MiB are loaded; train a smaller model, or {REMEDY}."
        )


def check_browser_flops(name: str, pipeline: Pipeline, examples: Sequence[Any] = ()) -> None:
    """Check the floating-point operations of a prediction with all ticks.

    Args:
        name: Name of the checkpoint in messages.
        pipeline: The checkpoint.
        examples: Example inputs, see `find_example`.

    Raises:
        BrowserLimitExceeded: There are too many.
    """
    flops = count_prediction_flops(
        pipeline.model, pipeline.task.parse_input(find_example(pipeline.task, examples)).inputs
    )
    if flops > MAX_UNROLL_FLOPS:
        raise BrowserLimitExceeded(
            f"{name} cannot run in a browser: a prediction with all ticks takes {flops / 1e9:.2f} GFLOP, at most "
            f"{MAX_UNROLL_FLOPS / 1e9:g} GFLOP are computed there; train a smaller model or fewer ticks, or {REMEDY}."
        )


def find_example(task: Task, examples: Sequence[Any] = ()) -> Any:
    """Return an input that the task parses: an example, a generated input, or a picture of a black square.

    Args:
        task: The task.
        examples: Texts, paths, images or `data:` URLs; the first one is used. Default: the examples of the task.
    """
    found = next(iter([*examples, *task.get_examples()]), None)
    if found is None and task.supports_generation:
        found = task.generate_input(0)
    if task.input_type == "text":
        return found
    if found is None:
        square = np.ones((SQUARE_SIDE, SQUARE_SIDE, 3), np.float32)
        square[SQUARE_SIDE // 4 : -SQUARE_SIDE // 4, SQUARE_SIDE // 4 : -SQUARE_SIDE // 4] = 0
        return square
    is_url = isinstance(found, str) and found.startswith("data:")
    return read_image_input(decode_data_url(str(found)) if is_url else found).to_array()
