"""Fuzz tests of recipes and overrides: each is valid, or rejected with a message within a time limit."""

import json
import os

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

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
from training.config import RunConfig, read_recipe

TINY = {
    "task": {"kind": "parity", "length": 6},
    "publish": {"repo": ""},
    "init_from": "",
    "model": {
        "iterations": 3,
        "d_model": 8,
        "d_input": 8,
        "heads": 2,
        "n_synch_out": 4,
        "n_synch_action": 4,
        "synapse_depth": 1,
        "memory_length": 3,
        "memory_hidden_dims": 2,
    },
    "train": {"steps": 3, "batch_size": 4},
    "loss": {"energy_kind": "none"},
    "optim": {"lr": 0.1},
    "finalize": {"fit_steps": 1},
}
TEXT = yaml.safe_dump(TINY)
NAMES = [f"{group}.{name}" for group, inner in TINY.items() if isinstance(inner, dict) for name in inner]

ODD_NAMES = ("train.stps", "model.out_dims", "train.steps.x", ".", "a..b", "=", "train.", "__class__.x")
ODD_VALUES = (
    "!!python/object/apply:os.system ['true']",
    "!!int ''",
    "!!int x",
    "!!float ''",
    "!!bool maybe",
    "!!timestamp never",
    "2001-99-99",
    "2001-02-30",
    "!!binary x",
    "0x" + "F" * 5_000,
    "9" * 5_000,
    "1:99:99",
    "010",
    "1e400",
    ".inf",
    "*a",
    "&a [*a]",
    "!!set {a, b}",
    "{<<: {a: 1}}",
    "{a: 1, a: 2}",
    "? [a, b]\n: 1",
    "!!omap [a: 1]",
    "\ud800",
    '"\\ud800"',
)
YAML_CHARACTERS = "[]{}&*!|>'\"%@`#,:?- \n\tax1"

names = st.sampled_from([*NAMES, *TINY, *ODD_NAMES]) | texts
values = json_values.map(json.dumps) | texts | st.text(YAML_CHARACTERS, max_size=30) | st.sampled_from(ODD_VALUES)
raw = st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))


def check_config(config: RunConfig | None) -> None:
    """Check that valid settings can be written as YAML and read again."""
    if config is not None:
        assert RunConfig.parse(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config
        assert config.build_model_config(config.make_task()).out_dims


def read_recipe_file(tmp_path, content: bytes | str, overrides=()) -> RunConfig | None:
    """Write a recipe and read it; return None if it is rejected with a message."""
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return try_read(lambda: read_recipe(path, overrides), are_sentences)


@given(overrides=st.lists(st.builds("{}={}".format, names, values) | texts, max_size=3))
@example(overrides=["train.steps=["])
@example(overrides=["train.steps=" + "[" * 5_000])
@example(overrides=["train.steps=0x" + "F" * 5_000])
@example(overrides=["train.seed=" + "9" * 5_000])
@example(overrides=["task.kind=" + "x" * 10_000])
@example(overrides=["task.kind=[" + "a," * 10_000 + "]"])
@example(overrides=["train.steps=!!int ''"])
@example(overrides=["train.steps=!!timestamp never"])
@example(overrides=["train.steps=!!bool maybe"])
@example(overrides=["a" * 10_000 + ".x=1"])
@example(overrides=["x" * 10_000])
@example(overrides=["init_from.x=1"])
@example(overrides=["task={a: 2001-02-03}"])
@example(overrides=["model={1: 2}"])
@example(overrides=["task.kind=parity", "task.a\nb=1"])
@example(overrides=['publish.repo="\\ud800/x"'])
@example(overrides=['init_from="\\ud800"'])
@example(overrides=['task.length=!!binary "MTY="'])
@reduce_examples(2)
def test_any_override_is_valid_or_rejected_with_a_message(overrides, tmp_path):
    check_config(read_recipe_file(tmp_path, TEXT, overrides))


@given(content=mutate_bytes(st.just(TEXT.encode())) | raw)
@example(content=b"\xff\xfe\x00")
@example(content=TEXT.encode("utf-16"))
@example(content=b"[" * 10_000)
@example(content=b"{a: " * 10_000)
@example(content=b"- " * 10_000)
@example(content=b"? " * 10_000)
@example(content=TEXT.encode() + b"train: {steps: 9}\n")
@example(content=b"task: {kind: parity, kind: digits}\n")
@example(content=b"task: !!python/object/apply:os.system ['true']\n")
@example(content=b"!!python/name:os.system\n")
@example(
    content=b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40))
)
@example(content=b"task: &a {kind: parity, b: *a}\n")
@example(content=b"task: {kind: parity, a: &a [1, 2], b: *a}\n")
@example(content=b"1: 2\nnull: 3\n2001-01-01: 4\n")
@example(content=b"{a: b}: c\n")
@example(content=b"--- a\n--- b\n")
@example(content=b"%YAML 9.9\n---\n{}\n")
@example(content=b"")
@reduce_examples(2)
def test_any_file_is_a_valid_recipe_or_rejected_with_a_message(content, tmp_path):
    with time_limit(20):
        check_config(read_recipe_file(tmp_path, content))


