"""Error of the image reader."""


class UnreadableImage(ValueError):
    """A file is no image that can be read. The message is one sentence without the name of the file."""
