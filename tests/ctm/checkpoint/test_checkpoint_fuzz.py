"""Tests with generated damage that a checkpoint directory is either loaded or rejected with one sentence."""

import json
import math
import struct

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ctm.checkpoint import (
    CONFIG_NAME,
    METADATA_NAMES,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    Checkpoint,
    count_weights,
    load,
    read_all_headers,
    save,
)
from ctm.checkpoint.metadata import read_metadata
from ctm.stores.base import describe_checkpoint_dir, is_complete_checkpoint
from tests.ctm.conftest import RAW_INPUT_CHANGES, SHARD_NAMES, build_tiny_model
from tests.strategies import (
    are_sentences,
    json_values,
    mutate_bytes,
    mutate_json,
    reduce_examples,
    time_limit,
    try_read,
)

DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
DTYPES = (*DTYPE_BYTES, "F8_E4M3", "F4", "X7")
EMPTY_SHAPES = [shape for side in (2**20, 2**62) for shape in ([side, 0], [0, side], [side, 0, 1, 1], [0, side, 1, 1])]
SHARD_PATHS = (
    *SHARD_NAMES,
    "../" + SHARD_NAMES[0],
    "/etc/passwd",
    "a.safetensors",
    "\u00e9" * 150 + ".safetensors",
    ".safetensors",
    "..",
    "a/b",
)
CONFIG_VARIANTS = {
    "tokens": {"energy_head_enabled": True},
    "raw": RAW_INPUT_CHANGES,
    "features": {"backbone_type": "none", "heads": 1},
    "pictures": {"backbone_type": "shallow-wide", "d_input": 4, "heads": 1},
    "signs": {"backbone_type": "parity_backbone"},
}
METADATA = {
    "task": {"task": "parity", "settings": {"length": 6}, "labels": ["even", "odd"]},
    "halting": {
        "energy": {"kind": "calibrated", "margin": 1.0},
        "default": "energy",
        "policies": {"energy": {"policy": "energy<0", "accuracy": 1.0}},
    },
    "metrics": {
        "evaluations": [
            {
                "split": "test",
                "n": 9,
                "iterations": 4,
                "accuracy_halted": 0.5,
                "mean_ticks": 1.5,
                "accuracy_by_tick": [0.5, 0.75],
            }
        ],
        "training": {"command": "x"},
    },
}


@pytest.fixture(scope="module")
def checkpoint_files(tmp_path_factory):
    """Return a directory of every model type as bytes: kind -> file -> content."""
    files_by_kind = {}
    for kind, changes in CONFIG_VARIANTS.items():
        checkpoint = Checkpoint(build_tiny_model(**changes), **METADATA, card="# Card\n")
        checkpoint_dir = save(checkpoint, tmp_path_factory.mktemp("whole") / kind)
        files_by_kind[kind] = {path.name: path.read_bytes() for path in checkpoint_dir.iterdir()}
    return files_by_kind


def write_checkpoint(checkpoint_dir, files):
    checkpoint_dir.mkdir(exist_ok=True)
    for path in checkpoint_dir.iterdir():
        path.unlink()
    for name, content in files.items():
        (checkpoint_dir / name).write_bytes(content)
    return checkpoint_dir


def check_loaded_or_rejected(checkpoint_dir) -> Checkpoint | None:
    """Check that the loaded model is valid and that the description of the directory is, too."""
    checkpoint = try_read(lambda: load(checkpoint_dir), are_sentences)
    description = (
        try_read(lambda: describe_checkpoint_dir(checkpoint_dir, "name"), are_sentences)
        if is_complete_checkpoint(checkpoint_dir)
        else None
    )
    try_read(lambda: count_weights(checkpoint_dir))
    if checkpoint is not None:
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model.state_dict().values())
        assert description is not None and description.config == checkpoint.model.config.to_dict()
        json.dumps([description.task, description.halting, description.metrics], allow_nan=False)
    return checkpoint


