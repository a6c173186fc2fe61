"""Tests with generated damage that legacy files are either converted correctly or rejected with one sentence."""

import argparse
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ctm.checkpoint import load
from ctm.conversion.convert import convert
from ctm.conversion.safe_unpickle import NumpyPlaceholder, load_torch_file
from ctm.io.yaml import parse_yaml, read_yaml_file
from tests.ctm.conftest import RAW_INPUT_CHANGES, build_tiny_model
from tests.ctm.conversion.test_convert import EXTRA_CONFIG, write_legacy_checkpoint
from tests.strategies import (
    HOSTILE_TEXTS,
    are_sentences,
    json_values,
    mutate_bytes,
    mutate_json,
    reduce_examples,
    texts,
    time_limit,
    try_read,
)

CONFIG_VARIANTS = {
    "tokens": {"energy_head_enabled": True},
    "raw": RAW_INPUT_CHANGES,
    "deep": {"synapse_depth": 3, "do_layernorm_nlm": True},
    "shallow": {"deep_nlms": False},
    "random": {"neuron_select_type": "random"},
    "signs": {"backbone_type": "parity_backbone"},
}
OLD_FORMAT = {"_use_new_zipfile_serialization": False}
NEW_FORMAT = {}
EXTRA_CONFIG_BY_VARIANT = {name: EXTRA_CONFIG | ({"heads": 0} if name == "raw" else {}) for name in CONFIG_VARIANTS}


def save_to_bytes(content, save_options=NEW_FORMAT) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **save_options)
    return file.getvalue()


@pytest.fixture(scope="module")
def state_dicts() -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights of every model type."""
    return {name: build_tiny_model(**changes).state_dict() for name, changes in CONFIG_VARIANTS.items()}


@pytest.fixture(scope="module")
def legacy_files(tmp_path_factory) -> dict[str, bytes]:
    """Return a file of the original code in either format, and a small one."""
    path = tmp_path_factory.mktemp("whole") / "a.pt"
    small = {"a": torch.arange(6).view(2, 3), "b": [1.5, None, True, "x"], "args": argparse.Namespace(heads=2)}
    new = write_legacy_checkpoint(path, build_tiny_model(**CONFIG_VARIANTS["tokens"])).read_bytes()
    old = save_to_bytes(torch.load(path, weights_only=False), OLD_FORMAT)
    return {"new": new, "old": old, "small": save_to_bytes(small), "small and old": save_to_bytes(small, OLD_FORMAT)}


def rewrite_pickle(data: bytes, change) -> bytes:
    """Return an archive with a changed pickle, valid in all other parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as new_archive:
        for entry in archive.namelist():
            new_archive.writestr(
                entry, change(archive.read(entry)) if entry.endswith("data.pkl") else archive.read(entry)
            )
    return file.getvalue()


def iter_leaves(value):
    """Yield every value in the contents of a file."""
    yield value
    content = vars(value) if isinstance(value, argparse.Namespace) else value
    if isinstance(content, dict):
        value = [*content, *content.values()]
    if isinstance(value, list | tuple | set):
        for part in value:
            yield from iter_leaves(part)


PLAIN_TYPES = (
    torch.Tensor,
    NumpyPlaceholder,
    argparse.Namespace,
    dict,
    list,
    tuple,
    set,
    str,
    bytes,
    int,
    float,
    type(None),
)


@given(st.sampled_from(["new", "old", "small", "small and old"]), st.booleans(), st.data())
def test_a_damaged_file_is_read_or_rejected_in_one_sentence(
    legacy_files, tmp_path_factory, kind, is_inside_archive, data
):
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    if is_inside_archive and "old" not in kind:
        content = rewrite_pickle(
            legacy_files[kind], lambda pickled: data.draw(mutate_bytes(st.just(pickled)), "data.pkl")
        )
    else:
        content = data.draw(mutate_bytes(st.just(legacy_files[kind])), "file")
    path.write_bytes(content)
    loaded = try_read(lambda: load_torch_file(path))
    if loaded is not None and "small" in kind:
        for value in iter_leaves(loaded):
            assert isinstance(value, PLAIN_TYPES) or type(value).__module__ in ("torch", "torch.storage"), type(value)


DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)
ODD_TENSORS = (
    torch.zeros(1).expand(10**12),
    torch.eye(3).to_sparse(),
    torch.zeros(2, device="meta"),
    torch.tensor([2**40, -1]),
    torch.nn.Parameter(torch.zeros(3)),
)
ARGUMENT_NAMES = (
    "iterations",
    "heads",
    "dataset",
    "model",
    "parity_sequence_length",
    "N_to_sort",
    "deep_memory",
    "dropout",
    "prediction_reshaper",
)

shapes = st.lists(st.integers(0, 5) | st.sampled_from([12, 24]), max_size=4)
ones = st.builds(lambda shape, dtype: torch.ones(shape).to(dtype), shapes, st.sampled_from(DTYPES))
odd_values = st.one_of(
    ones, shapes.map(lambda shape: torch.full(shape, torch.nan)), st.sampled_from(ODD_TENSORS), json_values
)


