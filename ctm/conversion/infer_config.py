"""Infer the config of a model from the weights of the original code: parameter names, shapes and index buffers.

| config key | inferred from |
|---|---|
| `d_model`, `memory_length` | shape of `start_trace` |
| `out_dims` | rows of `output_projector.0.weight` |
| `d_input` | columns of `attention.in_proj_weight` |
| `heads`, `n_synch_action` | 0 without `attention.in_proj_weight`; otherwise `heads` cannot be inferred |
| `n_synch_out`, `n_synch_action` | length of `*_neuron_indices_left` |
| `neuron_select_type` | as many decays as indices: random-pairing; n (n + 1) / 2 decays: first-last if the indices are those of first-last, else random |
| `n_random_pairing_self` | random-pairing only: number of equal left and right indices before the first difference |
| `synapse_depth` | 1, or one more than the `synapses.down_projections` |
| `deep_nlms`, `memory_hidden_dims` | `trace_processor.0.2.w1` exists; half the width of `trace_processor.0.0.w1`, which only deep models determine |
| `do_layernorm_nlm` | `trace_processor.0.0.layernorm.weight` exists |
| `positional_embedding_type` | its parameter names |
| `backbone_type` | its parameter names, blocks of every ResNet stage, rows of an embedding; of several ResNets with the same first stages, the shallowest |
| `energy_head_enabled`, `energy_hidden_dim`, `energy_sees_*` | `energy_proj.0.weight`, its rows, its columns |

Baselines are recognised by `start_hidden_state` (LSTM) and `output_projector.3.weight` (feed-forward). `d_model` and
`num_layers` come from their shapes, the other keys as above.

`iterations`, `iterations_*` of the phases, `prediction_reshaper` and the dropout keys cannot be inferred.
"""  # noqa: E501 -- a table

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ctm.checkpoint.wrapper_names import unwrap_names
from ctm.config import CONFIG_CLASSES, DEEP_RESNET_PATTERN, SCHEDULE_KEYS, SCHEDULED_BACKBONE
from ctm.messages import format_name
from ctm.modules.backbones import RESNET_BLOCK_COUNTS
from ctm.modules.readout import NUM_CERTAINTY_FEATURES
from ctm.modules.synchronisation import choose_neurons

Shapes = Mapping[str, tuple[int, ...]]

REQUIRED_TENSORS = {
    "start_activated_state": 1,
    "start_trace": 2,
    "decay_params_out": 1,
    "trace_processor.0.0.w1": 3,
    "trace_processor.0.0.b1": 3,
    "output_projector.0.weight": 2,
}
UNSUPPORTED_CLASSES = {
    r"start_activated_trace|diagonal_mask_\w+": "ContinuousThoughtMachineRL, which synchronises over a sliding window",
    r"lstm_cell": "an LSTMBaseline that sees in phases or plays games",
}
POSITIONAL_EMBEDDING_PARAMETERS = {
    "combination": "multi-learnable-fourier",
    "Wr.weight": "learnable-fourier",
    "start_vector": "custom-rotational",
    "projection.weight": "custom-rotational-1d",
}
TUTORIAL_MODULE_NAMES = {"synapses.0": "synapses.1", "synapses.2": "synapses.3"} | {
    f"trace_processor.{place}": f"trace_processor.0.{place}" for place in (0, 2)
}


