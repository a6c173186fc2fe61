"""Test that YAML values have the types of YAML 1.2, and that written values are read unchanged."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctm.io.yaml import format_yaml, parse_yaml

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["no", "off", "010", "0o7", "0x1", "1e5", "1:30", "2024-01-01", "~", "true", ".inf", "<<", "="])
)


@pytest.mark.parametrize(
    "text, value",
    [
        ("no", "no"),
        ("off", "off"),
        ("On", "On"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("-3", -3),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e-3", 0.001),
        ("5.0e-4", 0.0005),
        (".5", 0.5),
        ("12.", 12.0),
        (".inf", math.inf),
        ("~", None),
        ("", None),
        ("null", None),
        ("'no'", "no"),
        ("[no, 010]", ["no", 10]),
    ],
)
def test_plain_values_have_the_types_of_yaml_1_2(text, value):
    parsed = parse_yaml(text, "It")
    assert parsed == value and type(parsed) is type(value)


@given(
    st.recursive(
        SCALARS, lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values, max_size=3)
    )
)
def test_written_values_are_read_as_the_same_values(values):
    assert parse_yaml(format_yaml(values), "It") == values
