"""Test the form of a run: one field per setting, and every submission is a valid config or an error message."""

import math
import os
import re
import shlex
from functools import cache
from types import NoneType
from typing import Any, get_args
from unittest import mock

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctm.config import SCHEDULE_KEYS, SCHEDULED_BACKBONE
from tests.paths import ROOT
from training.config import RunConfig, format_overrides, read_recipe
from training.tasks import make_task
from training.tasks.registry import get_task_types
from ui.services.form_schema import (
    FIELD_GROUPS,
    NEUTRAL_SETTINGS,
    PRIMARY_FIELDS,
    FormField,
    build_settings_comparison,
    compute_form_changes,
    get_form_values,
    get_group_settings,
    list_fields,
)

CONFIGS = ROOT / "configs"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
FIELDS = list_fields()
NAMES = {field.name for field in FIELDS}
TASKS_WITH_FIELDS = sorted({field.task for field in FIELDS if field.task})
DERIVED_SETTINGS = {"model.out_dims", "model.prediction_reshaper", "model.energy_head_enabled"}
UNSUPPORTED_SETTINGS = {"task.mean", "task.std", "task.names"}  # lists of the task images
SCHEDULE_TICKS = tuple(f"model.{name}" for name in SCHEDULE_KEYS)
OTHER_VALUES = {  # for fields in which an incremented or halved value is invalid
    "model.heads": 4,
    "model.backbone_type": "parity_backbone",
    "model.positional_embedding_type": "custom-rotational-1d",
    "model.d_input": 72,
    "model.neuron_select_type": "random",
    "model.n_random_pairing_self": 3,
    "model.dropout_nlm": 0.25,
    "loss.lookahead": 7,
    "task.side": 13,
    "task.length": 8,
    "task.curriculum_length": 8,
    "task.curriculum_route": 8,
    "task.longest_route": 60,
    "task.curriculum_operations": 1,
    "task.dataset": "me/words",
    "task.channels": 3,
    "task.crop": 27,
}


REQUIRED_TASKS = {"loss.feature_loss_weight": "mazes"}  # tasks that a setting of every run needs
REQUIRED_CHANGES = {
    name: {"model.backbone_type": SCHEDULED_BACKBONE, **dict.fromkeys(SCHEDULE_TICKS, 2)} for name in SCHEDULE_TICKS
}  # other settings that a field needs
REQUIRED_CHANGES["model.num_layers"] = {
    "model": {"kind": "lstm", "iterations": 3, "d_model": 8, "d_input": 8, "heads": 2}
}
REQUIRED_CHANGES["task.length_draws"] = {"task.even_lengths": True}
for name in (
    "task.encoding",
    "task.horizon_encoding",
    "model.backbone_type",
    *REQUIRED_CHANGES,
):  # their models attend to no tokens
    REQUIRED_CHANGES[name] = REQUIRED_CHANGES.get(name, {}) | NEUTRAL_SETTINGS


@cache
def load_recipe(name: str = "parity-16") -> RunConfig:
    return read_recipe(CONFIGS / f"{name}.yaml")


@cache
def find_recipe(kind: str) -> RunConfig:
    """Return the settings of a run with this task."""
    for name in RECIPES:
        if (recipe := load_recipe(name)).task["kind"] == kind:
            return recipe
    return load_recipe("digits").with_overrides({"task": {"kind": kind}, "model.backbone_type": "resnet18-1"})


def pick_other_value(form_field: FormField, before: Any) -> Any:
    """Return another valid value of a field."""
    if form_field.name in OTHER_VALUES:
        return OTHER_VALUES[form_field.name]
    match form_field.kind:
        case "switch":
            return not before
        case "choice":
            return next(choice for choice in form_field.choices if choice != before)
        case "whole":
            return before + 1
        case "number":
            return before / 2 if before else 0.125
    return "words"


def find_field(name: str, config: RunConfig):
    return next(field for field in FIELDS if field.name == name and field.task in ("", config.task["kind"]))


def are_error_sentences(text: str) -> bool:
    """Check an error message for users: one line per problem, no traceback, no Python class, no long value."""
    lines = text.split("\n")
    return all(
        re.match(r"[\w`'\"*]", line)
        and len(line) < 700
        and " " in line
        and not re.search(r"Traceback|Error\b|pydantic|<class|\bint\(\)|NoneType|object has no", line)
        for line in lines
    )


# --- which settings are fields -----------------------------------------------------------------------------------


