"""Convert a checkpoint file of the original code or of a training tool into a checkpoint directory.

    python -m ctm.convert FILE.pt [--config FILE.yaml] --out FOLDER
    python -m ctm.convert FILE.safetensors [--config FILE.yaml] --out FOLDER
    python -m ctm.convert FOLDER --out FOLDER

A `.pt` file holds the weights as a bare `state_dict`, or in a dictionary under one of `STATE_DICT_KEYS`, next to `args`,
`config` or `hyper_parameters` of its training. A safetensors file may have `config.json` and other metadata beside it, as in a
checkpoint directory with names, types or shards of another tool. The config of the model comes from

1. the weights: `ctm.conversion.infer_config` documents which keys are inferred, and how;
2. `args`, `config` and `hyper_parameters` in the file, for keys that the weights do not determine;
3. `config.json` beside the file, and the YAML file: config keys, and `task` for the contents of `task.json`. They must not
   contradict the weights.

Keys that influence the result and that no source contains (`iterations`, `heads`, `prediction_reshaper`, ...) are
requested by name. Dropout acts in training only and defaults to 0.

`ctm.conversion.safe_unpickle` reads the file and never runs code from it.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ctm.checkpoint import (
    CONFIG_NAME,
    MODEL_CARD_NAME,
    Checkpoint,
    count_weights,
    infer_in_features,
    list_weight_files,
    load,
    save,
)
from ctm.checkpoint.metadata import MAX_METADATA_BYTES, read_metadata
from ctm.checkpoint.weights import read_headers
from ctm.config import (
    CONFIG_CLASSES,
    SCHEDULE_KEYS,
    SCHEDULED_BACKBONE,
    TOKENS_PATTERN,
    Config,
    CTMConfig,
    drop_foreign_keys,
    read_config,
)
from ctm.conversion.infer_config import infer_config, is_consistent, map_to_published_names
from ctm.conversion.safe_unpickle import load_torch_file
from ctm.io.json_files import read_json, read_text
from ctm.io.yaml import read_yaml_file
from ctm.messages import format_name, format_name_list, truncate_repr
from ctm.models.base import TickModel
from ctm.models.meta_device import use_meta_device
from ctm.models.registry import build_model, check_parameter_limit

# An average of the weights comes first: it is what such a training gives.
AVERAGE_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema")
STATE_DICT_KEYS = (*AVERAGE_KEYS, "model_state_dict", "state_dict", "model", "module")
FILE_CONFIG_KEYS = ("args", "config", "hyper_parameters")
CONFIG_KEYS = {key for kind in CONFIG_CLASSES.values() for key in kind.model_fields}
# Old command-line option -> config key.
LEGACY_KEY_ALIASES = {"deep_memory": "deep_nlms", "do_normalisation": "do_layernorm_nlm"}
# Old option of the Q&A-MNIST training -> config keys.
LEGACY_SCHEDULE_KEYS = {"q_num_repeats_per_input": SCHEDULE_KEYS[:2], "q_num_answer_steps": SCHEDULE_KEYS[2:]}
# Option that holds the answer length -> number of classes.
LEGACY_NUM_CLASSES = {"parity_sequence_length": 2, "maze_route_length": 5}
SINGLE_LABEL_DATASETS = {"cifar10", "cifar100", "imagenet"}
FLOAT_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
INTEGER_DTYPES = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
MAX_LIST_LENGTH = 100
EXAMPLE_VALUES = {
    "iterations": "50",
    "heads": "8",
    "prediction_reshaper": "[-1]",
    "backbone_type": "tokens-VxL",
    "neuron_select_type": "first-last",
    **dict.fromkeys(SCHEDULE_KEYS, "10"),
}


def convert(file: Path, out: Path, config_file: Path | None = None) -> Checkpoint:
    """Convert a checkpoint of the original code or of a training tool, and load the result.

    Args:
        file: A `torch.save` file, a safetensors file, or a directory with safetensors files.
        out: Checkpoint directory to write; must not exist.
        config_file: YAML file with config keys, and `task` for task.json.

    Raises:
        ValueError: The file cannot be read safely, holds no supported model, or does not determine the config.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; name a new directory.")
    user_config = read_yaml_file(config_file) if config_file else {}
    task = parse_task_metadata(user_config.pop("task", {}))
    metadata: dict[str, Any] = {}
    if file.is_dir() or file.suffix == ".safetensors":
        content, config_json, metadata = read_safetensors(file)
        user_config = config_json | user_config
    else:
        content = load_torch_file(file)
    tensors, file_config = extract_weights(content, file.name)
    tensors = {new: tensors[old] for old, new in map_to_published_names(tensors).items()}
    config = resolve_config(tensors, file_config, user_config, file.name)
    model = build_from_state_dict(tensors, config, file.name)
    return load(save(Checkpoint(model, **metadata | ({"task": task} if task else {})), out))