def parse_safetensors(weights: bytes) -> tuple[dict, bytes]:
    """Return the tensor entries of a file header, and the bytes of the tensors."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    del header["__metadata__"]
    return header, weights[8 + length :]


def pack_safetensors(header, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def make_zero_safetensors(tensors) -> bytes:
    """Return a valid file with tensors of these shapes and dtypes."""
    header = {}
    size = 0
    for name, entry in tensors.items():
        start = size
        size += math.prod(entry["shape"]) * DTYPE_BYTES[entry["dtype"]]
        header[name] = {"dtype": entry["dtype"], "shape": entry["shape"], "data_offsets": [start, size]}
    return pack_safetensors(header, bytes(size))


@given(
    st.sampled_from(list(CONFIG_VARIANTS)),
    st.sampled_from([CONFIG_NAME, *(f"{name}.json" for name in METADATA_NAMES)]),
    st.data(),
)
@reduce_examples(2)
def test_an_edited_file_is_read_or_rejected(checkpoint_files, tmp_path_factory, kind, name, data):
    files = checkpoint_files[kind]
    other = mutate_json(json.loads(files[name])).map(lambda values: json.dumps(values).encode())
    content = data.draw(other | mutate_bytes(st.just(files[name])), name)
    check_loaded_or_rejected(write_checkpoint(tmp_path_factory.getbasetemp() / "edited", files | {name: content}))


@given(st.sampled_from(list(CONFIG_VARIANTS)), st.data())
@reduce_examples(2)
def test_damaged_weights_are_read_or_rejected(checkpoint_files, tmp_path_factory, kind, data):
    weights = data.draw(mutate_bytes(st.just(checkpoint_files[kind][WEIGHTS_NAME])), WEIGHTS_NAME)
    check_loaded_or_rejected(
        write_checkpoint(tmp_path_factory.getbasetemp() / "damaged", checkpoint_files[kind] | {WEIGHTS_NAME: weights})
    )


@given(st.sampled_from(list(CONFIG_VARIANTS)), st.data())
@reduce_examples(2)
def test_an_inconsistent_header_is_rejected(checkpoint_files, tmp_path_factory, kind, data):
    """Generate a file with valid JSON in which the entries of one or two tensors are arbitrary."""
    header, body = parse_safetensors(checkpoint_files[kind][WEIGHTS_NAME])
    numbers = st.sampled_from([0, 1, -1, 2**31, 2**40, 2**62, 2**63, 2**64]) | st.integers(0, 99)
    for name in data.draw(st.lists(st.sampled_from(sorted(header)), min_size=1, max_size=2, unique=True)):
        changes = st.fixed_dictionaries(
            {},
            optional={
                "shape": st.lists(numbers, max_size=5) | json_values,
                "dtype": st.sampled_from(DTYPES) | json_values,
                "data_offsets": st.lists(numbers, min_size=2, max_size=2) | json_values,
            },
        )
        changed_entries = changes.map(lambda values, name=name: header[name] | values)
        header[name] = data.draw(st.one_of(changed_entries, json_values), name)
    check_loaded_or_rejected(
        write_checkpoint(
            tmp_path_factory.getbasetemp() / "inconsistent",
            checkpoint_files[kind] | {WEIGHTS_NAME: pack_safetensors(header, body)},
        )
    )


@given(st.sampled_from(list(CONFIG_VARIANTS)), st.data())
@reduce_examples(2)
def test_valid_files_of_other_tensors_are_rejected(checkpoint_files, tmp_path_factory, kind, data):
    """Generate a file with correct sizes and offsets whose tensors are small, empty, or empty and very long."""
    header, _ = parse_safetensors(checkpoint_files[kind][WEIGHTS_NAME])
    names = st.sampled_from([*sorted(header), "a\nb", "\u2028", "x" * 100_000, "", "__metadata__"])
    shapes = st.lists(st.integers(0, 6), max_size=4) | st.sampled_from(EMPTY_SHAPES)
    entries = st.fixed_dictionaries({"shape": shapes, "dtype": st.sampled_from(list(DTYPE_BYTES))})
    tensors = data.draw(st.dictionaries(names, entries, min_size=1, max_size=4), "tensors")
    check_loaded_or_rejected(
        write_checkpoint(
            tmp_path_factory.getbasetemp() / "other",
            checkpoint_files[kind] | {WEIGHTS_NAME: make_zero_safetensors(header | tensors)},
        )
    )


@pytest.mark.parametrize("shape", EMPTY_SHAPES, ids=str)
@pytest.mark.parametrize("name", ["kv_proj.0.weight", "backbone.layers.0.weight", "synapses.1.weight"])
def test_an_invalid_number_of_input_features_is_rejected(checkpoint_files, tmp_path, name, shape):
    for kind in ("features", "pictures", "raw"):
        header, _ = parse_safetensors(checkpoint_files[kind][WEIGHTS_NAME])
        if name in header:
            weights = make_zero_safetensors(header | {name: {"dtype": "F32", "shape": shape}})
            checkpoint_dir = write_checkpoint(tmp_path / kind, checkpoint_files[kind] | {WEIGHTS_NAME: weights})
            assert check_loaded_or_rejected(checkpoint_dir) is None


@given(st.data())
@reduce_examples(2)
def test_an_edited_index_reads_no_other_file(sharded_checkpoint_dir, data):
    index = json.loads((sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).read_text())  # restored below
    mutated_index = mutate_json(index, st.sampled_from(SHARD_PATHS) | json_values).map(
        lambda values: json.dumps(values).encode()
    )
    mutated_bytes = mutate_bytes(st.just(json.dumps(index).encode()))
    (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_bytes(
        data.draw(mutated_index | mutated_bytes, WEIGHTS_INDEX_NAME)
    )
    check_loaded_or_rejected(sharded_checkpoint_dir)
    try:
        headers = read_all_headers(sharded_checkpoint_dir)
    except ValueError:
        return
    finally:
        (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert headers


@pytest.mark.parametrize("name", SHARD_PATHS)
def test_an_index_that_names_any_file_is_read_only_if_it_is_a_shard(sharded_checkpoint_dir, name):
    index = json.loads((sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).read_text())
    index["weight_map"]["start_trace"] = name
    (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert (check_loaded_or_rejected(sharded_checkpoint_dir) is not None) is (name in SHARD_NAMES)


@pytest.mark.parametrize("count", [1, 5_000])
def test_an_error_message_about_many_tensors_is_short(checkpoint_files, tmp_path, count):
    header, body = parse_safetensors(checkpoint_files["tokens"][WEIGHTS_NAME])
    empty_entry = {"dtype": "F32", "shape": [1] * 200 + [0], "data_offsets": [0, 0]}
    extra_entries = {f"{'extra ' * 50}\n{number}": empty_entry for number in range(count)}
    wrong_entries = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        wrong_entries[name] = entry | {"dtype": "U8", "shape": [end - start]}
    for wrong_header in (header | extra_entries, wrong_entries, wrong_entries | extra_entries):
        weights = pack_safetensors(wrong_header, body)
        checkpoint_dir = write_checkpoint(tmp_path / "a", checkpoint_files["tokens"] | {WEIGHTS_NAME: weights})
        with time_limit(10), pytest.raises(ValueError) as exc_info:
            load(checkpoint_dir)
        assert len(str(exc_info.value)) < 4_000 and str(exc_info.value).isprintable()


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_INDEX_NAME, *(f"{name}.json" for name in METADATA_NAMES)])
def test_an_oversized_file_is_rejected_unread(checkpoint_files, tmp_path, name):
    files = {
        file: content
        for file, content in checkpoint_files["tokens"].items()
        if name != WEIGHTS_INDEX_NAME or file != WEIGHTS_NAME
    }
    checkpoint_dir = write_checkpoint(tmp_path / "a", files | {name: b'{"a": "' + b"x" * 3_000_000 + b'"}'})
    with time_limit(), pytest.raises(ValueError, match=r"3,000,009 bytes; at most 1,048,576 are read"):
        load(checkpoint_dir)


@given(
    st.dictionaries(
        st.sampled_from([*METADATA["halting"], *METADATA["metrics"], *METADATA["task"]]), json_values, max_size=4
    )
)
@example({"policies": {"\ud800": {"policy": "energy<0"}}})
@example({"evaluations": [{"a" * 100_000: 1}]})
def test_any_metadata_can_be_displayed_or_is_rejected(tmp_path_factory, values):
    checkpoint_dir = tmp_path_factory.getbasetemp()
    for name in METADATA_NAMES:
        (checkpoint_dir / f"{name}.json").write_text(json.dumps(values))
    metadata = try_read(lambda: read_metadata(checkpoint_dir))
    if metadata is not None:
        json.dumps(metadata, allow_nan=False).encode()
        assert metadata["task"] == values
