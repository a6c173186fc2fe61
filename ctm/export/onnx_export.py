"""Export of a checkpoint to ONNX: the graphs `encode.onnx` and `tick.onnx`, and `metadata.json`.

    values = encode(inputs)                       once: encoded input, start state, durations
    next_*, logits, certainty, energy = tick(...) once per tick; next_* are the state of the next tick

The loop over the ticks and the halting policy belong to the caller, who can stop a row at any tick. The metadata names
every tensor and holds config.json, task.json and halting.json; both graphs embed it in their `metadata_props`, too.
"""

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctm.checkpoint import Checkpoint
from ctm.export.graphs import DURATION_SPECS, NEXT_PREFIX, Graph, build_graphs
from ctm.export.interfaces import BATCH, DYNAMIC_AXES, LENGTH, TensorSpec
from ctm.io.atomic import get_temp_path, replace_dir
from ctm.io.json_files import write_json
from ctm.messages import format_name_list, summarize_error
from ctm.models.base import TickModel

OPSET = 18  # LayerNormalization needs 17; onnxruntime has executed 18 since version 1.14
FORMAT_VERSION = 1
METADATA_NAME = "metadata.json"
METADATA_PREFIX = "ctm."  # of the keys of `metadata_props`
REQUIRED_PACKAGES = ("onnx", "onnxscript")
EXPORTER_LOGGERS = ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")
MAX_INLINE_BYTES = 2**30  # a protobuf file holds at most 2 GiB; larger weights go to a file beside the graph
GRAPH_NAMES = ("encode", "tick")
EXPORT_FILES = {METADATA_NAME, *(f"{name}.onnx{suffix}" for name in GRAPH_NAMES for suffix in ("", ".data"))}