# --- reading ---------------------------------------------------------------------------------------------------------


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read safetensors files and the JSON files beside them.

    Args:
        path: A file, or a directory with one file or with shards and their index.

    Returns:
        Tensors, keys of `config.json`, and the other fields of the checkpoint.

    Raises:
        ValueError: A file is missing or damaged.
    """
    folder = path if path.is_dir() else path.parent
    tensors: dict[str, Tensor] = {}
    for file in list_weight_files(folder) if path.is_dir() else [path]:
        read_headers(file)  # a damaged file gets a sentence
        tensors |= load_file(file)
    config = drop_foreign_keys(read_json(folder / CONFIG_NAME, default={}, max_bytes=MAX_METADATA_BYTES))
    return tensors, config, {**read_metadata(folder), "card": read_text(folder / MODEL_CARD_NAME, MAX_METADATA_BYTES)}


def extract_weights(content: Any, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a checkpoint file, and the config keys in its `args` and `config`.

    Args:
        content: Contents of the file.
        name: Name of the file in messages.

    Raises:
        ValueError: The file holds no weights, or values that are not dense CPU tensors.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{name} holds {_format_type_name(content)}, not a dictionary with the weights.")
    wrapped = next((content[key] for key in STATE_DICT_KEYS if is_state_dict(content.get(key), key)), content)
    tensors = dict(wrapped)
    if wrapped is content and not any(isinstance(value, Tensor) for value in tensors.values()):
        keys = ", ".join(map(format_name, list(content)[:8]))
        raise ValueError(f"{name} holds no weights: none of {', '.join(STATE_DICT_KEYS)} among its keys ({keys}).")
    for key, value in tensors.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{name} holds {_format_type_name(value)} as {truncate_repr(key)} among the weights, where only "
                "tensors belong."
            )
        if (
            value.layout != torch.strided
            or value.device.type != "cpu"
            or value.dtype not in FLOAT_DTYPES | INTEGER_DTYPES
        ):
            raise ValueError(
                f"{name} holds `{format_name(key)}` as {value.dtype}, {value.layout}; only dense numbers are converted."
            )
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(
                f"{name} holds `{format_name(key)}` as {list(value.shape)}, which is more than is stored of it."
            )
    file_config: dict[str, Any] = {}
    if wrapped is not content:
        for key in FILE_CONFIG_KEYS:
            file_config |= extract_legacy_config(content.get(key))
    return tensors, file_config


def is_state_dict(value: Any, key: str) -> bool:
    """Return whether an entry of a checkpoint file holds the weights; one that may hold something else must have tensors."""
    if not isinstance(value, Mapping):
        return False
    return key not in (*AVERAGE_KEYS, "module") or any(isinstance(item, Tensor) for item in value.values())


def extract_legacy_config(values: Any) -> dict[str, Any]:
    """Return the config keys in `args` or `config` of a checkpoint file.

    Names of the original command line are translated.
    """
    values = vars(values) if isinstance(values, argparse.Namespace) else values
    if not isinstance(values, Mapping):
        return {}
    nested = values.get("model")
    merged = {**values, **(nested if isinstance(nested, Mapping) else {})}
    values_by_name = {str(key): value for key, value in merged.items() if _is_plain(value)}
    file_config = {
        key: value for old, value in values_by_name.items() if (key := LEGACY_KEY_ALIASES.get(old, old)) in CONFIG_KEYS
    }
    file_config = {
        key: values_by_name[old] for old, keys in LEGACY_SCHEDULE_KEYS.items() if old in values_by_name for key in keys
    } | file_config
    if "prediction_reshaper" not in file_config:
        lengths = [
            [values_by_name[key], classes]
            for key, classes in LEGACY_NUM_CLASSES.items()
            if isinstance(values_by_name.get(key), int)
        ]
        if lengths:
            file_config["prediction_reshaper"] = lengths[0]
        elif str(values_by_name.get("dataset")) in SINGLE_LABEL_DATASETS or values_by_name.keys() & {
            "N_to_sort",
            "q_num_answer_steps",
        }:
            file_config["prediction_reshaper"] = [-1]
    return file_config


def _is_plain(value: Any) -> bool:
    """Return whether a setting could have this value. Other values may be huge or contain themselves."""
    parts = value if isinstance(value, list | tuple) else [value]
    return len(parts) <= MAX_LIST_LENGTH and all(isinstance(part, str | float | int | None) for part in parts)


def parse_task_metadata(values: Any) -> dict[str, Any]:
    """Check the contents of `task.json` that the user wrote.

    Raises:
        ValueError: The values are not a mapping, or JSON cannot represent them.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"`task` must be a group of `name: value` lines, got {truncate_repr(values)}.")
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(
            "`task` may hold text, numbers, lists and groups only; put dates and the like in quotes."
        ) from None
    return dict(values)


# --- the model -------------------------------------------------------------------------------------------------------


