"""Whatever is given as settings is a group of them, or refused line by line: never at length, never with another error."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from ctm.config import CTMConfig
from ctm.settings import Settings
from tests.strategies import HOSTILE, are_sentences, edited, groups, plain, scalars, soon, texts, told

TINY = {
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
sets = st.frozensets(st.integers(), max_size=2)
odd = st.one_of(plain, st.binary(max_size=5), st.tuples(scalars), sets, st.dates(), st.complex_numbers())


@given(st.dictionaries(keys, odd, max_size=5) | odd)
@example({"a" * 100_000: 1})
@example({"a\nb": 1})
@example({"share": 16**5_000})
@example({f"key{number}": number for number in range(5_000)})
@example({"inner": {"name": "x" * 100_000}})
@example({"anything": {str(number): number for number in range(5_000)}})
@example({"\ud800": "\ud800"})
@example({None: 1})
def test_anything_is_settings_or_refused_in_sentences(values):
    read = told(lambda: Outer.parse(values, "here"), are_sentences)
    if read is not None:
        assert Outer.parse(read.model_dump(mode="json")) == read and 0 <= read.share <= 1


@given(edited(TINY, odd))
@example(TINY | {"prediction_reshaper": [10**4_000]})
@example(TINY | {"prediction_reshaper": [-1] * 3})
@example(TINY | {"backbone_type": "tokens-7x6\n"})
def test_an_edited_config_is_a_config_or_refused_in_sentences(values):
    config = told(lambda: CTMConfig.parse(values, "config.json"), are_sentences)
    if config is not None:
        assert CTMConfig.parse(json.loads(json.dumps(config.to_dict()))) == config
        positions, classes = config.answer_shape
        assert positions * classes == config.out_dims and classes >= 2


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_no_config(text):
    changes = [change for key in TINY for change in ({key: text}, {key: [text] * 3})]
    with soon():
        for values in (*(TINY | change for change in changes), TINY | {text: 1}, {text: text}):
            told(lambda values=values: CTMConfig.parse(values, "config.json"), are_sentences)


@given(groups)
@example({"\ud800": 1})
@example({"": None})
def test_any_group_is_no_config(values):
    assert told(lambda: CTMConfig.parse(values), are_sentences) is None
