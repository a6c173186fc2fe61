"""Tests of the exclusive lease on a runs directory between apps on one host and on several hosts."""

import pytest

from tests.fake_clock import FakeClock
from training.jobs.lease import HEARTBEAT_INTERVAL_S, LEASE_TIMEOUT_S, Lease


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_lease(tmp_path, clock):
    """Return a function that creates leases on one directory; each host has its own lock file, as on a mounted bucket."""

    def make(host: str) -> Lease:
        lease = Lease(tmp_path, host, clock)
        lease._lock_path = tmp_path / f".{host}.lock"
        return lease

    return make


def test_two_apps_on_one_host_cannot_hold_the_lease_together(make_lease):
    first, second = make_lease("host-a"), make_lease("host-a")
    assert first.acquire() and not second.acquire()
    first.release()
    assert second.acquire()


def test_lease_of_a_dead_process_is_acquired_on_the_same_host(make_lease):
    first = make_lease("host-a")
    first.acquire()
    first._lock_stack.close()  # its process has ended, its heartbeat file remains
    assert make_lease("host-a").acquire()


def test_another_host_waits_while_heartbeats_change(make_lease, clock):
    first, second = make_lease("host-a"), make_lease("host-b")
    assert first.acquire() and not second.acquire()
    for _ in range(10):
        clock.now += HEARTBEAT_INTERVAL_S + 1
        assert first.renew() and not second.acquire()
    clock.now += LEASE_TIMEOUT_S - 1  # the holder is dead, but the timeout has not passed
    assert not second.acquire()
    clock.now += 1 + HEARTBEAT_INTERVAL_S
    assert second.acquire()


def test_released_lease_is_acquired_by_another_host_at_once(make_lease):
    first, second = make_lease("host-a"), make_lease("host-b")
    first.acquire()
    first.release()
    assert second.acquire()


def test_holder_without_heartbeats_loses_the_lease(make_lease, clock, caplog):
    first, second = make_lease("host-a"), make_lease("host-b")
    first.acquire()
    assert not second.acquire()
    clock.now += LEASE_TIMEOUT_S
    assert second.acquire()
    assert not first.renew() and "taken over by an app on another machine" in caplog.text
    first.release()  # must not remove the heartbeat of the other host
    clock.now += HEARTBEAT_INTERVAL_S
    assert second.renew() and not first.acquire()


def test_one_of_two_simultaneous_holders_loses_the_lease(make_lease, clock):
    first, second = make_lease("host-a"), make_lease("host-b")
    first.acquire()
    first._heartbeat_path.unlink()  # not visible on the other host yet
    assert second.acquire()
    clock.now += HEARTBEAT_INTERVAL_S
    assert [first.renew(), second.renew()] == [False, True]


def test_unreadable_heartbeat_does_not_prevent_acquisition(make_lease, tmp_path):
    (tmp_path / ".jobs.holder").write_text("{half")
    assert make_lease("host-a").acquire()
    (tmp_path / ".jobs.holder").unlink()
    (tmp_path / ".jobs.holder").mkdir()
    assert make_lease("host-b").acquire()