def export_onnx(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write the graphs of a checkpoint and their metadata to a directory, atomically.

    Args:
        checkpoint: Checkpoint with a model in eval mode.
        folder: Directory to write; an existing export is replaced.

    Returns:
        The absolute path of the directory.

    Raises:
        ValueError: A package is missing, the path holds other files, or a part of the model cannot be exported. The
            message is one sentence.
        OSError: The disk is full or the path is not writable; an existing export is unchanged.
    """
    check_required_packages()
    folder = Path(folder).resolve()
    check_can_write(folder)
    graphs = build_graphs(checkpoint.model)
    metadata = build_metadata(checkpoint, graphs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp_dir = get_temp_path(folder)
    temp_dir.mkdir()
    try:
        for graph in graphs:
            export_graph(graph, checkpoint.model, metadata, temp_dir / f"{graph.name}.onnx")
        write_json(temp_dir / METADATA_NAME, metadata)
        replace_dir(temp_dir, folder)
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)
    return folder


def check_required_packages() -> None:
    """Check that the optional packages of the export are installed.

    Raises:
        ValueError: One is missing; the message names the command that installs it.
    """
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"The export to ONNX needs {format_name_list(missing)}: run `pip install onnx onnxscript onnxruntime`."
        )


def check_can_write(folder: Path) -> None:
    """Check that a path does not exist, or holds nothing but an export, because its contents would be lost.

    Raises:
        ValueError: The path holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a directory for the export.")
    existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if unknown := sorted(existing - EXPORT_FILES):
        raise ValueError(
            f"{folder} holds other files than an export, which would be lost: {format_name_list(unknown)}. Name a new "
            "directory."
        )


def export_graph(graph: Graph, model: TickModel, metadata: dict[str, Any], path: Path) -> None:
    """Write one graph.

    Raises:
        ValueError: It cannot be exported; the message names the graph and the parts that the config selects.
    """
    shapes = tuple(build_dynamic_shape(spec) for spec in graph.inputs)
    try:
        with torch.no_grad(), hide_exporter_messages():
            program = torch.onnx.export(
                graph.module,
                tuple(graph.inputs.values()),
                input_names=[spec.name for spec in graph.inputs],
                output_names=[spec.name for spec in graph.outputs],
                dynamic_shapes=shapes if graph.name == "encode" else (shapes,),  # `tick` takes `*tensors`
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            f"The graph `{graph.name}` of this model cannot be exported to ONNX ({describe_parts(graph, model)}): "
            f"{summarize_error(find_first_cause(error))}."
        ) from error
    assert program is not None, "with dynamo=True torch returns the program"
    check_dynamic_axes(program.model, graph, model)
    strip_tracing_records(program.model)
    for key, value in metadata.items():
        program.model.metadata_props[f"{METADATA_PREFIX}{key}"] = json.dumps(value)
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    program.save(path, external_data=size > MAX_INLINE_BYTES)


def check_dynamic_axes(program: Any, graph: Graph, model: TickModel) -> None:
    """Check that no axis that may have any size has the size of the example.

    Raises:
        ValueError: A part of the model turns a size into a number.
    """
    for value, spec in zip(program.graph.inputs, graph.inputs, strict=True):
        for axis, size in zip(spec.axes, value.shape, strict=True):
            if axis in DYNAMIC_AXES and isinstance(size, int):
                raise ValueError(
                    f"The graph `{graph.name}` of this model cannot be exported to ONNX "
                    f"({describe_parts(graph, model)}): the axis {axis} of {spec.name} is fixed at {size}."
                )


def find_first_cause(error: Exception) -> Exception:
    """Return the exception that an exception was raised from, over any number of steps."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def describe_parts(graph: Graph, model: TickModel) -> str:
    """Return the settings that select the parts of a graph."""
    names = {
        "encode": ("backbone_type", "positional_embedding_type"),
        "tick": ("synapse_depth", "deep_nlms", "neuron_select_type", "num_layers"),
    }[graph.name]
    settings = [f"{name}={getattr(model.config, name)}" for name in names if hasattr(model.config, name)]
    return ", ".join([f"model type {model.config.model_type}", *settings])


def build_dynamic_shape(spec: TensorSpec) -> dict[int, Any]:
    """Return the axes of a tensor that may have any size, for `torch.export`."""
    return {
        index: torch.export.Dim(axis, max=spec.max_length if axis == LENGTH else None)
        for index, axis in enumerate(spec.axes)
        if axis in DYNAMIC_AXES
    }


def strip_tracing_records(model: Any) -> None:
    """Remove what the exporter records of the traced Python code: it is several times as large as the graph."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@contextmanager
def hide_exporter_messages() -> Iterator[None]:
    """Hide messages of the exporter about its own code and about packages that this project does not use."""
    loggers = [logging.getLogger(name) for name in EXPORTER_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def build_metadata(checkpoint: Checkpoint, graphs: tuple[Graph, Graph]) -> dict[str, Any]:
    """Return the metadata of an export: what the tensors of both graphs are, and the JSON files of the checkpoint."""
    encode, tick = graphs
    config = checkpoint.model.config
    positions, classes = config.answer_shape
    next_names = {spec.name for spec in tick.outputs if spec.name.startswith(NEXT_PREFIX)}
    records = {spec.name: describe_tensor(spec, example) for spec, example in tick.inputs.items()}
    state = {name: record for name, record in records.items() if NEXT_PREFIX + name in next_names}
    return {
        "version": FORMAT_VERSION,
        "opset": OPSET,
        "model_type": config.model_type,
        "answer": {"positions": positions, "classes": classes},
        "inputs": [describe_tensor(*item) for item in encode.inputs.items()],
        "encoded": [record for name, record in records.items() if name not in state],
        "state": [record | {"next": NEXT_PREFIX + name} for name, record in state.items()],
        "durations": [describe_tensor(spec, encode.outputs[spec]) for spec in DURATION_SPECS],
        "outputs": [describe_tensor(*item) for item in tick.outputs.items() if item[0].name not in next_names],
        "config": config.to_dict(),
        "task": checkpoint.task,
        "halting": checkpoint.halting,
    }


def describe_tensor(spec: TensorSpec, example: Tensor) -> dict[str, Any]:
    """Return the metadata of a tensor: the name of an axis in its shape means that it may have any size."""
    sizes = zip(spec.axes, example.shape, strict=True)
    record: dict[str, Any] = {
        "name": spec.name,
        "role": spec.role,
        "dtype": str(example.dtype).removeprefix("torch."),
        "axes": list(spec.axes),
        "shape": [axis if axis in DYNAMIC_AXES else size for axis, size in sizes],
    }
    if BATCH in spec.axes:
        record["batch_axis"] = spec.axes.index(BATCH)
    if spec.max_length is not None:
        record["max_length"] = spec.max_length
    return record
