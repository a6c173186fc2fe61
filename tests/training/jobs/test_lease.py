"""One app looks after a folder of runs, wherever the others are."""

import pytest

from tests.fake_clock import FakeClock
from training.jobs.lease import HEARTBEAT_INTERVAL_S, LEASE_TIMEOUT_S, Lease


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_lease(tmp_path, clock):
    """Makes leases on one folder; as on a mounted one, locks of one machine are not seen by another."""

    def make(machine: str) -> Lease:
        lease = Lease(tmp_path, machine, clock)
        lease._lock_path = tmp_path / f".{machine}.lock"
        return lease

    return make


def test_two_apps_on_one_machine_do_not_share_the_lease(make_lease):
    first, second = make_lease("here"), make_lease("here")
    assert first.acquire() and not second.acquire()
    first.release()
    assert second.acquire()


def test_a_dead_holder_does_not_block_its_own_machine(make_lease):
    first = make_lease("here")
    first.acquire()
    first._lock_stack.close()  # its process is gone, its sign is not
    assert make_lease("here").acquire()


def test_another_machine_waits_while_there_are_heartbeats(make_lease, clock):
    first, second = make_lease("here"), make_lease("there")
    assert first.acquire() and not second.acquire()
    for _ in range(10):
        clock.now += HEARTBEAT_INTERVAL_S + 1
        assert first.renew() and not second.acquire()
    clock.now += LEASE_TIMEOUT_S - 1  # dead, but who knows
    assert not second.acquire()
    clock.now += 1 + HEARTBEAT_INTERVAL_S
    assert second.acquire()


def test_a_released_lease_is_acquired_by_another_machine_at_once(make_lease):
    first, second = make_lease("here"), make_lease("there")
    first.acquire()
    first.release()
    assert second.acquire()


def test_a_holder_that_slept_too_long_loses_the_lease(make_lease, clock, caplog):
    first, second = make_lease("here"), make_lease("there")
    first.acquire()
    assert not second.acquire()
    clock.now += LEASE_TIMEOUT_S
    assert second.acquire()
    assert not first.renew() and "taken over by an app on another machine" in caplog.text
    first.release()  # which must not take the other's sign away
    clock.now += HEARTBEAT_INTERVAL_S
    assert second.renew() and not first.acquire()


def test_two_that_begin_at_once_do_not_both_go_on(make_lease, clock):
    first, second = make_lease("here"), make_lease("there")
    first.acquire()
    first._heartbeat_path.unlink()  # not seen over there yet
    assert second.acquire()
    clock.now += HEARTBEAT_INTERVAL_S
    assert [first.renew(), second.renew()] == [False, True]


def test_a_sign_that_cannot_be_read_or_written_stops_nobody(make_lease, tmp_path):
    (tmp_path / ".jobs.holder").write_text("{half")
    assert make_lease("here").acquire()
    (tmp_path / ".jobs.holder").unlink()
    (tmp_path / ".jobs.holder").mkdir()
    assert make_lease("there").acquire()