@given(recipe_values=mutate_json(TINY))
@example(recipe_values=TINY | {"task": {"kind": ["parity"] * 1_000}})
@example(recipe_values=TINY | {"task": {"kind": "parity", "": 1}})
@example(recipe_values=TINY | {"publish": {"repo": "a/b@" + "c" * 100}})
@example(recipe_values=TINY | {"train": None})
@example(recipe_values=TINY | {"task": {"kind": "images"}})
@reduce_examples(2)
def test_edited_settings_are_valid_or_rejected_with_a_message(recipe_values):
    check_config(try_read(lambda: RunConfig.parse(recipe_values), are_sentences))


@given(st.dictionaries(names, json_values, max_size=3))
def test_changes_of_settings_are_valid_or_rejected_with_a_message(changes):
    config = RunConfig.parse(TINY)
    check_config(try_read(lambda: config.with_overrides(changes), are_sentences))
    assert config == RunConfig.parse(TINY), "the original settings do not change"


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_read_within_the_time_limit(text, tmp_path):
    with time_limit(20):
        read_recipe_file(tmp_path, text)
        read_recipe_file(tmp_path, f"task: {text}\n")
        for name in ("train.steps", "task.kind", "publish.repo", text):
            read_recipe_file(tmp_path, TEXT, [f"{name}={text}"])


def test_yaml_tags_execute_no_code_and_missing_recipes_are_rejected(tmp_path, monkeypatch):
    target = tmp_path / "touched"
    for tag in ("!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir"):
        assert read_recipe_file(tmp_path, f"task: {tag} [{str(target)!r}]\n") is None
        assert read_recipe_file(tmp_path, TEXT, [f"task={tag} [{str(target)!r}]"]) is None
    assert not target.exists()
    monkeypatch.setenv("RECIPE", TEXT)
    assert read_recipe("env:RECIPE") == RunConfig.parse(TINY)
    for path in (tmp_path, tmp_path / "none.yaml", "env:NONE", "", "x" * 5_000, "a\0b"):
        assert try_read(lambda path=path: read_recipe(path)) is None
    assert "RECIPE" in os.environ


@pytest.mark.parametrize(
    "override", ["train.steps=7", "train={steps: 7}", "optim.lr=1e-3", "loss.lookahead=null", "task.length=5"]
)
def test_valid_overrides_are_read(override, tmp_path):
    name, _, value = override.partition("=")
    group, _, key = name.partition(".")
    settings = read_recipe_file(tmp_path, TEXT, [override]).model_dump(mode="json")[group]
    expected = float(value) if "e-" in value else yaml.safe_load(value)
    assert (settings[key] if key else {"steps": settings["steps"]}) == expected
