"""Leave out images of a data set that cannot be read, up to a stated share."""

import logging

LOGGER = logging.getLogger(__name__)
MAX_EXAMPLES = 3  # that a message names
DEFAULT_MAX_RATE = 0.01
MIN_STREAMED_IMAGES = 1_000  # on which the share of a stream is judged, at least


class UnreadableImages:
    """Images that are left out, and how many there are of all.

    Args:
        name: Data set, for messages.
        max_rate: Share of the images that may be left out.
    """

    def __init__(self, name: str, max_rate: float = DEFAULT_MAX_RATE) -> None:
        self.name = name
        self.max_rate = max_rate
        self.count = 0
        self.total = 0
        self.examples: list[str] = []
        self._next_logged_count = 1

    def add_readable(self) -> None:
        """Count an image that was read."""
        self.total += 1

    def add(self, where: str, error: ValueError) -> None:
        """Count an image that was not read.

        Args:
            where: Split and row.
            error: Why it was not read.
        """
        self.total += 1
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{where}: {error}")

    def check(self, num_images: int | None = None) -> None:
        """Check the share of images that were left out.

        Args:
            num_images: Number of images that there are in all; None if all have been read.

        Raises:
            ValueError: It is larger than `max_rate`.
        """
        if self.count <= self.max_rate * max(self.total, num_images or 0):
            return
        raise ValueError(
            f"{self.name}: {self.count:,} of the first {self.total:,} pictures cannot be read, and task.max_unreadable_rate allows "
            f"{self.max_rate:g}: repair them, or raise it. {' '.join(self.examples)}"
        )

    def log(self) -> None:
        """Write to the log how many images were left out, and some of them."""
        if self.count:
            LOGGER.warning(
                "%s: %d of %d pictures cannot be read and are left out. %s",
                self.name,
                self.count,
                self.total,
                " ".join(self.examples),
            )

    def log_if_doubled(self) -> None:
        """Write to the log if there are twice as many as at the last time, as in a stream that has no end."""
        if self.count >= self._next_logged_count:
            self._next_logged_count = 2 * self.count
            self.log()
