"""When a server is tried again."""

from __future__ import annotations

import pytest

from nertrail.tracking.breaker import CLOSED, HALF_OPEN, OPEN, Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def pause(breaker: Breaker, clock: Clock) -> float:
    """How long it stays open."""
    begun = clock.now
    while breaker.is_open():
        clock.now += 0.1
    return clock.now - begun


def test_it_opens_at_the_first_failure_and_lets_one_probe_through_after_a_pause(breaker: Breaker, clock: Clock) -> None:
    assert breaker.state == CLOSED
    breaker.failed()
    assert breaker.state == OPEN
    pause(breaker, clock)
    assert breaker.state == HALF_OPEN
    breaker.failed()
    assert breaker.state == OPEN
    pause(breaker, clock)
    breaker.worked()
    assert breaker.state == CLOSED


def test_the_pause_doubles_up_to_a_minute_and_begins_again_after_a_success(breaker: Breaker, clock: Clock) -> None:
    waits = []
    for _ in range(10):
        breaker.failed()
        waits.append(pause(breaker, clock))
    for wait, expected in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], strict=True):
        assert 0.8 * expected <= wait <= 1.2 * expected + 0.2
    breaker.worked()
    breaker.failed()
    assert pause(breaker, clock) < 1.5


def test_a_server_that_takes_a_little_each_time_is_not_left_alone_for_longer(breaker: Breaker, clock: Clock) -> None:
    for _ in range(10):
        breaker.failed(progress=True)
        assert pause(breaker, clock) < 1.5


@pytest.mark.parametrize(("wish", "shortest", "longest"), [(300, 300, 301), (0.1, 0.8, 1.5), (10**9, 3600, 3601)])
def test_the_servers_wish_is_honoured_within_reason(
    wish: float, shortest: float, longest: float, breaker: Breaker, clock: Clock
) -> None:
    breaker.failed(retry_after=wish)
    assert shortest <= pause(breaker, clock) <= longest