def map_to_published_names(names: Iterable[str]) -> dict[str, str]:
    """Map the parameter names in a file to the published names.

    The names of wrappers are removed, and tensors of a wrapper itself are left out: see `ctm.checkpoint.wrapper_names`. The
    layout of the MNIST tutorial is mapped to the published one: its synapses have no dropout layer, and its neuron-level
    models and backbone are one level higher.

    Raises:
        ValueError: Two names are mapped to the same name.
    """
    short = unwrap_names(names)
    file_names = set(short.values())
    moves = {
        old: new
        for old, new in TUTORIAL_MODULE_NAMES.items()
        if not any(name.startswith(f"{new}.") for name in file_names)
    }
    if {"backbone.0.weight", "backbone.4.weight"} <= file_names:
        moves |= {f"backbone.{place}": f"backbone.layers.{place}" for place in (0, 1, 4, 5)}
    renamed: dict[str, str] = {}
    used_names: set[str] = set()
    for name, now in short.items():
        module, dot, parameter = now.rpartition(".")
        new = f"{moves.get(module, module)}{dot}{parameter}"
        if new in used_names:
            raise ValueError(
                f"Several tensors would be `{format_name(new)}`; keep one of them and save the file again."
            )
        used_names.add(new)
        renamed[name] = new
    return renamed


def infer_config(shapes: Shapes, indices: Mapping[str, Tensor] | None = None) -> tuple[dict[str, Any], set[str]]:
    """Infer config keys from the weights.

    Args:
        shapes: Published parameter and buffer name -> shape.
        indices: The `*_neuron_indices_*` buffers; without them `neuron_select_type` may stay unknown.

    Returns:
        The inferred keys, and the names of the keys that the weights do not determine.

    Raises:
        ValueError: The weights do not belong to a supported model.
    """
    _check_supported_class(shapes)
    if "start_hidden_state" in shapes:
        return _add_unknown_keys(_infer_lstm_config(shapes))
    if "output_projector.3.weight" in shapes and "start_trace" not in shapes:
        return _add_unknown_keys(_infer_ff_config(shapes))
    _check_required_tensors(shapes)
    attends = "attention.in_proj_weight" in shapes
    neurons, memory = shapes["start_trace"]
    deep = "trace_processor.0.2.w1" in shapes
    inferred: dict[str, Any] = _infer_shared_keys(shapes, "output_projector.0.weight", neurons) | {
        "kind": "ctm",
        "d_model": neurons,
        "memory_length": memory,
        "synapse_depth": _infer_synapse_depth(shapes),
        "deep_nlms": deep,
        "do_layernorm_nlm": "trace_processor.0.0.layernorm.weight" in shapes,
    }
    if deep:
        inferred["memory_hidden_dims"] = shapes["trace_processor.0.0.w1"][1] // 2
    if attends:
        inferred["d_input"] = _get_size(shapes, "attention.in_proj_weight", 1)
    else:
        inferred |= {"heads": 0, "n_synch_action": 0}
    if inferred.get("backbone_type") != SCHEDULED_BACKBONE:
        inferred |= dict.fromkeys(SCHEDULE_KEYS)
    inferred |= _infer_neuron_selection(shapes, indices or {}, neurons, ("out", "action") if attends else ("out",))
    return _add_unknown_keys(inferred)


