"""Weights of a checkpoint directory: safetensors headers, shards and strict loading.

Large weights may be sharded in the layout of huggingface_hub: `model.safetensors.index.json` maps each tensor to a
file. Shapes and dtypes are checked from the headers before any memory for weights is allocated. Names inside wrappers of
training tools are read, too; see `ctm.checkpoint.wrapper_names`.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ctm.checkpoint.metadata import MAX_METADATA_BYTES
from ctm.checkpoint.wrapper_names import unwrap_names
from ctm.config import Config, CTMConfig
from ctm.io.json_files import read_json
from ctm.messages import format_name, format_name_list, truncate_repr
from ctm.models.base import TickModel
from ctm.models.meta_device import use_meta_device
from ctm.models.registry import build_model, check_parameter_limit

WEIGHTS_NAME = "model.safetensors"
WEIGHTS_INDEX_NAME = "model.safetensors.index.json"
SAFETENSORS_FLOAT_DTYPES = {"F32", "F16", "BF16"}
# Types that `ctm.convert` reads besides those of a checkpoint.
CONVERTIBLE_FLOAT_DTYPES = SAFETENSORS_FLOAT_DTYPES | {"F64"}
CONVERTIBLE_INTEGER_DTYPES = {"I64", "I32", "I16", "I8", "U8"}
WEIGHTS_FILE_PATTERN = re.compile(r"\w[\w.-]{0,200}\.safetensors", re.ASCII)
MAX_SHARDS = 1_000
MAX_IN_FEATURES = 1_000_000
TensorHeader = tuple[tuple[int, ...], str]  # shape, dtype


def load_weights(folder: Path, config: Config) -> TickModel:
    """Build the model of `config` and load the weights of a checkpoint directory, strictly.

    Raises:
        ValueError: The weights are missing, do not fit the config, or hold NaN or infinity.
    """
    file_headers = read_all_headers(folder)
    names = unwrap_names(file_headers)
    headers = {name: file_headers[file_name] for file_name, name in names.items()}
    shapes = {name: shape for name, (shape, _) in headers.items()}
    in_features = infer_in_features(config, shapes)
    check_parameter_limit(config, in_features)
    with use_meta_device():
        model = build_model(config, in_features)
    problems = list(_find_mismatches(model.state_dict(), headers))
    if problems:
        remedy = format_convert_remedy(folder) if _differs_in_precision(model.state_dict(), headers) else ""
        raise ValueError(
            f"{WEIGHTS_NAME} does not fit config.json: {format_name_list(problems, separator='; ')}.{remedy}"
        )
    model = build_model(config, in_features)
    state = model.state_dict()  # shares memory with the model, so no second copy of the weights is created
    for path in list_weight_files(folder):
        for file_name, tensor in load_file(path).items():
            if (name := names.get(file_name)) is None:  # belongs to the wrapper
                continue
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"{path.name} holds NaN or infinity in `{name}`.")
            if "neuron_indices" in name and tensor.numel() and not 0 <= tensor.min() <= tensor.max() < config.d_model:
                raise ValueError(f"{path.name} names neurons beyond d_model={config.d_model} in `{name}`.")
            state[name].copy_(tensor)
    return model.eval()


def list_weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint directory: a single file, or those in its index."""
    if (folder / WEIGHTS_NAME).is_file() or not (folder / WEIGHTS_INDEX_NAME).is_file():
        return [folder / WEIGHTS_NAME]
    return [
        folder / name
        for name in parse_shard_filenames(read_json(folder / WEIGHTS_INDEX_NAME, max_bytes=MAX_METADATA_BYTES))
    ]


def parse_shard_filenames(index: Mapping[str, Any]) -> list[str]:
    """Return the file names in an index of sharded weights, sorted.

    Args:
        index: Contents of `model.safetensors.index.json`.

    Raises:
        ValueError: It is not such an index, or a name is not that of a plain safetensors file in the same directory.
    """
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{WEIGHTS_INDEX_NAME} must hold a `weight_map` from tensors to files.")
    names = sorted({str(name) for name in weight_map.values()})
    if len(names) > MAX_SHARDS:
        raise ValueError(f"{WEIGHTS_INDEX_NAME} names {len(names)} files; at most {MAX_SHARDS} are read.")
    for name in names:
        if not WEIGHTS_FILE_PATTERN.fullmatch(name):
            raise ValueError(
                f"{WEIGHTS_INDEX_NAME} names {truncate_repr(name)}; only plain .safetensors files beside it are read."
            )
    return names


