"""One app looks after a folder of runs, wherever the others are."""

import pytest

from tests.fake_clock import Clock
from training.jobs.lease import BEAT, SILENCE, Lease


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(tmp_path, clock):
    """Makes leases on one folder; as on a mounted one, locks of one machine are not seen by another."""

    def make(machine: str) -> Lease:
        lease = Lease(tmp_path, machine, clock)
        lease._lock = tmp_path / f".{machine}.lock"
        return lease

    return make


def test_apps_of_one_machine_are_kept_apart(lease):
    first, second = lease("here"), lease("here")
    assert first.take() and not second.take()
    first.release()
    assert second.take()


def test_one_that_died_leaves_nothing_to_wait_for_on_its_machine(lease):
    first = lease("here")
    first.take()
    first._held.close()  # its process is gone, its sign is not
    assert lease("here").take()


def test_another_machine_waits_while_there_are_signs_of_life(lease, clock):
    first, second = lease("here"), lease("there")
    assert first.take() and not second.take()
    for _ in range(10):
        clock.now += BEAT + 1
        assert first.keep() and not second.take()
    clock.now += SILENCE - 1  # dead, but who knows
    assert not second.take()
    clock.now += 1 + BEAT
    assert second.take()


def test_a_clean_end_lets_another_machine_in_at_once(lease):
    first, second = lease("here"), lease("there")
    first.take()
    first.release()
    assert second.take()


def test_who_slept_too_long_finds_the_folder_taken_and_lets_go(lease, clock, caplog):
    first, second = lease("here"), lease("there")
    first.take()
    assert not second.take()
    clock.now += SILENCE
    assert second.take()
    assert not first.keep() and "taken over by an app on another machine" in caplog.text
    first.release()  # which must not take the other's sign away
    clock.now += BEAT
    assert second.keep() and not first.take()


def test_two_that_begin_at_once_do_not_both_go_on(lease, clock):
    first, second = lease("here"), lease("there")
    first.take()
    first._sign.unlink()  # not seen over there yet
    assert second.take()
    clock.now += BEAT
    assert [first.keep(), second.keep()] == [False, True]


def test_a_sign_that_cannot_be_read_or_written_stops_nobody(lease, tmp_path):
    (tmp_path / ".jobs.holder").write_text("{half")
    assert lease("here").take()
    (tmp_path / ".jobs.holder").unlink()
    (tmp_path / ".jobs.holder").mkdir()
    assert lease("there").take()