def test_every_setting_is_a_field_except_derived_ones_and_paths():
    setting_names = {f"{group}.{name}" for group in FIELD_GROUPS for name in get_group_settings(group)} | {
        f"task.{name}" for task in get_task_types().values() for name in task.Settings.model_fields
    }
    assert setting_names - DERIVED_SETTINGS - UNSUPPORTED_SETTINGS == NAMES
    other_groups = {"task", "publish", "init_from", "stages"}  # stages are set in the recipe
    assert set(FIELD_GROUPS) | other_groups == set(RunConfig.model_fields), "every group is covered"
    assert not [name for name in NAMES if name.startswith(("publish", "init_from"))] and "task.kind" not in NAMES
    assert set(PRIMARY_FIELDS) <= NAMES


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: f"{field.task} {field.name}")
def test_a_field_shows_the_help_text_of_its_setting(field):
    group, key = field.name.split(".")
    info = get_task_types()[field.task].Settings.model_fields[key] if field.task else get_group_settings(group)[key]
    assert info.description and field.help_text.startswith(info.description) and len(field.help_text) > 3
    assert field.is_optional is (NoneType in get_args(info.annotation))
    assert (field.kind == "choice") is bool(field.choices)
    bounds = {
        kind: getattr(constraint, kind)
        for constraint in info.metadata
        for kind in ("ge", "gt", "le", "lt")
        if hasattr(constraint, kind)
    }
    if field.kind in ("whole", "number"):
        bounds_text = field.help_text.removeprefix(info.description)
        for bound in bounds.values():
            assert f"{bound:,}" in bounds_text, "the help text names both bounds"
        assert ("above" in bounds_text) is ("gt" in bounds) and ("below" in bounds_text) is ("lt" in bounds)


@pytest.mark.parametrize("kind", TASKS_WITH_FIELDS)
def test_values_outside_the_bounds_in_the_help_text_are_rejected(kind):
    config = find_recipe(kind)
    for field in FIELDS:
        match = re.search(r"\((above )?([\d.,]+) to (below )?([\d.,]+)\)$", field.help_text)
        if field.kind not in ("whole", "number") or field.task not in ("", kind) or not match:
            continue
        low, high = (float(match[place].replace(",", "")) for place in (2, 4))
        step = 1 if field.kind == "whole" else 1e-6
        for value in (low if match[1] else low - step, high if match[3] else high + step):
            with pytest.raises(ValueError, match=re.escape(field.name)):
                config.with_overrides(compute_form_changes(config, {field.name: value}))


# --- form values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_unchanged_form_values_give_no_changes(name):
    config = load_recipe(name)
    form_values = get_form_values(config)
    assert compute_form_changes(config, form_values) == {}
    field_names = {field.name for field in FIELDS if field.task in ("", config.task["kind"])}
    assert form_values.keys() == field_names
    values_as_floats = {
        name: float(value) if type(value) is int else value for name, value in form_values.items()
    }  # as browsers send numbers
    assert compute_form_changes(config, values_as_floats) == {}
    emptied = {name: "" if value is None else value for name, value in form_values.items()}
    assert compute_form_changes(config, emptied) == {}


@pytest.mark.parametrize(
    "field", [field for field in FIELDS if field.name != "model.kind"], ids=lambda field: f"{field.task} {field.name}"
)
def test_a_changed_field_changes_its_setting_and_its_override_gives_the_same_config(field, tmp_path):
    name = field.name
    task = field.task or REQUIRED_TASKS.get(name, "parity")
    config = find_recipe(task).with_overrides(REQUIRED_CHANGES.get(name, {}))
    value = pick_other_value(field, get_form_values(config)[name])
    changes = compute_form_changes(config, get_form_values(config) | {name: value})
    assert changes == {name: value}
    changed = config.with_overrides(changes)
    assert get_form_values(changed)[name] == value != get_form_values(config)[name]
    assert compute_form_changes(changed, get_form_values(config)) != {} and changed != config

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    overrides = format_overrides(changes)
    assert read_recipe(path, overrides) == changed
    assert read_recipe(path, shlex.split(shlex.join(overrides))) == changed, "also after quoting for a shell"


def test_another_model_type_keeps_shared_settings_and_drops_the_others(tmp_path):
    config = load_recipe()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    changes = compute_form_changes(
        config, get_form_values(config) | {"model.kind": "lstm", "model.num_layers": 2, "train.steps": 7}
    )
    lstm = read_recipe(tmp_path / "recipe.yaml", format_overrides(changes))
    model_config = lstm.build_model_config(lstm.make_task())
    assert model_config.model_type == "lstm" and model_config.num_layers == 2 and lstm.train.steps == 7
    assert model_config.d_input == config.build_model_config(config.make_task()).d_input
    ff = lstm.with_overrides(compute_form_changes(lstm, get_form_values(lstm) | {"model.kind": "ff"}))
    assert (
        ff.build_model_config(ff.make_task()).model_type == "ff" and compute_form_changes(ff, get_form_values(ff)) == {}
    )
    assert (lstm.train.token_init, lstm.loss.has_auxiliary_loss, lstm.loss.tick_reduction) == (
        "separate",
        False,
        "paced",
    )
    assert ff.train.token_init == "default", "it attends to nothing"
    with pytest.raises(ValueError, match=r"`model.memory_length` is missing"):
        lstm.with_overrides(compute_form_changes(lstm, {"model.kind": "ctm"}))
    with pytest.raises(ValueError, match=r"Unknown setting `model.memory_length`"):
        lstm.with_overrides(compute_form_changes(lstm, {"model.memory_length": 3}))