def _add_unknown_keys(inferred: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the inferred keys, and the config keys that the weights do not determine."""
    return inferred, set(CONFIG_CLASSES[inferred["kind"]].model_fields) - inferred.keys()


def _infer_lstm_config(shapes: Shapes) -> dict[str, Any]:
    """Infer the config keys of an LSTM baseline."""
    layers, width = (_get_size(shapes, "start_hidden_state", axis) for axis in (0, 1))
    d_input = _get_size(shapes, "attention.in_proj_weight", 1)
    return _infer_shared_keys(shapes, "output_projector.0.weight", width) | {
        "kind": "lstm",
        "d_model": width,
        "num_layers": layers,
        "d_input": d_input,
    }


def _infer_ff_config(shapes: Shapes) -> dict[str, Any]:
    """Infer the config keys of a feed-forward baseline."""
    width = _get_size(shapes, "output_projector.3.weight", 0)
    return _infer_shared_keys(shapes, "output_projector.6.weight", 0) | {"kind": "ff", "d_model": width}


def _infer_shared_keys(shapes: Shapes, output_weight: str, neurons: int) -> dict[str, Any]:
    """Infer the keys that all model types share.

    Args:
        shapes: Parameter name -> shape.
        output_weight: Name of the weight of the answer logits.
        neurons: Neuron activations that the energy head may receive besides the readout input.
    """
    inferred: dict[str, Any] = {
        "out_dims": _get_size(shapes, output_weight, 0),
        "energy_head_enabled": "energy_proj.0.weight" in shapes,
        "positional_embedding_type": _infer_positional_embedding_type(shapes),
    }
    if inferred["energy_head_enabled"]:
        inferred["energy_hidden_dim"] = _get_size(shapes, "energy_proj.0.weight", 0)
        more = _get_size(shapes, "energy_proj.0.weight", 1) - _get_size(shapes, output_weight, 1)
        inferred["energy_sees_neurons"] = more >= neurons > NUM_CERTAINTY_FEATURES
        inferred["energy_sees_certainty"] = more - neurons * inferred["energy_sees_neurons"] == NUM_CERTAINTY_FEATURES
    if backbone := _infer_backbone_type(shapes):
        inferred["backbone_type"] = backbone
    return inferred


def is_consistent(key: str, user_value: Any, inferred_value: Any) -> bool:
    """Return whether a value of the user is compatible with the value inferred from the weights."""
    if key == "backbone_type":  # ResNets 50, 101 and 152 have the same first two stages
        return re.sub(r"^resnet(101|152)-([12])$", r"resnet50-\2", str(user_value)) == inferred_value
    if key == "neuron_select_type":  # random may select the neurons of first-last by chance
        return user_value == inferred_value or (user_value, inferred_value) == ("random", "first-last")
    if key == "n_random_pairing_self":  # random pairs may pair a neuron with itself by chance
        return isinstance(user_value, int) and user_value <= inferred_value
    return bool(user_value == inferred_value)


def _get_size(shapes: Shapes, name: str, axis: int) -> int:
    """Return the size of a weight along an axis."""
    if len(shapes.get(name, ())) <= axis:
        raise ValueError(f"The weights lack `{name}` with {axis + 1} dimensions or more, from which a size is read.")
    return shapes[name][axis]


def _check_supported_class(shapes: Shapes) -> None:
    """Raise `ValueError` for weights of a published class that is not supported."""
    for pattern, class_name in UNSUPPORTED_CLASSES.items():
        if any(re.search(rf"(^|\.)({pattern})(\.|$)", name) for name in shapes):
            raise ValueError(
                f"These are weights of {class_name}; ContinuousThoughtMachine, LSTMBaseline and FFBaseline are "
                "converted."
            )


def _check_required_tensors(shapes: Shapes) -> None:
    """Raise `ValueError` if a tensor that every Continuous Thought Machine has is missing."""
    for name, dimensions in REQUIRED_TENSORS.items():
        if name not in shapes:
            raise ValueError(f"These are not the weights of a Continuous Thought Machine: `{name}` is missing.")
        if len(shapes[name]) != dimensions:
            raise ValueError(f"`{name}` should have {dimensions} dimensions, has the shape {list(shapes[name])}.")


def _infer_synapse_depth(shapes: Shapes) -> int:
    """Return the depth of the synapses."""
    if "synapses.1.weight" in shapes:
        return 1
    levels = {name.split(".")[2] for name in shapes if name.startswith("synapses.down_projections.")}
    if "synapses.first_projection.0.weight" not in shapes or not levels:
        raise ValueError("These weights have no synapses: neither `synapses.1.weight` nor a U-Net's first projection.")
    return len(levels) + 1


def _infer_positional_embedding_type(shapes: Shapes) -> str:
    """Return the type of the positional encoding from its parameter names."""
    names = {name.removeprefix("positional_embedding.") for name in shapes if name.startswith("positional_embedding.")}
    if not names:
        return "none"
    for name, kind in POSITIONAL_EMBEDDING_PARAMETERS.items():
        if name in names:
            return kind
    raise ValueError(f"No positional_embedding_type has a parameter `positional_embedding.{format_name(min(names))}`.")


def _infer_backbone_type(shapes: Shapes) -> str | None:
    """Return the backbone type; None for a token embedding whose maximum length is not known."""
    names = sorted(name.removeprefix("backbone.") for name in shapes if name.startswith("backbone."))
    if "operator_backbone.embedding.weight" in shapes and not names:
        return SCHEDULED_BACKBONE
    if not names:
        return "none"
    if "embedding.weight" in names:
        symbols = _get_size(shapes, "backbone.embedding.weight", 0)
        if "positions" in names:
            return f"tokens-{symbols}x{_get_size(shapes, 'backbone.positions', 1)}"
        return "parity_backbone" if symbols == 2 else None
    if "conv1.weight" in names and (resnet := _infer_resnet_type(names)):
        return resnet
    if "layers.0.weight" in names and {"layers.3.weight", "layers.4.weight"} & {*names}:
        return "shallow-wide" if "layers.3.weight" in names else "mnist_backbone"
    raise ValueError(
        f"No backbone_type has the backbone of these weights (`backbone.{format_name(names[0])}` and {len(names) - 1} "
        "more); only the published backbones can be converted."
    )


def _infer_resnet_type(names: Iterable[str]) -> str | None:
    """Return `resnet{depth}-{stages}`, the smallest depth if several match, or `resnet-64x{blocks}`; None if none matches."""
    stage_blocks = {match.groups() for name in names if (match := re.match(r"layer([1-4])\.(\d+)\.", name))}
    blocks = tuple(sum(stage == str(n) for stage, _ in stage_blocks) for n in range(1, 5))
    stages = 4 - blocks.count(0)
    bottleneck = "layer1.0.conv3.weight" in names
    for depth, counts in RESNET_BLOCK_COUNTS.items():
        if (depth not in ("18", "34")) == bottleneck and stages and counts[:stages] == blocks[:stages]:
            return f"resnet{depth}-{stages}"
    is_complete = stage_blocks == {("1", str(index)) for index in range(blocks[0])}
    deep = f"resnet-64x{blocks[0]}"
    return deep if is_complete and not bottleneck and DEEP_RESNET_PATTERN.fullmatch(deep) else None


def _infer_neuron_selection(
    shapes: Shapes, indices: Mapping[str, Tensor], neurons: int, synch_types: tuple[str, ...]
) -> dict[str, Any]:
    """Infer how the synchronised neurons are selected; {} if the index buffers are missing."""
    sides = ("left", "right")
    if any(f"{place}_neuron_indices_{side}" not in shapes for place in synch_types for side in sides):
        return {}
    counts = {place: _get_size(shapes, f"{place}_neuron_indices_left", 0) for place in synch_types}
    inferred: dict[str, Any] = {f"n_synch_{place}": count for place, count in counts.items()}
    pairs = {place: _get_size(shapes, f"decay_params_{place}", 0) for place in synch_types}
    if pairs == counts:
        inferred["neuron_select_type"] = "random-pairing"
        if indices:
            equal_prefixes = (
                _count_equal_prefix(*(indices[f"{place}_neuron_indices_{side}"] for side in sides))
                for place in synch_types
            )
            inferred["n_random_pairing_self"] = min([*equal_prefixes, *(count - 1 for count in counts.values())])
    elif any(pairs[place] != count * (count + 1) // 2 for place, count in counts.items()):
        raise ValueError(f"No neuron_select_type makes {pairs} decay parameters of {counts} neurons.")
    elif indices:
        first_last = all(
            torch.equal(indices[f"{place}_neuron_indices_{side}"].long(), expected)
            for place, count in counts.items()
            for side, expected in zip(sides, choose_neurons("first-last", place, neurons, count, 0, None), strict=True)
        )
        inferred["neuron_select_type"] = "first-last" if first_last else "random"
    return inferred


def _count_equal_prefix(left: Tensor, right: Tensor) -> int:
    """Return the number of equal entries before the first difference."""
    return int((left == right).long().cumprod(0).sum()) if left.shape == right.shape else 0
