"""Checkpoint folders with any of their files damaged, edited or lying: loaded as they are, or refused in one sentence."""

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
from tests.ctm.conftest import PARTS, RAW, build
from tests.strategies import are_sentences, damaged, edited, plain, share, soon, told

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}  # bytes
DTYPES = (*SIZES, "F8_E4M3", "F4", "X7")
EMPTY = [shape for side in (2**20, 2**62) for shape in ([side, 0], [0, side], [side, 0, 1, 1], [0, side, 1, 1])]
NAMES = (
    *PARTS,
    "../" + PARTS[0],
    "/etc/passwd",
    "a.safetensors",
    "\u00e9" * 150 + ".safetensors",
    ".safetensors",
    "..",
    "a/b",
)
KINDS = {
    "tokens": {"energy_head_enabled": True},
    "raw": RAW,
    "features": {"backbone_type": "none", "heads": 1},
    "pictures": {"backbone_type": "shallow-wide", "d_input": 4, "heads": 1},
    "signs": {"backbone_type": "parity_backbone"},
}
NOTED = {
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
def whole(tmp_path_factory):
    """A folder of every kind of machine, as bytes: kind -> file -> content."""
    found = {}
    for kind, changes in KINDS.items():
        folder = save(Checkpoint(build(**changes), **NOTED, card="# Card\n"), tmp_path_factory.mktemp("whole") / kind)
        found[kind] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return found


def laid(folder, files):
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check(folder) -> Checkpoint | None:
    """What is loaded is sound; what is told of the folder beside that is told in sentences, too."""
    checkpoint = told(lambda: load(folder), are_sentences)
    about = (
        told(lambda: describe_checkpoint_dir(folder, "name"), are_sentences) if is_complete_checkpoint(folder) else None
    )
    told(lambda: count_weights(folder))
    if checkpoint is not None:
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model.state_dict().values())
        assert about is not None and about.config == checkpoint.model.config.to_dict()
        json.dumps([about.task, about.halting, about.metrics], allow_nan=False)
    return checkpoint


def parsed(weights: bytes) -> tuple[dict, bytes]:
    """What a file says of its tensors, and their bytes."""
    (length,) = struct.unpack("<Q", weights[:8])
    said = json.loads(weights[8 : 8 + length])
    del said["__metadata__"]
    return said, weights[8 + length :]


