"""Test with generated damage that a checkpoint directory is either loaded or rejected with one sentence."""

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

DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}  # bytes
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
    found = {}
    for kind, changes in CONFIG_VARIANTS.items():
        folder = save(
            Checkpoint(build_tiny_model(**changes), **METADATA, card="# Card\n"),
            tmp_path_factory.mktemp("whole") / kind,
        )
        found[kind] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return found


def write_checkpoint(folder, files):
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check_loaded_or_rejected(folder) -> Checkpoint | None:
    """Check that the loaded model is valid and that the description of the directory is, too."""
    checkpoint = try_read(lambda: load(folder), are_sentences)
    about = (
        try_read(lambda: describe_checkpoint_dir(folder, "name"), are_sentences)
        if is_complete_checkpoint(folder)
        else None
    )
    try_read(lambda: count_weights(folder))
    if checkpoint is not None:
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model.state_dict().values())
        assert about is not None and about.config == checkpoint.model.config.to_dict()
        json.dumps([about.task, about.halting, about.metrics], allow_nan=False)
    return checkpoint


def parse_safetensors(weights: bytes) -> tuple[dict, bytes]:
    """Return the tensor entries of a file header, and the bytes of the tensors."""
    (length,) = struct.unpack("<Q", weights[:8])
    said = json.loads(weights[8 : 8 + length])
    del said["__metadata__"]
    return said, weights[8 + length :]


def pack_safetensors(header, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def make_zero_safetensors(tensors) -> bytes:
    """Return a valid file with tensors of these shapes and dtypes."""
    header, size = {}, 0
    for name, said in tensors.items():
        before, size = size, size + math.prod(said["shape"]) * DTYPE_BYTES[said["dtype"]]
        header[name] = {"dtype": said["dtype"], "shape": said["shape"], "data_offsets": [before, size]}
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
        lie = st.fixed_dictionaries(
            {},
            optional={
                "shape": st.lists(numbers, max_size=5) | json_values,
                "dtype": st.sampled_from(DTYPES) | json_values,
                "data_offsets": st.lists(numbers, min_size=2, max_size=2) | json_values,
            },
        )
        header[name] = data.draw(st.one_of(lie.map(lambda lie, name=name: header[name] | lie), json_values), name)
    check_loaded_or_rejected(
        write_checkpoint(
            tmp_path_factory.getbasetemp() / "lying",
            checkpoint_files[kind] | {WEIGHTS_NAME: pack_safetensors(header, body)},
        )
    )


@given(st.sampled_from(list(CONFIG_VARIANTS)), st.data())
@reduce_examples(2)
def test_valid_files_of_other_tensors_are_rejected(checkpoint_files, tmp_path_factory, kind, data):
    """Generate a file with correct sizes and offsets whose tensors are small, empty, or empty and very long."""
    said, _ = parse_safetensors(checkpoint_files[kind][WEIGHTS_NAME])
    names = st.sampled_from([*sorted(said), "a\nb", "\u2028", "x" * 100_000, "", "__metadata__"])
    shapes = st.lists(st.integers(0, 6), max_size=4) | st.sampled_from(EMPTY_SHAPES)
    kinds = st.fixed_dictionaries({"shape": shapes, "dtype": st.sampled_from(list(DTYPE_BYTES))})
    chosen = data.draw(st.dictionaries(names, kinds, min_size=1, max_size=4), "tensors")
    check_loaded_or_rejected(
        write_checkpoint(
            tmp_path_factory.getbasetemp() / "other",
            checkpoint_files[kind] | {WEIGHTS_NAME: make_zero_safetensors(said | chosen)},
        )
    )


@pytest.mark.parametrize("shape", EMPTY_SHAPES, ids=str)
@pytest.mark.parametrize("name", ["kv_proj.0.weight", "backbone.layers.0.weight", "synapses.1.weight"])
def test_an_invalid_number_of_input_features_is_rejected(checkpoint_files, tmp_path, name, shape):
    for kind in ("features", "pictures", "raw"):
        said, _ = parse_safetensors(checkpoint_files[kind][WEIGHTS_NAME])
        if name in said:
            lying = make_zero_safetensors(said | {name: {"dtype": "F32", "shape": shape}})
            assert (
                check_loaded_or_rejected(
                    write_checkpoint(tmp_path / kind, checkpoint_files[kind] | {WEIGHTS_NAME: lying})
                )
                is None
            )


@given(st.data())
@reduce_examples(2)
def test_an_edited_index_leads_nowhere_else(sharded_checkpoint_dir, data):
    index = json.loads((sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).read_text())  # which is put back below
    other = mutate_json(index, st.sampled_from(SHARD_PATHS) | json_values).map(
        lambda values: json.dumps(values).encode()
    )
    (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_bytes(
        data.draw(other | mutate_bytes(st.just(json.dumps(index).encode())), WEIGHTS_INDEX_NAME)
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
def test_an_index_that_names_any_file_for_a_tensor_is_read_or_rejected(sharded_checkpoint_dir, name):
    index = json.loads((sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).read_text())
    index["weight_map"]["start_trace"] = name
    (sharded_checkpoint_dir / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert (check_loaded_or_rejected(sharded_checkpoint_dir) is not None) is (name in SHARD_NAMES)


@pytest.mark.parametrize("count", [1, 5_000])
def test_an_error_message_stays_short_however_much_is_wrong(checkpoint_files, tmp_path, count):
    header, body = parse_safetensors(checkpoint_files["tokens"][WEIGHTS_NAME])
    empty = {"dtype": "F32", "shape": [1] * 200 + [0], "data_offsets": [0, 0]}
    more = {f"{'extra ' * 50}\n{number}": empty for number in range(count)}
    ends = {name: said["data_offsets"] for name, said in header.items()}
    wrong = {name: said | {"dtype": "U8", "shape": [ends[name][1] - ends[name][0]]} for name, said in header.items()}
    for lying in (header | more, wrong, wrong | more):
        folder = write_checkpoint(
            tmp_path / "a", checkpoint_files["tokens"] | {WEIGHTS_NAME: pack_safetensors(lying, body)}
        )
        with time_limit(10), pytest.raises(ValueError) as refused:
            load(folder)
        assert len(str(refused.value)) < 4_000 and str(refused.value).isprintable()


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_INDEX_NAME, *(f"{name}.json" for name in METADATA_NAMES)])
def test_an_oversized_file_is_rejected_unread(checkpoint_files, tmp_path, name):
    files = {
        file: content
        for file, content in checkpoint_files["tokens"].items()
        if name != WEIGHTS_INDEX_NAME or file != WEIGHTS_NAME
    }
    folder = write_checkpoint(tmp_path / "a", files | {name: b'{"a": "' + b"x" * 3_000_000 + b'"}'})
    with time_limit(), pytest.raises(ValueError, match=r"3,000,009 bytes; at most 1,048,576 are read"):
        load(folder)


@given(
    st.dictionaries(
        st.sampled_from([*METADATA["halting"], *METADATA["metrics"], *METADATA["task"]]), json_values, max_size=4
    )
)
@example({"policies": {"\ud800": {"policy": "energy<0"}}})
@example({"evaluations": [{"a" * 100_000: 1}]})
def test_any_metadata_can_be_displayed_or_is_rejected(tmp_path_factory, values):
    folder = tmp_path_factory.getbasetemp()
    for name in METADATA_NAMES:
        (folder / f"{name}.json").write_text(json.dumps(values))
    notes = try_read(lambda: read_metadata(folder))
    if notes is not None:
        json.dumps(notes, allow_nan=False).encode()
        assert notes["task"] == values
