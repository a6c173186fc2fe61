"""What a browser needs to run a checkpoint: its files, and what the engine cannot compute from them."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctm.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from ctm.checkpoint.metadata import HaltingMetadata, read_metadata
from inference.halting.stored_policies import get_guarantee
from training.tasks.digits import load_images
from training.tasks.splits import TEST

MAX_WEIGHT_BYTES = 20 * 2**20  # what a visitor downloads
FILE_NAMES = (CONFIG_NAME, "task.json", "halting.json", WEIGHTS_NAME)
DIGITS_NAME = "digits.bin"
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


def build_browser_checkpoint(name: str, checkpoint_dir: Path, task_name: str) -> BrowserCheckpoint | None:
    """Return the files of a checkpoint for a browser; None if it is too large or has several weight files.

    Args:
        name: Name of the checkpoint.
        checkpoint_dir: Checkpoint directory.
        task_name: Name of its task.

    Raises:
        OSError: A file cannot be read.
        ValueError: A metadata file is invalid.
    """
    weights = checkpoint_dir / WEIGHTS_NAME
    if not weights.is_file() or weights.stat().st_size > MAX_WEIGHT_BYTES:
        return None
    files: dict[str, Path | bytes] = {
        file_name: checkpoint_dir / file_name for file_name in FILE_NAMES if (checkpoint_dir / file_name).is_file()
    }
    if task_name in DIGIT_TASKS:
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
