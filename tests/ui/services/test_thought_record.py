"""What a record says in words and lines."""

import base64

import numpy as np
import pytest

from inference.halting.policy_parser import parse
from training.tasks import make_task
from training.tasks.base import TaskAnswer
from ui.services.thought_record import (
    build_choices,
    build_input_view,
    build_routes,
    describe_halt_reason,
    format_probability,
    format_sentence,
    get_chart_lines,
    get_top_classes,
    select_classes,
)


def test_nothing_is_quite_certain():
    assert [format_probability(share) for share in (1.0, 0.9995, 0.5, 0.0)] == [
        "over 99.9%",
        "over 99.9%",
        "50.0%",
        "under 0.1%",
    ]


@pytest.mark.parametrize(
    "rule, words",
    [
        ("energy<-3", "energy fell below -3"),
        ("certainty>0.9", "more than 0.9 certain"),
        ("same=3", "3 times in a row"),
        ("certainty.min>0.5", "every position"),
        ("converged<0.1x2", "less than 0.1"),
        ("ticks=3", "3 ticks"),
        ("margin>0.5", "0.5 apart"),
        ("probability>0.9", "0.9 likely"),
        ("change<0.01", "less than 0.01"),
    ],
)
def test_the_halt_reason_is_described_in_words(rule, words):
    assert words in describe_halt_reason(rule)


def test_chart_lines_come_from_the_policy():
    assert get_chart_lines(parse("energy<-2|certainty>0.9|same=3")) == [("energy", -2.0), ("certainty", 0.9)]
    assert get_chart_lines(parse("ticks=3")) == []


def test_of_many_classes_those_are_kept_that_were_ever_likely():
    by_tick = np.exp(np.random.default_rng(0).normal(size=(5, 1, 1000)) * 3)
    by_tick /= by_tick.sum(2, keepdims=True)
    labels = [f"c{index}" for index in range(1000)]
    choices = build_choices(by_tick, labels, ctc_length=None)
    assert choices["of"] == 1000 and 8 <= len(choices["labels"]) <= 40
    for row, kept in zip(by_tick[:, 0], choices["probabilities"], strict=True):
        best = np.sort(row)[::-1][:8]
        assert set(np.round(best, 6)) <= set(kept)
        assert choices["labels"][int(np.argmax(kept))] == labels[int(row.argmax())]
    assert select_classes(by_tick[:, 0, :10]) == list(range(10))


def test_the_likeliest_classes_come_in_order():
    assert get_top_classes(np.array([[0.1, 0.6, 0.3]]), ["a", "b", "c"]) == [
        {"label": "b", "probability": 0.6},
        {"label": "c", "probability": 0.3},
        {"label": "a", "probability": 0.1},
    ]
    assert get_top_classes(np.full((2, 3), 1 / 3), ["a", "b", "c"]) == []


@pytest.mark.parametrize("shape, channels", [((4, 6), 1), ((4, 6, 3), 3)])
def test_a_picture_is_packed_with_its_colours(shape, channels):
    pixels = np.random.default_rng(0).random(shape)
    shown = build_input_view({"kind": "picture", "pixels": pixels, "goal": [1, 2]})
    assert (shown["width"], shown["height"], shown["channels"], shown["goal"]) == (6, 4, channels, [1, 2])
    assert base64.b64decode(shown["data"]) == np.rint(pixels * 255).astype(np.uint8).tobytes()


def test_routes_are_flat_and_only_where_answers_lead_somewhere():
    assert build_routes([TaskAnswer(0, "a", "A", [(1, 2), (1, 3)]), TaskAnswer(0, "a", "A", [(1, 2)])]) == [
        [1, 2, 1, 3],
        [1, 2],
    ]
    assert build_routes([TaskAnswer(0, "a", "A")]) is None


def test_a_request_for_all_ticks_does_not_report_an_unmet_policy():
    record = {
        "answer_tick": 20,
        "ticks": 24,
        "iterations": 24,
        "certainty": [0.5] * 24,
        "halted_by": "budget",
        "policy": "ticks=2000",
    }
    said = format_sentence("It is 4", record, None)
    assert said == "It is 4 (certainty 0.50). It thought to the last tick, 24; the best of them, tick 20, answers."
    assert "never met the rule energy<0" in format_sentence("It is 4", record | {"policy": "energy<0"}, None)


def test_a_model_of_one_tick_is_not_reported_as_halted():
    record = {
        "answer_tick": 1,
        "ticks": 1,
        "iterations": 1,
        "certainty": [0.5],
        "halted_by": "budget",
        "policy": "energy<0",
    }
    assert (
        format_sentence("It is a 3", record, None)
        == "It is a 3 (certainty 0.50). It answers at once, in a single tick."
    )


@pytest.mark.parametrize(
    "settings, text, places",
    [
        ({"kind": "chain"}, "3+4*2-1", ["3", "+4", "*2", "-1"]),
        ({"kind": "chain"}, "7", ["7"]),
        ({"kind": "tracking"}, "3,4 4,5 - 6,7 7,8 8,9 +4", ["row", "column"]),
        ({"kind": "tracking", "target": "quadrant"}, "3,4 4,5 - 6,7 7,8 8,9 +4", ["quarter"]),
    ],
)
def test_what_is_shown_names_every_position_of_the_answer(settings, text, places):
    read = make_task(settings).parse_input(text)
    assert build_input_view(read.display)["places"] == places and len(places) == read.positions
