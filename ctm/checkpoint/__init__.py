"""Checkpoint folders: weights under the published names beside plain JSON; nothing is ever unpickled.

    model.safetensors  config.json  task.json  halting.json  metrics.json  README.md

Large weights may be parted, as the Hub's libraries do it: `model.safetensors.index.json` then names a file for each tensor.
Loading is strict and says what does not fit. Saving is atomic: a folder either is the whole checkpoint or is not there.
"""

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ctm.checkpoint.metadata import MAX_METADATA_BYTES, METADATA_SCHEMAS, read_metadata
from ctm.config import Config, CTMConfig, read_config
from ctm.io.atomic import fsync_path, get_temp_path, read_json, read_text, replace_dir, write_json
from ctm.models.base import TickModel
from ctm.models.registry import build_model, check_parameter_limit
from ctm.settings import format_name, truncate_repr

WEIGHTS_NAME, WEIGHTS_INDEX_NAME, CONFIG_NAME, MODEL_CARD_NAME = (
    "model.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "README.md",
)
METADATA_NAMES = tuple(METADATA_SCHEMAS)  # task, halting, metrics
SAFETENSORS_FLOAT_DTYPES = {"F32", "F16", "BF16"}
WEIGHTS_FILE_PATTERN = re.compile(r"\w[\w.-]{0,200}\.safetensors", re.ASCII)
MAX_SHARDS = 1_000
MAX_IN_FEATURES = 1_000_000  # of an input
TensorHeader = tuple[tuple[int, ...], str]  # shape, dtype


@dataclass(frozen=True)
class Checkpoint:
    """A machine in eval mode and what is known of it."""

    model: TickModel
    task: dict[str, Any] = field(default_factory=dict)
    halting: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    card: str = ""


def load(folder: str | Path) -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        ValueError: something is missing, does not fit the config, or holds NaN or infinity; one sentence says what.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no checkpoint at {folder}.")
    config = read_config(read_json(folder / CONFIG_NAME, max_bytes=MAX_METADATA_BYTES), CONFIG_NAME)
    notes = read_metadata(folder)
    machine = load_weights(folder, config)
    return Checkpoint(machine, **notes, card=read_text(folder / MODEL_CARD_NAME))


def save(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a checkpoint folder, replacing one that is there.

    Raises:
        ValueError: something else than a checkpoint is there.
    """
    folder = Path(folder).resolve()
    check_can_overwrite(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = get_temp_path(folder)
    draft.mkdir()
    try:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.model.state_dict().items()}
        save_file(state, draft / WEIGHTS_NAME, metadata={"format": "pt"})
        write_json(draft / CONFIG_NAME, checkpoint.model.config.to_dict())
        for name in METADATA_NAMES:
            if values := getattr(checkpoint, name):
                write_json(draft / f"{name}.json", values)
        if checkpoint.card:
            (draft / MODEL_CARD_NAME).write_text(checkpoint.card, "utf-8")
        for path in draft.iterdir():
            path.chmod(0o644)  # safetensors writes for its owner alone
            fsync_path(path)
        replace_dir(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def check_can_overwrite(folder: Path) -> None:
    """A place that holds anything but a checkpoint is not written to, since what is there would be lost.

    Raises:
        ValueError: it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is there and is no folder: name another one for the checkpoint.")
    known = {CONFIG_NAME, WEIGHTS_INDEX_NAME, MODEL_CARD_NAME, *(f"{name}.json" for name in METADATA_NAMES)}
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if others := sorted(name for name in there if name not in known and not WEIGHTS_FILE_PATTERN.fullmatch(name)):
        raise ValueError(
            f"{folder} holds other things than a checkpoint, which would be lost: {format_name_list(others)}. Name a new folder."
        )


def load_weights(folder: Path, config: Config) -> TickModel:
    """Build the machine of `config` and give it the weights of a checkpoint folder, strictly."""
    headers = read_all_headers(folder)
    shapes = {name: shape for name, (shape, _) in headers.items()}
    in_features = infer_in_features(config, shapes)
    check_parameter_limit(config, in_features)
    with torch.device("meta"):
        machine = build_model(config, in_features)
    problems = list(_find_mismatches(machine.state_dict(), headers))
    if problems:
        raise ValueError(f"{WEIGHTS_NAME} does not fit config.json: {format_name_list(problems, separator='; ')}.")
    machine = build_model(config, in_features)
    state = machine.state_dict()  # shares memory with the machine: no second copy of all weights is ever held
    for path in list_weight_files(folder):
        for name, tensor in load_file(path).items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"{path.name} holds NaN or infinity in `{name}`.")
            if "neuron_indices" in name and tensor.numel() and not 0 <= tensor.min() <= tensor.max() < config.d_model:
                raise ValueError(f"{path.name} names neurons beyond d_model={config.d_model} in `{name}`.")
            state[name].copy_(tensor)
    return machine.eval()


