"""Tests with generated texts that a text is a policy that prints and parses to itself, or is rejected in one sentence."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference import parse
from inference.halting.policy_parser import MAX_NESTING_DEPTH, MAX_POLICY_LENGTH
from tests.strategies import HOSTILE_TEXTS, time_limit, try_read

odd_numbers = st.sampled_from(["1e999", "-1e-999", "0.1e5", ".5", "5.", "+3", "1e15", "\u0663"])
numbers = st.floats().map(str) | st.integers().map(str) | st.decimals().map(str) | odd_numbers
counts = st.integers(-2, 2_000_000).map(str) | st.sampled_from(["007", "\u0663", "1.0", "", "9" * 300])
single_policies = st.one_of(
    st.builds("ticks={}".format, counts),
    st.builds("same={}".format, counts),
    st.builds("energy<{}".format, numbers),
    st.builds("certainty{}>{}".format, st.sampled_from(["", ".min", ".mean", ".max"]), numbers),
    st.builds("converged<{}{}".format, numbers, st.just("") | st.builds("x{}".format, counts)),
)
policies = st.recursive(
    single_policies,
    lambda inner: (
        st.builds("({})".format, inner)
        | st.builds("{}{}{}".format, inner, st.sampled_from("|&"), inner)
        | st.lists(inner, min_size=2, max_size=9).map("|".join)
    ),
    max_leaves=30,
)
pieces = [*"()|&<>=x. \n1e9-+", "energy", "ticks=3", "same", "certainty", ".min", "converged<", "\u212a", "\u00b2"]
near_policies = st.lists(st.sampled_from(pieces), max_size=40).map("".join)


@given(policies | near_policies | st.text(max_size=200))
@example("energy<-1.23456789")
@example("energy<1e999")
@example("|".join(["converged<1"] * 41))
@example("&".join(["energy<1e5"] * 45))
@example("(" + "\U000e0001" * 100)
@example("\ud800" * 499)
def test_any_text_is_a_policy_that_round_trips_or_is_rejected_in_one_sentence(text):
    policy = try_read(lambda: parse(text))
    if policy is not None:
        assert parse(str(policy)) == policy and str(parse(str(policy))) == str(policy)
        assert "inf" not in str(policy) and "nan" not in str(policy)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_printing_keeps_every_digit_of_a_threshold(threshold):
    policy = parse(f"energy<{threshold!r}|certainty>{threshold!r}|converged<{threshold!r}")
    assert {parse(str(part)) for part in policy.policies} == set(policy.policies)
    assert policy.policies[0].threshold == threshold and math.isfinite(policy.policies[2].tolerance)


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_texts_are_rejected_at_once(text):
    with time_limit(2):
        for form in ("{}", "energy<{}", "ticks={}", "same=1|{}", "({})", "converged<1x{}"):
            try_read(lambda form=form: parse(form.format(text)))


@pytest.mark.parametrize("count", [1_000, 1_000_000])
@pytest.mark.parametrize("piece", ["(", ")", "()", "|", "&", "(a|", "1", "energy<1|", " ", "\u0130"])
def test_long_texts_are_rejected_at_once(piece, count):
    with time_limit(2), pytest.raises(ValueError):
        parse(piece * count)


def test_the_longest_and_the_most_nested_policy_are_parsed():
    longest = "|".join(["same=1"] * 71)
    assert len(longest) <= MAX_POLICY_LENGTH and str(parse(longest)) == longest
    assert str(parse("(" * MAX_NESTING_DEPTH + "same=1" + ")" * MAX_NESTING_DEPTH)) == "same=1"
    with pytest.raises(ValueError, match="brackets inside each other"):
        parse("(" * (MAX_NESTING_DEPTH + 1) + "same=1" + ")" * (MAX_NESTING_DEPTH + 1))
