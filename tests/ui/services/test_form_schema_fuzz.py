"""Fuzz the form of a run: every submission is a valid change of settings or an error message."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.paths import ROOT
from tests.strategies import HOSTILE_TEXTS, are_sentences, json_values, texts, time_limit, try_read
from training.config import format_overrides, read_recipe
from ui.components.inputs import ImageInput, RunDropdown
from ui.services.form_schema import build_settings_comparison, compute_form_changes, get_form_values, list_fields

CONFIG_BY_RECIPE = {name: read_recipe(ROOT / "configs" / f"{name}.yaml") for name in ("digits", "parity-16")}
FIELDS = sorted(list_fields(), key=lambda field: field.name)
NAMES = [field.name for field in FIELDS]

HUGE = (10**5_000, -(10**400), 1e308, "9" * 5_000, "1e999", b"5", "\ud800", "x" * 100_000)
huge = st.sampled_from(HUGE)
values = (
    json_values | huge | st.binary(max_size=5) | st.tuples(st.integers()) | st.decimals() | st.fractions() | st.dates()
)


@given(st.sampled_from(FIELDS), values)
@example(FIELDS[NAMES.index("train.steps")], 10**5_000)
@example(FIELDS[NAMES.index("model.backbone_type")], 10**5_000)
def test_any_value_is_parsed_unchanged_or_rejected_in_one_sentence(field, value):
    parsed = try_read(lambda: (field.parse(value),))
    if parsed is not None:
        assert parsed[0] is value or parsed[0] == value or (value in (None, "") and parsed[0] in (None, ""))


@given(st.sampled_from(sorted(CONFIG_BY_RECIPE)), st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=3))
@example("digits", {"train.steps": 10**5_000})
@example("digits", {"a\nb": 1})
@example("digits", {"x" * 100_000: 1})
def test_any_form_gives_a_config_or_error_sentences(name, form):
    config = CONFIG_BY_RECIPE[name]
    changes = try_read(lambda: compute_form_changes(config, form))
    changed = try_read(lambda: config.with_overrides(changes), are_sentences) if changes is not None else None
    if changed is not None:
        assert (changed.publish, changed.init_from) == (config.publish, config.init_from)
        form_values = get_form_values(changed)
        assert all(form_values[key] == value for key, value in changes.items())
        assert all("\n" not in override for override in format_overrides(changes))
        json.dumps([form_values, build_settings_comparison([("a", config), ("b", changed)])], allow_nan=False)


@pytest.mark.parametrize("value", [10**5_000, 10**400, 1e308], ids=["5,000 digits", "400 digits", "a float"])
def test_every_integer_field_has_an_upper_bound(value):
    """Without an upper bound, a value that is far too large would fail only after hours."""
    for config in CONFIG_BY_RECIPE.values():
        for field in FIELDS:
            if field.kind == "whole" and field.name in get_form_values(config):
                changes = compute_form_changes(config, {field.name: value})
                assert (
                    try_read(lambda config=config, changes=changes: config.with_overrides(changes), are_sentences)
                    is None
                )


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_parsed_or_rejected_quickly(text):
    config = CONFIG_BY_RECIPE["digits"]
    with time_limit(10):
        for name in NAMES[::3]:
            if name in get_form_values(config):
                try_read(
                    lambda name=name: config.with_overrides(compute_form_changes(config, {name: text})), are_sentences
                )
        try_read(lambda: compute_form_changes(config, {text: text}))


@given(
    path=st.none() | texts,
    url=st.none() | texts | st.just("data:,") | st.just("http://127.0.0.1/a"),
    dropdown_value=json_values,
)
def test_input_components_return_a_text_or_none(path, url, dropdown_value):
    image_value = ImageInput.preprocess(None, SimpleNamespace(path=path, url=url))
    assert image_value == path or (image_value == url and url.startswith("data:"))
    assert ImageInput.preprocess(None, None) is None
    assert isinstance(RunDropdown.preprocess(None, dropdown_value), str)
