"""What a browser needs to run a checkpoint: its files, and what the engine cannot compute from them.

`ui/services/browser_limits.py` says which checkpoints run in the browser.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctm.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from ctm.checkpoint.layout import LAYOUT_NAME
from ctm.checkpoint.metadata import HaltingMetadata, read_metadata
from inference.halting.stored_policies import get_guarantee
from training.pipeline import Pipeline
from training.tasks import Task
from training.tasks.digits import load_images
from training.tasks.raw import RawSequence
from training.tasks.splits import TEST
from ui.services.browser_limits import (
    BROWSER_TASKS,
    BrowserLimitExceeded,
    check_browser_files,
    check_browser_flops,
)
from ui.services.file_stamps import DirectoryStamp, compute_directory_stamp

MAX_LISTED = 256  # checkpoints whose addresses are known
FILE_NAMES = (CONFIG_NAME, "task.json", "halting.json", LAYOUT_NAME, WEIGHTS_NAME)
DIGITS_NAME = "digits.bin"
PAGE_TASKS = BROWSER_TASKS - {RawSequence.name}  # the server reads raw inputs
DIGIT_TASKS = ("qamnist",)  # tasks whose inputs name bundled test images of digits


@dataclass(frozen=True)
class BrowserCheckpoint:
    """Files of a checkpoint that runs in a browser.

    Attributes:
        name: Name of the checkpoint.
        files: Content or path of each file by name; the names of the checkpoint directory, and perhaps `digits.bin`.
        digest: Hexadecimal digest of all of them, for addresses that may be cached for ever.
        accuracies: Accuracy with the default policy, by held-out split.
        guarantees: Sentence about the guarantee of a policy, by its text.
    """

    name: str
    files: dict[str, Path | bytes]
    digest: str
    accuracies: dict[str, float] = field(default_factory=dict)
    guarantees: dict[str, str] = field(default_factory=dict)

    def read(self, file_name: str) -> bytes:
        """Return the content of a file.

        Raises:
            KeyError: There is no such file.
            OSError: The file cannot be read.
        """
        content = self.files[file_name]
        return content if isinstance(content, bytes) else content.read_bytes()


def build_browser_checkpoint(name: str, checkpoint_dir: Path, task: Task) -> BrowserCheckpoint:
    """Return the files of a checkpoint for a browser.

    Args:
        name: Name of the checkpoint.
        checkpoint_dir: Checkpoint directory.
        task: Its task.

    Raises:
        BrowserLimitExceeded: See `check_browser_files`.
        OSError: A file cannot be read.
        ValueError: A metadata file is invalid.
    """
    check_browser_files(name, checkpoint_dir, task)
    files: dict[str, Path | bytes] = {
        file_name: checkpoint_dir / file_name for file_name in FILE_NAMES if (checkpoint_dir / file_name).is_file()
    }
    if task.name in DIGIT_TASKS:
        files[DIGITS_NAME] = read_digit_images()
    metadata = read_metadata(checkpoint_dir)
    halting = HaltingMetadata.model_validate(metadata["halting"])
    policies = [record.policy for record in halting.policies.values()]
    draft = BrowserCheckpoint(
        name,
        files,
        "",
        {entry["split"]: entry["accuracy_halted"] for entry in metadata["metrics"].get("evaluations", [])},
        {policy: guarantee for policy in policies if (guarantee := get_guarantee(halting, policy))},
    )
    return BrowserCheckpoint(name, files, compute_digest(draft), draft.accuracies, draft.guarantees)


def compute_digest(checkpoint: BrowserCheckpoint) -> str:
    """Return 16 hexadecimal digits that change with every byte that the browser receives."""
    digest = hashlib.sha256(json.dumps([checkpoint.accuracies, checkpoint.guarantees], sort_keys=True).encode())
    for file_name in sorted(checkpoint.files):
        content = checkpoint.read(file_name)
        digest.update(f"{file_name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def read_digit_images() -> bytes:
    """Return the bundled test images of digits as `readDigitImages` of the engine reads them: all labels, then all pixels."""
    images, labels = load_images(TEST)
    return labels.byte().numpy().tobytes() + (images * 255).round().byte().numpy().tobytes()


def build_manifest(checkpoint: BrowserCheckpoint, base_url: str) -> dict[str, Any]:
    """Return what the page needs to load a checkpoint.

    Args:
        checkpoint: The checkpoint.
        base_url: Address of its files, relative to the page.
    """
    return {
        "name": checkpoint.name,
        "files": {file_name: f"{base_url}/{file_name}" for file_name in sorted(checkpoint.files)},
        "accuracies": checkpoint.accuracies,
        "guarantees": checkpoint.guarantees,
    }


class BrowserCheckpoints:
    """Checkpoints that browsers may load, by name and by digest. Thread-safe.

    Args:
        get_dir: Returns the directory of a local checkpoint.
        get_pipeline: Returns the loaded checkpoint, which counts its operations.
    """

    def __init__(self, get_dir: Callable[[str], Path], get_pipeline: Callable[[str], Pipeline]) -> None:
        self._get_dir = get_dir
        self._get_pipeline = get_pipeline
        self._by_name: OrderedDict[str, tuple[DirectoryStamp, BrowserCheckpoint | None]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> BrowserCheckpoint | None:
        """Return the files of a checkpoint; None if only the server runs it.

        Raises:
            ValueError: The checkpoint does not exist or is invalid.
        """
        checkpoint_dir = self._get_dir(name)
        stamp = compute_directory_stamp(checkpoint_dir)
        with self._lock:
            known = self._by_name.get(name)
        if known is None or known[0] != stamp:
            known = stamp, self._build(name, checkpoint_dir)
        with self._lock:
            self._by_name[name] = known
            self._by_name.move_to_end(name)
            while len(self._by_name) > MAX_LISTED:
                self._by_name.popitem(last=False)
        return known[1]

    def _build(self, name: str, checkpoint_dir: Path) -> BrowserCheckpoint | None:
        pipeline = self._get_pipeline(name)
        if not (checkpoint_dir / "task.json").is_file() or pipeline.task.name not in PAGE_TASKS:
            return None
        try:
            check_browser_flops(name, pipeline)
            return build_browser_checkpoint(name, checkpoint_dir, pipeline.task)
        except BrowserLimitExceeded:
            return None

    def read(self, digest: str, file_name: str) -> bytes | None:
        """Return a file of a checkpoint that `get` returned; None if there is none, or if it has changed since.

        Args:
            digest: Digest of the checkpoint.
            file_name: Name of the file.
        """
        with self._lock:
            found = [entry for _, entry in self._by_name.values() if entry is not None and entry.digest == digest]
        try:
            return found[0].read(file_name) if found else None
        except (KeyError, OSError):
            return None
