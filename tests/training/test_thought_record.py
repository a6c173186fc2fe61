"""The view model of a thought: its sentences, answer probabilities and images."""

import base64

import numpy as np
import pytest

from inference import Recorder
from training.tasks import make_task
from training.tasks.samples import TaskAnswer
from training.thought_record import (
    build_choices,
    build_input_view,
    build_routes,
    get_halt_reason,
    get_top_classes,
    select_classes,
)
from training.thought_sentence import format_probability, format_sentence, judge_answer, replace_hyphens


def test_a_probability_is_never_displayed_as_0_or_1():
    shares = (1.0, 0.9995, 0.988, 0.5, 0.012, 0.0)
    expected = [">99.9%", ">99.9%", "98.8%", "50%", "1.2%", "<0.1%"]
    assert [format_probability(share) for share in shares] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In order: -1.5 0.2 -.3", "In order: \N{MINUS SIGN}1.5 0.2 \N{MINUS SIGN}.3"),
        ("3 - 3 + 9 is 9 modulo 10", "3 \N{MINUS SIGN} 3 + 9 is 9 modulo 10"),
        ("It is a T-shirt, type A-1", "It is a T-shirt, type A-1"),
    ],
)
def test_numbers_have_minus_signs_and_words_keep_hyphens(text, expected):
    assert replace_hyphens(text) == expected


@pytest.mark.parametrize(
    "policy, reason",
    [
        ("energy<-3", "energy \N{MINUS SIGN}3.25, below \N{MINUS SIGN}3"),
        ("certainty>0.9", "certainty 0.95, above 0.9"),
        ("same=2", "the same answer at 2 ticks in a row"),
        ("ticks=3", "set to 3 ticks"),
        ("budget", ""),
    ],
)
def test_the_halt_reason_has_the_values_of_the_last_tick(policy, reason):
    recorder = Recorder(max_ticks=5)
    for energy, certainty in ((0.5, 0.2), (-1.0, 0.5), (-3.25, 0.95)):
        recorder.logits.append(np.array([[0.0, 2.0]], dtype=np.float32))
        recorder.certainty.append(np.array([certainty], dtype=np.float32))
        recorder.energy.append(energy)
    assert get_halt_reason(policy, recorder) == reason


def test_of_many_classes_those_are_kept_that_were_ever_likely():
    by_tick = np.exp(np.random.default_rng(0).normal(size=(5, 1, 1000)) * 3)
    by_tick /= by_tick.sum(2, keepdims=True)
    labels = [f"c{index}" for index in range(1000)]
    choices = build_choices(by_tick, labels, ctc_length=None)
    assert choices["of"] == 1000 and 8 <= len(choices["labels"]) <= 40
    for row, probabilities in zip(by_tick[:, 0], choices["probabilities"], strict=True):
        best = np.sort(row)[::-1][:8]
        assert set(np.round(best, 6)) <= set(probabilities)
        assert choices["labels"][int(np.argmax(probabilities))] == labels[int(row.argmax())]
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
    view = build_input_view({"kind": "picture", "pixels": pixels, "goal": [1, 2]})
    assert (view["width"], view["height"], view["channels"], view["goal"]) == (6, 4, channels, [1, 2])
    assert base64.b64decode(view["data"]) == np.rint(pixels * 255).astype(np.uint8).tobytes()


def test_routes_are_flat_and_only_where_answers_lead_somewhere():
    assert build_routes([TaskAnswer(0, "a", "A", [(1, 2), (1, 3)]), TaskAnswer(0, "a", "A", [(1, 2)])]) == [
        [1, 2, 1, 3],
        [1, 2],
    ]
    assert build_routes([TaskAnswer(0, "a", "A")]) is None


