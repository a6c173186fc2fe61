"""Tests of the timetable of the positions of an answer."""

import pytest

from training.pace import Pace


def test_positions_are_spread_over_the_ticks_with_the_delay_left_at_both_ends():
    pace = Pace(delay=3)
    assert pace.compute_due_ticks(24, 32).tolist() == [3 + -(-26 * position // 24) for position in range(24)]
    expected = [tick * 24 // 26 for tick in range(26)] + [-1] * 6
    assert pace.find_attended_positions(24, 32).tolist() == expected


@pytest.mark.parametrize("positions, ticks, delay", [(24, 32, 3), (64, 76, 3), (16, 40, 3), (16, 24, 2)])
def test_a_position_is_due_no_earlier_than_its_delay_after_the_attention(positions, ticks, delay):
    pace = Pace(delay)
    attended = pace.find_attended_positions(positions, ticks).tolist()
    first_ticks = [attended.index(position) for position in range(positions)]
    assert pace.compute_due_ticks(positions, ticks).tolist() == [tick + delay for tick in first_ticks]


def test_a_stated_spacing_is_used_and_the_last_tick_counts_every_position():
    due = Pace(delay=8, ticks_per_position=0.75).compute_due_ticks(50, 40)
    assert due[:5].tolist() == [8, 9, 10, 11, 11] and due[-1] == 39 and (due.diff() >= 0).all()


def test_with_fewer_ticks_than_the_delay_every_position_counts_at_the_last_tick():
    assert Pace(delay=3).compute_due_ticks(4, 2).tolist() == [1, 1, 1, 1]