def list_weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder: one, or those that its index names."""
    if (folder / WEIGHTS_NAME).is_file() or not (folder / WEIGHTS_INDEX_NAME).is_file():
        return [folder / WEIGHTS_NAME]
    return [
        folder / name
        for name in parse_shard_filenames(read_json(folder / WEIGHTS_INDEX_NAME, max_bytes=MAX_METADATA_BYTES))
    ]


def parse_shard_filenames(index: Mapping[str, Any]) -> list[str]:
    """File names in an index of parted weights.

    Raises:
        ValueError: not such an index, or a name that is not a plain safetensors file beside it.
    """
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{WEIGHTS_INDEX_NAME} must hold a `weight_map` from tensors to files.")
    names = sorted({str(name) for name in places.values()})
    if len(names) > MAX_SHARDS:
        raise ValueError(f"{WEIGHTS_INDEX_NAME} names {len(names)} files; at most {MAX_SHARDS} are read.")
    for name in names:
        if not WEIGHTS_FILE_PATTERN.fullmatch(name):
            raise ValueError(
                f"{WEIGHTS_INDEX_NAME} names {truncate_repr(name)}; only plain .safetensors files beside it are read."
            )
    return names


def read_all_headers(folder: Path) -> dict[str, TensorHeader]:
    """The headers of all weight files of a folder as one; no tensor may be there twice."""
    merged: dict[str, TensorHeader] = {}
    for path in list_weight_files(folder):
        headers = read_headers(path)
        if twice := merged.keys() & headers.keys():
            raise ValueError(f"{path.name} holds `{format_name(min(twice))}`, which another file holds, too.")
        merged |= headers
    return merged


def read_headers(path: Path) -> dict[str, TensorHeader]:
    """Name -> (shape, dtype) of every tensor in a safetensors file, without reading any."""
    if not path.is_file():
        raise ValueError(f"{path.name} is missing in {path.parent}.")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is not a whole safetensors file: {format_name(error, 200)}.") from None


def count_weights(folder: Path) -> int:
    """Number of weights in a checkpoint folder, from the headers of its files alone."""
    return sum(
        math.prod(shape) for shape, dtype in read_all_headers(folder).values() if dtype in SAFETENSORS_FLOAT_DTYPES
    )


def infer_in_features(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Input channels or features, which the published config leaves to its lazy layers, from the weights' shapes."""
    if config.backbone_type.startswith("resnet"):
        return _get_input_size(shapes, "initial_rgb.weight")
    if config.backbone_type == "shallow-wide":
        return _get_input_size(shapes, "backbone.layers.0.weight")
    if config.backbone_type != "none":
        return None
    if config.heads:
        return _get_input_size(shapes, "kv_proj.0.weight")
    if not isinstance(config, CTMConfig):
        return _get_input_size(shapes, "output_projector.3.weight")
    entry = "synapses.1.weight" if config.synapse_depth == 1 else "synapses.first_projection.0.weight"
    features = _get_input_size(shapes, entry) - config.d_model
    if features < 1:
        raise ValueError(f"`{entry}` leaves no room for an input beside d_model={config.d_model} neurons.")
    return features


def _find_mismatches(expected: Mapping[str, torch.Tensor], headers: Mapping[str, TensorHeader]):
    """Yield what keeps these tensors from being those of the machine."""
    for word, names in (("missing", expected.keys() - headers.keys()), ("not known", headers.keys() - expected.keys())):
        if names:
            yield f"{word}: {format_name_list([*map(format_name, sorted(names))])}"
    for name in sorted(expected.keys() & headers.keys()):
        shape, dtype = headers[name]
        if shape != tuple(expected[name].shape):
            yield f"`{name}` should be {list(expected[name].shape)}, is {truncate_repr(list(shape))}"
        if dtype not in SAFETENSORS_FLOAT_DTYPES if expected[name].is_floating_point() else dtype != "I64":
            yield f"`{name}` should be {expected[name].dtype}, is {dtype}"


def format_name_list(names: Sequence[str], quote: str = "", separator: str = ", ") -> str:
    """The first few of these names, and how many there are besides."""
    shown = separator.join(f"{quote}{name}{quote}" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _get_input_size(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    if len(shapes.get(name, ())) < 2:
        raise ValueError(f"The weights lack a matrix `{name}`, from which the input size is read.")
    if not 1 <= (size := shapes[name][1]) <= MAX_IN_FEATURES:
        raise ValueError(f"`{name}` is for inputs of {size:,} features; machines see 1 to {MAX_IN_FEATURES:,}.")
    return size