def read_all_headers(folder: Path) -> dict[str, TensorHeader]:
    """Return the merged headers of all weight files of a directory.

    Raises:
        ValueError: A file is missing or damaged, or a tensor occurs twice.
    """
    merged: dict[str, TensorHeader] = {}
    for path in list_weight_files(folder):
        headers = read_headers(path)
        if duplicates := merged.keys() & headers.keys():
            raise ValueError(f"{path.name} holds `{format_name(min(duplicates))}`, which another file holds, too.")
        merged |= headers
    return merged


def read_headers(path: Path) -> dict[str, TensorHeader]:
    """Return name -> (shape, dtype) of every tensor in a safetensors file, without reading any tensor.

    Raises:
        ValueError: The file is missing or damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is missing in {path.parent}.")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 -- safe_open is not a mapping
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is not a whole safetensors file: {format_name(error, 200)}.") from None


def count_weights(folder: Path) -> int:
    """Return the number of floating-point weights in a checkpoint directory, from the file headers."""
    headers = read_all_headers(folder)
    return sum(
        math.prod(headers[name][0]) for name in unwrap_names(headers) if headers[name][1] in SAFETENSORS_FLOAT_DTYPES
    )


def infer_in_features(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Return the input channels or features of a model from its weight shapes.

    The published config has no key for them, because the published code uses lazy layers.

    Args:
        config: Config of the model.
        shapes: Parameter name -> shape.

    Returns:
        The number of channels or features; None if the backbone does not depend on it.

    Raises:
        ValueError: The weight is missing, or the size is out of bounds.
    """
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


def _find_mismatches(expected: Mapping[str, torch.Tensor], headers: Mapping[str, TensorHeader]) -> Iterator[str]:
    """Yield one phrase for each difference between the tensors of a model and those of its weight files."""
    for word, names in (("missing", expected.keys() - headers.keys()), ("not known", headers.keys() - expected.keys())):
        if names:
            yield f"{word}: {format_name_list([*map(format_name, sorted(names))])}"
    for name in sorted(expected.keys() & headers.keys()):
        shape, dtype = headers[name]
        if shape != tuple(expected[name].shape):
            yield f"`{name}` should be {list(expected[name].shape)}, is {truncate_repr(list(shape))}"
        if dtype not in SAFETENSORS_FLOAT_DTYPES if expected[name].is_floating_point() else dtype != "I64":
            yield f"`{name}` should be {expected[name].dtype}, is {dtype}"


def _differs_in_precision(expected: Mapping[str, torch.Tensor], headers: Mapping[str, TensorHeader]) -> bool:
    """Return whether names and shapes fit, and all types can be converted."""
    if expected.keys() != headers.keys():
        return False
    for name, (shape, dtype) in headers.items():
        tensor = expected[name]
        convertible = CONVERTIBLE_FLOAT_DTYPES if tensor.is_floating_point() else CONVERTIBLE_INTEGER_DTYPES
        if shape != tuple(tensor.shape) or dtype not in convertible:
            return False
    return True


def format_convert_remedy(folder: Path) -> str:
    """Return a sentence with the command that converts a checkpoint directory."""
    command = shlex.join(["python", "-m", "ctm.convert", str(folder), "--out"])
    return f" `{command} NEW_DIRECTORY` writes a checkpoint with the types that are needed."


def _get_input_size(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """Return the number of columns of a weight."""
    if len(shapes.get(name, ())) < 2:
        raise ValueError(f"The weights lack a matrix `{name}`, from which the input size is read.")
    if not 1 <= (size := shapes[name][1]) <= MAX_IN_FEATURES:
        raise ValueError(f"`{name}` is for inputs of {size:,} features; models take 1 to {MAX_IN_FEATURES:,}.")
    return size
