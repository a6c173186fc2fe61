"""Clock whose time a test sets."""


class FakeClock:
    """Return `now` when called, in seconds; tests change it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now