def make_record(**values) -> dict:
    """Return what sentences need of a record: a thought of 5 of 16 ticks that an energy policy halted."""
    record = {
        "answer_tick": 5,
        "ticks": 5,
        "iterations": 16,
        "halted_by": "energy<-3",
        "policy": "energy<-3",
        "probability": 0.75,
        "p_correct": None,
        "p_last": None,
        "truth": None,
        "verdict": "unknown",
        "unfamiliar": "",
    }
    return record | values


def test_a_request_for_all_ticks_does_not_report_an_unmet_policy():
    record = make_record(answer_tick=20, ticks=24, iterations=24, halted_by="budget", policy="ticks=2000")
    end = "so the answer is taken from tick 20, where it was most certain."
    assert format_sentence("It is 4", record) == f"It is 4. Probability: 75%. It used all 24 ticks, {end}"
    for policy, unmet in (("certainty>1", ""), ("energy<0", " without meeting the stopping rule")):
        sentence = format_sentence("It is 4", record | {"policy": policy})
        assert sentence == f"It is 4. Probability: 75%. It used all 24 ticks{unmet}, {end}"
    last = format_sentence("It is 4", record | {"answer_tick": 24})
    assert last == "It is 4. Probability: 75%. It used all 24 ticks."


def test_a_halted_thought_reports_the_reason_and_the_ticks_saved():
    record = make_record(p_correct=[0.66] * 5)
    assert format_sentence("It is a 3", record, "energy -3.2, below -3") == (
        "It is a 3. Confidence: 66%. Stopped at tick 5 of 16 (energy -3.2, below -3); 11 ticks saved."
    )
    assert format_sentence("It is a 3", record | {"iterations": 5}, "x").endswith("Stopped at the last tick, 5 (x).")


def test_a_model_of_one_tick_is_not_reported_as_halted():
    record = make_record(answer_tick=1, ticks=1, iterations=1, halted_by="budget", policy="energy<0")
    assert (
        format_sentence("It is a 3", record)
        == "It is a 3. Probability: 75%. Feed-forward baseline: one pass, no ticks."
    )


def test_a_model_that_gives_up_saves_no_ticks():
    record = make_record(p_correct=[0.0005] * 5, truth="17")
    record["verdict"] = judge_answer(False, record)
    assert record["verdict"] == "gave up"
    assert format_sentence("Next comes 417", record, "energy -3.2, below -3") == (
        "Next comes 417. Wrong: the correct answer is 17. Confidence: <0.1%. "
        "It gave up at tick 5 of 16 (energy -3.2, below -3)."
    )


@pytest.mark.parametrize(
    ("is_correct", "values", "verdict"),
    [
        (True, {"p_correct": [0.01] * 5}, "correct"),
        (False, {"p_correct": [0.9] * 5}, "wrong"),
        (None, {"p_correct": [0.9] * 5}, "unknown"),
        (None, {}, "unknown"),
        (None, {"p_correct": [0.1] * 5}, "gave up"),
        (False, {"p_correct": [0.1] * 5, "p_last": [0.6] * 5}, "wrong"),
        (False, {"p_correct": [0.1] * 5, "unfamiliar": "Unlike the training data."}, "wrong"),
        (False, {"halted_by": "budget", "ticks": 16, "answer_tick": 16, "p_correct": [0.1] * 16}, "out of ticks"),
        (None, {"halted_by": "budget", "ticks": 16, "answer_tick": 16}, "out of ticks"),
        (True, {"halted_by": "budget", "ticks": 16, "answer_tick": 16}, "correct"),
        (False, {"halted_by": "budget", "policy": "ticks=16", "ticks": 16, "answer_tick": 16}, "wrong"),
    ],
)
def test_verdicts(is_correct, values, verdict):
    assert judge_answer(is_correct, make_record(**values)) == verdict


def test_the_sentence_gives_the_confidence_in_what_it_says():
    record = make_record(p_correct=[0.03] * 5, p_last=[0.985] * 5, verdict="correct", truth="even")
    assert "Correct. Confidence: 98.5% (in all intermediate results: 3.0%)." in format_sentence("It is even", record)


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
