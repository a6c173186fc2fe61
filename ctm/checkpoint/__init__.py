"""Checkpoint directories: weights under the published names beside plain JSON; nothing is ever unpickled.

    model.safetensors  config.json  task.json  halting.json  metrics.json  layout.json  README.md

Loading is strict and names what does not fit. Saving is atomic: the directory holds the whole checkpoint or does not
exist.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ctm.checkpoint.layout import LAYOUT_NAME, read_layout, write_layout
from ctm.checkpoint.metadata import MAX_METADATA_BYTES, METADATA_SCHEMAS, read_metadata
from ctm.checkpoint.preview import PREVIEW_NAME
from ctm.checkpoint.weights import (
    WEIGHTS_FILE_PATTERN,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    count_weights,
    infer_in_features,
    list_weight_files,
    load_weights,
    parse_shard_filenames,
    read_all_headers,
)
from ctm.config import read_published_config
from ctm.io.atomic import fsync_path, get_temp_path, replace_dir
from ctm.io.json_files import read_json, read_text, write_json
from ctm.messages import format_name_list
from ctm.models.base import TickModel

__all__ = [
    "CONFIG_NAME",
    "METADATA_NAMES",
    "MODEL_CARD_NAME",
    "WEIGHTS_INDEX_NAME",
    "WEIGHTS_NAME",
    "Checkpoint",
    "check_can_overwrite",
    "count_weights",
    "find_unknown_files",
    "infer_in_features",
    "list_weight_files",
    "load",
    "load_weights",
    "parse_shard_filenames",
    "read_all_headers",
    "save",
]

CONFIG_NAME = "config.json"
MODEL_CARD_NAME = "README.md"
METADATA_NAMES = tuple(METADATA_SCHEMAS)


@dataclass(frozen=True)
class Checkpoint:
    """Model in eval mode, its metadata and its model card.

    Attributes:
        model: Model in eval mode.
        task: Contents of task.json.
        halting: Contents of halting.json.
        metrics: Contents of metrics.json.
        card: Text of README.md.
        layout: Contents of layout.json: the places of its neurons in the inside view.
    """

    model: TickModel
    task: dict[str, Any] = field(default_factory=dict)
    halting: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    layout: dict[str, Any] = field(default_factory=dict)

    @property
    def machine(self) -> TickModel:
        """Deprecated name of `model`, used by model cards of version 0.1.0."""
        return self.model


def load(folder: str | Path) -> Checkpoint:
    """Load a checkpoint directory.

    Raises:
        ValueError: A file is missing, does not fit the config, or holds NaN or infinity. The message is one sentence.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no checkpoint at {folder}.")
    config = read_published_config(read_json(folder / CONFIG_NAME, max_bytes=MAX_METADATA_BYTES), CONFIG_NAME)
    metadata = read_metadata(folder)
    model = load_weights(folder, config)
    layout = read_layout(folder, getattr(config, "d_model", None))
    return Checkpoint(model, **metadata, card=read_text(folder / MODEL_CARD_NAME), layout=layout)


def save(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a checkpoint directory atomically. An existing checkpoint is replaced.

    Returns:
        The absolute path of the directory.

    Raises:
        ValueError: The path holds anything else than a checkpoint.
        OSError: The disk is full or the path is not writable; an existing checkpoint is unchanged.
    """
    folder = Path(folder).resolve()
    check_can_overwrite(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp_dir = get_temp_path(folder)
    temp_dir.mkdir()
    try:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.model.state_dict().items()}
        save_file(state, temp_dir / WEIGHTS_NAME, metadata={"format": "pt"})
        write_json(temp_dir / CONFIG_NAME, checkpoint.model.config.to_dict())
        for name in METADATA_NAMES:
            if values := getattr(checkpoint, name):
                write_json(temp_dir / f"{name}.json", values)
        if checkpoint.layout:
            write_layout(temp_dir, checkpoint.layout)
        if checkpoint.card:
            (temp_dir / MODEL_CARD_NAME).write_text(checkpoint.card, "utf-8")
        for path in temp_dir.iterdir():
            path.chmod(0o644)  # safetensors creates files that only the owner may read
            fsync_path(path)
        replace_dir(temp_dir, folder)
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)
    return folder


def check_can_overwrite(folder: Path) -> None:
    """Check that a path does not exist, or holds nothing but a checkpoint, because its contents would be lost.

    Raises:
        ValueError: The path holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is there and is no folder: name another one for the checkpoint.")
    if unknown := find_unknown_files(folder):
        raise ValueError(
            f"{folder} holds other things than a checkpoint, which would be lost: {format_name_list(unknown)}. Name a "
            "new folder."
        )


def find_unknown_files(folder: Path) -> list[str]:
    """Return the names of the entries of a directory that belong to no checkpoint, sorted; [] if there is no directory."""
    known = {CONFIG_NAME, WEIGHTS_INDEX_NAME, MODEL_CARD_NAME, PREVIEW_NAME, LAYOUT_NAME}
    known |= {f"{name}.json" for name in METADATA_NAMES}
    existing = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in existing if name not in known and not WEIGHTS_FILE_PATTERN.fullmatch(name))