@st.composite
def file_contents(draw, state_dicts) -> tuple[str, object]:
    """Generate file contents: the weights of a model with a few changes, wrapped or bare, with arbitrary args."""
    variant = draw(st.sampled_from(list(CONFIG_VARIANTS)))
    state = dict(state_dicts[variant])
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(state, key=str)))
        match draw(st.sampled_from(["drop", "rename", "replace", "transpose", "add"])):
            case "drop":
                del state[name]
            case "rename":
                state[draw(st.sampled_from(["module.", "_orig_mod.", "x."]) | texts) + str(name)] = state.pop(name)
            case "transpose" if isinstance(state[name], torch.Tensor) and state[name].ndim > 0:
                state[name] = state[name].mT if state[name].ndim > 1 else state[name][: draw(st.integers(0, 3))]
            case "add":
                names = st.sampled_from(["a\nb", "backbone.x.weight", "x" * 50_000])
                state[draw(texts | st.integers() | names)] = draw(odd_values)
            case _:
                state[name] = draw(odd_values)
    arguments = draw(st.dictionaries(st.sampled_from(ARGUMENT_NAMES), json_values, max_size=4))
    wrapper = draw(st.sampled_from(["bare", "model_state_dict", "state_dict", "model"]))
    if wrapper == "bare":
        return variant, state
    return variant, {
        wrapper: state,
        "args": draw(st.sampled_from([arguments, argparse.Namespace(**arguments)])),
        "config": draw(json_values),
    }


@given(st.data())
@reduce_examples(2)
def test_any_weights_are_converted_or_rejected_in_sentences(state_dicts, tmp_path_factory, data):
    kind, content = data.draw(file_contents(state_dicts), "content")
    directory = tmp_path_factory.mktemp("any")
    torch.save(content, directory / "a.pt")
    config = data.draw(
        st.sampled_from([EXTRA_CONFIG_BY_VARIANT[kind], {}]) | mutate_json(EXTRA_CONFIG_BY_VARIANT[kind]), "config"
    )
    (directory / "a.yaml").write_text(json.dumps(config))
    with time_limit(20):
        checkpoint = try_read(
            lambda: convert(directory / "a.pt", directory / "out", directory / "a.yaml"), are_sentences
        )
    assert (checkpoint is not None) is (directory / "out").exists()
    if checkpoint is not None:
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model.state_dict().values())
        assert load(directory / "out").model.config == checkpoint.model.config


@given(st.data())
@reduce_examples(2)
def test_files_with_arbitrary_content_contain_no_model(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "anything.pt"
    keys = st.sampled_from(["model", "state_dict", "args", "config"]) | texts | st.integers()
    torch.save(data.draw(st.dictionaries(keys, odd_values, max_size=4) | odd_values, "content"), path)
    assert try_read(lambda: convert(path, Path("never")), are_sentences) is None


@pytest.mark.parametrize("key", ["dataset", "iterations", "model", "parity_sequence_length"])
def test_a_recursive_structure_gives_no_settings(state_dicts, tmp_path, key):
    exponential_list = ["x"]
    for _ in range(60):
        exponential_list = [exponential_list, exponential_list]
    list_in_itself = []
    list_in_itself.append(list_in_itself)
    for value in (
        exponential_list,
        argparse.Namespace(x=exponential_list),
        {"iterations": exponential_list},
        list_in_itself,
    ):
        torch.save({"model_state_dict": state_dicts["tokens"], "args": {key: value}}, tmp_path / "a.pt")
        with time_limit(), pytest.raises(ValueError, match="does not say heads, iterations, prediction_reshaper"):
            convert(tmp_path / "a.pt", tmp_path / "out")


@given(text=texts | st.text("{}[]&*!|:- \n\ta1'\"#%@", max_size=40))
@example(text="a: &a [x]\nb: *a\n")
@example(text="a: 1\na: 2\n")
@example(text="!!python/object/apply:os.getcwd []")
@example(text="a: !!binary x\n")
@example(text="- " * 5_000)
@example(text="0x" + "F" * 5_000)
def test_any_yaml_is_plain_data_or_rejected_in_one_sentence(text, tmp_path):
    try_read(lambda: parse_yaml(text, "It"))
    (tmp_path / "a.yaml").write_text(text, "utf-8", "surrogatepass")
    values = try_read(lambda: read_yaml_file(tmp_path / "a.yaml"))
    assert values is None or all(type(key) is str for key in values)


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_settings_are_rejected_at_once(state_dicts, tmp_path, text):
    torch.save(state_dicts["tokens"], tmp_path / "a.pt")
    with time_limit():
        for lines in (text, f"heads: {text}", f"{text}: 1", f"task: {text}"):
            (tmp_path / "a.yaml").write_text(lines, "utf-8", "surrogatepass")
            try_read(lambda: convert(tmp_path / "a.pt", tmp_path / "out", tmp_path / "a.yaml"), are_sentences)