@pytest.mark.parametrize(
    ("name", "value", "expected_resets"),
    [
        ("task.encoding", "signs", {"train.token_init"}),
        ("model.backbone_type", "parity_backbone", {"train.token_init"}),
        ("model.d_model", 64, set()),
    ],
)
def test_settings_that_a_changed_model_does_not_support_are_turned_off(name, value, expected_resets):
    config = load_recipe()
    changes = compute_form_changes(config, get_form_values(config) | {name: value})
    assert changes == {name: value} | {setting: NEUTRAL_SETTINGS[setting] for setting in expected_resets}
    assert get_form_values(config.with_overrides(changes))[name] == value


def test_an_unsupported_setting_that_the_form_sets_is_an_error():
    config = load_recipe().with_overrides({"train.token_init": "default"})
    changes = compute_form_changes(config, {"task.encoding": "signs", "train.token_init": "separate"})
    with pytest.raises(ValueError, match=r"Set train\.token_init=default"):
        config.with_overrides(changes)


@pytest.mark.parametrize(
    ("name", "kind", "backbone", "expected"),
    [
        ("model.kind", "ff", "parity_backbone", True),
        ("train.steps", "ff", "parity_backbone", True),
        ("model.n_synch_out", "ctm", "parity_backbone", True),
        ("model.n_synch_out", "lstm", "parity_backbone", False),
        ("model.num_layers", "lstm", "parity_backbone", True),
        ("model.num_layers", "ctm", "parity_backbone", False),
        ("model.iterations", "ff", "parity_backbone", False),
        ("model.iterations_per_digit", "ctm", "parity_backbone", False),
        ("model.iterations_per_digit", "ctm", "qamnist_backbone", True),
        ("model.n_synch_out", "no such kind", "parity_backbone", True),
    ],
)
def test_a_field_applies_to_the_model_types_that_have_its_setting(name, kind, backbone, expected):
    field = next(field for field in list_fields() if field.name == name)
    assert field.applies_to(kind, backbone) is expected


def test_an_optional_field_can_be_emptied():
    config = load_recipe("parity-16")
    assert config.loss.lookahead == 3
    for empty_value in (None, ""):
        assert (
            config.with_overrides(compute_form_changes(config, {"loss.lookahead": empty_value})).loss.lookahead is None
        )


def test_whole_numbers_are_stored_as_integers():
    """A browser sends 500 as 500.0; the run directory and its command contain 500."""
    config = load_recipe()
    changes = compute_form_changes(config, {"train.steps": 500.0})
    assert changes == {"train.steps": 500} and type(changes["train.steps"]) is int
    assert format_overrides(changes) == ["train.steps=500"]


def test_model_settings_derived_from_the_task_follow_its_changes():
    """Only changed settings are submitted, so the backbone follows the length of the rows."""
    config = load_recipe()
    form_values = get_form_values(config) | {"task.length": 9}
    changed = config.with_overrides(compute_form_changes(config, form_values))
    assert changed.build_model_config(changed.make_task()).out_dims == 18
    assert (
        changed.build_model_config(changed.make_task()).backbone_type
        != config.build_model_config(config.make_task()).backbone_type
    )


# --- invalid values ---------------------------------------------------------------------------------------------

TESTED_SETTINGS = sorted(
    {
        *PRIMARY_FIELDS,
        "loss.mean_share",
        "loss.tick_reduction",
        "loss.lookahead",
        "model.deep_nlms",
        "model.backbone_type",
        "optim.max_grad_norm",
        "task.length",
        "task.encoding",
        "train.device",
    }
)
INVALID_VALUES = [
    [],
    [1],
    {},
    {"a": 1},
    "abc",
    "",
    None,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
    1e308,
    -1e308,
    -1,
    0.5,
    True,
    "${7*7}",
    "<script>",
    "1; rm -rf /",
    "env:HF_TOKEN",
    "!!python/object:os.system",
    "\x00",
    "\ud800",
    "x" * 10_000,
    b"1",
]