def packed(header, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def of_zeros(tensors) -> bytes:
    """A sound file of tensors of these shapes and dtypes."""
    header, size = {}, 0
    for name, said in tensors.items():
        before, size = size, size + math.prod(said["shape"]) * SIZES[said["dtype"]]
        header[name] = {"dtype": said["dtype"], "shape": said["shape"], "data_offsets": [before, size]}
    return packed(header, bytes(size))


@given(
    st.sampled_from(list(KINDS)),
    st.sampled_from([CONFIG_NAME, *(f"{name}.json" for name in METADATA_NAMES)]),
    st.data(),
)
@share(2)
def test_an_edited_file_is_read_or_refused(whole, tmp_path_factory, kind, name, data):
    files = whole[kind]
    other = edited(json.loads(files[name])).map(lambda values: json.dumps(values).encode())
    content = data.draw(other | damaged(st.just(files[name])), name)
    check(laid(tmp_path_factory.getbasetemp() / "edited", files | {name: content}))


@given(st.sampled_from(list(KINDS)), st.data())
@share(2)
def test_damaged_weights_are_read_or_refused(whole, tmp_path_factory, kind, data):
    weights = data.draw(damaged(st.just(whole[kind][WEIGHTS_NAME])), WEIGHTS_NAME)
    check(laid(tmp_path_factory.getbasetemp() / "damaged", whole[kind] | {WEIGHTS_NAME: weights}))


@given(st.sampled_from(list(KINDS)), st.data())
@share(2)
def test_a_header_that_lies_is_refused(whole, tmp_path_factory, kind, data):
    """Its JSON is sound, and what it says of a tensor or two is anything."""
    header, body = parsed(whole[kind][WEIGHTS_NAME])
    numbers = st.sampled_from([0, 1, -1, 2**31, 2**40, 2**62, 2**63, 2**64]) | st.integers(0, 99)
    for name in data.draw(st.lists(st.sampled_from(sorted(header)), min_size=1, max_size=2, unique=True)):
        lie = st.fixed_dictionaries(
            {},
            optional={
                "shape": st.lists(numbers, max_size=5) | plain,
                "dtype": st.sampled_from(DTYPES) | plain,
                "data_offsets": st.lists(numbers, min_size=2, max_size=2) | plain,
            },
        )
        header[name] = data.draw(st.one_of(lie.map(lambda lie, name=name: header[name] | lie), plain), name)
    check(laid(tmp_path_factory.getbasetemp() / "lying", whole[kind] | {WEIGHTS_NAME: packed(header, body)}))


@given(st.sampled_from(list(KINDS)), st.data())
@share(2)
def test_whole_files_of_other_tensors_are_refused(whole, tmp_path_factory, kind, data):
    """Sizes and offsets are as they should be: of tensors that are small, empty, or empty and very long."""
    said, _ = parsed(whole[kind][WEIGHTS_NAME])
    names = st.sampled_from([*sorted(said), "a\nb", "\u2028", "x" * 100_000, "", "__metadata__"])
    shapes = st.lists(st.integers(0, 6), max_size=4) | st.sampled_from(EMPTY)
    kinds = st.fixed_dictionaries({"shape": shapes, "dtype": st.sampled_from(list(SIZES))})
    chosen = data.draw(st.dictionaries(names, kinds, min_size=1, max_size=4), "tensors")
    check(laid(tmp_path_factory.getbasetemp() / "other", whole[kind] | {WEIGHTS_NAME: of_zeros(said | chosen)}))


@pytest.mark.parametrize("shape", EMPTY, ids=str)
@pytest.mark.parametrize("name", ["kv_proj.0.weight", "backbone.layers.0.weight", "synapses.1.weight"])
def test_an_input_without_or_with_any_number_of_features_is_refused(whole, tmp_path, name, shape):
    for kind in ("features", "pictures", "raw"):
        said, _ = parsed(whole[kind][WEIGHTS_NAME])
        if name in said:
            lying = of_zeros(said | {name: {"dtype": "F32", "shape": shape}})
            assert check(laid(tmp_path / kind, whole[kind] | {WEIGHTS_NAME: lying})) is None


@given(st.data())
@share(2)
def test_an_edited_index_leads_nowhere_else(parted, data):
    index = json.loads((parted / WEIGHTS_INDEX_NAME).read_text())  # which is put back below
    other = edited(index, st.sampled_from(NAMES) | plain).map(lambda values: json.dumps(values).encode())
    (parted / WEIGHTS_INDEX_NAME).write_bytes(
        data.draw(other | damaged(st.just(json.dumps(index).encode())), WEIGHTS_INDEX_NAME)
    )
    check(parted)
    try:
        headers = read_all_headers(parted)
    except ValueError:
        return
    finally:
        (parted / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert headers


@pytest.mark.parametrize("name", NAMES)
def test_an_index_that_names_any_file_for_a_tensor_is_read_or_refused(parted, name):
    index = json.loads((parted / WEIGHTS_INDEX_NAME).read_text())
    index["weight_map"]["start_trace"] = name
    (parted / WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
    assert (check(parted) is not None) is (name in PARTS)


@pytest.mark.parametrize("count", [1, 5_000])
def test_a_refusal_stays_short_however_much_is_wrong(whole, tmp_path, count):
    header, body = parsed(whole["tokens"][WEIGHTS_NAME])
    empty = {"dtype": "F32", "shape": [1] * 200 + [0], "data_offsets": [0, 0]}
    more = {f"{'extra ' * 50}\n{number}": empty for number in range(count)}
    ends = {name: said["data_offsets"] for name, said in header.items()}
    wrong = {name: said | {"dtype": "U8", "shape": [ends[name][1] - ends[name][0]]} for name, said in header.items()}
    for lying in (header | more, wrong, wrong | more):
        folder = laid(tmp_path / "a", whole["tokens"] | {WEIGHTS_NAME: packed(lying, body)})
        with soon(10), pytest.raises(ValueError) as refused:
            load(folder)
        assert len(str(refused.value)) < 4_000 and str(refused.value).isprintable()


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_INDEX_NAME, *(f"{name}.json" for name in METADATA_NAMES)])
def test_a_file_that_is_far_too_large_is_refused_unread(whole, tmp_path, name):
    files = {
        file: content for file, content in whole["tokens"].items() if name != WEIGHTS_INDEX_NAME or file != WEIGHTS_NAME
    }
    folder = laid(tmp_path / "a", files | {name: b'{"a": "' + b"x" * 3_000_000 + b'"}'})
    with soon(), pytest.raises(ValueError, match=r"3,000,009 bytes; at most 1,048,576 are read"):
        load(folder)


@given(st.dictionaries(st.sampled_from([*NOTED["halting"], *NOTED["metrics"], *NOTED["task"]]), plain, max_size=4))
@example({"policies": {"\ud800": {"policy": "energy<0"}}})
@example({"evaluations": [{"a" * 100_000: 1}]})
def test_any_note_is_one_that_can_be_shown_or_refused(tmp_path_factory, values):
    folder = tmp_path_factory.getbasetemp()
    for name in METADATA_NAMES:
        (folder / f"{name}.json").write_text(json.dumps(values))
    notes = told(lambda: read_metadata(folder))
    if notes is not None:
        json.dumps(notes, allow_nan=False).encode()
        assert notes["task"] == values
