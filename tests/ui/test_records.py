"""What a record says in words and lines."""

import pytest

from inference.policies import parse
from ui.records import because, halting_lines, percent


def test_nothing_is_quite_certain():
    assert [percent(share) for share in (1.0, 0.9995, 0.5, 0.0)] == ["over 99.9%", "over 99.9%", "50.0%", "under 0.1%"]


@pytest.mark.parametrize(
    "rule, words",
    [("energy<-3", "energy fell below -3"), ("certainty>0.9", "more than 0.9 certain"), ("same=3", "3 times in a row"),
     ("certainty.min>0.5", "every position"), ("converged<0.1x2", "less than 0.1"), ("ticks=3", "3 ticks")],
)  # fmt: skip
def test_what_ended_a_thought_is_said_in_words(rule, words):
    assert words in because(rule)


def test_lines_to_draw_come_from_the_rule():
    assert halting_lines(parse("energy<-2|certainty>0.9|same=3")) == [("energy", -2.0), ("certainty", 0.9)]
    assert halting_lines(parse("ticks=3")) == []