def resolve_config(
    tensors: Mapping[str, Tensor], file_config: Mapping[str, Any], user_config: Mapping[str, Any], name: str
) -> Config:
    """Merge config keys from the weights, from the checkpoint file and from the user.

    Args:
        tensors: Weights under the published names.
        file_config: Config keys in the checkpoint file.
        user_config: Config keys of the user.
        name: Name of the file in messages.

    Raises:
        ValueError: The user contradicts the weights, or a required key is in no source.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    indices = {key: tensor for key, tensor in tensors.items() if "neuron_indices" in key}
    inferred, _ = infer_config(shapes, indices)
    for key, value in user_config.items():
        if key in inferred and not is_consistent(key, value, inferred[key]):
            raise ValueError(
                f"The weights of {name} have {key}={inferred[key]}, not {truncate_repr(value)}; correct that or drop "
                "it."
            )
    fields = CONFIG_CLASSES[inferred["kind"]].model_fields
    values = {**{key: value for key, value in file_config.items() if key in fields}, **inferred, **user_config}
    if not inferred.get("deep_nlms", True):
        values.setdefault("memory_hidden_dims", 1)  # not used by shallow models
    if inferred.get("heads") == 0:
        values.setdefault("d_input", 1)  # not used without attention
    required = {key for key, field in fields.items() if field.is_required()}
    required |= {"prediction_reshaper", "neuron_select_type"} & fields.keys() if inferred["kind"] != "ff" else set()
    if inferred.get("backbone_type") == SCHEDULED_BACKBONE:
        required |= {*SCHEDULE_KEYS}
    missing = sorted(required - values.keys())
    if missing and user_config.keys() <= fields.keys():
        raise ValueError(
            f"{name} does not say {', '.join(missing)}; write {'it' if len(missing) == 1 else 'them'} into a YAML "
            f"file, such as `{missing[0]}: {EXAMPLE_VALUES.get(missing[0], '...')}`, and give that with --config."
        )
    return read_config(values)


def build_from_state_dict(tensors: Mapping[str, Tensor], config: Config, name: str) -> TickModel:
    """Build the model of `config` with these weights, strictly. Optional weights that old files lack get their default.

    Args:
        tensors: Weights under the published names.
        config: Config of the model.
        name: Name of the file in messages.

    Raises:
        ValueError: The weights do not fit the config, or hold NaN or infinity.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    in_features = infer_in_features(config, shapes)
    check_parameter_limit(config, in_features)
    with use_meta_device():
        expected = build_model(config, in_features).state_dict()
    _check_weights(tensors, expected, config, name)
    model = build_model(config, in_features)
    state = model.state_dict()
    for key in expected.keys() - tensors.keys():
        if not key.endswith(("neuron_indices_left", "neuron_indices_right")):
            state[key].fill_(1 if key.endswith(".T") else 0)
    for key, tensor in tensors.items():
        state[key].copy_(tensor)
    return model.eval()


def _check_weights(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], config: Config, name: str) -> None:
    """Check that weights fit a model.

    Args:
        tensors: Weights under the published names.
        expected: Tensors of the model, on the meta device.
        config: Config of the model.
        name: Name of the file in messages.

    Raises:
        ValueError: A weight is missing, is not known, has another shape or type, or holds an invalid value.
    """
    if unexpected := sorted(tensors.keys() - expected.keys()):
        raise ValueError(
            f"{name} holds weights that this model does not have: "
            f"{format_name_list([*map(format_name, unexpected)], '`')}."
        )
    if missing := sorted(key for key in expected.keys() - tensors.keys() if not _is_optional_weight(key, config)):
        raise ValueError(f"{name} lacks {format_name_list(missing, '`')}.")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ValueError(f"{name}: `{key}` should be {list(expected[key].shape)}, is {list(tensor.shape)}.")
        if tensor.is_floating_point() != expected[key].is_floating_point():
            raise ValueError(f"{name}: `{key}` should be {expected[key].dtype}, is {tensor.dtype}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise ValueError(f"{name} holds NaN or infinity in `{key}`: the training that wrote it had failed.")
        if "neuron_indices" in key and not 0 <= tensor.min() <= tensor.max() < config.d_model:
            raise ValueError(f"{name} names neurons beyond d_model={config.d_model} in `{key}`.")


def _is_optional_weight(key: str, config: Config) -> bool:
    """Return whether a file may lack a tensor, because its value is known.

    The neuron-level models of the tutorial have no temperature, which is 1. Old batch norms do not count batches.
    first-last determines its neuron indices. A token embedding without positional embedding is equal to one with zeros.
    """
    if "neuron_indices" in key:
        return isinstance(config, CTMConfig) and config.neuron_select_type == "first-last"
    if key == "backbone.positions":
        return TOKENS_PATTERN.fullmatch(config.backbone_type) is not None
    return key.endswith((".T", ".num_batches_tracked"))


def _format_type_name(value: Any) -> str:
    """Return the type name with an article."""
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


# --- the command -----------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Run the command `python -m ctm.convert`."""
    parser = argparse.ArgumentParser(prog="python -m ctm.convert", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="checkpoint of the original code or of a training tool: a .pt or .safetensors file, or a directory",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="config keys that the file does not contain")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="checkpoint directory to write")
    args = parser.parse_args(arguments)
    try:
        model = convert(args.file, args.out, args.config).model
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from None
    settings = ", ".join(f"{key}={value}" for key, value in model.config.to_dict().items())
    print(f"{args.out}: {count_weights(args.out):,} parameters, {settings}")