@pytest.mark.parametrize("name", TESTED_SETTINGS)
@pytest.mark.parametrize("value", INVALID_VALUES, ids=lambda value: repr(value)[:20])
def test_an_invalid_value_gets_an_error_message(name, value):
    config = load_recipe()
    try:
        changed = config.with_overrides(compute_form_changes(config, {name: value}))
    except ValueError as error:
        assert are_error_sentences(str(error)), str(error)
        assert name in str(error) or name.rpartition(".")[2] in str(error)
    else:
        form_value = get_form_values(changed)[name]
        assert form_value == (None if value == "" else value), "the value is stored unchanged"
        assert type(value) is not bool or find_field(name, config).kind == "switch", "a boolean is not a number"


@pytest.mark.parametrize(
    "name",
    [
        "publish.repo",
        "publish",
        "init_from",
        "task.kind",
        "task",
        "model",
        "train.__class__",
        "model.out_dims",
        "../x",
        "",
        "model.prediction_reshaper",
        "model.energy_head_enabled",
        "train.steps.x",
        "train.steps=1",
        "TRAIN.STEPS",
        "train",
        ".",
        "loss.__dict__",
        "task.names",
        "task.side",
        " train.steps",
        "train.steps\n",
        "optim",
        "x" * 1_000,
        "finish.repo",
    ],
)
@pytest.mark.parametrize("value", ["x", 1, {"repo": "a/b"}])
def test_a_name_that_is_not_a_field_is_rejected(name, value):
    config = load_recipe()
    with pytest.raises(ValueError, match="is not a setting of this form") as caught:
        compute_form_changes(config, get_form_values(config) | {name: value})
    assert len(str(caught.value)) < 120


def test_fields_of_another_task_are_rejected():
    assert "task.max_rotation" not in get_form_values(load_recipe("parity-16"))
    with pytest.raises(ValueError, match=r"'task.max_rotation' is not a setting"):
        compute_form_changes(load_recipe("parity-16"), {"task.max_rotation": 3})


ANY_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(INVALID_VALUES),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
CONFIG_BY_RECIPE = {name: load_recipe(name) for name in RECIPES}


@st.composite
def filled_forms(draw) -> tuple[str, dict[str, Any]]:
    """Draw a recipe and a form with arbitrary values in some fields, often of the right type."""
    name = draw(st.sampled_from(RECIPES))
    names = draw(st.lists(st.sampled_from(sorted(get_form_values(CONFIG_BY_RECIPE[name]))), max_size=4, unique=True))
    values: dict[str, Any] = {}
    for field in (find_field(key, CONFIG_BY_RECIPE[name]) for key in names):
        likely = (
            st.sampled_from(field.choices) if field.choices else st.integers(0, 200) | st.floats(0, 2) | st.booleans()
        )
        values[field.name] = draw(likely | ANY_VALUES)
    return name, values


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filled_forms())
def test_any_form_gives_a_valid_config_or_an_error_message(form):
    name, values = form
    config = CONFIG_BY_RECIPE[name]
    try:
        changes = compute_form_changes(config, values)
        changed = config.with_overrides(changes)
    except ValueError as error:
        assert are_error_sentences(str(error)), str(error)
        return
    assert RunConfig.parse(yaml.safe_load(yaml.safe_dump(changed.model_dump(mode="json")))) == changed, (
        "YAML keeps the config"
    )
    assert make_task(changed.task).name == config.task["kind"]
    assert (changed.publish, changed.init_from) == (config.publish, config.init_from)
    with mock.patch.dict(os.environ, {"RECIPE": yaml.safe_dump(config.model_dump(mode="json"))}):
        assert read_recipe("env:RECIPE", format_overrides(changes)) == changed, "its overrides give the same config"


# --- comparison --------------------------------------------------------------------------------------------------


def test_a_settings_comparison_lists_and_marks_differing_settings_first():
    config = load_recipe()
    rows = build_settings_comparison(
        [("a", config), ("b", config.with_overrides({"train.steps": 7, "model.heads": 4}))]
    )
    assert [row[0] for row in rows if row[-1]] == ["model.heads", "train.steps"] == [row[0] for row in rows[:2]]
    assert rows[1] == ["train.steps", "8000", "7", "differs"]
    assert {len(row) for row in rows} == {4}
    assert not any(row[-1] for row in build_settings_comparison([("a", config)]))


def test_a_setting_that_only_one_run_has_is_empty_in_the_other():
    rows = {
        row[0]: row[1:]
        for row in build_settings_comparison([("a", load_recipe("parity-16")), ("b", load_recipe("digits"))])
    }
    assert rows["task.length"] == ["16", "", "differs"] and rows["task.kind"] == ["parity", "digits", "differs"]
