"""Test with generated values that settings are either valid, or rejected with one short line per problem."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from ctm.config import CTMConfig
from ctm.settings import Settings
from tests.strategies import (
    HOSTILE_TEXTS,
    are_sentences,
    json_objects,
    json_values,
    mutate_json,
    scalars,
    texts,
    time_limit,
    try_read,
)

TINY_CONFIG = {
    "iterations": 4,
    "d_model": 12,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 5,
    "n_synch_action": 4,
    "synapse_depth": 1,
    "memory_length": 5,
    "memory_hidden_dims": 4,
    "backbone_type": "tokens-7x6",
    "out_dims": 6,
    "prediction_reshaper": [-1],
}


class Inner(Settings):
    name: str = Field("", max_length=5)
    numbers: tuple[int, ...] = ()


class Outer(Settings):
    inner: Inner = Inner()
    share: float = Field(0.5, ge=0, le=1)
    anything: dict[str, str] = Field(default_factory=dict)


KEYS = ("inner", "share", "anything", "inner.name", "__class__", "model_config", "Share", "a\nb", "\ud800")
keys = texts | st.sampled_from(KEYS) | st.integers() | st.none() | st.tuples(st.integers())
int_sets = st.frozensets(st.integers(), max_size=2)
odd_values = st.one_of(
    json_values, st.binary(max_size=5), st.tuples(scalars), int_sets, st.dates(), st.complex_numbers()
)


@given(st.dictionaries(keys, odd_values, max_size=5) | odd_values)
@example({"a" * 100_000: 1})
@example({"a\nb": 1})
@example({"share": 16**5_000})
@example({f"key{number}": number for number in range(5_000)})
@example({"inner": {"name": "x" * 100_000}})
@example({"anything": {str(number): number for number in range(5_000)}})
@example({"\ud800": "\ud800"})
@example({None: 1})
def test_any_value_is_settings_or_rejected_in_sentences(values):
    parsed_settings = try_read(lambda: Outer.parse(values, "here"), are_sentences)
    if parsed_settings is not None:
        assert (
            Outer.parse(parsed_settings.model_dump(mode="json")) == parsed_settings and 0 <= parsed_settings.share <= 1
        )


@given(mutate_json(TINY_CONFIG, odd_values))
@example(TINY_CONFIG | {"prediction_reshaper": [10**4_000]})
@example(TINY_CONFIG | {"prediction_reshaper": [-1] * 3})
@example(TINY_CONFIG | {"backbone_type": "tokens-7x6\n"})
def test_an_edited_config_is_a_config_or_rejected_in_sentences(values):
    config = try_read(lambda: CTMConfig.parse(values, "config.json"), are_sentences)
    if config is not None:
        assert CTMConfig.parse(json.loads(json.dumps(config.to_dict()))) == config
        positions, classes = config.answer_shape
        assert positions * classes == config.out_dims and classes >= 2


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_no_config(text):
    changes = [change for key in TINY_CONFIG for change in ({key: text}, {key: [text] * 3})]
    with time_limit():
        for values in (*(TINY_CONFIG | change for change in changes), TINY_CONFIG | {text: 1}, {text: text}):
            try_read(lambda values=values: CTMConfig.parse(values, "config.json"), are_sentences)


@given(json_objects)
@example({"\ud800": 1})
@example({"": None})
def test_any_group_is_no_config(values):
    assert try_read(lambda: CTMConfig.parse(values), are_sentences) is None
