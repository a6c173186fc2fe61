"""Thumbnails of the gallery: the record of one example, cut to what a card draws, computed on first request.

The landing page plays the whole record.

A record that was published with a checkpoint is used as it is. Otherwise the checkpoint is loaded once, apart from the cache of
models, which belongs to the visitors' own predictions.
"""

import base64
import gzip
import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ctm.checkpoint import load
from ctm.checkpoint.preview import read_preview
from training.pipeline import Pipeline
from training.preview import list_example_inputs, read_example
from training.tasks.registry import resolve_task
from ui.services.browser_limits import MAX_WEIGHT_BYTES
from ui.services.file_stamps import compute_directory_stamp

THUMBNAIL_VERSION = 1  # part of every digest; raise it when the content changes
MAX_KNOWN = 256  # checkpoints whose thumbnails are known
MAX_SIDE = 64  # pixels of a picture
MAX_FRAMES = 64  # ticks
MAX_ITEMS = 64  # symbols of a sequence, positions of an answer
MAX_LABEL_CHARS = 40

log = logging.getLogger(__name__)


def build_thumbnail(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a card draws of a record, as JSON data.

    Args:
        record: Record of `training.thought_record.build_thought_record`.

    Returns:
        The input, and by tick the label of the answer and either its route or its classes. Of many ticks some are left
        out; the last one stays.

    Raises:
        KeyError, TypeError, ValueError, IndexError: The record is none; it may come from another author's file.
    """
    frames = select_frames(int(record["ticks"]))
    view = record["input"]
    routes = record.get("routes") if view["kind"] == "picture" and view["height"] <= MAX_SIDE else None
    return {
        "ticks": [tick + 1 for tick in frames],
        "iterations": int(record["iterations"]),
        "labels": [str(record["labels_by_tick"][tick])[:MAX_LABEL_CHARS] for tick in frames],
        "input": build_thumbnail_input(view),
        "routes": [routes[tick] for tick in frames] if routes else None,
        "answers": None if routes else [record["answers_by_tick"][tick][:MAX_ITEMS] for tick in frames],
    }


def select_frames(ticks: int) -> list[int]:
    """Return at most `MAX_FRAMES` ticks from 0, evenly spaced, the last one included."""
    return np.unique(np.linspace(0, ticks - 1, min(ticks, MAX_FRAMES)).round().astype(int)).tolist()


def build_thumbnail_input(view: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a record; a picture is made small."""
    if view["kind"] == "picture":
        return shrink_picture(view)
    kept: dict[str, Any] = {key: view[key] for key in ("path", "numbers", "group") if key in view}
    return {"kind": "sequence", "items": [str(item)[:8] for item in view["items"][:MAX_ITEMS]], **kept}


def shrink_picture(view: dict[str, Any]) -> dict[str, Any]:
    """Return a picture of at most `MAX_SIDE` rows; of a larger one, pixels and the marks of a maze are left out."""
    size = view["height"], view["width"], view["channels"]
    pixels = np.frombuffer(base64.b64decode(view["data"]), np.uint8).reshape(size)
    step = -(-size[0] // MAX_SIDE)
    small = pixels[::step, ::step]
    marks: dict[str, Any] = {key: view[key] for key in ("start", "goal") if key in view and step == 1}
    return {
        "kind": "picture",
        "width": small.shape[1],
        "height": small.shape[0],
        "channels": small.shape[2],
        "data": base64.b64encode(np.ascontiguousarray(small).tobytes()).decode("ascii"),
        **marks,
    }


def compute_record(checkpoint_dir: Path, name: str, purpose: str) -> dict[str, Any] | None:
    """Return the record of a checkpoint's first example: the published one, or one that is computed now.

    Args:
        checkpoint_dir: Checkpoint directory.
        name: Name of the checkpoint.
        purpose: Task, for a checkpoint that does not state one.

    Returns:
        The record; None if the checkpoint has no example, or is too large to be loaded for a thumbnail.

    Raises:
        ValueError: The checkpoint is invalid.
        OSError: A file cannot be read.
    """
    preview = read_preview(checkpoint_dir)
    if preview and preview.record:
        return preview.record
    if sum(path.stat().st_size for path in checkpoint_dir.glob("*.safetensors")) > MAX_WEIGHT_BYTES:
        return None
    checkpoint = load(checkpoint_dir)
    task = resolve_task(checkpoint.task, checkpoint.model.config.to_dict(), purpose)
    examples = list_example_inputs(task, example_images=False)
    return Pipeline(checkpoint, task, name).build_record(read_example(examples[0])) if examples else None


def compute_digest(checkpoint_dir: Path, name: str) -> str:
    """Return 16 hexadecimal digits that change when a file of the checkpoint is replaced."""
    content = json.dumps([THUMBNAIL_VERSION, name, compute_directory_stamp(checkpoint_dir)])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class Thumbnails:
    """Thumbnails by digest. Thread-safe.

    Args:
        get_dir: Returns the directory of a local checkpoint after checking its files.
    """

    def __init__(self, get_dir: Callable[[str], Path]) -> None:
        self._get_dir = get_dir
        self._names: OrderedDict[str, tuple[str, str]] = OrderedDict()  # digest -> name and task
        self._contents: dict[
            tuple[str, bool], bytes
        ] = {}  # digest, and whether it is the whole record -> compressed JSON
        self._lock = threading.Lock()
        self._compute_lock = threading.Lock()  # one at a time: predictions of visitors come first

    def register(self, checkpoint_dir: Path, name: str, purpose: str = "") -> str:
        """Return the digest under which `read` returns the thumbnail of a checkpoint. Computes nothing."""
        digest = compute_digest(checkpoint_dir, name)
        with self._lock:
            self._names[digest] = name, purpose
            self._names.move_to_end(digest)
            while len(self._names) > MAX_KNOWN:
                oldest, _ = self._names.popitem(last=False)
                for is_whole in (False, True):
                    self._contents.pop((oldest, is_whole), None)
        return digest

    def read(self, digest: str, is_whole: bool = False) -> bytes | None:
        """Return a thumbnail as JSON, compressed with gzip; None if there is none.

        Computes it on first request, which takes up to some seconds.

        Args:
            digest: Digest of `register`.
            is_whole: Whether to return the whole record.
        """
        key = digest, is_whole
        with self._compute_lock:
            with self._lock:
                known, content = self._names.get(digest), self._contents.get(key)
            if content is None and known is not None:
                content = self._compute(digest, is_whole, *known)
                with self._lock:
                    self._contents[key] = content
        return content or None

    def _compute(self, digest: str, is_whole: bool, name: str, purpose: str) -> bytes:
        """Return the thumbnail of a checkpoint; empty if it has none, so that it is not tried again."""
        try:
            checkpoint_dir = self._get_dir(name)
            if compute_digest(checkpoint_dir, name) != digest:
                return b""
            record = compute_record(checkpoint_dir, name, purpose)
            content = record if record is None or is_whole else build_thumbnail(record)
        except (ValueError, OSError, LookupError, TypeError, ArithmeticError) as error:
            log.warning("The thumbnail of %s cannot be computed: %s", name, error)
            return b""
        if content is None:
            return b""
        return gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0)
